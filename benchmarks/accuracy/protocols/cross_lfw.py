"""CALFW (age) and CPLFW (pose): `pairs_CALFW.txt` or `pairs_CPLFW.txt`, two lines a pair.

Zheng, Deng, Hu, arXiv:1708.08197; Zheng, Deng, BUPT technical report 18-01. A line is `picture
label`, 0 for a pair of two people. The folds of the impostor pairs are not written down; as in the
published evaluations, both classes are cut into ten equal runs in the order of the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from benchmarks.accuracy.protocols.pairs import PairList, Pairs, Picture, lines_of
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def load(root: Path, name: Literal["CALFW", "CPLFW"], *, aligned: bool = False) -> Pairs:
    """Read the pairs.

    Args:
        root: folder with the pair list, `images/` and `aligned images/`.
        name: which of the two sets.
        aligned: take the authors' 112x112 `aligned images`, else the photos in `images`.
    """
    file = root / f"pairs_{name}.txt"
    rows = [row.rsplit(maxsplit=1) for row in lines_of(file)]
    if len(rows) % 2 or any(len(row) != 2 or not row[1].isdigit() for row in rows):
        raise InputError(f"{file}: expected two lines `picture label` a pair")
    folder = root / ("aligned images" if aligned else "images")
    both = [(a[0], b[0], int(a[1]) != 0) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    pairs = PairList()
    for same in (True, False):
        of_class = [(a, b) for a, b, s in both if s is same]
        for i, (a, b) in enumerate(of_class):
            pictures = (Picture(p, folder / p, re.sub(r"_\d+\.\w+$", "", p)) for p in (a, b))
            pairs.add(*pictures, same=same, fold=i * 10 // len(of_class))
    return pairs.build(name, aligned=aligned)
