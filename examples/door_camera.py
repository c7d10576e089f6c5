"""Door camera: one JSON line an arrival, and a decision whether to open.

    pocketface enroll people.db --folder household/
    python examples/door_camera.py people.db rtsp://camera/stream --may-enter ann bob
    python examples/door_camera.py people.db visit.mp4 --may-enter ann

A face at the door may be a photo held before the lens: this library does not detect that. Open a lock only
together with something else (a key, a code), and mind the rate of false identifications in each line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from pocketface import FaceRecognizer
from pocketface.errors import PocketfaceError
from pocketface.gallery import Gallery
from pocketface.video import Arrival, Frame, VideoReader, Watcher


def events(
    gallery: Gallery, frames: Iterator[Frame] | VideoReader, may_enter: set[str]
) -> Iterator[dict[str, object]]:
    """One event for each person who arrives."""
    watcher = Watcher(gallery)
    frame: Frame | None = None
    for frame in frames:
        seen = watcher.look(frame)
        for arrival in seen.arrivals if seen else ():
            yield event(arrival, may_enter)
    if frame is not None:
        for arrival in watcher.finish(frame):
            yield event(arrival, may_enter)


def event(arrival: Arrival, may_enter: set[str]) -> dict[str, object]:
    match = arrival.match
    sure = match is not None and not match.ambiguous
    return {
        "seconds": round(arrival.seconds, 2),
        "person": match.person if match else None,
        "similarity": round(match.similarity, 3) if match else None,
        "sure": sure,
        "false_identification_rate": match.fpir if match else None,
        "open": bool(sure and match and match.person in may_enter),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Say who is at the door.")
    parser.add_argument("gallery")
    parser.add_argument("source", help="a camera's number, a stream's URL or a video file")
    parser.add_argument("--may-enter", nargs="*", default=[], metavar="NAME")
    args = parser.parse_args()
    source = int(args.source) if args.source.isdecimal() else args.source
    try:
        reader = VideoReader(source, say=lambda message: print(message, file=sys.stderr))
        with FaceRecognizer().gallery(args.gallery, create=False) as gallery:
            for line in events(gallery, reader, set(args.may_enter)):
                print(json.dumps(line), flush=True)
    except PocketfaceError as error:
        parser.exit(2, f"door_camera: {error}\n")


if __name__ == "__main__":
    main()
