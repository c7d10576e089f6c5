"""Which file a name means, and what `read` refuses."""

from __future__ import annotations

import pickle
import platform
import shutil
from pathlib import Path

import pytest

from pocketface import engines, known, registry, tuning
from pocketface.cards import InputSpec, Speed
from pocketface.errors import EngineError, InputError, ModelError


@pytest.fixture
def folder(home, monkeypatch):
    """An empty `$POCKETFACE_MODELS`; the package's own models are out of the way."""
    path = home / "models"
    path.mkdir()
    monkeypatch.setenv("POCKETFACE_MODELS", str(path))
    monkeypatch.setattr(registry, "__file__", str(home / "site" / "package" / "registry.py"))
    return path


def test_order_of_the_folders(home, folder, tiny, monkeypatch):
    other = home / "other"
    monkeypatch.setenv("POCKETFACE_MODELS", f"{folder}{registry.os.pathsep}{other}")
    package = home / "site" / "models"
    assert registry.folders() == (folder, other, home / ".cache" / "pocketface" / "models", package)
    cached = tiny.put(registry.user_folder(), tiny.embedder(1), "tiny.onnx")
    assert registry.find("tiny").path == cached
    second = tiny.put(other, tiny.embedder(2), "tiny.onnx")
    assert registry.find("tiny").path == second
    first = tiny.put(folder, tiny.embedder(3), "tiny.onnx")
    assert registry.find("tiny").path == first
    assert [model.path for model in registry.installed()] == [first, second, cached]


def test_names(folder, tiny):
    fp32 = tiny.put(folder, tiny.embedder(1), "tiny.fp32.onnx")
    int8 = tiny.put(folder, tiny.add_tflite(), "tiny.int8.tflite", precision="int8")
    assert registry.find("tiny").path == fp32
    assert registry.find("tiny.fp32").path == fp32
    assert registry.find("tiny.int8").path == int8
    assert registry.find("tiny.int8.tflite").path == int8
    assert registry.find(str(int8)).path == int8
    assert registry.find(int8, task="embed").path == int8


def test_formats_of_one_stem_each_have_their_card(folder, tiny):
    onnx = tiny.put(folder, tiny.embedder(1), "tiny.fp32.onnx")
    tflite = tiny.put(folder, tiny.add_tflite(), "tiny.fp32.tflite")
    assert registry.find("tiny").path == onnx
    assert registry.find(tflite).card.format == "tflite"
    assert registry.find(onnx).card.format == "onnx"


def test_a_card_of_the_same_stem_is_read(folder, tiny):
    path = tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    path.with_name("tiny.onnx.json").rename(path.with_name("tiny.json"))
    (folder / "tiny.tflite").write_bytes(tiny.add_tflite())
    assert registry.find("tiny").path == path
    assert [model.path for model in registry.installed()] == [path]
    assert "tiny.tflite: has no card" in str(registry.problems()[0])


def test_the_form_follows_the_installed_engine(folder, tiny, monkeypatch):
    tiny.put(folder, tiny.embedder(1), "tiny.fp32.onnx")
    tflite = tiny.put(folder, tiny.add_tflite(), "tiny.fp32.tflite")
    monkeypatch.setattr(engines, "available", lambda: ("litert",))
    assert registry.find("tiny").path == tflite
    monkeypatch.setattr(engines, "available", lambda: ())
    with pytest.raises(EngineError, match="pip install onnxruntime"):
        registry.find("tiny")


def test_the_tuned_form_is_taken_on_the_processor_it_was_tuned_on(folder, tiny):
    fp32 = tiny.put(folder, tiny.embedder(1), "tiny.fp32.onnx")
    int8 = tiny.put(folder, tiny.add_tflite(), "tiny.int8.tflite", precision="int8")
    choice = tuning.Choice("litert", "tiny.int8.tflite", 3, "2026-11-22", tuning.cpu_name())
    tuning.store("tiny", choice)
    assert registry.find("tiny").path == int8
    assert registry.find("tiny").threads() == 3
    assert registry.find(fp32).threads() is None
    tuning.store("tiny", registry.replace(choice, cpu="another"))
    assert registry.find("tiny").path == fp32


@pytest.mark.parametrize(
    ("machine", "board", "kind"),
    [
        ("x86_64", "a76", "x86-64"),
        ("AMD64", "a76", "x86-64"),
        ("aarch64", "a72", "arm64"),
        ("aarch64", "a76", "arm64-dotprod"),
        ("arm64", "none", "arm64"),
        ("riscv64", "a76", "riscv64"),
    ],
)
def test_kinds_of_processors(monkeypatch, machine, board, kind):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    texts = Path(__file__).resolve().parents[2] / "benchmarks" / "arm"
    assert tuning.processor(texts / f"cpuinfo.{board}") == kind


