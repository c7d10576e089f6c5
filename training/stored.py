"""What a teacher sees in each face, computed once and kept: the student trains at its own speed.

The student's view is shifted, turned and mirrored, its target is not, so it learns what the teacher would
see on average over views; hints want a teacher that looks along (Beyer et al., "Knowledge distillation:
a good teacher is patient and consistent", CVPR 2022, compare the two).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.shards import Face, centre
from training.teachers import Teaches

SAVE_EVERY = 2000
"""Faces between two files."""


def stored(teacher: Teaches, faces: Sequence[Face], folder: Path, threads: int = 1) -> NDArray[np.float32]:
    """Unit-norm float32 `(faces, d)` of the faces' centres.

    What `folder` holds already is not computed again; the file there is of this teacher alone.
    """
    name = hashlib.sha256(teacher.fingerprint).hexdigest()[:12]
    kept = folder / f"stored-{teacher.spec.name}-{name}.npz"
    rows: dict[str, NDArray[np.float32]] = {}
    if kept.is_file():
        with np.load(kept) as archive:
            rows = dict(zip(archive["keys"].tolist(), archive["embeddings"], strict=True))
    todo = [face for face in faces if face.token not in rows]
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(todo), unit=" faces", disable=None) as bar:
        for start in range(0, len(todo), SAVE_EVERY):
            part = todo[start : start + SAVE_EVERY]
            for face, embedding in zip(
                part, pool.map(lambda face: teacher.embed(centre(face)[None])[0], part), strict=True
            ):
                rows[face.token] = embedding / np.linalg.norm(embedding)
                bar.update()
            temporary = kept.with_suffix(".tmp.npz")
            np.savez(
                temporary, keys=np.array(list(rows)), embeddings=np.array(list(rows.values()), np.float32)
            )
            os.replace(temporary, kept)
    return np.array([rows[face.token] for face in faces], np.float32)
