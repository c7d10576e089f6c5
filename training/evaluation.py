"""Verification on the held-out split: every genuine and every impostor pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketface.calibrate import upper_bound
from pocketface.decide import MIN_EXPECTED_ERRORS
from training.shards import CENTRE, Face, cropped

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Operating:
    """A threshold on the cosine, set for a false match rate over all impostor pairs.

    A pair matches at or above it; `fmr_upper` is the rate's upper bound at 95 % confidence (`fmr_upper`).
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


def embed_faces(
    faces: Sequence[Face], embed: Embed, batch: int = 32, cuts: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Float32 `(n, d)`, unit norm, of the faces' centres, or of other `cuts` `(n, 2, 3)` of them."""
    if cuts is None:
        cuts = np.repeat(CENTRE[None], len(faces), axis=0)
    parts = [
        embed(np.stack([cropped(faces[i], cuts[i]) for i in range(start, min(start + batch, len(faces)))]))
        for start in range(0, len(faces), batch)
    ]
    embeddings = np.concatenate(parts)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings


def verify(embeddings: NDArray[np.float32], identities: Sequence[str]) -> Verification:
    """Thresholds and true accept rates from all pairs of unit-norm embeddings `(n, d)`.

    Rates with fewer than three false matches to expect are left out (rule of three, ISO/IEC 19795-1), and
    all of them where no person has two faces.
    """
    first, second, score, codes = _pairs(embeddings, identities)
    same = codes[first] == codes[second]
    positive, negative = score[same], score[~same]
    ordered = np.sort(negative)
    points = []
    for fmr in FMRS:
        allowed = int(fmr * len(ordered))
        if allowed < MIN_EXPECTED_ERRORS or not len(positive):
            continue
        barrier = ordered[len(ordered) - 1 - allowed]
        threshold = min(float(np.nextafter(barrier, np.float32(2))), 1.0)
        false = np.flatnonzero(~same & (score >= threshold))
        upper = fmr_upper(codes[first[false]], codes[second[false]], np.bincount(codes))
        points.append(Operating(fmr, threshold, upper, float((positive >= threshold).mean())))
    return Verification(tuple(points), len(positive), len(negative))


def rates(
    embeddings: NDArray[np.float32], identities: Sequence[str], thresholds: Sequence[float]
) -> list[tuple[float, float]]:
    """False match rate and true accept rate of all pairs at thresholds that other embeddings gave."""
    first, second, score, codes = _pairs(embeddings, identities)
    same = codes[first] == codes[second]
    positive, negative = score[same], score[~same]
    return [(float((negative >= t).mean()), float((positive >= t).mean())) for t in thresholds]


def _pairs(
    embeddings: NDArray[np.float32], identities: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
    """Both faces of every pair, its cosine, and the number of each face's person."""
    codes = np.unique(np.asarray(identities), return_inverse=True)[1]
    first, second = np.triu_indices(len(embeddings), 1)
    return first, second, (embeddings @ embeddings.T)[first, second], codes


def fmr_upper(
    first: NDArray[np.intp], second: NDArray[np.intp], faces: NDArray[np.intp], draws: int = 1000
) -> float:
    """Upper end of the one-sided 95 % interval of a false match rate, people drawn with replacement.

    Pairs that share a person are not independent, so a binomial bound of millions of pairs of a few
    thousand people is far too narrow (Poh, Martin and Bengio, "Performance generalization in biometric
    authentication using joint user-specific and sample bootstraps", PAMI 2007). It is the floor here.

    Args:
        first: int `(m,)`, a person of each false match.
        second: int `(m,)`, the other.
        faces: int `(n,)`, how many faces each person has; all faces of two people are impostor pairs.
        draws: how often the people are drawn.
    """
    random = np.random.default_rng(0)
    rates = np.zeros(draws)
    for draw in range(draws):
        weights = np.bincount(random.integers(0, len(faces), len(faces)), minlength=len(faces))
        drawn = weights * faces
        pairs = (drawn.sum() ** 2 - (drawn**2).sum()) / 2
        rates[draw] = (weights[first] * weights[second]).sum() / pairs if pairs else 0.0
    everyone = int(faces.sum() ** 2 - (faces**2).sum()) // 2
    return max(float(np.quantile(rates, 0.95)), upper_bound(len(first), everyone))