@pytest.mark.parametrize(
    ("kind", "file"),
    [("arm64", "tiny.fp16.tflite"), ("arm64-dotprod", "tiny.int8.tflite"), ("x86-64", "tiny.onnx")],
)
def test_the_default_form_is_what_cards_call_the_fastest_here(folder, tiny, monkeypatch, kind, file):
    """No card claims x86-64: there the most exact form is taken."""
    tiny.put(folder, tiny.embedder(), "tiny.onnx")
    for precision, processor in (("fp16", "arm64"), ("int8", "arm64-dotprod")):
        speed = Speed((processor,), 2.0)
        tiny.put(folder, b"graph", f"tiny.{precision}.tflite", precision=precision, speed=speed)
    monkeypatch.setattr(tuning, "processor", lambda: kind)
    assert registry.find("tiny").card.file == file
    assert registry.find("tiny", suffixes=frozenset({".onnx"})).card.file == "tiny.onnx"


def test_tuned_choices_of_other_models_are_kept(home):
    one = tuning.Choice("litert", "a.tflite", 1, "2026-11-22", tuning.cpu_name())
    two = tuning.Choice("onnxruntime", "b.onnx", 2, "2026-11-22", tuning.cpu_name())
    tuning.store("a", one)
    tuning.store("b", two)
    assert tuning.load() == {"a": one, "b": two}


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"threads": 0}}', "\x00", "[" * 99999])
def test_a_damaged_tuning_file_is_a_model_error(home, text):
    path = home / ".cache/pocketface/tuned.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ModelError, match=r"tuned\.json: .*delete it"):
        tuning.load()


def test_default_prefers_marked_then_listed_networks(folder, tiny, home):
    with pytest.raises(ModelError, match="'pocketface models fetch sface'"):
        registry.default("embed")
    tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    assert registry.default("embed").card.name == "tiny"
    tiny.put(folder, tiny.embedder(2), "o.onnx", name="pocketnet-s128-open")
    assert registry.default("embed").card.name == "pocketnet-s128-open"
    tiny.put(folder, tiny.embedder(3), "r.onnx", name="pocketnet-s128-r")
    assert registry.default("embed").card.name == "pocketnet-s128-r"
    tiny.put(folder, tiny.embedder(2), "o.onnx", name="pocketnet-s128-open", default=True)
    assert registry.default("embed").card.name == "pocketnet-s128-open"
    with pytest.raises(InputError):
        registry.default("classify")


def test_what_is_not_found_says_what_is_there(folder, tiny):
    tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    with pytest.raises(ModelError, match=r"no model 'arcface'; installed: tiny; .* sface"):
        registry.find("arcface")
    with pytest.raises(ModelError, match=r"gone/m\.onnx: no such file"):
        registry.find("gone/m.onnx")
    with pytest.raises(ModelError, match="here a model to detect is needed"):
        registry.find("tiny", task="detect")


def test_models_pickle(folder, tiny):
    tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    model = registry.find("tiny")
    assert pickle.loads(pickle.dumps(model)) == model


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda g: g[:-1], "truncated or damaged"),
        (lambda g: g[:200], "truncated or damaged"),
        (lambda g: g[:-40] + bytes([g[-40] ^ 1]) + g[-39:], "sha256 is not the card's|damaged"),
        (lambda g: g + b"\x08\x01", "its card says"),
        (lambda g: b"", "empty"),
        (lambda g: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (lambda g: b"<!doctype html><title>Sign in</title>", "web page"),
    ],
)
def test_a_spoilt_graph_is_refused_before_an_engine_sees_it(folder, tiny, spoil, reason):
    path = tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ModelError, match=reason) as caught:
        registry.find("tiny").read()
    assert str(path) in str(caught.value)


def test_a_graph_that_vanished(folder, tiny):
    path = tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    model = registry.find("tiny")
    path.unlink()
    with pytest.raises(ModelError, match="No such file"):
        model.read()


def test_a_bad_card_spoils_only_its_own_model(folder, tiny):
    tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    bad = tiny.put(folder, tiny.embedder(2), "bad.onnx", name="bad")
    bad.with_name("bad.onnx.json").write_text("{")
    assert registry.find("tiny").card.name == "tiny"
    assert "bad.onnx.json: not a JSON card" in str(registry.problems()[0])
    with pytest.raises(ModelError, match="not a JSON card"):
        registry.find(bad)


