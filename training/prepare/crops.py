"""Aligned crops: the ArcFace template with a margin, and what two crops are compared by."""

from pathlib import Path

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from training.session import one_thread
from training.yunet import Array, Faces, Picture, YuNet

MARGIN = 8
SIDE = 112 + 2 * MARGIN

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float32,
)
"""Five points (5, 2) in the 112x112 ArcFace crop, x and y in pixels (insightface)."""


def similarity(points: Array, target: Array) -> npt.NDArray[np.float64]:
    """The least-squares similarity (2, 3) that maps `points` (5, 2) onto `target` (5, 2)."""
    x, y = points[:, 0], points[:, 1]
    zero, one = np.zeros(len(points)), np.ones(len(points))
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, tx, ty = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


def crop(picture: Picture, points: Array) -> tuple[Picture, float]:
    """The aligned face (128, 128, 3) uint8 RGB and the side in source pixels of its 112 px core."""
    matrix = similarity(points, TEMPLATE + MARGIN)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        size = (round(picture.shape[1] * scale * 1.5), round(picture.shape[0] * scale * 1.5))
        factor = size[0] / picture.shape[1]
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = similarity(points * np.float32(factor), TEMPLATE + MARGIN)
    face = cv2.warpAffine(
        picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(face, np.uint8), 112 / scale


def find(teacher: YuNet, picture: Picture, single: bool, score: float) -> Faces:
    """Faces of a picture; `single`: only the one that fills the portrait, margins added for it."""
    faces = teacher.detect_at(picture, 192 if single else 640, 1 / 12, score)
    if single and len(faces) > 1:
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        return faces.take(np.array([int(np.argmax(np.prod(sides, axis=1)))], np.intp))
    return faces


def fingerprint(face: Picture) -> npt.NDArray[np.uint64]:
    """A perceptual hash of a crop: 256 bits of horizontal differences, shape (4,) uint64."""
    bits = imagehash.dhash(Image.fromarray(face), hash_size=16).hash
    return np.packbits(bits).view(np.uint64)


class Embedder:
    """An ArcFace-style recogniser with a graph of (1, 3, 112, 112), RGB: `mean`, `deviation` of 0..255."""

    def __init__(self, path: Path, mean: Array, deviation: Array) -> None:
        self._session = one_thread(path)
        self._input = self._session.get_inputs()[0].name
        self._mean, self._deviation = mean.reshape(-1, 1, 1), deviation.reshape(-1, 1, 1)

    def __call__(self, face: Picture) -> Array:
        """The unit-norm embedding (d,) float32 of a crop (128, 128, 3) uint8 RGB."""
        core = face[MARGIN:-MARGIN, MARGIN:-MARGIN].transpose(2, 0, 1).astype(np.float32)
        value = self._session.run(None, {self._input: ((core - self._mean) / self._deviation)[None]})[0][0]
        return np.asarray(value / np.linalg.norm(value), np.float32)


def foamliu(path: Path) -> Embedder:
    """MobileFaceNet of foamliu (Apache-2.0), 128-D: ImageNet mean and deviation."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return Embedder(path, (255 * mean).astype(np.float32), (255 * deviation).astype(np.float32))


def insightface(path: Path) -> Embedder:
    """The insightface recogniser, 512-D: only a second opinion on who is near a protected face."""
    return Embedder(path, np.full(3, 127.5, np.float32), np.full(3, 127.5, np.float32))
