"""The wheel on an emulated Raspberry Pi 4: import, doctor and verify.

Takes minutes and downloads a small Debian and aarch64 wheels the first time, so it runs only where
POCKETFACE_ARM names a folder to keep them in.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.arm import board
from benchmarks.arm.__main__ import main
from pocketface import registry


def test_plugin_compiles_without_warnings(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    source = Path(board.__file__).with_name("icount.c")
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *options, "-o", str(tmp_path / "icount.so"), str(source)], check=True)


def test_missing_tools_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(board.BoardError, match="apt install qemu-user mmdebstrap"):
        board.make(tmp_path / "board", tmp_path / "x.whl")


def test_a_pi_4_verifies(photos, capsys):
    if board.missing_tools():
        pytest.skip(f"needs Debian's packages {' and '.join(board.missing_tools())}")
    if "POCKETFACE_ARM" not in os.environ:
        pytest.skip("takes minutes: set POCKETFACE_ARM to a folder for the emulated system")
    if not any(model.card.task == "embed" for model in registry.installed()):
        pytest.skip("no embedder is installed")
    pair = [str(path) for path in sorted(photos.glob("*.jpg"))[:2]]
    assert main([*pair, "--folder", os.environ["POCKETFACE_ARM"], "--quick"]) == 0
    assert "pocketface doctor, exit status 0" in capsys.readouterr().out
