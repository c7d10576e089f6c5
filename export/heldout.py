"""Operating points of one form of an embedder on the held-out faces."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.contract import Contract, operating_accuracy
from export.verify import Runner
from pocketface.errors import InputError
from pocketface.types import Threshold


def operating_points(contract: Contract, run: Runner, folder: Path) -> Contract:
    """`contract` with the thresholds and true accept rates that this form has.

    Args:
        contract: of the network.
        run: the graph.
        folder: `manifest.csv` and shards as `training.shards` reads them; its split "heldout".

    Raises:
        InputError: there are no such faces.
    """
    from training.evaluation import embed_faces, verify
    from training.shards import read_faces

    try:
        faces = read_faces([folder], "heldout")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder}: no held-out faces ({error})") from error
    if len(faces) < 2:
        raise InputError(f"{folder}: no held-out faces")

    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.concatenate([run(crop)["embedding"] for crop in crops])

    found = verify(embed_faces(faces, embed), [face.identity for face in faces])
    thresholds = tuple(
        Threshold(
            value=math.ceil(point.threshold * 1e6) / 1e6,
            fmr=point.fmr,
            fmr_upper=point.fmr_upper,
            data=contract.data,
            impostor_pairs=found.impostor,
            fnmr=round(1 - point.tar, 6),
        )
        for point in found.points
    )
    return replace(contract, thresholds=thresholds, accuracy=operating_accuracy(thresholds, contract.data))
