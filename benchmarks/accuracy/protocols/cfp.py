"""Celebrities in Frontal-Profile: frontal against frontal (FF) or against profile (FP), ten folds.

Sengupta et al., "Frontal to profile face verification in the wild", WACV 2016. Layout of the
original archive: `Protocol/Pair_list_F.txt`, `Pair_list_P.txt` (`number path`, the path relative
to `Protocol/`) and `Protocol/Split/{FF,FP}/01..10/{same,diff}.txt` (`number,number`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from benchmarks.accuracy.protocols.pairs import PairList, Pairs, Picture, lines_of
from pocketface.errors import InputError


def load(root: Path, view: Literal["FF", "FP"], *, aligned: bool = False) -> Pairs:
    """Read one of the two protocols.

    Args:
        root: folder with `Protocol/` and `Data/`.
        view: "FF" or "FP"; in FP a pair's first picture is frontal, its second a profile.
        aligned: the pictures were replaced by 112x112 crops on the ArcFace template.
    """
    protocol = root / "Protocol"
    first = _pictures(protocol / "Pair_list_F.txt")
    second = first if view == "FF" else _pictures(protocol / "Pair_list_P.txt")
    folds = sorted(folder for folder in (protocol / "Split" / view).glob("*") if folder.is_dir())
    pairs = PairList()
    for fold, folder in enumerate(folds):
        for file, same in (("same.txt", True), ("diff.txt", False)):
            for row in lines_of(folder / file):
                try:
                    a, b = map(int, row.split(","))
                    pairs.add(first[a], second[b], same=same, fold=fold)
                except ValueError:
                    raise InputError(f"{folder / file}: {row!r} is no pair `number,number`") from None
                except KeyError:
                    raise InputError(f"{folder / file}: pair {row} is not in the picture lists") from None
    return pairs.build(f"CFP-{view}", aligned=aligned)


def _pictures(file: Path) -> dict[int, Picture]:
    pictures = {}
    for row in lines_of(file):
        number, path = [*row.split(maxsplit=1), ""][:2]
        where = Path(path)
        # .../Images/<person>/<frontal|profile>/<picture>.jpg
        if not number.isdecimal() or len(where.parts) < 3:
            raise InputError(f"{file}: {row!r} is not `number .../person/view/picture`")
        pictures[int(number)] = Picture("/".join(where.parts[-3:]), file.parent / where, where.parts[-3])
    return pictures
