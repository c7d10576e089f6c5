"""The ablation's command."""

from __future__ import annotations

import json

import numpy as np
import torch

from training.ablation import left, main, row, sample
from training.losses import Hints
from training.recipes import RECIPES
from training.recipes.ablation import ABLATION
from training.shards import centre
from training.students import build_student
from training.teachers import TEACHERS, Teacher, build


def test_runs_differ_from_the_first_and_see_as_many_samples():
    first, *others = ABLATION
    assert all(recipe.samples == first.samples for recipe in others)
    assert all(recipe != first and RECIPES[recipe.name] is recipe for recipe in others)


def test_a_line_of_the_table(tmp_path):
    points = [{"fmr": 0.01, "tar": 0.25}, {"fmr": 0.001, "tar": 0.125}]
    figures = {"heldout": {"points": points}, "heldout_cosine": 0.5, "minutes": 4.2}
    (tmp_path / "ablation-no-hints").mkdir()
    (tmp_path / "ablation-no-hints" / "ablation-no-hints.json").write_text(json.dumps(figures))
    recipe = RECIPES["ablation-no-hints"]
    assert row(recipe, tmp_path, []) == "| no-hints |  | 0.500 | 25.0% | 12.5% | 4.2 |\n"


def test_all_is_left_of_maps_by_a_student_that_learnt_nothing(shared, tmp_path):
    recipe, spec = ABLATION[0], TEACHERS["open"]
    build(spec, shared / "models", tmp_path / "teacher-open.onnx")
    faces = sample([shared / "data" / "faces"])[:64]
    maps = Teacher(spec, tmp_path / "teacher-open.onnx")(np.stack([centre(face) for face in faces]))[:-1]
    network = build_student(recipe)
    channels = [m.shape[1] for m in network.stages(torch.zeros(2, 3, 112, 112), recipe.student_hints)[:-1]]
    hints = Hints(channels, spec.hint_channels)
    hints.calibrate([torch.from_numpy(m) for m in maps])
    for layer in hints.maps:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    (tmp_path / recipe.name).mkdir()
    state = {"network": network.state_dict(), "hints": hints.state_dict()}
    torch.save(state, tmp_path / recipe.name / "checkpoint.pt")
    # Somewhat less than all where channels are constant, which are not blown up to unit deviation.
    assert all(0.85 < value < 1.02 for value in left(recipe, tmp_path, faces))


def test_a_run_that_fails_is_one_line(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["ablation", "--faces", str(tmp_path), "--models", "none", "--out", out])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ablation-base failed" in error
    assert "manifest.csv" in (tmp_path / "out" / "ablation-base.log").read_text()
