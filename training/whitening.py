"""Partial whitening of a teacher: directions in which whole groups differ count less, the others more.

Embeddings spread most along what many faces share (age, sex, descent), and least along what tells two
strangers of one group apart; of the latter a student gives too little, for its loss hardly counts it.
So every principal direction is divided by its deviation, as in Jegou and Chum, "Negative evidences
and co-occurences in image retrieval" (ECCV 2012), but to the power of a half.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.evaluation import embed_faces
from training.paired import PairedTeacher
from training.shards import Face
from training.teachers import Teacher

POWER = 0.5
"""Of the deviation that a direction is divided by: 1 whitens, 0 leaves all as it is."""

SHARES = {"all-age-faces": 0.7}
"""Of sources in the spread that is evened out; the others share the rest equally.

Half of the false matches among the held-out people were between two members of Thailand's
parliament, who make 4 % of the pairs.
"""

FLOOR = 0.05
"""Added to each direction's variance, in means of all."""

PER_SOURCE = 500


def partial_whitening(embeddings: NDArray[np.float32], sources: Sequence[str]) -> NDArray[np.float32]:
    """The symmetric `(d, d)` that unit-norm `(n, d)` are multiplied with, their mean at zero already."""
    names = sorted(set(sources))
    fixed = {name: SHARES[name] for name in names if name in SHARES}
    rest = [name for name in names if name not in SHARES]
    share = {**fixed, **{name: (1 - sum(fixed.values())) / len(rest) for name in rest}}
    of = np.asarray(sources)
    spread = np.zeros((embeddings.shape[1],) * 2)
    for name in names:
        own = embeddings[of == name].astype(np.float64)
        spread += share[name] * own.T @ own / len(own)
    variance, directions = np.linalg.eigh(spread)
    scale = (variance / variance.mean() + FLOOR) ** (-POWER / 2)
    return np.asarray(directions * scale @ directions.T, np.float32)


def some_of_each(faces: Sequence[Face]) -> list[Face]:
    """At most `PER_SOURCE` faces of each source, spread over all that it has."""
    by_source: dict[str, list[Face]] = defaultdict(list)
    for face in faces:
        by_source[face.source].append(face)
    return [
        face
        for source in sorted(by_source)
        for face in by_source[source][:: max(1, len(by_source[source]) // PER_SOURCE)][:PER_SOURCE]
    ]


class Whitened:
    """A teacher whose embeddings are multiplied with `matrix` `(d, d)`."""

    def __init__(self, teacher: Teacher | PairedTeacher, matrix: NDArray[np.float32]) -> None:
        self.teacher, self.matrix = teacher, matrix
        self.spec, self.head = teacher.spec, teacher.head

    @property
    def fingerprint(self) -> bytes:
        """What its embeddings depend on."""
        return self.teacher.fingerprint + self.matrix.tobytes()

    def over(self, graph: Teacher) -> Whitened:
        """The same embeddings beside the maps of another graph of the teacher."""
        return Whitened(self.teacher.over(graph), self.matrix)

    def select(self, progress: float) -> None:
        """Turn to the weights for the student's progress, 0 to 1."""
        self.teacher.select(progress)

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings `(n, d)`, not normalised, of uint8 `(n, 112, 112, 3)`, RGB."""
        return np.asarray(self.teacher.embed(crops) @ self.matrix)

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The teacher's maps and, last, the whitened embeddings."""
        *maps, embeddings = self.teacher(crops)
        return [*maps, embeddings @ self.matrix]


def whitened(teacher: Teacher | PairedTeacher, faces: Sequence[Face], kept: Path) -> Whitened:
    """A teacher with its partial whitening over `faces`, made once and kept in the file `kept`."""
    if not kept.is_file():
        part = kept.with_suffix(".part.npy")
        some = some_of_each(faces)
        np.save(part, partial_whitening(embed_faces(some, teacher.embed), [face.source for face in some]))
        os.replace(part, kept)
    return Whitened(teacher, np.load(kept))