def test_a_card_for_another_file_is_refused(folder, tiny):
    path = tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    shutil.copy(path, folder / "copy.onnx")
    shutil.copy(folder / "tiny.onnx.json", folder / "copy.onnx.json")
    with pytest.raises(ModelError, match=r"describes 'tiny\.onnx', not 'copy\.onnx'"):
        registry.find(folder / "copy.onnx")


def test_a_graph_without_card_is_uncalibrated_and_says_what_is_assumed(folder, tiny):
    path = folder / "mine.onnx"
    path.write_bytes(tiny.embedder())
    card = registry.find(path).card
    assert (card.task, card.output.name, card.output.dim) == ("embed", "embedding", 8)
    assert "assumed" in card.source
    assert not card.calibrated
    assert card.license.commercial == "unclear"
    contract = InputSpec("", "NCHW", "float32", "bgr", (0.0,) * 3, (1.0,) * 3, (112, 112), "arcface-112")
    card = registry.find(path, contract=contract).card
    assert (card.input.name, card.input.channels) == ("image", "bgr")
    assert "assumed" not in card.source


@pytest.mark.parametrize(
    "file",
    [
        "pocketnet-s128-r.fp32.onnx",
        "pocketnet-s128-r.fp16.tflite",
        "pocketnet-s128-r.int8.tflite",
        "facedet.fp32.onnx",
        "facedet.fp16.tflite",
        "facedet.int8.tflite",
    ],
)
def test_our_graphs_are_fed_alike_with_and_without_their_card(folder, file):
    shipped = Path(__file__).resolve().parents[2] / "models" / file
    if not shipped.is_file():
        pytest.skip(f"needs models/{file}")
    expected = registry.find(shipped).card
    card = registry.find(shutil.copy(shipped, folder / file), task=expected.task).card
    assert (card.input, card.output, card.kind) == (expected.input, expected.output, expected.kind)


def test_without_a_home_the_user_folder_is_left_out(folder, tiny, monkeypatch):
    path = tiny.put(folder, tiny.embedder(1), "tiny.onnx")
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    assert registry.find("tiny").path == path
    assert registry.find("tiny").threads() is None
    with pytest.raises(ModelError, match="set HOME or XDG_CACHE_HOME"):
        registry.user_folder()


def test_a_graph_that_is_neither_detector_nor_embedder_needs_a_card(folder, tiny):
    path = folder / "other.onnx"
    path.write_bytes(tiny.add_onnx())
    with pytest.raises(ModelError, match="neither a known detector nor one embedding"):
        registry.find(path)


@pytest.mark.parametrize(
    ("file", "name", "kind"),
    [
        ("face_detection_yunet_2023mar.onnx", "yunet", "yunet"),
        ("yunet_n_dynamic.onnx", "yunet-n-dynamic", "yunet"),
        ("det_500m.onnx", "scrfd-500m", "scrfd"),
        ("mobilefacenet_foamliu.onnx", "mobilefacenet-foamliu", "embedder"),
        ("peers/w600k_mbf.onnx", "w600k-mbf", "embedder"),
    ],
)
def test_public_files_are_known_whatever_they_are_called(shared, folder, file, name, kind):
    path = folder / "renamed.onnx"
    shutil.copy(shared / "models" / file, path)
    model = registry.find(path)
    assert (model.card.name, model.card.kind) == (name, kind)
    session = engines.for_format(".onnx").load(model.read(), threads=1)
    assert [info.name for info in session.inputs] == [model.card.input.name]
    if model.card.output:
        assert [info.name for info in session.outputs] == [model.card.output.name]


@pytest.mark.parametrize(
    ("file", "kind"), [("face_detection_yunet_2023mar.onnx", "yunet"), ("det_500m.onnx", "scrfd")]
)
def test_kinds_of_detectors_are_told_by_their_outputs(shared, folder, file, kind):
    graph = registry.known.Path(shared / "models" / file).read_bytes()
    path = folder / "unknown.onnx"
    path.write_bytes(graph + b"\x12\x01x")  # another producer name: the same graph under another sha256
    model = registry.find(path, task="detect")
    expected = known.identify(shared / "models" / file)
    assert expected is not None
    assert model.card.kind == kind
    assert model.card.input.channels == expected.input.channels
    assert model.card.input.mean == expected.input.mean
    assert model.card.input.scale == expected.input.scale
