"""Error rates of scored pairs, in the terms of ISO/IEC 19795-1.

A pair matches when `score >= threshold`. A pair of which a picture gave no face (failure to enrol,
FTE) has the score -inf: it never matches, so a genuine one is a false non-match at any threshold,
and the accuracies count it as wrong whichever it is. Nothing is dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse, stats

from pocketface.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

FMRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class Scores:
    """Scored pairs.

    Attributes:
        score: `(n,)` cosine similarities, -inf where a picture gave no face.
        same: `(n,)` True for genuine pairs.
        left: `(n,)` number of the first picture's person: the bootstrap draws people, because
            pairs that share a person are not independent.
        right: `(n,)` number of the second picture's person.
        fold: `(n,)` 0 to 9, or None where the protocol has no folds.
    """

    score: Floats
    same: Bools
    left: Ints
    right: Ints
    fold: Ints | None = None

    @property
    def genuine(self) -> Floats:
        """Scores of the genuine pairs, ascending."""
        return np.sort(self.score[self.same])

    @property
    def impostor(self) -> Floats:
        """Scores of the impostor pairs, ascending."""
        return np.sort(self.score[~self.same])


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, named as in the model card.

    Attributes:
        fmr: the false match rate asked for.
        value: the threshold, or None when there are not enough pairs.
        fmr_upper: upper end of the measured FMR's one-sided 95 % interval: the bootstrap's, and not
            below Clopper and Pearson's.
        fnmr: false non-match rate there.
        tar: 1 - fnmr.
        tar_low: lower end of the 95 % bootstrap interval of `tar`.
        tar_high: upper end.
        impostor_pairs: how many impostor pairs there are.
        false_matches: how many of them match.
        supported: False when fewer than 3 false matches were to be expected (rule of 3).
    """

    fmr: float
    value: float | None
    fmr_upper: float
    fnmr: float | None
    tar: float | None
    tar_low: float | None
    tar_high: float | None
    impostor_pairs: int
    false_matches: int
    supported: bool


