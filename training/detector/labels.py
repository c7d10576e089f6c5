"""Pseudo-labels: YuNet at three scales, one of them mirrored, averaged into one opinion.

The teacher misses faces that fill or overflow the frame and wavers by a few pixels on large ones.
Seen smaller and inside a margin they are found, and the mean over scales wavers less.
"""

import numpy as np

from pocketface.decoders import suppress
from training.yunet import Array, Faces, Picture, YuNet

SCALES = ((480, 1 / 15, False), (240, 0.2, True), (112, 0.3, False))
"""Longer side in pixels (the first: at most, small pictures stay small), margin as a fraction, mirrored."""

FACE, DOUBT = 0.6, 0.3
"""Scores: a face is one of at least FACE; between DOUBT and FACE nothing is asked of the student."""

MIRRORED = [1, 0, 2, 4, 3]
"""The order of the five points in a mirrored picture."""


def mirror(faces: Faces, width: float) -> Faces:
    """The same faces in the mirrored picture, `width` pixels wide."""
    boxes, points = faces.boxes.copy(), faces.points[:, MIRRORED].copy()
    boxes[:, [0, 2]] = width - faces.boxes[:, [2, 0]]
    points[..., 0] = width - points[..., 0]
    return Faces(boxes, faces.scores, points)


def overlap(one: Array, other: Array) -> Array:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4)."""
    top = np.maximum(one[:, None, :2], other[None, :, :2])
    bottom = np.minimum(one[:, None, 2:], other[None, :, 2:])
    inter = np.prod(np.clip(bottom - top, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return np.asarray(inter / np.maximum(areas[0][:, None] + areas[1][None] - inter, 1e-9), np.float32)


def label(teacher: YuNet, picture: Picture) -> Faces:
    """Faces of `picture` (h, w, 3) uint8 RGB with scores of DOUBT and more.

    A face that the second scale should have seen too (25 px and more there) and did not is doubted.
    """
    found, scales, views = [], [], []
    longer = max(picture.shape[:2])
    for number, (side, margin, mirrored) in enumerate(SCALES):
        side = min(side, max(longer, 200))
        view = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
        faces = teacher.detect_at(view, side, margin, DOUBT)
        found.append(mirror(faces, picture.shape[1]) if mirrored else faces)
        scales.append(np.full(len(faces), side / longer, np.float32))
        views.append(np.full(len(faces), number))
    boxes = np.concatenate([faces.boxes for faces in found])
    scores = np.concatenate([faces.scores for faces in found])
    points = np.concatenate([faces.points for faces in found])
    scale, seen_by = np.concatenate(scales), np.concatenate(views)
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    seen = sides * scale
    weight = scores * np.where(seen > 140, 0.3, np.where(seen < 16, 0.2, 1)).astype(np.float32)
    kept = suppress(boxes, weight, 0.4)
    near = overlap(boxes[kept], boxes) > 0.5
    out: list[tuple[Array, float, Array]] = []
    for row, first in zip(near, kept, strict=True):
        row[first] = True
        share = (weight[row] / weight[row].sum()).astype(np.float32)
        score = float(scores[row].max())
        expected = sides[first] * SCALES[1][0] / longer >= 25
        if expected and len(set(seen_by[row].tolist())) < 2:
            score = min(score, FACE - 0.01)
        out.append((share @ boxes[row], score, np.einsum("n,nkc->kc", share, points[row])))
    if not out:
        return found[0].take(np.zeros(0, np.intp))
    return Faces(
        np.stack([box for box, _, _ in out]).astype(np.float32),
        np.array([score for _, score, _ in out], np.float32),
        np.stack([marks for _, _, marks in out]).astype(np.float32),
    )
