"""What a 1:1 protocol is: pictures, and which pairs of them are compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketface.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """One picture of a data set.

    Attributes:
        name: unique in the set.
        source: the file, or its bytes where the set is an archive.
        person: who it shows; the picture's own name where the set does not say.
        group: what FMR and FNMR are split by, "" where the set has no groups.
        family: pictures of one family and different persons are relatives; "" where unknown.
        margin: pixels around the 112x112 crop in an aligned picture.
        landmarks: five points that the set ships, x and y in pixels, or None.
    """

    name: str
    source: Path | bytes
    person: str
    group: str = ""
    family: str = ""
    margin: int = 0
    landmarks: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Pairs:
    """A verification protocol.

    Attributes:
        name: such as "LFW".
        pictures: each picture once.
        left: `(n,)` index of each pair's first picture.
        right: `(n,)` index of its second.
        same: `(n,)` True where both show one person.
        fold: `(n,)` 0 to 9, or None.
        aligned: the pictures are face crops on the ArcFace template, not photos.
        central: the person meant is the one nearest to the centre of the photo.
    """

    name: str
    pictures: tuple[Picture, ...]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64] | None
    aligned: bool = False
    central: bool = True

    @property
    def person(self) -> NDArray[np.int64]:
        """`(pictures,)` number of each picture's person."""
        return np.unique([p.person for p in self.pictures], return_inverse=True)[1].astype(np.int64)

    @property
    def relatives(self) -> NDArray[np.bool_]:
        """`(n,)` True where two different members of one family are compared."""
        family = self._shared([p.family for p in self.pictures])
        return (family >= 0) & ~self.same

    @property
    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """For each group `(n,)` True where both pictures of a pair belong to it."""
        names = [p.group for p in self.pictures]
        shared = self._shared(names)
        return {name: shared == i for i, name in enumerate(sorted(set(names) - {""}))}

    def _shared(self, names: list[str]) -> NDArray[np.int16]:
        """`(n,)` the number of the name that both pictures have, -1 where they have none in common."""
        number = {name: i for i, name in enumerate(sorted(set(names) - {""}))}
        code = np.array([number.get(name, -1) for name in names], np.int16)
        return np.where(code[self.left] == code[self.right], code[self.left], np.int16(-1))

    def digest(self) -> str:
        """Names the pictures in the cache: their names and sizes, not the pairs.

        Raises:
            InputError: a picture is missing.
        """
        state = hashlib.sha256()
        for p in self.pictures:
            try:
                size = len(p.source) if isinstance(p.source, bytes) else p.source.stat().st_size
            except OSError as error:
                raise InputError(
                    f"{error.filename}: {error.strerror}, but {self.name}'s list names it"
                ) from None
            state.update(f"{p.name}\0{size}\0{p.margin}\n".encode())
        return state.hexdigest()[:16]

    def first(self, count: int) -> Pairs:
        """The first pairs of each fold and class, `count` in all: a quick look, not a figure to quote."""
        fold = self.fold if self.fold is not None else np.zeros(len(self.same), np.int64)
        cells = [
            np.flatnonzero((fold == f) & (self.same == same))
            for f in np.unique(fold)
            for same in (True, False)
        ]
        keep = np.sort(np.concatenate([cell[: max(1, count // len(cells))] for cell in cells]))
        used, inverse = np.unique(np.concatenate([self.left[keep], self.right[keep]]), return_inverse=True)
        return replace(
            self,
            pictures=tuple(self.pictures[i] for i in used),
            left=inverse[: len(keep)],
            right=inverse[len(keep) :],
            same=self.same[keep],
            fold=None if self.fold is None else self.fold[keep],
        )


class PairList:
    """Collects pairs of pictures that are named more than once."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._pictures: list[Picture] = []
        self._rows: list[tuple[int, int, bool, int]] = []

    def add(self, a: Picture, b: Picture, *, same: bool, fold: int) -> None:
        """Add one pair."""
        self._rows.append((self._number(a), self._number(b), same, fold))

    def _number(self, picture: Picture) -> int:
        if picture.name not in self._index:
            self._index[picture.name] = len(self._pictures)
            self._pictures.append(picture)
        return self._index[picture.name]

    def build(self, name: str, *, aligned: bool) -> Pairs:
        """The protocol; refuses an empty one."""
        if not self._rows:
            raise InputError(f"{name}: the pair list is empty")
        left, right, same, fold = (np.array(column) for column in zip(*self._rows, strict=True))
        return Pairs(name, tuple(self._pictures), left, right, same, fold, aligned)


def lines_of(path: Path) -> Sequence[str]:
    """Lines of a protocol file without blank ones; says which file is missing or no text."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: is this the data set's root folder?") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; get the list of the data set again") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
