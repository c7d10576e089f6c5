"""MegaFace challenge 1 from feature files: FaceScrub probes among up to a million distractors.

Kemelmacher-Shlizerman et al., "The MegaFace benchmark", CVPR 2016. A feature file is one matrix of
the development kit: four little-endian int32 (rows, columns, row stride in bytes, OpenCV's type 5
for float32), then the values. The kit's lists are JSON: `{"path": [...], "id": [...]}`; a feature
lies at `<folder>/<path><suffix>`.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.accuracy.metrics import FMRS, OperatingPoint, Summary, upper_bound
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_CV_32F = 5
_BLOCK = 50_000
"""Distractors compared at a time."""
_KEPT = 1_000_000
"""Impostor scores kept at least."""


@dataclass(frozen=True)
class Features:
    """Probes and distractors as unit rows.

    Attributes:
        probes: `(p, d)`.
        person: `(p,)` number of each probe's person.
        distractors: `(m, d)`, people who are not among the probes.
    """

    probes: NDArray[np.float32]
    person: NDArray[np.int64]
    distractors: NDArray[np.float32]


def read_feature(file: Path) -> NDArray[np.float32]:
    """One feature vector `(d,)`."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}, but the list names it") from None
    if len(data) < 16:
        raise InputError(f"{file}: {len(data)} bytes are no feature file")
    rows, columns, _stride, kind = np.frombuffer(data, "<i4", 4)
    if kind != _CV_32F or rows < 1 or columns < 1 or len(data) != 16 + 4 * int(rows) * int(columns):
        raise InputError(f"{file}: not a float32 matrix of the MegaFace kit ({rows}x{columns}, type {kind})")
    return np.frombuffer(data, "<f4", offset=16).astype(np.float32)


def write_feature(file: Path, vector: NDArray[np.float32]) -> None:
    """Write one feature vector `(d,)` as the kit's own programs read it."""
    head = np.array([len(vector), 1, 4, _CV_32F], "<i4")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head.tobytes() + np.ascontiguousarray(vector, "<f4").tobytes())


def load(
    probe_list: Path, probe_folder: Path, distractor_list: Path, distractor_folder: Path, *, suffix: str
) -> Features:
    """Read the features that two lists of the kit name.

    Args:
        probe_list: such as `facescrub_features_list.json`.
        probe_folder: where its features lie.
        distractor_list: such as `megaface_features_list.json_1000000_1`.
        distractor_folder: where its features lie.
        suffix: what follows a picture's path, such as `_pocketface.bin`.

    Raises:
        InputError: a list or a feature is missing or damaged, or no person has two probes.
    """
    people, probes = _list(probe_list, "id", "path")
    (distractors,) = _list(distractor_list, "path")
    if {type(name) for name in people} not in ({str}, {int}):
        raise InputError(f"{probe_list}: its ids are not all text, or all integers")
    person = np.unique(people, return_inverse=True)[1].astype(np.int64)
    if len(people) != len(probes) or np.bincount(person).max() < 2:
        raise InputError(f"{probe_list}: not one id a path, or no person with two pictures")
    data = Features(
        _stack(probe_folder, probes, suffix), person, _stack(distractor_folder, distractors, suffix)
    )
    if data.probes.shape[1] != data.distractors.shape[1]:
        sizes = f"{data.distractors.shape[1]} values, the probes {data.probes.shape[1]}"
        raise InputError(f"{distractor_folder}: its features have {sizes}")
    return data


def rank_one(data: Features) -> float:
    """Identification rate at rank 1 among all distractors.

    Each ordered pair of one person's pictures is one trial: the second is hidden among the
    distractors and has to be the nearest to the first. A tie is lost.
    """
    best = np.full(len(data.probes), -np.inf)
    for start in range(0, len(data.distractors), _BLOCK):
        block = data.distractors[start : start + _BLOCK]
        best = np.maximum(best, (data.probes @ block.T).max(axis=1))
    mates = data.probes @ data.probes.T
    trials = data.person[:, None] == data.person[None, :]
    np.fill_diagonal(trials, val=False)
    return float((mates > best[:, None])[trials].mean())


