"""Crops for teacher and student, and what happens to faces in phones, for the student alone.

Everything is a function of a numpy generator, and a sample's generator is seeded with its number,
so that a run that is killed goes on with the same pictures.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.shards import MARGIN

CROP = 112
"""Pixels of a side of what networks see."""


@dataclass(frozen=True)
class Geometry:
    """Limits of the random crop: pixels, degrees, and a fraction of the size."""

    shift: float = 3.0
    turn: float = 5.0
    scale: float = 0.05
    mirror: bool = True


def crop(
    face: Image.Image,
    rng: np.random.Generator,
    geometry: Geometry = Geometry(),
    cut: NDArray[np.float32] | None = None,
) -> Image.Image:
    """A shifted, turned, scaled, mirrored crop, RGB 112x112, from a face of 128x128.

    Its middle is the face's, or that of another `cut` of it, `(2, 3)` as `training.found` gives.
    """
    angle = math.radians(rng.uniform(-geometry.turn, geometry.turn))
    scale = math.exp(rng.uniform(-geometry.scale, geometry.scale))
    dx, dy = rng.uniform(-geometry.shift, geometry.shift, 2)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    flip = -1.0 if geometry.mirror and rng.random() < 0.5 else 1.0
    half, middle = CROP / 2, face.width / 2
    matrix = np.array([
        [flip * c, -s, middle + dx - flip * c * half + s * half],
        [flip * s, c, middle + dy - flip * s * half - c * half],
    ])  # fmt: skip
    if cut is not None:
        matrix = composed(cut[None], matrix[None])[0]
    coefficients = tuple(matrix.ravel().tolist())
    return face.transform((CROP, CROP), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def composed(outer: NDArray[Any], inner: NDArray[Any]) -> NDArray[Any]:
    """Crops of crops, `(n, 2, 3)` each: `inner` cuts from what `outer` cut, with a margin of 8 px for it."""
    linear = outer[:, :, :2]
    offset = (linear @ (inner[:, :, 2:] - MARGIN)) + outer[:, :, 2:]
    return np.concatenate([linear @ inner[:, :, :2], offset], axis=2)


def light(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Brightness, contrast and gamma changed by up to `strength`, as one look-up table."""
    gain, gamma = np.exp(rng.uniform(-strength, strength, 2))
    offset = rng.uniform(-strength, strength) * 0.3
    x = np.linspace(0, 1, 256)
    table = np.clip(255 * (gain * (x**gamma - 0.5) + 0.5 + offset), 0, 255).astype(np.uint8)
    return image.point(list(table) * 3)


def blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Out of focus, or moved along a line."""
    if rng.random() < 0.5:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 2.5)))
    length = int(rng.integers(3, 8))
    moved = np.zeros((CROP, CROP, 3), np.float32)
    pixels = np.asarray(image, np.float32)
    axis = int(rng.integers(2))
    for step in range(length):
        moved += np.roll(pixels, step - length // 2, axis)
    return Image.fromarray((moved / length).astype(np.uint8))


def jpeg(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Compressed at quality 10 to 50."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(rng.integers(10, 50)))
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def noise(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Gaussian noise of deviation 5 to 25 levels."""
    pixels = np.array(image, np.float32)
    pixels += rng.normal(0, rng.uniform(5, 25), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def dark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Low light: few photons, so noise that grows with the square root of the signal."""
    level = rng.uniform(0.1, 0.5)
    pixels = np.asarray(image, np.float32) * level
    pixels += rng.normal(0, 1, pixels.shape) * np.sqrt(pixels + 1) * rng.uniform(0.2, 1.0)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def small(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A face of 24 to 64 pixels, enlarged."""
    size = int(rng.integers(24, 64))
    return image.resize((size, size), Image.Resampling.BOX).resize((CROP, CROP), Image.Resampling.BILINEAR)


def occlude(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A rectangle of one colour (a hand, a phone, hair) over up to a ninth of the face."""
    image = image.copy()
    w, h = rng.integers(12, 38, 2)
    x, y = rng.integers(0, CROP - w), rng.integers(0, CROP - h)
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    ImageDraw.Draw(image).rectangle((int(x), int(y), int(x + w), int(y + h)), fill=colour)
    return image


def mask(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A face mask: from the bridge of the nose, between the template's landmarks, to the chin."""
    image = image.copy()
    top = float(rng.uniform(60, 76))
    colour = tuple(int(v) for v in rng.choice([[235] * 3, [40] * 3, [150, 190, 215]]))
    outline = [(18, top + 6), (56, top - 4), (94, top + 6), (88, 104), (56, 114), (24, 104)]
    jitter = rng.uniform(-3, 3, (len(outline), 2))
    points = [(x + dx, y + dy) for (x, y), (dx, dy) in zip(outline, jitter, strict=True)]
    ImageDraw.Draw(image).polygon(points, fill=colour)
    return image


def misalign(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Landmarks off by some pixels: the student's crop moves, the teacher's does not."""
    moved = Image.fromarray(np.pad(np.asarray(image), ((8, 8), (8, 8), (0, 0)), mode="edge"))
    return crop(moved, rng, Geometry(shift=4, turn=8, scale=0.1, mirror=False))


HARDSHIPS = (blur, jpeg, noise, dark, small, occlude, mask, misalign)


def harden(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One or two of the hardships."""
    for index in rng.choice(len(HARDSHIPS), size=int(rng.integers(1, 3)), replace=False):
        image = HARDSHIPS[index](image, rng)
    return image


@dataclass(frozen=True)
class Augmentation:
    """The crop's limits, the change of light for both, how often the student's crop is hardened.

    `found` is how often a crop begins where the SDK's detector found the face, see `training.found`.
    """

    geometry: Geometry = Geometry()
    light: float = 0.15
    harden: float = 0.0
    found: float = 0.0


def views(
    face: Image.Image,
    rng: np.random.Generator,
    how: Augmentation,
    cut: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What teacher and student see, uint8 `(112, 112, 3)` RGB each; the teacher's is clean.

    `cut` `(2, 3)` is where the SDK's detector found the face, which `how.found` asks for.
    """
    as_found = bool(how.found) and rng.random() < how.found
    clean = crop(face, rng, how.geometry, cut if as_found else None)
    if how.light and rng.random() < 0.5:
        clean = light(clean, rng, how.light)
    hard = harden(clean, rng) if rng.random() < how.harden else clean
    return np.asarray(clean), np.asarray(hard)
