"""Cuts a face out of a picture so that its landmarks lie where the embedder was taught to expect them.

A similarity transform (rotation, one scale, translation) maps the five landmarks to the ArcFace
template in the least-squares sense (Umeyama, "Least-squares estimation of transformation parameters
between two point patterns", PAMI 1991; template of Deng et al., "ArcFace", CVPR 2019). Coordinates are
those of OpenCV and scikit-image: the centre of the first pixel is (0, 0).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketface.errors import InputError
from pocketface.images import to_pillow

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CROP_SIZE = 112

TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Left eye, right eye, nose tip, left and right mouth corner in the 112 x 112 crop, `(5, 2)`, x and y."""
TEMPLATE.flags.writeable = False


def estimate(landmarks: ArrayLike, size: int = CROP_SIZE) -> NDArray[np.float64]:
    """The similarity transform from a picture to the crop.

    Args:
        landmarks: `(5, 2)`, x and y in the picture, in the order of `TEMPLATE`.
        size: side of the crop.

    Returns:
        float64 `(2, 3)`: `crop = matrix @ (x, y, 1)`.

    Raises:
        InputError: the landmarks have another shape, are not finite, or coincide.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (5, 2):
        raise InputError(f"landmarks of shape {points.shape}; expected (5, 2)")
    if not np.isfinite(points).all():
        raise InputError("landmarks are not finite")
    # In the plane a similarity is z -> a z + b with complex a and b, and least squares has a closed form.
    source = points[:, 0] + 1j * points[:, 1]
    target = (TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1] + (0.5 + 0.5j)) * (size / CROP_SIZE) - (0.5 + 0.5j)
    source_mean, target_mean = source.mean(), target.mean()
    centred = source - source_mean
    spread = float(np.vdot(centred, centred).real)
    a = complex(np.vdot(centred, target - target_mean) / spread) if spread > 1e-6 else 0j
    if abs(a) < 1e-6:
        raise InputError("landmarks coincide; no face can be cut out")
    b = complex(target_mean - a * source_mean)
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(image: NDArray[np.uint8], landmarks: ArrayLike, size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """Cut out the face with these landmarks.

    A face larger than the crop is averaged down, not sampled, so that a sharp photo gives the same
    embedding as its small version. What lies outside the picture is black.

    Args:
        image: uint8 `(h, w, 3)`.
        landmarks: `(5, 2)`, x and y in the picture.
        size: side of the crop in pixels.

    Returns:
        uint8 `(size, size, 3)`, channels in the order of `image`.

    Raises:
        InputError: the landmarks have another shape, are not finite, or coincide.
    """
    matrix = estimate(landmarks, size)
    inverse = np.linalg.inv(matrix[:, :2])
    offset = -inverse @ matrix[:, 2]
    shrink = math.hypot(inverse[0, 0], inverse[1, 0])  # picture pixels per crop pixel
    # Bilinear sampling sees about two pixels: whole factors are averaged before it, the rest after it.
    before = max(int(shrink), 1)
    after = 2 if shrink / before > _OVERSAMPLE_ABOVE else 1

    corners = np.array([[-1, -1], [size, -1], [-1, size], [size, size]]) @ inverse.T + offset
    margin = 2 * before
    height, width = image.shape[:2]
    left, top = (int(v) for v in np.clip(np.floor(corners.min(axis=0)) - margin, 0, (width, height)))
    right, bottom = (int(v) for v in np.clip(np.ceil(corners.max(axis=0)) + margin, 0, (width, height)))
    if left >= right or top >= bottom:
        return np.zeros((size, size, 3), np.uint8)
    region = to_pillow(image[top:bottom, left:right])
    if before > 1:
        region = region.reduce(before)

    # Pillow counts from the corner of the first pixel, so pixel centres lie at + 0.5 on both sides.
    step = inverse / (before * after)
    start = (offset + 0.5 - inverse @ (0.5, 0.5) - (left, top)) / before
    coefficients = (step[0, 0], step[0, 1], start[0], step[1, 0], step[1, 1], start[1])
    side = size * after
    crop = region.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    if after > 1:
        crop = crop.reduce(after)
    return np.asarray(crop)


_OVERSAMPLE_ABOVE = 1.2
