"""`pocketface bench`: device description, choice of the form, reports. Nothing is asserted about times."""

import json
import sys
from pathlib import Path

import pytest

from pocketface import tuning
from pocketface.bench import cold, html, machine, text, tune
from pocketface.bench.timing import LEAST_CALLS, crowding, time_interleaved
from pocketface.cli import main
from pocketface.errors import ModelError, PocketfaceError

ARM = Path(__file__).resolve().parents[2] / "benchmarks" / "arm"


@pytest.fixture
def pi5(tmp_path):
    """The files of a Raspberry Pi 5 that the report reads."""
    files = {
        "proc/cpuinfo": (ARM / "cpuinfo.a76").read_text(),
        "proc/meminfo": "MemTotal:        8245248 kB\nMemFree: 1 kB\n",
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "2400000\n",
        "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "2400000\n",
        "sys/class/thermal/thermal_zone0/temp": "51200\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_a_pi_is_recognised(pi5):
    found = machine.describe(pi5)
    assert found["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["cores"] == ["Cortex-A76"]
    assert found["dot_product"] is True
    assert found["memory_mb"] == 8052
    (pi5 / "proc" / "cpuinfo").write_text((ARM / "cpuinfo.a72").read_text())
    older = machine.describe(pi5)
    assert (older["cores"], older["dot_product"]) == (["Cortex-A72"], False)


def test_a_throttled_pi_is_recognised(pi5):
    before = machine.read(pi5)
    assert (before.governor, before.mhz, before.celsius, before.throttled) == (
        ("ondemand",),
        (2400.0,),
        51.2,
        0,
    )
    assert machine.warnings(before, machine.read(pi5)) == []
    (pi5 / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq").write_text("1500000\n")
    (pi5 / "sys/class/thermal/thermal_zone0/temp").write_text("85100\n")
    (pi5 / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("e0008\n")
    notes = " ".join(machine.warnings(before, machine.read(pi5)))
    assert "1500 of 2400 MHz" in notes
    assert "85 °C" in notes
    assert "0xe0008" in notes


def test_a_system_that_tells_nothing_is_no_error(tmp_path):
    empty = machine.read(tmp_path)
    assert empty.mhz == ()
    assert machine.warnings(empty, empty) == []
    assert machine.describe(tmp_path)["cores"] == []


def test_calls_take_turns():
    order = []
    timings = time_interleaved({name: lambda n=name: order.append(n) for name in "ab"}, seconds=0)
    assert timings["a"].calls == LEAST_CALLS
    assert order[4:] == ["a", "b"] * LEAST_CALLS
    assert timings["a"].p50 <= timings["a"].p95 <= timings["a"].p99


def test_a_busy_machine_is_noticed():
    rows = [{"threads": 1, "p50": 30.0, "cpu": 10.0}, {"threads": 2, "p50": 5.0, "cpu": 10.0}]
    assert crowding(rows) == 3
    assert crowding([]) == 1


def row(file, threads, p50):
    return {"file": file, "threads": threads, "p50": p50}


def test_tuning_wants_a_gain_for_less_exactness_and_more_threads(tiny):
    exact, rough = tiny(), tiny(precision="int8", noise=0.1)
    forms = tune.candidates(rough, [rough, exact, tiny(name="stranger", space="other/1")])
    assert [model.card.file for model in forms] == ["tiny.fp32.onnx", "tiny.int8.onnx"]
    fast = tune.choose(forms, [row("tiny.int8.onnx", 1, 5.0), row("tiny.fp32.onnx", 1, 9.0)])
    assert (fast.file, fast.threads, fast.engine) == ("tiny.int8.onnx", 1, "onnxruntime")
    close = tune.choose(forms, [row("tiny.int8.onnx", 1, 8.5), row("tiny.fp32.onnx", 1, 9.0)])
    assert close.file == "tiny.fp32.onnx"
    two = tune.choose(forms, [row("tiny.fp32.onnx", 2, 5.0), row("tiny.fp32.onnx", 1, 9.0)])
    assert two.threads == 2
    with pytest.raises(ModelError, match="no form"):
        tune.choose(forms, [{"file": "tiny.fp32.onnx", "threads": 1, "error": "refused"}])


def test_cold_start_reports_the_childs_last_line():
    numbers = cold.run_child([sys.executable, "-c", 'print(\'{"a": 3, "b": null}\')'], times=2)
    assert (numbers["a"], numbers["b"]) == (3, None)
    assert numbers["process_ms"] > 0
    with pytest.raises(PocketfaceError, match="ValueError: broken"):
        cold.run_child([sys.executable, "-c", "raise ValueError('broken')"], times=1)


def bench(models, *more):
    detector, embedder = models
    names = ["--detector", str(detector.path), "--embedder", str(embedder.path)]
    return main(["bench", *names, "--seconds", "0.001", *more])


def test_every_step_is_timed(models, tmp_path, capsys):
    page = tmp_path / "report.html"
    assert bench(models, "--no-cold", "--threads", "2", "--json", "--html", str(page)) == 0
    report = json.loads(capsys.readouterr().out)
    steps = {(r["step"], r["threads"], r["batch"]) for r in report["steps"]}
    assert {("read", 1, 1), ("align", 1, 1), ("detect", 1, 1), ("embed", 2, 1)} <= steps
    assert {("photo to embedding", 1, 1), ("two photos to a decision", 2, 1)} <= steps
    assert report["machine"]["usable_cpus"] >= 1
    content = page.read_text("utf-8")
    assert content.count("<svg") == 2
    for outside in ("<script", "<link", 'src="', "http"):
        assert outside not in content
    assert "two photos to a decision" in text.render(report)
    assert html.render({**report, "steps": []}).startswith("<!doctype html>")


def test_tuning_is_stored_and_used(tiny, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tiny()
    monkeypatch.setenv("POCKETFACE_MODELS", str(model.path.parent))
    tiny(precision="int8", noise=0.1)
    assert bench((models[0], model), "--tune", "--threads", "1") == 0
    assert "used from now on" in capsys.readouterr().out
    choice = tuning.load()["tiny"]
    assert choice.threads == 1
    from pocketface import registry

    assert registry.find("tiny").card.file == choice.file


def test_cold_start_of_the_package(models, capsys):
    assert bench(models, "--threads", "1", "--json") == 0
    start = json.loads(capsys.readouterr().out)["cold"]
    assert 0 < start["first_result_ms"] < start["process_ms"]
    assert start["peak_mb"] > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "threads must be 1 to 256"),
        (["--threads", "100000"], "threads must be 1 to 256"),
        (["--seconds", "0"], "--seconds must be more than 0"),
        (["missing.jpg"], "missing.jpg: no such file"),
        (["a", "b", "c"], "give one or two photos"),
    ],
)
def test_wrong_arguments(models, arguments, message, capsys):
    assert bench(models, *arguments) == 2
    assert message in capsys.readouterr().err
