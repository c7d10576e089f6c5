"""Verification on the held-out split: every genuine and every impostor pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.shards import Face, centre

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Operating:
    """A threshold on the cosine, set for a false match rate over all impostor pairs.

    `fmr_upper` is the upper end of the 95 % interval (Wilson's) of the rate at the threshold.
    """

    fmr: float
    threshold: float
    fmr_upper: float
    tar: float


@dataclass(frozen=True)
class Verification:
    """Operating points, and how many pairs they rest on."""

    points: tuple[Operating, ...]
    genuine: int
    impostor: int


def embed_faces(faces: Sequence[Face], embed: Embed, batch: int = 32) -> NDArray[np.float32]:
    """Float32 `(n, d)`, unit norm, of the faces' centres."""
    parts = [
        embed(np.stack([centre(face) for face in faces[start : start + batch]]))
        for start in range(0, len(faces), batch)
    ]
    embeddings = np.concatenate(parts)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings


def wilson_upper(count: int, total: int, z: float = 1.96) -> float:
    """Upper end of Wilson's interval for `count` of `total`."""
    p = count / total
    spread = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return (p + z * z / (2 * total) + spread) / (1 + z * z / total)


def verify(embeddings: NDArray[np.float32], identities: Sequence[str]) -> Verification:
    """Thresholds and true accept rates from all pairs of unit-norm embeddings `(n, d)`."""
    codes = np.unique(np.asarray(identities), return_inverse=True)[1]
    genuine, impostor = [], []
    for index in range(len(embeddings) - 1):
        scores = embeddings[index + 1 :] @ embeddings[index]
        same = codes[index + 1 :] == codes[index]
        genuine.append(scores[same])
        impostor.append(scores[~same])
    positive, negative = np.concatenate(genuine), np.sort(np.concatenate(impostor))
    points = []
    for fmr in FMRS:
        allowed = int(fmr * len(negative))
        threshold = float(negative[len(negative) - 1 - allowed])
        accepted = int((negative > threshold).sum())
        tar = float((positive > threshold).mean())
        points.append(Operating(fmr, threshold, wilson_upper(accepted, len(negative)), tar))
    return Verification(tuple(points), len(positive), len(negative))
