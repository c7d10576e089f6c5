"""Ours beside YuNet on held-out pictures: recall at one false positive per 100 pictures, points.

Two yardsticks: the pseudo-labels (YuNet at three scales, so they lean to YuNet), and Caltech's
points by hand. A detection is right when its IoU with a label is 0.5; by hand, when it holds the
nose and its eyes lie within half an eye distance of the marked ones. A false positive lies on no
face by either yardstick and on no doubtful label. Detectors see the same pixels, longer side 320.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.detector.collection import Item, shrink
from training.detector.drills import centred
from training.detector.labels import FACE, overlap
from training.yunet import Array, Faces, Picture

Detect = Callable[[Picture], Faces]
SIDE = 320
LEAST = 10.0
"""Labels below this side at the evaluated scale are not asked for."""


def by_hand(points: Array) -> Array:
    """Five detected points (n, 5, 2) as Caltech's four (n, 4, 2): the mouth is its corners' middle."""
    return np.concatenate([points[:, :3], points[:, 3:].mean(axis=1, keepdims=True)], axis=1)


class Tally:
    """What one detector did against one yardstick."""

    def __init__(self) -> None:
        self.hits: list[float] = []
        self.wrong: list[float] = []
        self.errors: list[float] = []
        self.faces = self.pictures = 0

    def recall(self, false_positives: float = 0.01) -> tuple[float, float]:
        """Recall, and the score threshold, at so many false positives a picture."""
        wrong = np.sort(np.array(self.wrong))[::-1]
        allowed = int(false_positives * self.pictures)
        threshold = float(wrong[allowed]) if len(wrong) > allowed else 0.0
        return float((np.array(self.hits) > threshold).sum() / max(self.faces, 1)), threshold

    def report(self) -> dict[str, float]:
        """The figures, rounded."""
        recall, threshold = self.recall()
        return {
            "pictures": self.pictures,
            "faces": self.faces,
            "recall at 1 false positive per 100 pictures": round(recall, 4),
            "threshold there": round(threshold, 3),
            "recall at 1 per 20": round(self.recall(0.05)[0], 4),
            "landmark error, mean": round(float(np.mean(self.errors)), 4) if self.errors else 0.0,
            "landmark error, median": round(float(np.median(self.errors)), 4) if self.errors else 0.0,
        }


def _scaled(item: Item, side: int) -> tuple[Picture, Faces, float]:
    pixels = item.pixels()
    small = shrink(pixels, side)
    factor = small.shape[1] / pixels.shape[1]
    return small, item.faces.moved(factor), factor


def _right(points: Array, marks: Array, boxes: Array) -> npt.NDArray[np.bool_]:
    """Which detections (n) show which hand-marked faces (m): (n, m)."""
    apart = np.linalg.norm(marks[:, 1] - marks[:, 0], axis=1)
    eyes = np.linalg.norm(points[:, None, :2] - marks[None, :, :2], axis=3).mean(axis=2)
    nose = marks[None, :, 2]
    held = (nose > boxes[:, None, :2]).all(axis=2) & (nose < boxes[:, None, 2:]).all(axis=2)
    return np.asarray(held & (eyes < 0.5 * apart), bool)


def compare(
    detectors: dict[str, Detect], items: Sequence[Item], truth: dict[str, Array], side: int = SIDE
) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by yardstick and detector; landmark errors on faces that all detectors found."""
    labels = {name: Tally() for name in detectors}
    hands = {name: Tally() for name in detectors}
    for item in tqdm(items, "held-out pictures", mininterval=5):
        picture, faces, factor = _scaled(item, side)
        sides = np.sqrt(np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1))
        asked = np.flatnonzero((faces.scores >= FACE) & (sides >= LEAST))
        marks = truth.get(item.name, np.zeros((0, 4, 2), np.float32)) * np.float32(factor)
        by_label: dict[str, dict[int, float]] = {}
        by_mark: dict[str, dict[int, float]] = {}
        for name, detect in detectors.items():
            found = detect(picture)
            table = overlap(found.boxes, faces.boxes)
            shown = _right(found.points, marks, found.boxes)
            loose = table.max(axis=1, initial=0) > 0.3
            known = loose | shown.max(axis=1, initial=False) | centred(found.boxes, faces.boxes)
            for tally in (labels[name], hands[name]) if len(marks) else (labels[name],):
                tally.pictures += 1
                tally.wrong += found.scores[~known].tolist()
            labels[name].faces += len(asked)
            hands[name].faces += len(marks)
            by_label[name] = {}
            for face in asked:
                best = int(np.argmax(table[:, face])) if len(found) else -1
                if best >= 0 and table[best, face] >= 0.5:
                    labels[name].hits.append(float(found.scores[best]))
                    by_label[name][int(face)] = _error(found.points[best], faces.points[face])
            by_mark[name] = {}
            for mark in range(len(marks)):
                fitting = np.flatnonzero(shown[:, mark])
                if len(fitting):
                    best = int(fitting[np.argmax(found.scores[fitting])])
                    hands[name].hits.append(float(found.scores[best]))
                    by_mark[name][mark] = _error(by_hand(found.points[best][None])[0], marks[mark])
        for tallies, errors in ((labels, by_label), (hands, by_mark)):
            shared = set.intersection(*(set(values) for values in errors.values()))
            for name, values in errors.items():
                tallies[name].errors += [values[face] for face in sorted(shared)]
    return {
        "pseudo-labels": {name: tally.report() for name, tally in labels.items()},
        "by hand (Caltech)": {name: tally.report() for name, tally in hands.items()},
    }


def _error(points: Array, marks: Array) -> float:
    """The mean distance over the distance between the marked eyes."""
    apart = max(float(np.linalg.norm(marks[1] - marks[0])), 1e-3)
    return float(np.linalg.norm(points - marks, axis=1).mean()) / apart
