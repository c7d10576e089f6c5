"""Writes a video with names over the faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pocketface.errors import InputError
from pocketface.video.reader import _opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.video.watcher import Seen

_KNOWN, _UNKNOWN, _UNDECIDED = (40, 170, 60), (210, 60, 40), (130, 130, 130)


class VideoWriter:
    """An mp4 file, begun with the first frame. A context manager."""

    def __init__(self, path: str, fps: float) -> None:
        """Begin.

        Args:
            path: ends in .mp4.
            fps: frames a second.

        Raises:
            InputError: another suffix, or the folder does not exist.
        """
        if Path(path).suffix.lower() != ".mp4" or not Path(path).absolute().parent.is_dir():
            raise InputError(f"{path}: save a video to a file that ends in .mp4, in a folder that exists")
        self.path = path
        self._fps = fps
        self._writer: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Append a BGR frame.

        Raises:
            InputError: OpenCV cannot encode it here.
        """
        if self._writer is None:
            cv2 = _opencv()
            height, width = pixels.shape[:2]
            self._writer = cv2.VideoWriter(
                self.path, cv2.VideoWriter.fourcc(*"mp4v"), self._fps, (width, height)
            )
            if not self._writer.isOpened():
                raise InputError(f"{self.path}: this OpenCV cannot write mp4 files")
        self._writer.write(pixels)


def draw(pixels: NDArray[np.uint8], seen: Seen) -> NDArray[np.uint8]:
    """The BGR frame with a box and a name for each face."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(12, image.height // 30))
    for track, name in zip(seen.tracks, seen.names, strict=True):
        colour = _UNDECIDED if name is None else _KNOWN if name else _UNKNOWN
        x1, y1, x2, y2 = (float(value) for value in track.face.bbox)
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=max(2, image.height // 240))
        label = "..." if name is None else name or "unknown"
        box = pen.textbbox((x1, y2 + 2), label, font=font)
        pen.rectangle(box, fill=colour)
        pen.text((x1, y2 + 2), label, fill="white", font=font)
    return np.asarray(image)[..., ::-1].copy()
