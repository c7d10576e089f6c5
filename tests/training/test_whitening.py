"""Partial whitening, against SciPy, and what a whitened teacher gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from synthetic_faces import write_shards

from training.networks import PocketNet
from training.shards import centre, read_faces
from training.teachers import OFFICIAL, Teacher, export_pocketnet
from training.whitening import FLOOR, POWER, SHARES, Whitened, partial_whitening, whitened

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")


def some(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 6)).astype(np.float32) @ rng.normal(size=(6, 6)).astype(np.float32)


def test_directions_are_divided_by_a_root_of_their_deviation():
    vectors = some(400, 0)
    spread = vectors.T @ vectors / 400
    spread = spread / (np.trace(spread) / 6) + FLOOR * np.eye(6)
    expected = fractional_matrix_power(spread, -POWER / 2)
    np.testing.assert_allclose(partial_whitening(vectors, ["web"] * 400), expected, atol=1e-4)


def test_a_source_counts_by_its_share_and_not_by_its_number_of_faces():
    (favoured, share), *_ = SHARES.items()
    one, two = some(300, 1), some(200, 2)
    matrix = partial_whitening(np.concatenate([one, two]), [favoured] * 300 + ["web"] * 200)
    thrice = partial_whitening(np.concatenate([one, one, one, two]), [favoured] * 900 + ["web"] * 200)
    np.testing.assert_allclose(thrice, matrix, atol=1e-5)
    spread = share * one.T @ one / 300 + (1 - share) * two.T @ two / 200
    spread = spread / (np.trace(spread) / 6) + FLOOR * np.eye(6)
    np.testing.assert_allclose(matrix, fractional_matrix_power(spread, -POWER / 2), atol=1e-4)


def test_a_whitened_teacher_keeps_its_maps_and_its_matrix(tmp_path: Path):
    torch.manual_seed(0)
    export_pocketnet(PocketNet(cells=4).eval(), (0,), tmp_path / "teacher.onnx")
    teacher = Teacher(replace(OFFICIAL, hints=(0,), hint_channels=(64, 512)), tmp_path / "teacher.onnx")
    (tmp_path / "faces").mkdir()
    write_shards(tmp_path / "faces", train=12, heldout=0)
    faces = read_faces([tmp_path / "faces"], "train")
    crops = np.stack([centre(face) for face in faces])
    made = whitened(teacher, faces, tmp_path / "whitening.npy")
    *maps, embeddings = made(crops)
    *alone, own = teacher(crops)
    for one, other in zip(maps, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(embeddings, own @ made.matrix, rtol=1e-5)
    np.testing.assert_array_equal(made.embed(crops), embeddings)
    again = whitened(teacher, faces[:3], tmp_path / "whitening.npy")  # folders may have grown
    assert again.fingerprint == made.fingerprint != Whitened(teacher, 2 * made.matrix).fingerprint
