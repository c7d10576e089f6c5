"""AgeDB-30: pairs 30 years apart, ten folds in a MATLAB file; pictures `id_Name_age_gender.jpg`.

Moschoglou et al., "AgeDB: the first manually collected, in-the-wild age database", CVPR workshops
2017. `splits` is a cell of ten structs, each with the names of 600 pairs and labels 1 and -1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.io import loadmat

from benchmarks.accuracy.protocols.pairs import PairList, Pairs, Picture
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def load(root: Path, *, aligned: bool = False) -> Pairs:
    """Read the pairs of 30 years.

    Args:
        root: folder with the pictures (or `images/`) and one `.mat` file whose name has "30" in it.
        aligned: the pictures are 112x112 crops on the ArcFace template.

    Raises:
        InputError: there is no such file, or not of this form.
    """
    files = sorted(root.glob("*30*.mat"))
    if len(files) != 1:
        raise InputError(f"{root}: expected one .mat file with the 30-year splits, found {len(files)}")
    folder = root / "images" if (root / "images").is_dir() else root
    pairs = PairList()
    try:
        for fold, cell in enumerate(loadmat(files[0])["splits"].ravel()):
            split = cell.item() if cell.dtype.names else cell.ravel()[0]
            names, labels = split[0], split[1]
            for a, b, label in zip(names[0], names[1], np.ravel(labels), strict=True):
                pairs.add(_picture(folder, a), _picture(folder, b), same=int(label) == 1, fold=fold)
    except Exception as error:  # SciPy's errors have no common base, and each level may be something else
        raise InputError(f"{files[0]}: damaged, or not AgeDB's 30-year splits ({error!r})") from None
    return pairs.build("AgeDB-30", aligned=aligned)


def _picture(folder: Path, nested: Any) -> Picture:
    while not isinstance(nested, str):  # a name lies in cells within structs within cells
        nested = nested[0]
    file = f"{nested}.jpg"
    _, person, *_ = nested.split("_")
    return Picture(file, folder / file, person)
