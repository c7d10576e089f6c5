"""Mutated graphs and cards give a session or a typed error: no crash, no other exception, no hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pocketface

PACKAGE = Path(pocketface.__file__).resolve().parent.parent


@pytest.mark.parametrize("file", ["tiny.onnx", "tiny.tflite"])
def test_five_hundred_mutations(tiny, tmp_path, file):
    graph = tiny.embedder() if file.endswith(".onnx") else tiny.add_tflite()
    path = tiny.put(tmp_path, graph, file)
    script = Path(__file__).with_name("fuzz_loader.py")
    done = subprocess.run(
        [sys.executable, script, path, "0", "250"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"seed {lines[-1] if lines else 'none'}: {done.stderr[-2000:]}"
    outcomes = json.loads(lines[-1])
    assert set(outcomes) <= {"ran", "ModelError", "EngineError"}
    assert outcomes["ModelError"] > 100
    assert outcomes["ran"] > 0
