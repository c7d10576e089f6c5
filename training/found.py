"""Where the SDK's detector finds a stored face, computed once and kept.

Stored faces are cut at YuNet's landmarks, but a student is used on what `pocketface` cuts, and teachers tell
people apart better there too. So each face is framed as in a photo, small or large and anywhere, and looked
for as a user's photo is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketface import align, registry
from pocketface.detect import FaceDetector
from training.morphs import photographed
from training.shards import CENTRE, MARGIN, SIZE, Face
from training.stored import once

FRAME = 320
"""Pixels of a side of the photo that a face is framed in."""

SMALLEST, LARGEST = 80, 240
"""Limits of the framed face's side in it; the face itself is a fifth lower."""

ASIDE = 16.0
"""Landmarks further than that from the template's, on average in stored pixels, are another face's."""


def framed(face: Image.Image, rng: np.random.Generator) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """A photo of the face, uint8 `(320, 320, 3)` RGB and black around it; the face's scale, left and top."""
    side = round(SMALLEST * (LARGEST / SMALLEST) ** rng.random())
    left, top = (int(value) for value in rng.integers(0, FRAME - side + 1, 2))
    photo = Image.new("RGB", (FRAME, FRAME))
    photo.paste(face.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return np.asarray(photo), side / SIZE, (left, top)


def cut(detector: FaceDetector, face: Face) -> NDArray[np.float32]:
    """Float32 `(2, 3)`: where the pixels of the SDK's 112x112 crop lie in the stored face.

    Counted from the corner of the first pixel, as Pillow does; `CENTRE` where the face is not found.
    """
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(face.encoded).digest()[:8], "big"))
    photo, scale, corner = framed(face.decode(), rng)
    best, least = CENTRE, ASIDE
    for found in detector.detect(photo):
        points = (found.landmarks + 0.5 - corner) / scale - 0.5
        aside = float(np.linalg.norm(points - (align.TEMPLATE + MARGIN), axis=1).mean())
        if aside < least:
            best, least = _corners(np.linalg.inv(np.vstack([align.estimate(points), (0, 0, 1)]))[:2]), aside
    return best


def _corners(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """The matrix between pixel centres as one between pixels' corners."""
    offset = matrix[:, 2] + 0.5 - matrix[:, :2] @ (0.5, 0.5)
    return np.column_stack([matrix[:, :2], offset]).astype(np.float32)


def cuts(faces: Sequence[Face], folder: Path, threads: int = 1) -> NDArray[np.float32]:
    """Float32 `(faces, 2, 3)`: the cut of each photo by the SDK's default detector, kept in `folder`.

    Blends are cut where they were made.
    """
    model = registry.default("detect")
    kept = folder / f"cuts-{model.id.replace('@', '-')}.npz"
    photos = photographed(faces)
    detector, keys = FaceDetector(model, threads=1), [face.token for face in photos]
    rows = once(keys, kept, lambda index: cut(detector, photos[index]), "cuts", threads)
    known = dict(zip(keys, rows, strict=True))
    return np.array([known.get(face.token, CENTRE) for face in faces], np.float32).reshape(-1, 2, 3)
