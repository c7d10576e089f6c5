"""IJB-B and IJB-C, 1:1 mixed verification: templates of stills and video frames, pooled by medium.

Whitelam et al., CVPR workshops 2017; Maze et al., ICB 2018. Layout of the common release:
`loose_crop/NAME.jpg` and, in `meta/`, `ijbX_face_tid_mid.txt` (`name template medium`),
`ijbX_template_pair_label.txt` (`template template same`) and `ijbX_name_5pts_score.txt`
(`name`, five landmarks, detector score).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from benchmarks.accuracy.metrics import Scores
from benchmarks.accuracy.protocols.pairs import Pairs, Picture, lines_of
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_Number = TypeVar("_Number", np.int64, np.float64)
Weighting = Literal["none", "norm", "score", "both"]


@dataclass(frozen=True)
class Templates:
    """The protocol of one of the two sets.

    Attributes:
        name: "IJB-B" or "IJB-C".
        pictures: each face with its landmarks.
        score: `(pictures,)` confidence of the release's face detector.
        template: `(pictures,)` number of the template that the face belongs to.
        medium: `(pictures,)` number of the still or the video that it is from.
        left: `(n,)` template numbers of the pairs.
        right: `(n,)` the other ones.
        same: `(n,)` True for genuine pairs.
    """

    name: str
    pictures: tuple[Picture, ...]
    score: NDArray[np.float64]
    template: NDArray[np.int64]
    medium: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]


def load(root: Path, name: Literal["IJB-B", "IJB-C"]) -> Templates:
    """Read the lists.

    Args:
        root: folder with `loose_crop/` and `meta/`.
        name: which set.

    Raises:
        InputError: a list is missing, damaged or empty, or does not fit the others.
    """
    meta, prefix = root / "meta", name.lower().replace("-", "")
    names, points = _named(meta / f"{prefix}_name_5pts_score.txt", 12, np.float64)
    listed, numbers = _named(meta / f"{prefix}_face_tid_mid.txt", 3, np.int64)
    pair_list = meta / f"{prefix}_template_pair_label.txt"
    pairs = _numbers(pair_list, _rows(pair_list, 3), np.int64)
    if names != listed:
        raise InputError(f"{meta}: the face list and the template list name different pictures")
    template, medium = numbers[:, 0], numbers[:, 1]
    unknown = set(np.unique(pairs[:, :2]).tolist()) - set(template.tolist())
    if unknown:
        raise InputError(f"{meta}: {len(unknown)} templates of the pairs have no pictures")
    pictures = tuple(
        Picture(
            name=file,
            source=root / "loose_crop" / file,
            person=file,
            landmarks=tuple((float(face[i]), float(face[i + 1])) for i in range(0, 10, 2)),
        )
        for file, face in zip(names, points, strict=True)
    )
    return Templates(
        name=name,
        pictures=pictures,
        score=points[:, -1],
        template=template,
        medium=medium,
        left=pairs[:, 0],
        right=pairs[:, 1],
        same=pairs[:, 2] == 1,
    )


def _rows(file: Path, fields: int) -> list[list[str]]:
    """The lines of a list, of so many fields each."""
    rows = [row.split() for row in lines_of(file)]
    for row in rows:
        if len(row) != fields:
            raise InputError(f"{file}: {' '.join(row)!r} has {len(row)} fields, {fields} are expected")
    if not rows:
        raise InputError(f"{file}: the list is empty")
    return rows


def _numbers(file: Path, rows: list[list[str]], kind: type[_Number]) -> NDArray[_Number]:
    try:
        return np.array(rows, kind)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file}: no list of numbers ({error})") from None


def _named(file: Path, fields: int, kind: type[_Number]) -> tuple[list[str], NDArray[_Number]]:
    """The pictures' names, first in each line, and the `(pictures, fields - 1)` numbers after them."""
    rows = _rows(file, fields)
    return [row[0] for row in rows], _numbers(file, [row[1:] for row in rows], kind)


def as_pictures(data: Templates) -> Pairs:
    """The set's faces as pictures to embed; the pairs are of templates, so this has none."""
    none = np.zeros(0, np.int64)
    return Pairs(data.name, data.pictures, none, none, none.astype(np.bool_), None)


def pool(
    data: Templates,
    embeddings: NDArray[np.float32],
    norms: NDArray[np.float32],
    found: NDArray[np.bool_],
    *,
    weighting: Weighting = "score",
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """One embedding a template: mean over a medium's faces, sum over media, unit norm.

    Args:
        data: the protocol.
        embeddings: `(pictures, d)` unit rows.
        norms: `(pictures,)` raw norms.
        found: `(pictures,)` False where no face was found; such pictures add nothing.
        weighting: each face by its raw norm, by the detector's score, both or none. Both are rough
            measures of quality; the published InsightFace figures use "both" (no unit norm, score).

    Returns:
        Template numbers, ascending, and embeddings of the same order; a zero row where no picture
        of the template gave a face.
    """
    weight = found.astype(np.float64)
    if weighting in ("norm", "both"):
        weight = weight * norms
    if weighting in ("score", "both"):
        weight = weight * data.score
    numbers, row = np.unique(data.template, return_inverse=True)
    media, medium = np.unique(np.stack([row, data.medium]), axis=1, return_inverse=True)
    medium = medium.reshape(-1)
    sums = np.zeros((media.shape[1], embeddings.shape[1]))
    np.add.at(sums, medium, np.where(found[:, None], embeddings, 0) * weight[:, None])
    counts = np.bincount(medium, weights=found, minlength=media.shape[1])
    means = sums / np.maximum(counts, 1)[:, None]
    templates = np.zeros((len(numbers), embeddings.shape[1]))
    np.add.at(templates, media[0], means)
    length = np.linalg.norm(templates, axis=1, keepdims=True)
    return numbers, (templates / np.where(length > 0, length, 1)).astype(np.float32)


def score(data: Templates, numbers: NDArray[np.int64], templates: NDArray[np.float32]) -> Scores:
    """Cosine of each pair of templates; -inf where one has no face.

    The lists do not name people, so the bootstrap draws templates.
    """
    left, right = np.searchsorted(numbers, data.left), np.searchsorted(numbers, data.right)
    cosine = np.empty(len(left))
    for start in range(0, len(left), 100_000):
        part = slice(start, start + 100_000)
        cosine[part] = np.einsum("ij,ij->i", templates[left[part]], templates[right[part]])
    empty = np.linalg.norm(templates, axis=1) == 0
    cosine[empty[left] | empty[right]] = -np.inf
    return Scores(cosine, data.same, left.astype(np.int64), right.astype(np.int64))
