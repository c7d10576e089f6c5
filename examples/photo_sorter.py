"""Photo sorter: copies photos into one folder a person.

    pocketface enroll people.db --folder family/
    python examples/photo_sorter.py people.db holiday/ sorted/

A photo of two people goes to both; signs of a name that a folder's name cannot have become `%` and their
number, as in `%2f` for `/`. Photos without a known face go to `_unknown`, those that cannot be read to
`_unreadable`. Originals are never moved, and sorting again adds only what is new. Brothers, sisters and small
children do get mixed up: look twice.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
from collections import Counter
from pathlib import Path

from pocketface import FaceRecognizer
from pocketface.cli.common import is_picture
from pocketface.errors import ImageError, PocketfaceError
from pocketface.gallery import Gallery


def folders_of(gallery: Gallery, photo: Path) -> set[str]:
    """The folders that a photo belongs to."""
    try:
        matches = gallery.identify(photo)
    except ImageError:
        return {"_unreadable"}
    return {folder_name(match.person) for match in matches if match is not None} or {"_unknown"}


def folder_name(person: str) -> str:
    """A folder of this person alone: never one above or elsewhere, nor one of the sorter's own."""
    return re.sub(r'^[._]|\.$|[%/\\:*?"<>|]', lambda sign: f"%{ord(sign[0]):02x}", person)


def sort(gallery: Gallery, source: Path, target: Path) -> Counter[str]:
    """Copy each photo to its folders; how many each has of them. `target` itself is not searched."""
    counts: Counter[str] = Counter()
    taken: set[Path] = set()
    photos = sorted(path for path in source.rglob("*") if is_picture(path))
    for photo in photos:
        if photo.parent.resolve().is_relative_to(target.resolve()):
            continue
        for name in folders_of(gallery, photo):
            folder = target / name
            folder.mkdir(parents=True, exist_ok=True)
            copy = folder / photo.name
            number = 1
            # An equal file that no other photo of this run has taken is this photo's copy of an earlier run.
            while copy.exists() and (copy in taken or not filecmp.cmp(photo, copy, shallow=False)):
                number += 1
                copy = folder / f"{photo.stem}-{number}{photo.suffix}"
            taken.add(copy)
            if not copy.exists():
                shutil.copy2(photo, copy)
            counts[name] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="Sort photos by person.")
    parser.add_argument("gallery")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    if args.source.resolve().is_relative_to(args.target.resolve()):
        parser.error(f"{args.target}: the photos lie in it; name a folder for the copies alone")
    if not args.source.is_dir():
        parser.error(f"{args.source}: no such folder; name the one that holds the photos")
    try:
        with FaceRecognizer().gallery(args.gallery, create=False) as gallery:
            for name, count in sorted(sort(gallery, args.source, args.target).items()):
                print(f"{name}: {count}")
    except PocketfaceError as error:
        parser.exit(2, f"photo_sorter: {error}\n")


if __name__ == "__main__":
    main()
