"""The self-test's face, and whether a graph still describes it as it did when it was made.

`golden.png` is a 112 x 112 crop, aligned to the ArcFace template, of NASA's portrait of Eileen Collins
(public domain; scikit-image's `astronaut`).
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketface.align import TEMPLATE
from pocketface.cards import Golden
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
from pocketface.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.registry import Model

# Largest difference of a value of the unit-norm embedding, and of the norm as a fraction of it. Kernels
# of other processors round differently; int8 kernels most (1 - cosine 5e-3 between x86 and arm).
_TOLERANCES = {"fp32": (1e-3, 1e-3), "fp16": (5e-3, 5e-3), "int8w": (5e-3, 5e-3), "int8": (0.04, 0.1)}
_LANDMARK_PX = 8.0  # mean; the portrait is turned a little, so exact landmarks lie 4 px from the template


def crop() -> NDArray[np.uint8]:
    """The self-test's face, uint8 `(112, 112, 3)`, RGB, read-only."""
    with files("pocketface").joinpath("golden.png").open("rb") as file, Image.open(file) as image:
        pixels = np.array(image.convert("RGB"))
    pixels.flags.writeable = False
    return pixels


def measure(model: Model, *, engine: str | None = None, threads: int = 1) -> Golden:
    """What an embedder gives for the face: the `golden` field of its card.

    Raises:
        ModelError: the embedding is zero or not finite, or has fewer than eight values.
    """
    face = crop()
    embeddings, norms = Embedder(model, engine=engine, threads=threads).embed(face[None])
    if embeddings.shape[1] < 8:
        raise ModelError(
            f"{model.path}: an embedding of {embeddings.shape[1]} values; at least 8 are expected"
        )
    values = tuple(round(float(value), 6) for value in embeddings[0, :8])
    return Golden(hashlib.sha256(face.tobytes()).hexdigest(), values, round(float(norms[0]), 5))


def check(model: Model, *, engine: str | None = None, threads: int = 1) -> str:
    """Run a model on the face and compare.

    Returns:
        What was found, one phrase.

    Raises:
        ModelError: the graph gives something else than its card promises.
    """
    if model.card.task == "detect":
        return _check_detector(model, engine, threads)
    measured = measure(model, engine=engine, threads=threads)
    expected = model.card.golden
    if expected is None:
        return "runs; its card holds no expected values"
    if expected.crop != measured.crop:
        raise ModelError(
            f"{model.path}: its card expects another test picture; update pocketface or the model"
        )
    off = float(np.abs(np.subtract(expected.values, measured.values)).max())
    norm_off = abs(measured.norm - expected.norm) / max(expected.norm, 1e-9)
    allowed, norm_allowed = _TOLERANCES[model.card.precision]
    if not (off <= allowed and norm_off <= norm_allowed):
        raise ModelError(
            f"{model.path}: wrong embedding: values differ by {off:.2g} ({allowed:g} allowed), "
            f"the norm by {norm_off:.2%} ({norm_allowed:.1%} allowed)"
        )
    return f"embedding as expected (within {max(off, 1e-6):.0e})"


def _check_detector(model: Model, engine: str | None, threads: int) -> str:
    faces = FaceDetector(model, engine=engine, threads=threads).detect(crop())
    if not faces:
        raise ModelError(f"{model.path}: found no face in the test picture, which shows one")
    off = float(np.linalg.norm(faces[0].landmarks - TEMPLATE, axis=1).mean())
    if not off <= _LANDMARK_PX:
        raise ModelError(f"{model.path}: the landmarks are {off:.0f} px off ({_LANDMARK_PX:g} allowed)")
    return f"face found, score {faces[0].det_score:.2f}"
