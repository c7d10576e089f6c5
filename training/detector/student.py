"""Our detector's graph on a picture, by ONNX Runtime: the same answer type as the teacher's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from training.networks.detector import STRIDES
from training.yunet import Faces, Picture, suppress


class Student:
    """A graph of kind `pocketface` (see `graph.py`), on one thread."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [o.name for o in self._session.get_outputs()]

    def detect(self, picture: Picture, score: float = 0.5, iou: float = 0.45) -> Faces:
        """Faces in `picture` (h, w, 3) uint8 RGB of any size, at its own scale."""
        high, wide = picture.shape[:2]
        canvas = np.zeros((-(-high // 32) * 32, -(-wide // 32) * 32, 3), np.uint8)
        canvas[:high, :wide] = picture
        blob = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        values = dict(zip(self._names, self._session.run(None, {"image": blob}), strict=True))
        boxes, scores, points = [], [], []
        for stride in STRIDES:
            sure = 1 / (1 + np.exp(-values[f"score_{stride}"][0, 0]))
            rows, columns = np.nonzero(sure >= score)
            centre = (np.stack([columns, rows], axis=1).astype(np.float32) + 0.5) * stride
            reach = values[f"bbox_{stride}"][0][:, rows, columns].T * stride
            marks = values[f"kps_{stride}"][0][:, rows, columns].T.reshape(-1, 5, 2) * stride
            boxes.append(np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], axis=1))
            scores.append(sure[rows, columns])
            points.append(marks + centre[:, None])
        faces = Faces(
            np.concatenate(boxes).astype(np.float32),
            np.concatenate(scores).astype(np.float32),
            np.concatenate(points).astype(np.float32),
        )
        return faces.take(suppress(faces.boxes, faces.scores, iou))
