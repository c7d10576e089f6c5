"""The student begins between codes of a real, small teacher, and goes on end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic_faces import write_shards

from training import cell_by_cell
from training.batches import Batches
from training.cell_by_cell import Beginning, exposing_all
from training.networks import PocketNet, RectifiedPocketNet
from training.recipes import RECIPES
from training.shards import read_faces
from training.teachers import OFFICIAL, Teacher, export_pocketnet
from training.trainer import Trainer

WIDTHS = (64, 128, 256, 512)
RECIPE = replace(
    RECIPES["pocketnet-s128-r"], name="tiny", minutes=0, samples=80, student_hints=(0,), cell_by_cell=64
)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, Batches]:
    """A trainer of four cells, and batches with the outputs of all cells of its teacher."""
    torch.manual_seed(0)
    teacher = PocketNet(cells=4).eval()
    everything = replace(exposing_all(OFFICIAL, WIDTHS), hint_channels=(*WIDTHS, 512))
    for name, cells in (("some", (0,)), ("all", range(4))):
        export_pocketnet(teacher, tuple(cells), tmp_path / f"{name}.onnx")
    write_shards(tmp_path, train=24, heldout=0)
    faces = read_faces([tmp_path], "train")
    monkeypatch.setattr("training.trainer.build_student", lambda recipe: RectifiedPocketNet(cells=4))
    some = Teacher(replace(OFFICIAL, hints=(0,), hint_channels=(WIDTHS[0], 512)), tmp_path / "some.onnx")
    trainer = Trainer(Batches(RECIPE, faces, some), tmp_path / "run")
    return trainer, Batches(RECIPE, faces, Teacher(everything, tmp_path / "all.onnx"))


def test_every_cell_learns_and_the_joined_network_goes_on(parts: tuple[Trainer, Batches]) -> None:
    trainer, batches = parts
    rows = list(Beginning(trainer, batches, (*WIDTHS, 512)).run(1e9))
    for index in range(4):
        assert rows[-1][f"hint{index}"] < 0.9 * rows[0][f"hint{index}"], index
    assert trainer.samples == 64
    assert list(trainer.run(1e9))[-1]["samples"] == 80


def test_a_killed_phase_goes_on(parts: tuple[Trainer, Batches], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, batches = parts
    monkeypatch.setattr(cell_by_cell, "CHECKPOINT_SECONDS", 0.0)
    steps = Beginning(trainer, batches, (*WIDTHS, 512)).run(1e9)
    while next(steps)["samples"] < 24:
        pass
    steps.close()
    again = Beginning(trainer, batches, (*WIDTHS, 512))
    assert 16 <= again.samples < 64
    assert [row["samples"] for row in again.run(0)] == [again.samples], "one step, for its time is over"
    assert Beginning(trainer, batches, (*WIDTHS, 512)).samples == again.samples
