"""Registering files and bundles; hostile bundles are refused and leave nothing behind."""

from __future__ import annotations

import io
import json
import shutil
import zipfile

import pytest

from pocketface import install, registry
from pocketface.errors import ModelError


def everything(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_a_graph_with_its_card_is_copied_and_found(home, tiny, tmp_path):
    path = tiny.put(tmp_path / "in", tiny.embedder(), "tiny.onnx")
    (model,) = install.add(path)
    assert model.path.parent == registry.user_folder()
    assert registry.find("tiny") == model
    assert model.read() == path.read_bytes()
    assert install.add(path) == [model]


def test_a_card_may_lie_elsewhere(home, tiny, tmp_path):
    path = tmp_path / "graph.onnx"
    path.write_bytes(tiny.embedder())
    card = tmp_path / "card.json"
    card.write_text(tiny.card_of(tiny.embedder(), "tiny.onnx").to_json())
    (model,) = install.add(path, card)
    assert model.path.name == "tiny.onnx"


def test_a_public_file_needs_no_card_and_gets_its_own_name(home, shared, tmp_path):
    path = tmp_path / "download(1).onnx"
    shutil.copy(shared / "models/face_detection_yunet_2023mar.onnx", path)
    (model,) = install.add(path)
    assert model.path.name == "face_detection_yunet_2023mar.onnx"
    assert registry.find("yunet", task="detect").card == model.card


def test_refusals(home, tiny, tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny.embedder())
    with pytest.raises(ModelError, match="needs a card"):
        install.add(path)
    card = tmp_path / "card.json"
    card.write_text(tiny.card_of(tiny.embedder(1), "tiny.onnx").to_json())
    with pytest.raises(ModelError, match="sha256 is not the card's"):
        install.add(path, card)
    with pytest.raises(ModelError, match="no such file"):
        install.add(tmp_path / "gone.onnx", card)
    with pytest.raises(ModelError, match=r"gone\.json: cannot be read"):
        install.add(path, tmp_path / "gone.json")
    assert everything(registry.user_folder()) == []


def test_another_file_of_that_name_is_kept(home, tiny, tmp_path):
    install.add(tiny.put(tmp_path / "a", tiny.embedder(1), "tiny.onnx"))
    with pytest.raises(ModelError, match="another file of that name"):
        install.add(tiny.put(tmp_path / "b", tiny.embedder(2), "tiny.onnx"))
    assert registry.find("tiny").read() == tiny.embedder(1)


def test_a_bundle_carries_models_to_another_machine(home, tiny, tmp_path, monkeypatch):
    one = registry.from_file(tiny.put(tmp_path / "a", tiny.embedder(1), "one.onnx", name="one"))
    two = registry.from_file(tiny.put(tmp_path / "a", tiny.add_tflite(), "two.tflite", name="two"))
    bundle = tmp_path / "models.zip"
    install.export_bundle(bundle, [one, two])
    assert zipfile.ZipFile(bundle).testzip() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
    added = install.add(bundle)
    assert [model.card for model in added] == [one.card, two.card]
    assert registry.find("one").read() == one.read()


def zipped(path, entries: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_hostile_bundles(home, tiny, tmp_path):
    graph = tiny.embedder()
    card = tiny.card_of(graph, "tiny.onnx").to_json().encode()
    small = json.loads(card)
    small["size"] = 10
    other = json.loads(card)
    other["file"] = "tiny.onnx.json"
    huge = json.loads(card)
    huge["size"] = 1 << 39
    whole = zipped(tmp_path / "whole.zip", {"tiny.onnx": graph, "tiny.onnx.json": card}).read_bytes()
    bundles = {
        "no folders": zipped(tmp_path / "1.zip", {"../tiny.onnx": graph, "../tiny.onnx.json": card}),
        "no plain file name": zipped(tmp_path / "2.zip", {"/etc/x.json": card}),
        "not in the bundle": zipped(tmp_path / "3.zip", {"tiny.onnx.json": card}),
        "has no card": zipped(tmp_path / "4.zip", {"tiny.onnx": graph}),
        "sha256 is not": zipped(tmp_path / "5.zip", {"tiny.onnx": tiny.embedder(1), "tiny.onnx.json": card}),
        "longer than its card": zipped(
            tmp_path / "6.zip", {"tiny.onnx": graph, "t.json": json.dumps(small).encode()}
        ),
        "its graph": zipped(tmp_path / "7.zip", {"tiny.onnx.json": json.dumps(other).encode()}),
        "is refused": zipped(tmp_path / "8.zip", {"tiny.onnx": graph, "t.json": json.dumps(huge).encode()}),
        "too large for a card": zipped(tmp_path / "9.zip", {"t.json": b" " * (2 << 20)}),
        "a bundle of 0 files": zipped(tmp_path / "10.zip", {}),
        "a bundle of 300 files": zipped(tmp_path / "11.zip", {f"{n}.json": b"" for n in range(300)}),
        "not a readable bundle": tmp_path / "12.zip",
    }
    bundles["not a readable bundle"].write_bytes(whole[: len(whole) // 2])
    for reason, path in bundles.items():
        with pytest.raises(ModelError, match=reason):
            install.add(path)
        assert everything(registry.user_folder()) == [], reason


def test_mutated_bundles_are_added_whole_or_refused(home, tiny, tmp_path):
    graph = tiny.embedder()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("tiny.onnx", graph)
        file.writestr("tiny.onnx.json", tiny.card_of(graph, "tiny.onnx").to_json())
    whole = buffer.getvalue()
    path = tmp_path / "m.zip"
    for place in range(0, len(whole), max(1, len(whole) // 300)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            (model,) = install.add(path)
        except ModelError:
            continue
        assert model.read() == graph
        shutil.rmtree(registry.user_folder())
