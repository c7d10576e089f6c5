"""The wheel on an emulated Raspberry Pi 4: import, doctor and verify.

Downloads a small Debian and aarch64 wheels and takes a minute of an idle core, so it runs where
POCKETFACE_ARM names a folder that keeps them, as in continuous integration.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.arm import board
from benchmarks.arm.__main__ import main


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


def test_photos_are_looked_at_before_anything_is_built(tmp_path, photos, capsys):
    pair = [str(photos / "eileen-collins.jpg"), str(tmp_path / "none.jpg")]
    assert main([*pair, "--folder", str(tmp_path / "board")]) == 2
    assert f"{tmp_path / 'none.jpg'}: " in capsys.readouterr().err
    assert not (tmp_path / "board").exists()


def test_a_pi_4_verifies(photos, capsys):
    if "POCKETFACE_ARM" not in os.environ:
        pytest.skip("takes minutes: set POCKETFACE_ARM to a folder for the emulated system")
    if board.missing_tools():
        pytest.skip(f"needs Debian's packages {' and '.join(board.missing_tools())}")
    folder = Path(os.environ["POCKETFACE_ARM"])
    wheel = board.build_wheel(folder / "wheel")
    try:
        board.make(folder, wheel)
    except board.BoardError as error:
        if "mmdebstrap" in str(error):
            pytest.skip(f"no Debian for arm64: {error}")  # its mirror, not this package
        raise
    pair = [str(photos / name) for name in ("eileen-collins.jpg", "eileen-collins-second-take.jpg")]
    assert main([*pair, "--folder", str(folder), "--wheel", str(wheel), "--quick"]) == 0
    out = capsys.readouterr().out
    assert "cortex-a72: pocketface doctor, exit status 0" in out
    assert "cortex-a72: pocketface verify: similarity" in out
