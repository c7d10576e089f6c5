"""Error rates of a model on photos of your own, and a threshold with bounds.

FMR and FNMR as ISO/IEC 19795-1 defines them: the shares of impostor pairs at or above, and of genuine
pairs below, a threshold. Upper bounds are Clopper and Pearson's ("The use of confidence or fiducial
limits illustrated in the case of the binomial", Biometrika 1934), one-sided at 95 %; without a single
error that is the rule of three, `3 / n`. They take pairs as independent; pairs that share people are
not, so with few people the truth may lie above.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketface.decide import MIN_EXPECTED_ERRORS
from pocketface.errors import InputError, ThresholdError
from pocketface.types import Threshold

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from pocketface.recognizer import FaceRecognizer

LEVELS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What was measured.

    Attributes:
        data: what the pictures are called.
        genuine: float32, similarities of pairs of one person, ascending.
        impostor: float32, similarities of pairs of two people, ascending.
        photos: how many photos were read.
        people: how many people they show, None where only pairs are known.
        failures: why a photo gave no embedding, by path; its pairs are left out.
    """

    data: str
    genuine: NDArray[np.float32]
    impostor: NDArray[np.float32]
    photos: int
    people: int | None
    failures: dict[str, str]

    def threshold(self, fmr: float) -> Threshold:
        """The lowest threshold whose measured FMR is at most the one asked for.

        Raises:
            ThresholdError: too few impostor pairs.
        """
        n = len(self.impostor)
        if fmr * n < MIN_EXPECTED_ERRORS * (1 - 1e-9):
            raise ThresholdError(
                f"{self.data}: an FMR of {fmr:g} needs {math.ceil(MIN_EXPECTED_ERRORS / fmr - 1e-9):,} "
                f"impostor pairs, there are {n:,}"
            )
        allowed = math.floor(fmr * n + 1e-9)
        # Above the first impostor too many; `allowed` of them, or fewer where they tie, pass.
        barrier = self.impostor[n - allowed - 1] if allowed < n else np.float32(-1)
        value = float(np.nextafter(barrier, np.float32(2)))
        passed = self.passed(value)
        return Threshold(value, fmr, upper_bound(passed, n), self.data, n, self.fnmr(value)[0])

    def passed(self, value: float) -> int:
        """Impostor pairs at or above a threshold."""
        return len(self.impostor) - int(np.searchsorted(self.impostor, np.float32(value), side="left"))

    def fnmr(self, value: float) -> tuple[float, float]:
        """FNMR at a threshold, and its upper bound."""
        missed = int(np.searchsorted(self.genuine, np.float32(value), side="left"))
        return missed / len(self.genuine), upper_bound(missed, len(self.genuine))

    def thresholds(self) -> list[Threshold]:
        """Thresholds for each decade of FMR that the pairs support, as a model's card holds them."""
        return [
            self.threshold(level)
            for level in LEVELS
            if level * len(self.impostor) >= MIN_EXPECTED_ERRORS * (1 - 1e-9)
        ]

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Thresholds, FMR and FNMR at each similarity that occurs (at most 4,000 of them)."""
        every = np.unique(np.concatenate([self.genuine, self.impostor]))
        values = every[np.linspace(0, len(every) - 1, min(len(every), 4000)).astype(int)]
        fmr = 1 - np.searchsorted(self.impostor, values, side="left") / len(self.impostor)
        fnmr = np.searchsorted(self.genuine, values, side="left") / len(self.genuine)
        return values.astype(np.float64), fmr, fnmr

    def equal_error_rate(self) -> float:
        """Where FMR and FNMR meet."""
        _, fmr, fnmr = self.curve()
        nearest = int(np.argmin(np.abs(fmr - fnmr)))
        return float((fmr[nearest] + fnmr[nearest]) / 2)


def from_folder(
    recognizer: FaceRecognizer,
    people: Mapping[str, Sequence[str]],
    *,
    data: str,
    progress: Callable[[int, int | None], None] | None = None,
) -> Calibration:
    """Compare every photo with every other.

    Args:
        recognizer: the model to measure; its policy chooses among several faces.
        people: each person's photos.
        data: what to call them.
        progress: called with the number of photos done and of all.

    Raises:
        InputError: too few people or photos for a genuine and an impostor pair.
    """
    photos = [photo for paths in people.values() for photo in paths]
    owners = np.array([i for i, paths in enumerate(people.values()) for _ in paths])
    batch = recognizer.embed_batch(photos, policy=_single(recognizer), progress=progress)
    owner = owners[batch.indices]
    genuine, impostor = [], []
    for i in range(1, len(owner)):
        similarity = batch.embeddings[:i] @ batch.embeddings[i]
        same = owner[:i] == owner[i]
        genuine.append(similarity[same])
        impostor.append(similarity[~same])
    failures = {photos[error.index]: str(error.error) for error in batch.errors}
    return _calibration(data, genuine, impostor, len(photos), len(np.unique(owner)), failures)


def from_pairs(
    recognizer: FaceRecognizer,
    pairs: Sequence[tuple[str, str, bool]],
    *,
    data: str,
    progress: Callable[[int, int | None], None] | None = None,
) -> Calibration:
    """Compare the pairs given.

    Args:
        recognizer: as for `from_folder`.
        pairs: two photos and whether they show one person.
        data: what to call them.
        progress: as for `from_folder`.

    Raises:
        InputError: no genuine or no impostor pair is left.
    """
    photos = sorted({photo for a, b, _ in pairs for photo in (a, b)})
    batch = recognizer.embed_batch(photos, policy=_single(recognizer), progress=progress)
    vectors = {photos[i]: vector for i, vector in zip(batch.indices, batch.embeddings, strict=True)}
    failures = {photos[error.index]: str(error.error) for error in batch.errors}
    scores: dict[bool, list[NDArray[np.float32]]] = {True: [], False: []}
    for a, b, same in pairs:
        if a in vectors and b in vectors:
            scores[same].append(np.array([vectors[a] @ vectors[b]], np.float32))
    return _calibration(data, scores[True], scores[False], len(photos), None, failures)


def read_pairs(path: str | os.PathLike[str]) -> list[tuple[str, str, bool]]:
    """Read a CSV file of pairs: photo, photo, and 1 (one person) or 0 (two people).

    A first line of headings is skipped. Paths are relative to the file's folder.

    Raises:
        InputError: a line is wrong; the message gives its number.
    """
    folder = Path(path).parent
    pairs = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    for number, row in enumerate(rows, 1):
        if not any(cell.strip() for cell in row):
            continue
        same = row[2].strip().lower() if len(row) == 3 else ""
        if same not in _YES + _NO:
            if number == 1:
                continue
            raise InputError(f"{path}, line {number}: expected photo, photo, 1 or 0, not {','.join(row)!r}")
        pairs.append((str(folder / row[0].strip()), str(folder / row[1].strip()), same in _YES))
    return pairs


def upper_bound(errors: int, trials: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper bound of a rate: the p at which so few errors are too lucky."""
    if errors >= trials:
        return 1.0
    low, high = errors / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(errors, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial, summed downwards from its largest term."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    log_last = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(p)
        + (n - k) * math.log1p(-p)
    )
    j = np.arange(k, 0, -1, dtype=np.float64)
    ratios = j * (1 - p) / ((n - j + 1) * p)
    return math.exp(log_last) * (1 + float(np.cumprod(ratios).sum())) if log_last > -700 else 0.0


def _single(recognizer: FaceRecognizer) -> str:
    return "largest" if recognizer.policy == "all" else recognizer.policy


def _calibration(
    data: str,
    genuine: Sequence[NDArray[np.float32]],
    impostor: Sequence[NDArray[np.float32]],
    photos: int,
    people: int | None,
    failures: dict[str, str],
) -> Calibration:
    scores = _sorted(genuine), _sorted(impostor)
    for name, found in zip(("genuine", "impostor"), scores, strict=True):
        if not len(found):
            raise InputError(
                f"{data}: no {name} pair is left of {photos} photos, {len(failures)} of them without a face; "
                "give at least two people, and two photos of one of them"
            )
    return Calibration(data, scores[0], scores[1], photos, people, failures)


def _sorted(scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.sort(np.concatenate([*scores, np.empty(0, np.float32)]))
