"""A picture as a detector's graph sees it: reduced or enlarged, on a canvas that the graph takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from pocketface.images import to_pillow
from pocketface.types import Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size: TypeAlias = "tuple[int | None, int | None]"
"""Height and width of a graph's input as its card says; None where it takes any multiple of 32."""

_FACE_PX = 24  # height at which a face is found reliably
_MAX_SIDE = 2560  # of the graph's input; bounds memory on extreme formats
_GRID = 32
_CLOSE_SIDE = 192  # second try: the picture's longer side ...
_CLOSE_CANVAS = 320  # ... in the middle of this much black
_LOOK_SIDE = 160  # side of the canvas with a face alone ...
_LOOK_FACE = 96  # ... and the face's height there
_JUDGED_FACE = 64  # its height where a doubtful score is judged, however small it is in the picture
_MIRRORED = [1, 0, 2, 4, 3]  # left and right eye and mouth corner change places


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A canvas and where it lies: `canvas = (picture + 0.5) * scale - 0.5 + shift`, x and y.

    Attributes:
        canvas: uint8 `(h, w, 3)`, RGB, black where the picture does not reach.
        scale: pixels of the canvas for each of the picture.
        shift: in pixels of the canvas.
    """

    canvas: NDArray[np.uint8]
    scale: tuple[float, float]
    shift: tuple[float, float]

    def back(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points `(..., 2)` of the canvas as points of the picture."""
        half, scale = np.float32(0.5), np.array(self.scale, np.float32)
        return np.asarray((points - np.array(self.shift, np.float32) + half) / scale - half)


def fit(image: NDArray[np.uint8], size: Size, min_face: float) -> View:
    """The whole picture, its smallest faces wanted (a fraction of its height) just large enough."""
    height, width = image.shape[:2]
    rows, columns = size
    if rows is not None and columns is not None:
        return _view(image, min(1.0, rows / height, columns / width), (rows, columns), centred=False)
    scale = min(1.0, _FACE_PX / min_face / height, _MAX_SIDE / max(height, width))
    return _view(image, scale, (_up(height * scale), _up(width * scale)), centred=False)


def fit_close(image: NDArray[np.uint8], size: Size) -> View:
    """The whole picture smaller, with a margin: for faces that fill or overflow the frame."""
    height, width = image.shape[:2]
    canvas = (size[0] or _CLOSE_CANVAS, size[1] or _CLOSE_CANVAS)
    side = _CLOSE_SIDE * min(canvas) / _CLOSE_CANVAS
    return _view(image, min(1.0, side / max(height, width)), canvas, centred=True)


def fit_face(image: NDArray[np.uint8], size: Size, face: Face) -> View:
    """A face alone, at the size at which its landmarks are found best."""
    return _alone(image, size, face, min(1.0, _LOOK_FACE / face.height))


def fit_judged(image: NDArray[np.uint8], size: Size, face: Face) -> View:
    """And smaller, or enlarged, where its score is judged."""
    return _alone(image, size, face, _JUDGED_FACE / face.height)


def mirrored(view: View) -> View:
    """The view with its canvas mirrored; faces found there are brought back by `mirrored_back`."""
    return replace(view, canvas=np.ascontiguousarray(view.canvas[:, ::-1]))


def mirrored_back(face: Face, view: View) -> Face:
    """A face that was found in the mirrored canvas of a view, as it is in the picture."""
    # x in the picture is (canvas - shift + 0.5) / scale - 0.5, and the canvas counts from the other side.
    width, scale, shift = view.canvas.shape[1], view.scale[0], view.shift[0]
    total = np.float32((width - 2 * shift) / scale - 1)
    left, top, right, bottom = face.bbox
    landmarks = face.landmarks[_MIRRORED].copy()
    landmarks[:, 0] = total - landmarks[:, 0]
    return replace(face, bbox=np.array([total - right, top, total - left, bottom]), landmarks=landmarks)


def _alone(image: NDArray[np.uint8], size: Size, face: Face, scale: float) -> View:
    canvas = (size[0] or _LOOK_SIDE, size[1] or _LOOK_SIDE)
    half = (_LOOK_SIDE / 2 - 1) / scale
    centre = (face.bbox[:2] + face.bbox[2:]) / 2
    height, width = image.shape[:2]
    left, top = (int(value) for value in np.clip(np.floor(centre - half), 0, (width - 1, height - 1)))
    right, bottom = (int(value) for value in np.clip(np.ceil(centre + half), 1, (width, height)))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    scale = min(scale, min(canvas) / max(right - left, bottom - top))  # whole pixels may be a little more
    view = _view(image[top:bottom, left:right], scale, canvas, centred=True)
    shift = view.shift[0] - left * view.scale[0], view.shift[1] - top * view.scale[1]
    return View(view.canvas, view.scale, shift)


def _view(image: NDArray[np.uint8], scale: float, size: tuple[int, int], *, centred: bool) -> View:
    height, width = image.shape[:2]
    rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
    if (rows, columns) != (height, width):
        small = to_pillow(image).resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=2.0)
        image = np.asarray(small)
    top, left = ((size[0] - rows) // 2, (size[1] - columns) // 2) if centred else (0, 0)
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[top : top + rows, left : left + columns] = image
    return View(canvas, (columns / width, rows / height), (left, top))


def _up(length: float) -> int:
    return max(-(-round(length) // _GRID), 1) * _GRID
