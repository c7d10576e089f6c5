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
    keys = [face.token for face in faces]
    if cuts is not None:  # another detector cuts elsewhere
        name += "-found"
        keys = [
            f"{key}:{hashlib.sha256(cut.tobytes()).hexdigest()[:12]}"
            for key, cut in zip(keys, cuts, strict=True)
        ]

    def look(index: int) -> NDArray[np.float32]:
        crop = cropped(faces[index], CENTRE if cuts is None else cuts[index])
        embedding = teacher.embed(crop[None])[0]
        return np.asarray(embedding / np.linalg.norm(embedding), np.float32)

    return once(keys, folder / f"stored-{name}.npz", look, "embeddings", threads)


def once(
    keys: Sequence[str],
    kept: Path,
    look: Callable[[int], NDArray[np.float32]],
    what: str,
    threads: int = 1,
) -> NDArray[np.float32]:
    """What `look` says of each index, float32 `(keys, ...)`, asked once for each key.

    The file `kept` has the answers, as an array named `what`, beside the `keys`.
    """
    rows: dict[str, NDArray[np.float32]] = {}
    if kept.is_file():
        with np.load(kept) as archive:
            rows = dict(zip(archive["keys"].tolist(), archive[what], strict=True))
    todo = [index for index, key in enumerate(keys) if key not in rows]
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(todo), unit=" faces", disable=None) as bar:
        for start in range(0, len(todo), SAVE_EVERY):
            part = todo[start : start + SAVE_EVERY]
            for index, row in zip(part, pool.map(look, part), strict=True):
                rows[keys[index]] = row
                bar.update()
            temporary = kept.with_suffix(".tmp.npz")
            arrays: dict[str, Any] = {"keys": list(rows), what: np.array(list(rows.values()), np.float32)}
            np.savez(temporary, **arrays)
            os.replace(temporary, kept)
    return np.array([rows[key] for key in keys], np.float32)
