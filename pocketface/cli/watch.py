"""`pocketface watch`: recognise people in a video or before a camera."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pocketface.cli import common, galleries

if TYPE_CHECKING:
    from pocketface.video import Arrival, Frame


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "watch",
        help="recognise people in a video or before a camera",
        description="Follow the faces of a video and print one JSON line for each person who arrives. "
        "A camera that goes away is opened again.",
    )
    galleries.add_options(parser, decides=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--camera", metavar="N|URL", help="a camera's number, or a stream such as rtsp://host/path"
    )
    source.add_argument("--video", metavar="FILE", help="a video file")
    parser.add_argument("--save", metavar="OUT.mp4", help="write the video with names over the faces")
    parser.add_argument(
        "--every", type=common.positive, default=1, metavar="N", help="look at each n-th frame (default: 1)"
    )
    parser.add_argument(
        "--votes",
        type=common.positive,
        default=3,
        metavar="N",
        help="pictures of a face that decide (default: 3)",
    )
    parser.add_argument("--frames", type=common.positive, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--attempts",
        type=common.positive,
        metavar="N",
        help="give a lost camera up after N attempts (default: never)",
    )


def run(args: argparse.Namespace) -> int:
    """Watch until the video ends, or until interrupted."""
    from pocketface.video import VideoReader, Watcher
    from pocketface.video.writer import VideoWriter, draw

    camera = int(args.camera) if (args.camera or "").isdecimal() else args.camera
    source = args.video if camera is None else camera
    reader = VideoReader(source, live=camera is not None, attempts=args.attempts, say=common.complain)
    with ExitStack() as stack:
        stack.enter_context(_stoppable())
        writer: VideoWriter | None = None
        if args.save is not None:
            writer = stack.enter_context(VideoWriter(args.save, source=source))
        gallery = stack.enter_context(galleries.open_gallery(args))
        galleries.say_limits(gallery)
        watcher = Watcher(gallery, votes=args.votes, every=args.every)
        frame: Frame | None = None
        for frame in reader:
            seen = watcher.look(frame)
            if seen is not None:
                for arrival in seen.arrivals:
                    _print(arrival, live=reader.live)
                if writer is not None:
                    writer.write(draw(frame.pixels, seen), reader.fps / args.every)
            if args.frames is not None and frame.index + 1 >= args.frames:
                break
        if frame is not None:
            for arrival in watcher.finish(frame):
                _print(arrival, live=reader.live)
    return 0


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, by which services are stopped, ends the watch as Ctrl-C does: what was recorded is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there may handlers be set
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(arrival: Arrival, *, live: bool) -> None:
    event: dict[str, object] = {"event": "arrival"}
    if live:
        event["at"] = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    event |= {
        "seconds": round(arrival.seconds, 3),
        "frame": arrival.frame,
        "track": arrival.track,
        "person": None if arrival.match is None else arrival.match.person,
        "votes": arrival.votes,
        "match": galleries.match_json(arrival.match),
    }
    print(json.dumps(event), flush=True)
