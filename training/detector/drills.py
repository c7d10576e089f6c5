"""What a detector gets wrong on its training pictures: faces it misses, things it takes for faces.

A run that is given them draws a third of its scenes around them (bootstrapping of hard examples: Sung
and Poggio 1998), which pays while the network still underfits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pocketface.errors import InputError
from training.detector.collection import Item, arrays, shrink
from training.detector.labels import FACE, overlap
from training.yunet import Array, Faces, Picture

SIDE = 320
"""Longer side in pixels at which a picture is looked at, as in the evaluation."""

MISSED, ALARM, LEAST = 0.65, 0.35, 10.0
"""A face is missed below this score, an alarm is false above this; faces below this side are not asked."""


@dataclass(frozen=True, slots=True)
class Drills:
    """Of each drill the picture's name (n,), the place (n, 4) float32 in its pixels, and whether a face."""

    names: npt.NDArray[np.str_]
    boxes: Array
    faces: npt.NDArray[np.bool_]

    def write(self, path: Path) -> None:
        """As one npz file."""
        np.savez(path, names=self.names, boxes=self.boxes, faces=self.faces)

    @classmethod
    def read(cls, path: Path) -> Drills:
        """What `write` wrote; InputError where it is something else."""
        stored = arrays(path, "names", "boxes", "faces")
        if stored["boxes"].shape != (len(stored["names"]), 4):
            raise InputError(f"{path}: not the drills that python -m training.detector mine writes")
        return cls(stored["names"], stored["boxes"], stored["faces"])


def centred(found: Array, boxes: Array) -> npt.NDArray[np.bool_]:
    """Which detections (n) have their centre in a label (m): another idea of the same face's box."""
    centre = (found[:, None, :2] + found[:, None, 2:]) / 2
    inside = (centre > boxes[None, :, :2]) & (centre < boxes[None, :, 2:])
    return np.asarray(inside.all(axis=2).max(axis=1, initial=False), bool)


def mine(detect: Callable[[Picture], Faces], items: Sequence[Item]) -> Drills:
    """Look at every picture once."""
    names, boxes, kinds = [], [], []
    for item in tqdm(items, "pictures", mininterval=5):
        pixels = item.pixels()
        small = shrink(pixels, SIDE)
        factor = small.shape[1] / pixels.shape[1]
        found, known = detect(small).moved(1 / factor), item.faces
        table = overlap(found.boxes, known.boxes)
        sides = np.sqrt(np.prod(known.boxes[:, 2:] - known.boxes[:, :2], axis=1)) * factor
        shown = np.where(table >= 0.5, found.scores[:, None], 0).max(axis=0, initial=0)
        missed = known.boxes[(known.scores >= FACE) & (sides >= LEAST) & (shown < MISSED)]
        strange = (table.max(axis=1, initial=0) <= 0.3) & ~centred(found.boxes, known.boxes)
        alarms = found.boxes[strange & (found.scores >= ALARM)]
        names += [item.name] * (len(missed) + len(alarms))
        boxes += [missed, alarms]
        kinds += [True] * len(missed) + [False] * len(alarms)
    places = np.concatenate(boxes) if boxes else np.zeros((0, 4))
    return Drills(np.array(names, np.str_), places.astype(np.float32), np.array(kinds, bool))
