"""Two teachers as one: the maps of the first, the embeddings of both in as many numbers as the first's.

Networks trained on different faces err on different ones, so what both see of a face tells people
apart better than either alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.shards import Face, centre
from training.teachers import Teacher

FACES = 4096
"""How many training faces the common embedding rests on, at most."""


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def common(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """What maps both teachers' embeddings, one beside the other, to `d` numbers.

    The principal directions of the pairs, turned to lie as near as a rotation can to the first teacher's
    (orthogonal Procrustes; Schoenemann, Psychometrika 1966): cosines stay, and a student of the first
    teacher alone need not forget its embedding.

    Args:
        first: float32 `(n, d)`, unit norm.
        second: float32 `(n, e)`, unit norm.

    Returns:
        Float32 `(d + e, d)`, its columns orthonormal.
    """
    pairs = np.concatenate([first, second], axis=1)
    size = first.shape[1]
    principal = np.linalg.eigh(pairs.T @ pairs)[1][:, -size:]
    left, _, right = np.linalg.svd((pairs @ principal).T @ first)
    return np.asarray(principal @ left @ right, np.float32)


class PairedTeacher:
    """The maps of one reference teacher, and the common embedding of two."""

    def __init__(self, first: Teacher, second: Teacher, projection: NDArray[np.float32]) -> None:
        """`projection` is that of `common`."""
        self.first, self.second, self.projection = first, second, projection
        self.spec, self.head = first.spec, first.head

    @property
    def fingerprint(self) -> bytes:
        """What its embeddings depend on."""
        return self.first.fingerprint + self.second.fingerprint + self.projection.tobytes()

    def over(self, graph: Teacher) -> PairedTeacher:
        """The same embeddings beside the maps of another graph of the first teacher."""
        return PairedTeacher(self.first.over(graph), self.second, self.projection)

    def select(self, progress: float) -> None:
        """Nothing to turn to: each has one set of weights."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings `(n, d)`, not normalised, of uint8 `(n, 112, 112, 3)`, RGB."""
        return self._common(self.first.embed(crops), crops)

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The first's maps `(n, c, h, w)` and, last, the common embeddings."""
        *maps, embeddings = self.first(crops)
        return [*maps, self._common(embeddings, crops)]

    def _common(self, first: NDArray[np.float32], crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        pairs = np.concatenate([_unit(first), _unit(self.second.embed(crops))], axis=1)
        return np.asarray(pairs @ self.projection)


def pair(first: Teacher, second: Teacher, faces: Sequence[Face], kept: Path) -> PairedTeacher:
    """Two centred teachers as one; what joins them is made of `faces` once and kept in the file `kept`."""
    if not kept.is_file():
        some = [centre(face)[None] for face in faces[:: max(1, len(faces) // FACES)]]
        both = [np.concatenate([teacher.embed(crop) for crop in some]) for teacher in (first, second)]
        part = kept.with_suffix(".part.npy")
        np.save(part, common(_unit(both[0]), _unit(both[1])))
        os.replace(part, kept)
    return PairedTeacher(first, second, np.load(kept))
