"""`python -m training.identify LIST FOLDER ...`: who is in CelebA's pictures.

CelebA numbers its people in `identity_CelebA.txt`, a line `000001.jpg 2880` for each picture, and most
copies of its pictures come without it. The manifests of the folders, once they are complete, are written
anew with what the list says of faces to train on; no shard changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pocketface.errors import InputError, PocketfaceError
from training.prepare.shards import COLUMNS, read_manifest, write_manifest

SET = "celeba"
"""What the set's sources begin with, and the names of its people."""


def read_list(path: Path) -> dict[str, str]:
    """The number of the person in each picture, by the picture's file name."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text; a list of lines like '000001.jpg 2880' is wanted") from error
    people: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match line.split():
            case [picture, person]:
                people[picture] = person
            case []:
                pass
            case _:
                raise InputError(f"{path}:{number}: expected a line like '000001.jpg 2880'")
    return people


def identify(folder: Path, people: Mapping[str, str]) -> tuple[int, int]:
    """Name who is in the training faces of CelebA, as `celeba:NUMBER`.

    Returns how many faces were named, and how many there are of it.
    """
    rows = read_manifest(folder)
    if not rows or set(rows[0]) != set(COLUMNS):
        raise InputError(f"{folder}: no manifest.csv of training.prepare")
    own = [row for row in rows if row["split"] == "train" and row["source"].startswith(SET)]
    known = [row for row in own if PurePosixPath(row["original"]).name in people]
    for row in known:
        row["identity"] = f"{SET}:{people[PurePosixPath(row['original']).name]}"
    write_manifest(folder, rows)
    return len(known), len(own)


def main(arguments: Sequence[str] | None = None) -> int:
    """Name people as the command line says; 2 with one line on bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.identify", description=__doc__)
    parser.add_argument("list", type=Path, help="of pictures and who is in them")
    parser.add_argument("folders", type=Path, nargs="+", help="of shards; their manifests are written anew")
    options = parser.parse_args(arguments)
    try:
        people = read_list(options.list)
        for folder in options.folders:
            known, own = identify(folder, people)
            print(f"{folder}: {known} of {own} faces of {SET} have a person")
    except (PocketfaceError, OSError) as error:
        print(f"training.identify: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
