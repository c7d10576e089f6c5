from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic_faces import write_shards

from training.augment import Augmentation
from training.networks import Genotype
from training.own_teacher import OwnTeacher
from training.recipes import RECIPES, Recipe
from training.shards import Face, read_faces
from training.teachers import TeacherSpec
from training.trainer import Batch, Trainer


class FakeTeacher:
    """A teacher of fixed random projections: four maps by pooling, and an embedding."""

    spec = TeacherSpec("fake", "", "", (0, 0, 0), (1, 1, 1), (5, 11, 16), (3, 3, 3, 3))

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        x = crops.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
        maps = [x.reshape(len(x), 3, s, 112 // s, s, 112 // s).mean((3, 5)) for s in (56, 28, 14, 7)]
        mix = np.random.default_rng(0).normal(size=(147, 128)).astype(np.float32)
        return [*maps, maps[-1].reshape(len(x), -1) @ mix]

    head = torch.zeros(0)

    def select(self, progress: float) -> None:
        pass

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self(crops)[-1]


RECIPE = replace(
    RECIPES["pocketnet-s128-r"],
    name="tiny",
    minutes=0,
    samples=64,
    batches=((0, 4), (16, 8)),
    cell_by_cell=0,
    augmentation=Augmentation(),
    late=Augmentation(harden=0.5),
    late_from=0.5,
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Face]:
    folder = tmp_path_factory.mktemp("faces")
    write_shards(folder, train=24, heldout=0)
    return read_faces([folder], "train")


def trainer(recipe: Recipe, faces: list[Face], out: Path) -> Trainer:
    return Trainer(recipe, faces, FakeTeacher(), out)


def test_the_loss_falls(faces: list[Face], tmp_path: Path) -> None:
    rows = list(trainer(RECIPE, faces, tmp_path).run(1e9))
    assert np.mean([r["loss"] for r in rows[-3:]]) < 0.9 * np.mean([r["loss"] for r in rows[:3]])
    assert rows[-1]["samples"] == 64
    assert rows[-1]["rate"] < 0.05


def test_halves_give_the_gradient_of_both(faces: list[Face], tmp_path: Path) -> None:
    """Halves that are alike have the batch statistics of the whole, so the step must be its own."""
    whole = trainer(RECIPE, faces, tmp_path / "whole")
    halves = Trainer(RECIPE, faces, FakeTeacher(), tmp_path / "halves", halves=True)
    batch = whole.batches.make(0, 4)
    twice = Batch(
        torch.cat([batch.images] * 2),
        [torch.cat([m] * 2) for m in batch.maps],
        torch.cat([batch.embeddings] * 2),
        torch.cat([batch.labels] * 2),
        batch.head,
    )
    one, two = whole.step(twice), halves.step(twice)
    assert one.keys() == two.keys()
    assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-5)
    a, b = (
        torch.cat([p.grad.flatten() for p in t.network.parameters() if p.grad is not None])
        for t in (whole, halves)
    )
    assert len(a) == sum(p.numel() for p in whole.network.parameters())
    assert (a - b).norm() < 1e-3 * a.norm()


def test_a_killed_run_goes_on_exactly(faces: list[Face], tmp_path: Path) -> None:
    recipe = replace(RECIPE, samples=24)
    whole = trainer(recipe, faces, tmp_path / "whole")
    for _ in whole.run(1e9):
        pass
    first = trainer(recipe, faces, tmp_path / "parts")
    steps = first.run(1e9)
    while first.samples < 12:
        next(steps)
    first.save()
    # A step after the checkpoint is lost in the kill, and must not matter.
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    second = trainer(recipe, faces, tmp_path / "parts")
    assert second.samples == 12
    for _ in second.run(1e9):
        pass
    assert second.samples == whole.samples
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], value, msg=key)


def test_recipes_are_named_apart_and_hints_fit() -> None:
    assert len(RECIPES) > 5
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert (recipe.minutes > 0) != (recipe.samples > 0)
        assert recipe.batch_at(10**9) == recipe.batches[-1][1]
    assert isinstance(RECIPES["pocketnet-s128-r"], Recipe)
    assert Genotype


def test_a_teacher_of_our_own_teaches_stage_by_stage(faces: list[Face], tmp_path: Path) -> None:
    teaching = replace(RECIPES["arcface-resnet56"], name="own", samples=16, batches=((0, 2),), stages=2)
    run = Trainer(teaching, faces, None, tmp_path / "own")
    rows = list(run.run(1e9))
    assert np.isfinite(rows[-1]["arcface"])
    teacher = OwnTeacher(teaching, tmp_path / "own", in_turn=True)
    crops = np.zeros((1, 112, 112, 3), np.uint8)
    early = teacher.embed(crops)
    teacher.select(0.9)
    assert not np.array_equal(early, teacher.embed(crops))
    learning = replace(RECIPES["classification-resnet56"], samples=8, batches=((0, 4),), teacher="own")
    rows = list(Trainer(learning, faces, teacher, tmp_path / "student").run(1e9))
    assert all(np.isfinite(row["loss"]) for row in rows)
