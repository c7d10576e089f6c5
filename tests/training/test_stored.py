"""Stored targets: what they are, that none is computed twice, and a run that learns from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic_faces import write_shards

from training.batches import Batches
from training.recipes import RECIPES
from training.shards import CENTRE, Face, centre, cropped, read_faces
from training.stored import stored
from training.teachers import TeacherSpec
from training.trainer import Trainer

MODELS = Path(__file__).parents[2] / "models"


class Counting:
    """A teacher of random projections that counts the faces it has seen."""

    spec = TeacherSpec("counting", "", "", (0, 0, 0), (1, 1, 1), (), ())
    head = torch.zeros(0)
    fingerprint = b"one"
    seen = 0

    def select(self, progress: float) -> None:
        pass

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen += len(crops)
        coarse = crops.reshape(len(crops), 7, 16, 7, 16, 3).mean((2, 4)).reshape(len(crops), -1)
        mix = np.random.default_rng(0).normal(size=(147, 128))
        return np.asarray((coarse - coarse.mean()) @ mix, np.float32)

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return [self.embed(crops)]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Face]:
    folder = tmp_path_factory.mktemp("faces")
    write_shards(folder, train=24, heldout=0)
    return read_faces([folder], "train")


def test_targets_are_the_teachers_unit_embeddings_in_the_faces_order(
    faces: list[Face], tmp_path: Path
) -> None:
    targets = stored(Counting(), faces, tmp_path, threads=2)
    raw = np.concatenate([Counting().embed(centre(face)[None]) for face in faces])
    np.testing.assert_allclose(targets, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-6)


def test_a_teacher_looks_where_the_detector_found_the_face(faces: list[Face], tmp_path: Path) -> None:
    cuts = np.repeat(CENTRE[None], len(faces), axis=0)
    cuts[:, 0, 2] += np.arange(len(faces)) % 5 - 2
    at_centres = stored(Counting(), faces, tmp_path)
    targets = stored(Counting(), faces, tmp_path, cuts=cuts)
    raw = np.concatenate(
        [Counting().embed(cropped(face, cut)[None]) for face, cut in zip(faces, cuts, strict=True)]
    )
    np.testing.assert_allclose(targets, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-6)
    still = (cuts == CENTRE).all(axis=(1, 2))
    np.testing.assert_array_equal(targets[still], at_centres[still])
    assert not np.isclose(targets[~still], at_centres[~still]).all(axis=1).any()
    teacher = Counting()
    stored(teacher, faces, tmp_path)
    stored(teacher, faces, tmp_path, cuts=cuts)
    assert teacher.seen == 0
    moved = cuts.copy()
    moved[3, 1, 2] += 1
    again = stored(teacher, faces, tmp_path, cuts=moved)
    assert teacher.seen == 1
    assert np.flatnonzero((again != targets).any(axis=1)).tolist() == [3]


def test_no_face_is_seen_twice_by_a_teacher_and_another_teacher_sees_all(
    faces: list[Face], tmp_path: Path
) -> None:
    teacher = Counting()
    stored(teacher, faces[:10], tmp_path)
    assert teacher.seen == 10
    targets = stored(teacher, faces[::-1], tmp_path)
    assert teacher.seen == len(faces)
    np.testing.assert_array_equal(targets, stored(teacher, faces, tmp_path)[::-1])
    assert teacher.seen == len(faces)
    other = Counting()
    other.fingerprint = b"another"
    stored(other, faces, tmp_path)
    assert other.seen == len(faces)


def test_a_face_prepared_anew_under_an_old_key_is_seen_anew(faces: list[Face], tmp_path: Path) -> None:
    before = stored(Counting(), faces[:2], tmp_path)
    other = [replace(faces[0], encoded=faces[5].encoded), faces[1]]
    teacher = Counting()
    after = stored(teacher, other, tmp_path)
    assert teacher.seen == 1
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_array_equal(after[0], stored(Counting(), [faces[5]], tmp_path)[0])


def test_a_second_part_begins_at_given_weights_and_learns_from_stored_targets(
    faces: list[Face], tmp_path: Path
) -> None:
    first = MODELS / "pocketnet-s128-open.pth"
    recipe = replace(
        RECIPES["pocketnet-s128-r-second"], minutes=0, samples=200, batches=((0, 8),), late_from=1
    )
    targets = stored(Counting(), faces, tmp_path)
    run = Trainer(Batches(recipe, faces, Counting(), targets), tmp_path / "run", start=first)
    given = torch.load(first, weights_only=True)
    for name, weight in run.network.state_dict().items():
        torch.testing.assert_close(weight, given[name], msg=name)
    cosines = [row["cosine"] for row in run.run(1e9)]
    assert np.mean(cosines[-5:]) > np.mean(cosines[:5]) + 0.02
