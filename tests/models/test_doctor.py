"""The self-test notices wrong answers, crashes, hangs and broken engines, and survives them."""

from __future__ import annotations

import json
import platform
import struct
from pathlib import Path

import numpy as np
import pytest

from pocketface import doctor, engines, golden, registry, tuning
from pocketface.cards import Speed
from pocketface.cli import main
from pocketface.errors import ModelError


@pytest.fixture
def folder(home, monkeypatch):
    """An empty `$POCKETFACE_MODELS`, the package's own models out of the way, one processor."""
    path = home / "models"
    path.mkdir()
    monkeypatch.setenv("POCKETFACE_MODELS", str(path))
    monkeypatch.setattr(registry, "__file__", str(home / "site" / "package" / "registry.py"))
    monkeypatch.setattr(doctor, "default_threads", lambda: 1)
    return path


def put_checked(tiny, folder, file="tiny.onnx", **changes):
    """A tiny embedder whose card holds what it gives for the self-test's face."""
    path = tiny.put(folder, tiny.embedder(), file, **changes)
    measured = golden.measure(registry.from_file(path))
    return tiny.put(folder, tiny.embedder(), file, golden=measured, **changes)


def without_litert(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH in which LiteRT is broken."""
    package = tmp_path / "fake" / "ai_edge_litert"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text("raise ImportError('not here')")
    return package.parent


def fake_onnxruntime(tmp_path: Path, code: str) -> Path:
    package = tmp_path / "fake" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    return package.parent


def test_a_healthy_machine(folder, tiny, capsys):
    put_checked(tiny, folder)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "embedding as expected" in out
    assert out.endswith("all is well\n")
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert {check["what"] for check in report["checks"]} == {
        "onnxruntime",
        "litert",
        "tiny.onnx, onnxruntime, 1 thread",
    }


def test_a_faster_form_without_its_engine_is_named(folder, tiny, capsys, monkeypatch):
    put_checked(tiny, folder)
    speed = Speed((tuning.processor(),), 2.0)
    tiny.put(folder, b"graph", "tiny.int8.tflite", precision="int8", speed=speed)
    monkeypatch.setattr(engines, "runnable", lambda: frozenset({".onnx"}))
    note = f"tiny.int8.tflite is the fastest form on {tuning.processor()}, and no engine for it is installed"
    main(["doctor"])
    out = capsys.readouterr().out
    assert f'{note}: pip install "pocketface[tflite]"' in out
    assert "embedder    tiny.onnx\nterms       CC0-1.0, commercial use: yes\n" in out


def test_a_wrong_embedding_fails(folder, tiny, capsys):
    path = put_checked(tiny, folder)
    card = registry.read_card(registry.card_file(path))
    values = (card.golden.values[0] + 0.01, *card.golden.values[1:])
    changed = registry.replace(card, golden=registry.replace(card.golden, values=values))
    registry.card_file(path).write_text(changed.to_json())
    assert main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "wrong embedding: values differ by 0.01 (0.001 allowed)" in out
    assert "1 of 3 checks failed" in out


def test_a_tampered_graph_fails(folder, tiny, capsys):
    path = put_checked(tiny, folder)
    graph = bytearray(path.read_bytes())
    graph[-60] ^= 1
    path.write_bytes(graph)
    assert main(["doctor"]) == 2
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
            "SIGILL: an instruction this processor lacks",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV: a crash inside the engine"),
        ("import os; os._exit(3)", "ended with status 3"),
        ("import time; time.sleep(600)", "hangs: no answer within 3 s"),
        ("raise ImportError('numpy.core.multiarray failed to import')", "was built for numpy 1"),
        ("raise ImportError('libgomp.so.1: cannot open shared object file')", "libgomp.so.1: cannot open"),
    ],
    ids=["SIGILL", "SIGSEGV", "exit", "hang", "numpy", "library"],
)
def test_a_broken_engine_does_not_take_the_doctor_with_it(folder, tiny, tmp_path, monkeypatch, code, message):
    put_checked(tiny, folder)
    monkeypatch.setenv("PYTHONPATH", str(fake_onnxruntime(tmp_path, code)))
    report = doctor.examine(timeout=3.0 if "sleep" in code else 60.0)
    checks = {check.what: check for check in report.checks}
    assert checks["onnxruntime"].ok is False
    assert message in checks["onnxruntime"].message
    assert checks["tiny.onnx, onnxruntime"].ok is None
    assert not report.ok


def test_no_model_is_a_failure(folder, capsys):
    assert main(["doctor"]) == 2
    assert "'pocketface models fetch sface'" in capsys.readouterr().out


def test_the_tuned_thread_count_is_tried(folder, tiny):
    put_checked(tiny, folder)
    tuning.store("tiny", tuning.Choice("onnxruntime", "tiny.onnx", 2, "2026-11-22", tuning.cpu_name()))
    report = doctor.examine()
    assert "tiny.onnx, onnxruntime, 2 threads" in [check.what for check in report.checks]
    assert report.tuned["tiny"].threads == 2


def test_a_damaged_tuning_file_is_noted(folder, tiny):
    put_checked(tiny, folder)
    path = tuning.cache_folder() / "tuned.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    report = doctor.examine()
    assert any("tuned.json" in note for note in report.notes)


@pytest.mark.parametrize(
    ("machine", "words"), [("armv7l", "is 32-bit"), ("aarch64", "kernel is 64-bit (aarch64)")]
)
def test_32_bit_is_explained_in_one_sentence(folder, monkeypatch, machine, words):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(struct, "calcsize", lambda _: 4)
    (note,) = (note for note in doctor.examine().notes if "64-bit only" in note)
    assert words in note
    assert "\n" not in note


@pytest.mark.parametrize(
    ("machine", "flags", "words"),
    [
        ("x86_64", {"sse2", "avx"}, "no AVX2"),
        ("aarch64", {"asimd"}, "fp32 forms are the fastest"),
        ("x86_64", {"avx2"}, None),
        ("aarch64", {"asimd", "asimddp"}, None),
        ("x86_64", set(), None),
    ],
)
def test_old_processors_are_noted(machine, flags, words):
    notes = doctor._notes(machine, 64, frozenset(flags), True)
    assert [words in note for note in notes] == ([True] if words else [])


@pytest.mark.parametrize(("pi", "dot_products"), [("rpi4", False), ("rpi5", True)])
def test_flags_are_read_from_cpuinfo(shared, pi, dot_products):
    flags = doctor._cpu_flags(shared / f"tools/arm/cpuinfo.{pi}")
    assert "asimd" in flags
    assert ("asimddp" in flags) == dot_products


def test_the_golden_crop_is_a_face_in_rgb():
    crop = golden.crop()
    assert crop.shape == (112, 112, 3)
    assert crop.dtype == np.uint8
    red, _, blue = crop[40:90, 30:80].reshape(-1, 3).mean(axis=0)
    assert red > blue + 20


def test_tolerances_grow_as_precision_falls(folder, tiny):
    path = put_checked(tiny, folder)
    model = registry.from_file(path)
    for precision, passes in (("fp32", False), ("fp16", True), ("int8", True)):
        values = (model.card.golden.values[0] + 0.003, *model.card.golden.values[1:])
        card = registry.replace(
            model.card, precision=precision, golden=registry.replace(model.card.golden, values=values)
        )
        if passes:
            assert "as expected" in golden.check(registry.Model(card, path))
        else:
            with pytest.raises(ModelError, match="wrong embedding"):
                golden.check(registry.Model(card, path))


def test_detectors_must_find_the_face(shared):
    model = registry.from_file(shared / "models/yunet_n_dynamic.onnx")
    assert "face found" in golden.check(model)
