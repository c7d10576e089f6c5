"""What a teacher sees in each face, computed once and kept: the student trains at its own speed.

The student's view is shifted, turned and mirrored, its target is not, so it learns what the teacher would
see on average over views; hints want a teacher that looks along (Beyer et al., "Knowledge distillation:
a good teacher is patient and consistent", CVPR 2022, compare the two).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.shards import CENTRE, Face, cropped
from training.teachers import Teaches

SAVE_EVERY = 2000
"""Faces between two files."""


def stored(
    teacher: Teaches,
    faces: Sequence[Face],
    folder: Path,
    threads: int = 1,
    cuts: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Unit-norm float32 `(faces, d)` of the faces' centres, kept in a file of this teacher alone.

    With `cuts` `(faces, 2, 3)`, where a detector found the faces, it looks there.
    """
    name = f"{teacher.spec.name}-{hashlib.sha256(teacher.fingerprint).hexdigest()[:12]}"
    found = {face.token: cut for face, cut in zip(faces, cuts, strict=True)} if cuts is not None else {}

    def look(face: Face) -> NDArray[np.float32]:
        embedding = teacher.embed(cropped(face, found.get(face.token, CENTRE))[None])[0]
        return np.asarray(embedding / np.linalg.norm(embedding), np.float32)

    kept = folder / f"stored-{name}{'-found' if found else ''}.npz"
    return once(faces, kept, look, "embeddings", threads)


def once(
    faces: Sequence[Face],
    kept: Path,
    look: Callable[[Face], NDArray[np.float32]],
    what: str,
    threads: int = 1,
) -> NDArray[np.float32]:
    """What `look` says of each face, float32 `(faces, ...)`; what the file `kept` holds is not asked again.

    There it is an array named `what`, beside the faces' tokens.
    """
    rows: dict[str, NDArray[np.float32]] = {}
    if kept.is_file():
        with np.load(kept) as archive:
            rows = dict(zip(archive["keys"].tolist(), archive[what], strict=True))
    todo = [face for face in faces if face.token not in rows]
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(todo), unit=" faces", disable=None) as bar:
        for start in range(0, len(todo), SAVE_EVERY):
            part = todo[start : start + SAVE_EVERY]
            for face, row in zip(part, pool.map(look, part), strict=True):
                rows[face.token] = row
                bar.update()
            temporary = kept.with_suffix(".tmp.npz")
            arrays: dict[str, Any] = {"keys": list(rows), what: np.array(list(rows.values()), np.float32)}
            np.savez(temporary, **arrays)
            os.replace(temporary, kept)
    return np.array([rows[face.token] for face in faces], np.float32)
