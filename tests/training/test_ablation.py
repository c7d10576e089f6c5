"""The ablation's command."""

from __future__ import annotations

import json

from training.ablation import main, row
from training.recipes import RECIPES
from training.recipes.ablation import ABLATION


def test_runs_differ_from_the_first_and_see_as_many_samples():
    first, *others = ABLATION
    assert all(recipe.samples == first.samples for recipe in others)
    assert all(recipe != first and RECIPES[recipe.name] is recipe for recipe in others)


def test_a_line_of_the_table(tmp_path):
    points = [{"fmr": 0.01, "tar": 0.25}, {"fmr": 0.001, "tar": 0.125}]
    figures = {"heldout": {"points": points}, "heldout_cosine": 0.5, "minutes": 4.2}
    (tmp_path / "ablation-adamw").mkdir()
    (tmp_path / "ablation-adamw" / "ablation-adamw.json").write_text(json.dumps(figures))
    assert row("ablation-adamw", tmp_path) == "| adamw | 0.500 | 25.0% | 12.5% | 4.2 |\n"


def test_a_run_that_fails_is_one_line(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["ablation", "--faces", str(tmp_path), "--models", "none", "--out", out])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ablation-base failed" in error
    assert "manifest.csv" in (tmp_path / "out" / "ablation-base.log").read_text()
