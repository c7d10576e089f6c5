"""Detectors as training sees them, YuNet (the teacher) and our own: pictures in, arrays of faces out.

Coordinates count from the corner of the first pixel: so does YuNet, by the mean difference between
its points on a picture and on the mirrored one.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pocketface.decoders import DECODERS, suppress
from pocketface.errors import InputError
from training.session import one_thread

Array = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


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


OUTPUTS = {"pocketface": 9, "yunet": 12}
"""How many maps a graph of each kind gives."""


class Finder:
    """A graph of a kind that `pocketface.decoders` knows, on one thread, at a picture's own scale."""

    def __init__(self, path: Path, kind: str) -> None:
        self._session = one_thread(path)
        self._input = self._session.get_inputs()[0].name
        self._names = [o.name for o in self._session.get_outputs()]
        self._kind = kind
        if len(self._names) != OUTPUTS[kind]:
            raise InputError(f"{path}: not a detector of the kind {kind}: {len(self._names)} outputs")

    def detect(self, picture: Picture, score: float = 0.6, iou: float = 0.45) -> Faces:
        """Faces in `picture` (h, w, 3) uint8 RGB of any size."""
        high, wide = picture.shape[:2]
        canvas = np.zeros((-(-high // 32) * 32, -(-wide // 32) * 32, 3), np.uint8)
        canvas[:high, :wide] = picture if self._kind == "pocketface" else picture[:, :, ::-1]
        blob = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        values = dict(zip(self._names, self._session.run(None, {self._input: blob}), strict=True))
        if self._kind == "pocketface":
            # Channels last, which the decoder cannot mistake where a map is as wide as it is deep.
            values = {name: value.transpose(0, 2, 3, 1) for name, value in values.items()}
        found = DECODERS[self._kind](values, 1, canvas.shape[:2], score)[0]
        faces = Faces(found.boxes, found.scores, found.landmarks)
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


class YuNet(Finder):
    """The teacher."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "yunet")