@dataclass(frozen=True)
class Summary:
    """What is reported for one set of scores."""

    genuine_pairs: int
    impostor_pairs: int
    failed_pairs: int
    auc: float
    eer: float
    points: tuple[OperatingPoint, ...]
    accuracy: float | None = None
    accuracy_std: float | None = None
    fold_accuracies: tuple[float, ...] = ()
    fold_thresholds: tuple[float, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def fmr_at(impostor: Floats, threshold: float) -> float:
    """False match rate at a threshold; `impostor` ascending."""
    return 1.0 - float(np.searchsorted(impostor, threshold, side="left")) / len(impostor)


def fnmr_at(genuine: Floats, threshold: float) -> float:
    """False non-match rate at a threshold; `genuine` ascending."""
    return float(np.searchsorted(genuine, threshold, side="left")) / len(genuine)


def threshold_at(impostor: Floats, fmr: float) -> float:
    """Least threshold whose measured false match rate is at most `fmr`; `impostor` ascending."""
    allowed = int(np.floor(fmr * len(impostor) + 1e-9))
    if allowed >= len(impostor):
        return -np.inf
    return float(np.nextafter(impostor[len(impostor) - 1 - allowed], np.inf))


def upper_bound(errors: int, trials: int, confidence: float = 0.95) -> float:
    """One-sided upper confidence bound of an error rate (Clopper and Pearson, Biometrika 26, 1934).

    With no error in n trials this is close to 3 / n, the rule of 3 of ISO/IEC 19795-1.
    """
    if errors >= trials:
        return 1.0
    return float(stats.beta.ppf(confidence, errors + 1, trials - errors))


def auc(genuine: Floats, impostor: Floats) -> float:
    """Area under the ROC curve: how often a genuine pair outscores an impostor pair, ties by half."""
    below = np.searchsorted(impostor, genuine, side="left")
    up_to = np.searchsorted(impostor, genuine, side="right")
    return float((below + up_to).mean() / (2 * len(impostor)))


def eer(genuine: Floats, impostor: Floats) -> float:
    """Equal error rate: where FMR and FNMR cross, interpolated between neighbouring thresholds."""
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(thresholds, np.inf)
    fmr = 1.0 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    fnmr = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    after = int(np.argmax(fnmr >= fmr))
    if after == 0:
        return float(fnmr[0] + fmr[0]) / 2
    before = after - 1
    gap_before, gap_after = fmr[before] - fnmr[before], fnmr[after] - fmr[after]
    share = gap_before / (gap_before + gap_after)
    return float(fmr[before] + share * (fmr[after] - fmr[before]))


def best_threshold(score: Floats, same: Bools) -> float:
    """Threshold of greatest accuracy, half way between two scores; the middle one of several best."""
    order = np.argsort(score, kind="stable")
    score, same = score[order], same[order]
    # Cutting before position i calls i.. a match: right are the impostors before and the genuine after.
    right = np.concatenate([[0], np.cumsum(~same)]) + same.sum() - np.concatenate([[0], np.cumsum(same)])
    padded = np.concatenate([[score[0] - 1e-6], score, [score[-1] + 1e-6]])
    possible = padded[1:] > padded[:-1]
    right = np.where(possible, right, -1)
    best = np.flatnonzero(right == right.max())
    cut = best[len(best) // 2]
    return float((padded[cut] + padded[cut + 1]) / 2)


def ten_fold(scores: Scores) -> tuple[list[float], list[float]]:
    """Accuracy on each fold with the threshold that is best on the others.

    The protocol of LFW (Huang et al., UMass Amherst TR 07-49, "image-restricted" and later
    settings), as every published figure uses it.

    Returns:
        accuracies and thresholds, one a fold.
    """
    if scores.fold is None:
        raise ValueError("this protocol has no folds")
    failed = np.isneginf(scores.score)
    accuracies, thresholds = [], []
    for k in np.unique(scores.fold):
        test = scores.fold == k
        train = ~test & ~failed
        threshold = best_threshold(scores.score[train], scores.same[train])
        right = ((scores.score[test] >= threshold) == scores.same[test]) & ~failed[test]
        accuracies.append(float(right.mean()))
        thresholds.append(threshold)
    return accuracies, thresholds


def bootstrap(
    scores: Scores, fmrs: tuple[float, ...], *, replicates: int = 200, seed: int = 0
) -> list[tuple[float, float, float]]:
    """For each FMR the 95 % interval of TAR there and the upper bound of the FMR, drawing people.

    A genuine pair weighs as often as its person was drawn, an impostor pair the product of both
    (the two-sample bootstrap of Poh, Martin and Bengio, "Performance generalization in biometric
    authentication using joint user-specific and sample bootstraps", PAMI 2007).
    """
    people, inverse = np.unique(np.concatenate([scores.left, scores.right]), return_inverse=True)
    n = len(people)
    left, right = inverse[: len(scores.left)], inverse[len(scores.left) :]
    same = scores.same
    genuine_order = np.argsort(scores.score[same])[::-1]
    genuine = scores.score[same][genuine_order]
    genuine_person = left[same][genuine_order]
    impostor = scores.score[~same]
    a, b = left[~same], right[~same]
    pairs = sparse.coo_matrix((np.ones(len(a), np.float32), (a, b)), shape=(n, n)).tocsr()
    # Only the highest impostor scores can set a threshold; thrice the largest FMR is ample.
    keep = min(len(impostor), int(3 * max(fmrs) * len(impostor)) + 1000)
    tail = np.argpartition(impostor, len(impostor) - keep)[len(impostor) - keep :]
    tail = tail[np.argsort(impostor[tail])[::-1]]
    tail_score, a, b = impostor[tail], a[tail], b[tail]
    ascending = np.sort(impostor)
    thresholds = [threshold_at(ascending, fmr) for fmr in fmrs]
    matches = [len(impostor) - int(np.searchsorted(ascending, value, side="left")) for value in thresholds]

    random = np.random.default_rng(seed)
    rates = np.full((replicates, len(fmrs)), np.nan)
    tars = np.full((replicates, len(fmrs)), np.nan)
    for r in range(replicates):
        weight = np.bincount(random.integers(0, n, n), minlength=n).astype(np.float32)
        cumulative = np.cumsum(weight[a] * weight[b], dtype=np.float64)
        total = float(weight @ np.asarray(pairs.dot(weight), np.float64))
        genuine_weight = weight[genuine_person]
        if total == 0 or genuine_weight.sum() == 0:
            continue
        accepted = np.concatenate([[0.0], np.cumsum(genuine_weight, dtype=np.float64)]) / genuine_weight.sum()
        for k, fmr in enumerate(fmrs):
            rates[r, k] = cumulative[matches[k] - 1] / total if matches[k] else 0.0
            first_refused = int(np.searchsorted(cumulative, fmr * total, side="right"))
            threshold = tail_score[min(first_refused, keep - 1)]
            matched = len(genuine) - np.searchsorted(genuine[::-1], threshold, side="right")
            tars[r, k] = accepted[matched]
    intervals = np.nanpercentile(tars, [2.5, 97.5], axis=0).T
    uppers = np.nanpercentile(rates, 95, axis=0)
    return [(float(a), float(b), float(c)) for (a, b), c in zip(intervals, uppers, strict=True)]


def operating_points(
    scores: Scores, fmrs: tuple[float, ...] = FMRS, *, replicates: int = 200
) -> list[OperatingPoint]:
    """A threshold for each FMR, refused where the impostor pairs do not support it."""
    genuine, impostor = scores.genuine, scores.impostor
    supported = tuple(fmr for fmr in fmrs if fmr * len(impostor) >= 3 - 1e-9)
    intervals = bootstrap(scores, supported, replicates=replicates) if supported and replicates else []
    points = []
    for fmr in fmrs:
        if fmr not in supported:
            bound = upper_bound(0, len(impostor))
            points.append(
                OperatingPoint(fmr, None, bound, None, None, None, None, len(impostor), 0, supported=False)
            )
            continue
        value = threshold_at(impostor, fmr)
        matches = len(impostor) - int(np.searchsorted(impostor, value, side="left"))
        fnmr = fnmr_at(genuine, value)
        low, high, upper = intervals[supported.index(fmr)] if intervals else (None, None, 0.0)
        points.append(
            OperatingPoint(
                fmr=fmr,
                value=value,
                fmr_upper=max(upper, upper_bound(matches, len(impostor))),
                fnmr=fnmr,
                tar=1.0 - fnmr,
                tar_low=low,
                tar_high=high,
                impostor_pairs=len(impostor),
                false_matches=matches,
                supported=True,
            )
        )
    return points


def summarise(
    scores: Scores, fmrs: tuple[float, ...] = FMRS, *, replicates: int = 200, what: str = "the pairs"
) -> Summary:
    """Everything the report shows for one set of scores.

    Args:
        scores: of all pairs.
        fmrs: the false match rates.
        replicates: of the bootstrap; 0 for no intervals.
        what: names the pairs in errors, such as their folder.

    Raises:
        InputError: there are no genuine or no impostor pairs, or no faces to choose a threshold on.
    """
    genuine, impostor = scores.genuine, scores.impostor
    if len(genuine) == 0 or len(impostor) == 0:
        raise InputError(
            f"{what}: {len(genuine)} genuine and {len(impostor)} impostor pairs; both are needed"
        )
    with_faces = ~np.isneginf(scores.score)
    if not with_faces.any():
        raise InputError(f"{what}: no pair has a face in both pictures; are these photos of faces?")
    folds = np.zeros(0, np.int64) if scores.fold is None else np.unique(scores.fold)
    if any(not with_faces[scores.fold != k].any() for k in folds):
        raise InputError(f"{what}: only one of {len(folds)} folds has pairs with faces; two are needed")
    accuracies, thresholds = ten_fold(scores) if scores.fold is not None else ([], [])
    return Summary(
        genuine_pairs=len(genuine),
        impostor_pairs=len(impostor),
        failed_pairs=int(np.isneginf(scores.score).sum()),
        auc=auc(genuine, impostor),
        eer=eer(genuine, impostor),
        points=tuple(operating_points(scores, fmrs, replicates=replicates)),
        accuracy=float(np.mean(accuracies)) if accuracies else None,
        accuracy_std=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        fold_accuracies=tuple(accuracies),
        fold_thresholds=tuple(thresholds),
    )


def by_group(
    scores: Scores, groups: Mapping[str, Bools], threshold: float, fmr: float = 1e-3
) -> dict[str, dict[str, float | int | None]]:
    """FMR and FNMR of each group's own pairs at one threshold, and the TAR where its own FMR is `fmr`.

    Args:
        scores: all pairs.
        groups: for each group `(n,)` True where both pictures of a pair belong to it.
        threshold: the same for all groups, as in a product.
        fmr: what `tar_at_own_fmr` holds for. People of one group look alike more than all people
            do, so this is a stricter measure than the TAR over all pairs.

    Returns:
        For each group its pairs, FMR, FNMR (None without pairs), the FMR's upper bound, and
        `tar_at_own_fmr` (None where its impostor pairs do not support `fmr`).
    """
    result: dict[str, dict[str, float | int | None]] = {}
    for name, inside in groups.items():
        genuine = np.sort(scores.score[inside & scores.same])
        impostor = np.sort(scores.score[inside & ~scores.same])
        matches = len(impostor) - int(np.searchsorted(impostor, threshold, side="left"))
        supported = len(genuine) > 0 and fmr * len(impostor) >= 3
        own = 1.0 - fnmr_at(genuine, threshold_at(impostor, fmr)) if supported else None
        result[name] = {
            "genuine_pairs": len(genuine),
            "impostor_pairs": len(impostor),
            "fmr": matches / len(impostor) if len(impostor) else None,
            "fmr_upper": upper_bound(matches, len(impostor)) if len(impostor) else None,
            "fnmr": fnmr_at(genuine, threshold) if len(genuine) else None,
            "tar_at_own_fmr": own,
        }
    return result
