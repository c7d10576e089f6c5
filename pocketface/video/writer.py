"""Writes a video with names over the faces."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pocketface.atomic import check_target, replacing
from pocketface.errors import InputError
from pocketface.video.reader import _opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.video.watcher import Seen

_KNOWN, _UNKNOWN, _UNDECIDED = (40, 170, 60), (210, 60, 40), (130, 130, 130)


class VideoWriter:
    """An mp4 file, begun with the first frame and there when the block ends, also by an error or Ctrl-C."""

    def __init__(self, path: str, *, source: str | int | None = None) -> None:
        """Write nothing yet.

        Args:
            path: ends in .mp4.
            source: the video that is read meanwhile.

        Raises:
            InputError: another suffix, the folder is missing or write-protected, or it is the source.
        """
        check_target(path, (".mp4",))
        if isinstance(source, str) and _same_file(path, source):
            raise InputError(f"{path}: is the video that is read; save to another file")
        self.path = path
        self._size = (0, 0)
        self._writer: Any = None
        self._file = ExitStack()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.release()
            self._file.close()

    def write(self, pixels: NDArray[np.uint8], fps: float) -> None:
        """Append a frame.

        Args:
            pixels: uint8 `(h, w, 3)`, BGR; resized when the first frame had another size.
            fps: frames a second; the first call's is taken.

        Raises:
            InputError: OpenCV cannot encode it here.
        """
        cv2 = _opencv()
        if self._writer is None:
            self._size = pixels.shape[1], pixels.shape[0]
            with ExitStack() as stack:
                temporary = stack.enter_context(replacing(Path(self.path)))
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, self._size)
                if not writer.isOpened():
                    raise InputError(f"{self.path}: this OpenCV cannot write mp4 files")
                self._writer, self._file = writer, stack.pop_all()
        if pixels.shape[1::-1] != self._size:  # OpenCV drops frames of another size without a word
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(pixels)


def _same_file(a: str, b: str) -> bool:
    return os.path.exists(a) and os.path.exists(b) and os.path.samefile(a, b)


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
