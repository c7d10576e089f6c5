"""Two teachers as one: what joins them, against SciPy and scikit-learn, and what a run is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import TruncatedSVD
from synthetic_faces import write_shards

from training.networks import PocketNet
from training.paired import PairedTeacher, common, pair
from training.shards import Face, centre, read_faces
from training.teachers import OFFICIAL, Teacher, export_pocketnet


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def embeddings() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two views, 8 and 20 numbers, of what 12 numbers say."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(600, 12))
    first = hidden @ rng.normal(size=(12, 8)) + 0.5 * rng.normal(size=(600, 8))
    second = hidden @ rng.normal(size=(12, 20)) + 0.5 * rng.normal(size=(600, 20))
    return unit(first), unit(second)


def test_the_common_embedding_is_the_principal_one_turned_to_the_first(
    embeddings: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    first, second = embeddings
    pairs = np.concatenate([first, second], axis=1)
    ours = pairs @ common(first, second)
    principal = TruncatedSVD(8, algorithm="arpack").fit_transform(pairs)
    np.testing.assert_allclose(ours @ ours.T, principal @ principal.T, atol=1e-4)
    turn, _ = orthogonal_procrustes(principal, first)
    np.testing.assert_allclose(ours, principal @ turn, atol=1e-4)


def test_a_student_of_the_first_is_near_the_common_embedding(
    embeddings: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    first, second = embeddings
    ours = unit(np.concatenate([first, second], axis=1) @ common(first, second))
    assert (ours * first).sum(axis=1).mean() > 0.8


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Teacher]:
    folder, made = tmp_path_factory.mktemp("teachers"), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        export_pocketnet(PocketNet(cells=4).eval(), (0,), folder / f"{seed}.onnx")
        spec = replace(OFFICIAL, name=f"teacher{seed}", hints=(0,), hint_channels=(64, 512))
        made.append(Teacher(spec, folder / f"{seed}.onnx"))
    return made


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Face]:
    folder = tmp_path_factory.mktemp("faces")
    write_shards(folder, train=12, heldout=0)
    return read_faces([folder], "train")


def test_a_pair_teaches_the_maps_of_the_first_and_the_embedding_of_both(
    teachers: list[Teacher], faces: list[Face], tmp_path: Path
) -> None:
    crops = np.stack([centre(face) for face in faces])
    both = pair(teachers[0], teachers[1], faces, tmp_path / "common.npy")
    *maps, embeddings = both(crops)
    *alone, first = teachers[0](crops)
    for one, other in zip(maps, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    seen = np.concatenate([unit(first), unit(teachers[1].embed(crops))], axis=1)
    np.testing.assert_allclose(embeddings, seen @ both.projection, atol=1e-6)
    np.testing.assert_array_equal(both.embed(crops), embeddings)


def test_a_pair_is_the_same_in_the_next_part_of_a_run(
    teachers: list[Teacher], faces: list[Face], tmp_path: Path
) -> None:
    before = pair(teachers[0], teachers[1], faces, tmp_path / "common.npy")
    after = pair(teachers[0], teachers[1], faces[:3], tmp_path / "common.npy")  # folders may have changed
    assert before.fingerprint == after.fingerprint
    assert before.fingerprint != PairedTeacher(*teachers, 2 * before.projection).fingerprint


def test_other_maps_of_the_first_come_with_the_same_embedding(
    teachers: list[Teacher], faces: list[Face], tmp_path: Path
) -> None:
    crops = np.stack([centre(face) for face in faces[:3]])
    both = pair(teachers[0], teachers[1], faces, tmp_path / "common.npy")
    torch.manual_seed(0)
    export_pocketnet(PocketNet(cells=4).eval(), (0, 1), tmp_path / "more.onnx")
    more = Teacher(replace(OFFICIAL, hints=(0, 1), hint_channels=(64, 64, 512)), tmp_path / "more.onnx")
    result = both.over(more)(crops)
    assert len(result) == 4
    np.testing.assert_allclose(result[-1], both.embed(crops), atol=1e-5)
