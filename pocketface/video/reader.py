"""One reader for files, cameras and network streams (RTSP), through OpenCV.

A file ends; a camera that goes away is opened again, with growing pauses, and the reader says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketface.errors import ExtraError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        index: 0 for the first frame read.
        seconds: position in a file, or time since a camera was opened.
        pixels: uint8 `(h, w, 3)`, BGR.
        connection: another number each time the source was lost: nobody is followed across that.
    """

    index: int
    seconds: float
    pixels: NDArray[np.uint8]
    connection: int = 0


class VideoReader:
    """Iterates over frames."""

    def __init__(
        self,
        source: str | int,
        *,
        live: bool | None = None,
        attempts: int | None = None,
        say: Callable[[str], None] = lambda message: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open nothing yet.

        Args:
            source: a file's path, a camera's number, or a URL such as rtsp://host/stream.
            live: whether to reconnect at the end; by default files end, all else is reconnected.
            attempts: give up after so many failures in a row; None never gives up.
            say: told in one line when the source was lost and when it is back.
            sleep: waits between attempts.

        Raises:
            InputError: the file does not exist.
            ExtraError: OpenCV is missing.
        """
        is_file = isinstance(source, str) and "://" not in source
        if is_file and not Path(str(source)).exists():
            raise InputError(f"{source}: no such video")
        self.source = source
        self.live = not is_file if live is None else live
        self._attempts = attempts
        self._say = say
        self._sleep = sleep
        self._cv2 = _opencv()
        self.fps = 0.0

    def __iter__(self) -> Iterator[Frame]:
        """Read until the file ends, or until the camera is given up.

        Raises:
            InputError: the source cannot be opened, or is lost for good.
        """
        index, connection, failures, pause = 0, 0, 0, _FIRST_PAUSE
        started = time.monotonic()
        while True:
            capture = self._cv2.VideoCapture(self.source)
            try:
                first = index
                for pixels in _frames(capture):
                    if failures:
                        self._say(f"{self.source}: back")
                        failures, pause = 0, _FIRST_PAUSE
                    if index == first:
                        self.fps = float(capture.get(self._cv2.CAP_PROP_FPS)) or 25.0
                    seconds = time.monotonic() - started if self.live else index / self.fps
                    yield Frame(index, seconds, pixels, connection)
                    index += 1
                opened = bool(capture.isOpened())
            finally:
                capture.release()
            if not self.live:
                if index == 0:
                    what = "has no frame that can be decoded" if opened else "cannot be opened as a video"
                    raise InputError(f"{self.source}: {what}")
                return
            failures += 1
            connection += 1
            if self._attempts is not None and failures > self._attempts:
                raise InputError(
                    f"{self.source}: no picture after {self._attempts} attempts; is it connected?"
                )
            self._say(f"{self.source}: no picture; trying again in {pause:g} s")
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _frames(capture: Any) -> Iterator[NDArray[np.uint8]]:
    while True:
        good, pixels = capture.read()
        if not good:
            return
        yield pixels


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise ExtraError('video needs the extra: pip install "pocketface[video]"') from None
    return cv2
