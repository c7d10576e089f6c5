"""Attendance desk: each known person is noted once a day in a CSV file.

    pocketface enroll people.db --folder staff/
    python examples/attendance_desk.py people.db attendance.csv photo.jpg [photo.jpg ...]
    python examples/attendance_desk.py people.db attendance.csv --camera 0

A guess is no attendance: whom the gallery cannot tell from somebody else is asked to sign by hand.
"""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import datetime
from pathlib import Path

from pocketface import FaceRecognizer
from pocketface.errors import ImageError, PocketfaceError
from pocketface.gallery import Gallery, Match


class Register:
    """The CSV file: person, day, time, similarity."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.noted: set[tuple[str, str]] = set()
        if path.exists():
            with path.open(newline="") as file:
                self.noted = {(row["person"], row["day"]) for row in csv.DictReader(file)}

    def note(self, match: Match, now: datetime) -> bool:
        """Note somebody; False when that was done today already."""
        key = match.person, now.date().isoformat()
        if key in self.noted:
            return False
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["person", "day", "time", "similarity"])
            writer.writerow([*key, now.strftime("%H:%M:%S"), f"{match.similarity:.3f}"])
        self.noted.add(key)
        return True


def greet(match: Match | None, register: Register) -> str:
    if match is None:
        return "unknown: please sign by hand"
    if match.ambiguous:
        return f"{match.person} or {match.runner_up}? Please sign by hand"
    new = register.note(match, datetime.now())
    return f"good day, {match.person}" if new else f"{match.person} is noted already"


def look(gallery: Gallery, photo: str, register: Register) -> bool:
    """Greet everybody on a photo; False where it cannot be read, which keeps nobody else waiting."""
    try:
        matches = gallery.identify(photo)
    except ImageError as error:
        print(error, file=sys.stderr)
        return False
    for match in matches:
        print(f"{photo}: {greet(match, register)}")
    return True


def watch(gallery: Gallery, camera: int, register: Register) -> None:
    """Greet everybody who comes before a camera."""
    from pocketface.video import VideoReader, Watcher

    watcher = Watcher(gallery, every=3)
    for frame in VideoReader(camera, say=print):
        seen = watcher.look(frame)
        for arrival in seen.arrivals if seen else ():
            print(greet(arrival.match, register))


def main() -> None:
    parser = argparse.ArgumentParser(description="Note who is here.")
    parser.add_argument("gallery")
    parser.add_argument("csv", type=Path)
    parser.add_argument("photos", nargs="*")
    parser.add_argument("--camera", type=int)
    args = parser.parse_args()
    register = Register(args.csv)
    try:
        with FaceRecognizer().gallery(args.gallery, create=False) as gallery:
            read = [look(gallery, photo, register) for photo in args.photos]
            if args.camera is not None:
                watch(gallery, args.camera, register)
    except PocketfaceError as error:
        parser.exit(2, f"attendance_desk: {error}\n")
    if not all(read):
        parser.exit(2)


if __name__ == "__main__":
    main()
