"""`pocketface models` as a user types it."""

from __future__ import annotations

import json

import pytest

from pocketface import registry
from pocketface.cli import main


@pytest.fixture
def folder(home, monkeypatch):
    path = home / "models"
    monkeypatch.setenv("POCKETFACE_MODELS", str(path))
    monkeypatch.setattr(registry, "__file__", str(home / "site" / "package" / "registry.py"))
    return path


def test_the_table_tells_terms_and_place(folder, tiny, capsys):
    path = tiny.put(folder, tiny.embedder(), "tiny.onnx")
    assert main(["models"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["*", "tiny", "fp32", "onnx", "0.00", "MB", "CC0-1.0", "yes", "-", str(path)]


def test_json_holds_the_whole_card(folder, tiny, capsys):
    tiny.put(folder, tiny.embedder(), "tiny.onnx")
    assert main(["models", "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["license"] == {"weights": "CC0-1.0", "data": "none", "commercial": "yes", "notes": ""}
    assert model["chosen"]
    assert model["id"] == registry.find("tiny").id


def test_add_export_verify(folder, home, tiny, tmp_path, capsys):
    path = tiny.put(tmp_path / "in", tiny.embedder(), "tiny.onnx")
    assert main(["models", "add", str(path)]) == 0
    assert "commercial use: yes" in capsys.readouterr().out
    bundle = tmp_path / "out.zip"
    assert main(["models", "export-bundle", str(bundle), "tiny"]) == 0
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("ok  ")
    installed = registry.find("tiny").path
    installed.write_bytes(installed.read_bytes()[:-1])
    assert main(["models", "verify"]) == 2
    assert "BAD" in capsys.readouterr().out
    assert main(["models", "verify", "--json"]) == 2
    assert "truncated" in json.loads(capsys.readouterr().out)[str(installed)]
    installed.unlink()
    assert main(["models", "add", str(bundle)]) == 0
    assert main(["models", "verify", "tiny"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "gone.onnx"],
        ["add", "gone.zip"],
        ["fetch", "arcface"],
        ["fetch", "sface", "--mirror", "file:///etc"],
        ["export-bundle", "out.zip", "nobody"],
        ["export-bundle", "out.zip"],
        ["verify", "nobody"],
    ],
    ids=" ".join,
)
def test_errors_are_one_line_and_status_2(folder, capsys, arguments):
    assert main(["models", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pocketface: ")
    assert captured.err.count("\n") == 1
