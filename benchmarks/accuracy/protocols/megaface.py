"""MegaFace challenge 1 from feature files: FaceScrub probes among up to a million distractors.

Kemelmacher-Shlizerman et al., "The MegaFace benchmark", CVPR 2016. A feature file is one matrix of
the development kit: four little-endian int32 (rows, columns, row stride in bytes, OpenCV's type 5
for float32), then the values. The kit's lists are JSON: `{"path": [...], "id": [...]}`; a feature
lies at `<folder>/<path><suffix>`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accuracy.metrics import Scores
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_CV_32F = 5


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
    data = file.read_bytes()
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
    """
    probes, distractors = (json.loads(file.read_text("utf-8")) for file in (probe_list, distractor_list))
    people = np.unique(probes["id"], return_inverse=True)[1].astype(np.int64)
    return Features(
        _stack(probe_folder, probes["path"], suffix),
        people,
        _stack(distractor_folder, distractors["path"], suffix),
    )


def rank_one(data: Features) -> float:
    """Identification rate at rank 1 among all distractors.

    Each ordered pair of one person's pictures is one trial: the second is hidden among the
    distractors and has to be the nearest to the first. A tie is lost.
    """
    best = np.full(len(data.probes), -np.inf)
    for start in range(0, len(data.distractors), 50_000):
        block = data.distractors[start : start + 50_000]
        best = np.maximum(best, (data.probes @ block.T).max(axis=1))
    mates = data.probes @ data.probes.T
    trials = data.person[:, None] == data.person[None, :]
    np.fill_diagonal(trials, val=False)
    if not trials.any():
        raise InputError("the probe list has no person with two pictures")
    return float((mates > best[:, None])[trials].mean())


def verification(data: Features) -> Scores:
    """Probe against probe as genuine pairs, probe against distractor as impostor pairs."""
    count = len(data.probes)
    a, b = np.triu_indices(count, 1)
    mates = data.person[a] == data.person[b]
    a, b = a[mates], b[mates]
    genuine = np.einsum("ij,ij->i", data.probes[a], data.probes[b])
    impostor = (data.probes @ data.distractors.T).ravel()
    people = int(data.person.max()) + 1
    return Scores(
        score=np.concatenate([genuine, impostor]).astype(np.float64),
        same=np.repeat([True, False], [len(genuine), len(impostor)]),
        left=np.concatenate([data.person[a], np.repeat(data.person, len(data.distractors))]),
        right=np.concatenate([data.person[b], np.tile(np.arange(len(data.distractors)) + people, count)]),
    )


def _stack(folder: Path, paths: list[str], suffix: str) -> NDArray[np.float32]:
    features = np.stack([read_feature(folder / f"{path}{suffix}") for path in paths])
    length = np.linalg.norm(features, axis=1, keepdims=True)
    if not length.all() or not np.isfinite(length).all():
        raise InputError(f"{folder}: a feature is zero or not finite")
    unit: NDArray[np.float32] = (features / length).astype(np.float32)
    return unit
