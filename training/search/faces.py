"""The two halves of the training faces, with labels or a teacher's embeddings as the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.shards import Face, centre, read_faces
from training.students import to_input
from training.teachers import Teacher

MINIMUM = 4
"""Pictures a person must have to be a class."""


@dataclass(frozen=True)
class Half:
    """Half of the faces and what the network shall say of them.

    Attributes:
        pictures: uint8 `(n, size, size, 3)`, RGB.
        targets: int64 `(n,)` classes, or float32 `(n, d)` unit embeddings of the teacher.
    """

    pictures: NDArray[np.uint8]
    targets: Tensor

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A random batch, half of it mirrored: float32 `(size, 3, s, s)` in -1..1, and targets."""
        chosen = rng.integers(len(self.pictures), size=size)
        return to_input(mirrored(self.pictures[chosen], rng)), self.targets[torch.from_numpy(chosen)]


def mirrored(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """`(n, s, s, 3)` with a random half of the pictures mirrored."""
    flip = rng.random(len(pictures)) < 0.5
    return np.where(flip[:, None, None, None], pictures[:, :, ::-1], pictures)


def halves(
    folders: Sequence[Path], size: int, seed: int, teacher: Teacher | None = None, limit: int | None = None
) -> tuple[Half, Half, int]:
    """Two disjoint halves of the `train` split, and the number of classes (0 with a teacher).

    Without a teacher only people with at least `MINIMUM` pictures count, and both halves hold
    each of them. `limit` keeps that many faces.
    """
    faces = read_faces(folders, "train")
    if teacher is None:
        counts = Counter(face.identity for face in faces if face.identity)
        faces = [face for face in faces if counts[face.identity] >= MINIMUM]
    faces = drawn(faces, seed, limit)
    if teacher is None:
        faces.sort(key=lambda face: face.identity)
    crops = np.stack([centre(face) for face in faces])
    people = sorted({face.identity for face in faces}) if teacher is None else []
    targets = _classes(faces, people) if teacher is None else _embeddings(crops, teacher)
    small = crops if size == crops.shape[1] else np.stack([_resize(crop, size) for crop in crops])
    first, second = (Half(small[k::2].copy(), targets[k::2].clone()) for k in (0, 1))
    return first, second, len(people)


def drawn(faces: Sequence[Face], seed: int, limit: int | None) -> list[Face]:
    """So many of the faces, or all, in random order; raises ValueError where there are too few."""
    if len(faces) < 2:
        raise ValueError("no training faces found (without a teacher they must have identities)")
    return [faces[i] for i in np.random.default_rng(seed).permutation(len(faces))[:limit]]


def _classes(faces: Sequence[Face], people: Sequence[str]) -> Tensor:
    number = {name: i for i, name in enumerate(people)}
    return torch.tensor([number[face.identity] for face in faces])


def _embeddings(crops: NDArray[np.uint8], teacher: Teacher) -> Tensor:
    parts = [torch.from_numpy(teacher.embed(crops[i : i + 32])) for i in range(0, len(crops), 32)]
    return torch.nn.functional.normalize(torch.cat(parts))


def _resize(crop: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BOX))
