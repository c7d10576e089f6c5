"""YuNet as a teacher: faces with five landmarks in a picture, by ONNX Runtime.

The graph (MIT / Apache-2.0) takes BGR pixels 0..255 of shape (n, 3, h, w), h and w multiples of 32.
For stride s in 8, 16, 32 it answers cls, obj (n, cells, 1), bbox (n, cells, 4), kps (n, cells, 10);
a cell (i, j) has the prior (j, i) * s, a centre offset in strides and a logarithmic size.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Array = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces found in one picture, the best score first.

    `boxes` (n, 4) float32 `[x1, y1, x2, y2]` in pixels; `scores` (n,) float32 in 0..1; `points`
    (n, 5, 2) float32 in pixels: the picture's left eye, right eye, nose, left and right mouth corner.
    """

    boxes: Array
    scores: Array
    points: Array

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, keep: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Faces":
        """The faces that an index array or a mask names."""
        return Faces(self.boxes[keep], self.scores[keep], self.points[keep])

    def moved(self, scale: float, dx: float = 0.0, dy: float = 0.0) -> "Faces":
        """Every coordinate multiplied by `scale`, then shifted by `(dx, dy)` pixels."""
        shift = np.array([dx, dy], np.float32)
        return Faces(
            self.boxes * np.float32(scale) + np.tile(shift, 2),
            self.scores,
            self.points * np.float32(scale) + shift,
        )


def suppress(boxes: Array, scores: Array, iou: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression; indices of the kept boxes, best score first."""
    order = np.argsort(-scores)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        top = np.maximum(boxes[first, :2], boxes[rest, :2])
        bottom = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        inter = np.prod(np.clip(bottom - top, 0, None), axis=1)
        order = rest[inter <= iou * (area[first] + area[rest] - inter)]
    return np.array(kept, np.intp)


class YuNet:
    """The teacher, on one thread."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [o.name for o in self._session.get_outputs()]

    def detect(self, picture: Picture, score: float = 0.6, iou: float = 0.45) -> Faces:
        """Faces in `picture` (h, w, 3) uint8 RGB of any size, at its own scale."""
        high, wide = picture.shape[:2]
        canvas = np.zeros((-(-high // 32) * 32, -(-wide // 32) * 32, 3), np.uint8)
        canvas[:high, :wide] = picture
        blob = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        values = dict(zip(self._names, self._session.run(None, {"input": blob}), strict=True))
        boxes, scores, points = [], [], []
        for stride in STRIDES:
            cls, obj = values[f"cls_{stride}"][0, :, 0], values[f"obj_{stride}"][0, :, 0]
            conf = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
            hit = np.flatnonzero(conf >= score)
            columns = canvas.shape[1] // stride
            prior = np.stack([hit % columns, hit // columns], axis=1).astype(np.float32)
            raw = values[f"bbox_{stride}"][0, hit]
            centre = (prior + raw[:, :2]) * stride
            half = np.exp(raw[:, 2:]) * stride / 2
            boxes.append(np.concatenate([centre - half, centre + half], axis=1))
            scores.append(conf[hit])
            marks = values[f"kps_{stride}"][0, hit].reshape(-1, 5, 2)
            points.append((marks + prior[:, None]) * stride)
        faces = Faces(
            np.concatenate(boxes).astype(np.float32),
            np.concatenate(scores).astype(np.float32),
            np.concatenate(points).astype(np.float32),
        )
        return faces.take(suppress(faces.boxes, faces.scores, iou))

    def detect_at(self, picture: Picture, side: int, margin: float, score: float = 0.6) -> Faces:
        """Faces in `picture`, coordinates in its own pixels, looked for at another scale.

        Its longer side is made `side` pixels, with a black margin of `margin` times that around it.
        """
        scale = side / max(picture.shape[:2])
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(picture, size, interpolation=method)
        pad = round(side * margin)
        framed = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        return self.detect(np.asarray(framed, np.uint8), score).moved(1 / scale, -pad / scale, -pad / scale)
