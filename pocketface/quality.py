"""Is this face good enough to enrol: large, sharp, lit and frontal?

Rough measures from the aligned crop and five landmarks, to refuse photos that make bad templates; they
are no grade of beauty and no substitute for ISO/IEC 29794-5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketface.align import TEMPLATE, align

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.types import Face

MIN_FACE_PX = 60.0
MIN_SHARPNESS = 0.010
BRIGHTNESS_RANGE = (40.0, 220.0)
MAX_YAW = 45.0
MAX_PITCH = 40.0
MAX_ROLL = 45.0

# Depth of the five landmarks towards the camera, in pixels of the template, whose eyes are 35 apart
# (about 63 mm): the nose tip stands about 35 mm before the eyes, the mouth's corners about 9 mm.
_DEPTH = np.array([0.0, 0.0, 20.0, 5.0, 5.0])
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Quality:
    """What speaks for and against enrolling a face.

    Attributes:
        face_px: smaller side of the face's box, in pixels of the picture.
        sharpness: energy of the crop's Laplacian over its variance; blur lowers it, contrast does not.
        brightness: mean luma of the crop's middle, 0 to 255.
        yaw: degrees, positive when the face looks to the picture's right; a hint, errors of 10 are common.
        pitch: degrees, positive when it looks up; a hint as well.
        roll: degrees, positive when the head leans clockwise in the picture, turned as `face.rotation` says.
        problems: reasons against it, one short sentence each; empty when there are none.
    """

    face_px: float
    sharpness: float
    brightness: float
    yaw: float
    pitch: float
    roll: float
    problems: tuple[str, ...]

    @property
    def score(self) -> float:
        """0 to 1: the weakest of size, sharpness, light and pose, each 1 at twice what is asked for."""
        low, high = BRIGHTNESS_RANGE
        parts = (
            self.face_px / (2 * MIN_FACE_PX),
            self.sharpness / (2 * MIN_SHARPNESS),
            min(self.brightness / (2 * low), (255 - self.brightness) / (2 * (255 - high))),
            1 - abs(self.yaw) / (2 * MAX_YAW),
            1 - abs(self.pitch) / (2 * MAX_PITCH),
        )
        return float(np.clip(min(parts), 0.0, 1.0))


def assess(image: NDArray[np.uint8], face: Face) -> Quality:
    """Measure a detected face.

    Args:
        image: uint8 `(h, w, 3)`, RGB, the picture it was found in.
        face: box and landmarks.

    Returns:
        The measures, and what is wrong with the face.
    """
    luma = align(image, face.landmarks) @ _LUMA
    middle = luma[24:104, 16:96]
    face_px = min(face.width, face.height)
    sharpness = _sharpness(middle)
    brightness = float(middle.mean())
    yaw, pitch, roll = pose(face.landmarks)
    roll = (roll - face.rotation + 180) % 360 - 180
    low, high = BRIGHTNESS_RANGE
    checks = (
        (face_px < MIN_FACE_PX, f"the face is {face_px:.0f} pixels wide, {MIN_FACE_PX:.0f} are needed"),
        (sharpness < MIN_SHARPNESS, "the face is blurred"),
        (brightness < low, "the face is too dark"),
        (brightness > high, "the face is overexposed"),
        (abs(yaw) > MAX_YAW, f"the face is turned to the side by about {abs(yaw):.0f} degrees"),
        (
            abs(pitch) > MAX_PITCH,
            f"the face looks {'up' if pitch > 0 else 'down'} by about {abs(pitch):.0f} degrees",
        ),
        (abs(roll) > MAX_ROLL, f"the head is tilted by about {abs(roll):.0f} degrees"),
    )
    problems = tuple(reason for wrong, reason in checks if wrong)
    return Quality(face_px, sharpness, brightness, yaw, pitch, roll, problems)


def pose(landmarks: NDArray[np.float32]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees from the five landmarks.

    Fits the template with an average depth under scaled orthography (DeMenthon and Davis, "Model-based
    object pose in 25 lines of code", IJCV 1995, first step), which five points just allow.

    Args:
        landmarks: `(5, 2)`, x and y in the picture.
    """
    model = np.column_stack([TEMPLATE, _DEPTH])
    model = model - model.mean(axis=0)
    points = np.asarray(landmarks, np.float64)
    axes = np.linalg.lstsq(model, points - points.mean(axis=0), rcond=None)[0].T
    right, down = axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-9)
    yaw = math.degrees(math.asin(np.clip(right[2], -1, 1)))
    pitch = math.degrees(math.asin(np.clip(-down[2], -1, 1)))
    eyes = points[1] - points[0]
    return yaw, pitch, math.degrees(math.atan2(eyes[1], eyes[0]))


def _sharpness(luma: NDArray[np.float64]) -> float:
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    variance = float(luma.var())
    return float(laplacian.var()) / variance if variance > 1.0 else 0.0
