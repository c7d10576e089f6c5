"""Enrols, forgets and vacuums in a child for each n, whose n-th write of the gallery fails (failing_write.c).

Run as `python failing.py FOLDER STEP [ORIGINAL]`; prints one JSON line for each n, until a run goes through.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from pocketface.errors import GalleryError
from pocketface.gallery.records import Header, Template
from pocketface.gallery.sqlite import SqliteStore

AT = "2026-11-22T12:00:00.000+00:00"
HEADER = Header("test/1", "arcface-112/4", 128, "test@0", "0" * 64, AT)


def change(path: Path) -> dict[str, object]:
    done: dict[str, object] = {"enrolled": False, "forgotten": False, "error": None}
    rows = np.eye(128, dtype=np.float32)[:20]
    try:
        store = SqliteStore(path, new=HEADER)
        store.add("new", [Template(f"new{i}", row) for i, row in enumerate(rows)], at=AT)
        done["enrolled"] = True
        store.remove("old", at=AT, what="forget")
        done["forgotten"] = True
        store.vacuum()
        store.close()
    except GalleryError as error:
        done["error"] = str(error)
    return done


def main(folder: Path, step: int, original: str) -> None:
    for n in range(1, 10_000, step):
        path = folder / str(n) / "people.db"
        path.parent.mkdir()
        if original:
            shutil.copy(original, path)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.environ["FAIL_AT"] = str(n)
            os.write(writer, json.dumps({"n": n, **change(path)}).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            line = answer.read()
        os.waitpid(child, 0)
        print(line, flush=True)
        if json.loads(line)["error"] is None:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