def verification(data: Features) -> Summary:
    """Error rates of probe against probe (genuine pairs) and probe against distractor (impostor pairs).

    They equal those of `metrics.summarise` without a bootstrap, but only the impostor scores up to the
    largest FMR are kept: 2.1 GB for 3,530 probes among a million distractors. `eer` is NaN where it
    lies above that FMR.
    """
    probes, distractors = data.probes, data.distractors
    a, b = np.triu_indices(len(probes), 1)
    mates = data.person[a] == data.person[b]
    genuine = np.sort(np.einsum("ij,ij->i", probes[a[mates]], probes[b[mates]]))
    count = len(probes) * len(distractors)
    keep = min(count, max(_allowed(max(FMRS), count) + 1, _KEPT))
    room = len(probes) * min(_BLOCK, len(distractors))
    # A block goes before the highest scores so far, and partition brings the highest to the end again.
    scores = np.full(room + keep, -np.inf, np.float32)
    ranks = np.zeros(len(genuine), np.int64)
    for start in range(0, len(distractors), _BLOCK):
        block = distractors[start : start + _BLOCK]
        fresh = scores[: len(probes) * len(block)]
        np.matmul(probes, block.T, out=fresh.reshape(len(probes), len(block)))
        fresh.sort()
        ranks += np.searchsorted(fresh, genuine, "left") + np.searchsorted(fresh, genuine, "right")
        scores.partition(room)
    impostor = scores[room:]
    impostor.sort()
    return Summary(
        genuine_pairs=len(genuine),
        impostor_pairs=count,
        failed_pairs=0,
        auc=float(ranks.mean() / (2 * count)),
        eer=_eer(genuine, impostor, count),
        points=tuple(_point(fmr, genuine, impostor, count) for fmr in FMRS),
    )


def _allowed(fmr: float, count: int) -> int:
    """False matches that a false match rate allows, as in `metrics.threshold_at`."""
    return int(np.floor(fmr * count + 1e-9))


def _point(
    fmr: float, genuine: NDArray[np.float32], impostor: NDArray[np.float32], count: int
) -> OperatingPoint:
    """As `metrics.operating_points`, of the highest of `count` impostor scores; both arrays ascending."""
    if fmr * count < 3 - 1e-9:
        bound = upper_bound(0, count)
        return OperatingPoint(fmr, None, bound, None, None, None, None, count, 0, supported=False)
    refused = impostor[len(impostor) - 1 - _allowed(fmr, count)]
    matches = len(impostor) - int(np.searchsorted(impostor, refused, "right"))
    fnmr = float(np.searchsorted(genuine, refused, "right")) / len(genuine)
    return OperatingPoint(
        fmr=fmr,
        value=float(np.nextafter(np.float64(refused), np.inf)),
        fmr_upper=upper_bound(matches, count),
        fnmr=fnmr,
        tar=1.0 - fnmr,
        tar_low=None,
        tar_high=None,
        impostor_pairs=count,
        false_matches=matches,
        supported=True,
    )


def _eer(genuine: NDArray[np.float32], impostor: NDArray[np.float32], count: int) -> float:
    """As `metrics.eer`, of the highest of `count` impostor scores; NaN where those are too few."""

    def rates(threshold: np.float32) -> tuple[float, float]:
        matches = len(impostor) - int(np.searchsorted(impostor, threshold, "left"))
        return 1.0 - (count - matches) / count, float(np.searchsorted(genuine, threshold)) / len(genuine)

    def crossed(threshold: np.float32) -> bool:
        fmr, fnmr = rates(threshold)
        return fnmr >= fmr

    if len(impostor) < count and crossed(impostor[0]):
        return float("nan")
    after, before = np.float32(np.inf), np.float32(-np.inf)
    for scores in (genuine, impostor):
        first = bisect_left(scores, True, key=crossed)
        after = min(after, scores[first]) if first < len(scores) else after
    for scores in (genuine, impostor):
        lower = int(np.searchsorted(scores, after, "left"))
        before = max(before, scores[lower - 1]) if lower else before
    (fmr, fnmr), (fmr_after, fnmr_after) = rates(before), rates(after)
    share = (fmr - fnmr) / (fmr - fnmr + fnmr_after - fmr_after)
    return fmr + share * (fmr_after - fmr)


def _list(file: Path, *fields: str) -> list[list[str]]:
    """The lists that one of the kit's JSON files holds under these names."""
    try:
        document: Any = json.loads(file.read_text("utf-8"))
        found = [list(document[field]) for field in fields]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; expected a list of the MegaFace kit") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file}: no list of the MegaFace kit: JSON with {' and '.join(fields)}") from None
    if not all(found):
        raise InputError(f"{file}: the list is empty")
    return found


def _stack(folder: Path, paths: list[str], suffix: str) -> NDArray[np.float32]:
    """The features as unit rows, `(n, d)`."""
    first = read_feature(folder / f"{paths[0]}{suffix}")
    features = np.empty((len(paths), len(first)), np.float32)
    for row, path in zip(features, paths, strict=True):
        file = folder / f"{path}{suffix}"
        feature = read_feature(file)
        if feature.shape != row.shape:
            raise InputError(f"{file}: {len(feature)} values, the features before it have {len(row)}")
        row[:] = feature
    length = np.linalg.norm(features, axis=1, keepdims=True)
    if not length.all() or not np.isfinite(length).all():
        raise InputError(f"{folder}: a feature is zero or not finite")
    features /= length
    return features
