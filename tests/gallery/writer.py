"""A writer to be killed: enrols and forgets people for ever, and says after each commit what it did.

Run as `python writer.py FILE SEED`; prints "+name" or "-name" when the call has returned.
"""

from __future__ import annotations

import sys

import numpy as np

from pocketface.gallery.records import Header, Template
from pocketface.gallery.sqlite import SqliteStore

TEMPLATES = 3
AT = "2026-11-22T12:00:00.000+00:00"
HEADER = Header("test/1", "arcface-112/4", 128, "test@0", "0" * 64, AT)


def main(path: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    store = SqliteStore(path, new=HEADER)
    for i in range(sys.maxsize):
        name = f"p{seed}-{i}"
        rows = rng.standard_normal((TEMPLATES, 128)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        print(f"?{name}", flush=True)
        store.add(name, [Template(f"{name}/{j}", row) for j, row in enumerate(rows)], at=AT)
        print(f"+{name}", flush=True)
        if i % 4 == 3:
            print(f"~{name}", flush=True)
            store.remove(name, at=AT, what="forget")
            if i % 8 == 7:
                store.vacuum()
            print(f"-{name}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
