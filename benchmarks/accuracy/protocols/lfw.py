"""Labeled Faces in the Wild: `pairs.txt` and `Name/Name_0001.jpg`, ten folds of 300 + 300 pairs.

Huang, Ramesh, Berg, Learned-Miller: UMass Amherst technical report 07-49.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.accuracy.protocols.pairs import PairList, Pairs, Picture, lines_of
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def load(root: Path, *, aligned: bool = False) -> Pairs:
    """Read the official pairs.

    Args:
        root: folder with `pairs.txt` and a folder a person, directly or in `lfw/`.
        aligned: the pictures are 112x112 crops on the ArcFace template under the same names.
    """
    pairs = PairList()
    header, *rows = lines_of(root / "pairs.txt") or [""]
    folder = root / "lfw" if (root / "lfw").is_dir() else root
    try:
        folds, size = (int(field) for field in [*header.split(), "300"][:2])
    except ValueError:
        raise InputError(f"{root / 'pairs.txt'}: its first line {header!r} is no number of folds") from None
    if folds < 2:
        raise InputError(f"{root / 'pairs.txt'}: its first line says {folds} folds; at least two are needed")
    if len(rows) != folds * size * 2:
        raise InputError(
            f"{root / 'pairs.txt'}: {len(rows)} pairs, but its first line says {2 * folds * size}"
        )

    def picture(name: str, number: str) -> Picture:
        file = f"{name}/{name}_{int(number):04d}.jpg"
        return Picture(file, folder / file, name)

    for i, row in enumerate(rows):
        match row.split("\t") if "\t" in row else row.split():
            case [name, a, b] if a.isdecimal() and b.isdecimal():
                pairs.add(picture(name, a), picture(name, b), same=True, fold=i // (2 * size))
            case [one, a, other, b] if a.isdecimal() and b.isdecimal():
                pairs.add(picture(one, a), picture(other, b), same=False, fold=i // (2 * size))
            case _:
                raise InputError(f"{root / 'pairs.txt'}: pair {i + 1} is not of pairs.txt's form: {row!r}")
    return pairs.build("LFW", aligned=aligned)
