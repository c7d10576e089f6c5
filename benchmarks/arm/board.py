"""An emulated Raspberry Pi: an arm64 Debian, the aarch64 wheels a user would get, and qemu.

Nothing is mounted and no binfmt is registered: qemu's user emulation runs the arm64 interpreter and
looks for system files in the Debian folder first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketface.errors import PocketfaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
PYTHON = "3.11"  # of Debian 12 and Raspberry Pi OS "bookworm"
PACKAGES = ("numpy", "Pillow", "onnxruntime", "ai-edge-litert")
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{glibc}_aarch64" for glibc in (17, 27, 28, 34, 36)))

# qemu's model, and what /proc/cpuinfo says there: runtimes choose their kernels by the latter.
BOARDS = {"cortex-a72": "cpuinfo.a72", "cortex-a76": "cpuinfo.a76"}


class BoardError(PocketfaceError):
    """A tool is missing or the emulated system failed; the message says which."""


@dataclass(frozen=True)
class Board:
    """An arm64 system in a folder.

    Attributes:
        folder: holds `root` (Debian), `site` (Python packages) and the built plugin.
        cpu: qemu's name of the processor, one of `BOARDS`.
    """

    folder: Path
    cpu: str

    @property
    def root(self) -> Path:
        """Debian's files."""
        return self.folder / "root"

    @property
    def site(self) -> Path:
        """Packages of Python."""
        return self.folder / "site"

    def run(self, arguments: Sequence[str], *, count: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the board's Python.

        Args:
            arguments: of the interpreter.
            count: count instructions (`icount.c`).
        """
        (self.root / "proc").mkdir(exist_ok=True)
        shutil.copyfile(HERE / BOARDS[self.cpu], self.root / "proc" / "cpuinfo")
        interpreter = self._interpreter()
        emulator = [] if not count else ["-plugin", str(self._plugin())]
        return subprocess.run(
            ["qemu-aarch64", *emulator, *self._options(interpreter), *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "PYTHONPATH": str(self.site),
                "PYTHONDONTWRITEBYTECODE": "1",
                "ORT_DISABLE_TELEMETRY": "1",
                **{name: os.environ[name] for name in ("POCKETFACE_MODELS",) if name in os.environ},
            },
            cwd=self.folder,  # `-m` looks there first: not in a checkout
            capture_output=True,
            text=True,
            check=False,
        )

    def keep_models(self, files: set[str]) -> None:
        """Remove all other graphs and their cards from the installed package."""
        for path in (self.site / "pocketface" / "models").glob("*"):
            if path.suffix in (".onnx", ".tflite", ".json") and path.name.removesuffix(".json") not in files:
                path.unlink()

    def _options(self, interpreter: Path) -> list[str]:
        binary = self.root / "usr" / "bin" / f"python{PYTHON}"
        # The interpreter calls itself by the wrapper, so that processes that it starts are emulated too.
        return ["-cpu", self.cpu, "-L", str(self.root), "-0", str(interpreter), str(binary)]

    def _interpreter(self) -> Path:
        wrapper = self.root / "usr" / "bin" / "python-emulated"
        command = ["qemu-aarch64", *self._options(wrapper)]
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
        wrapper.chmod(0o755)
        return wrapper

    def _plugin(self) -> Path:
        plugin = self.folder / "icount.so"
        if not plugin.is_file():
            _call(["gcc", "-O2", "-shared", "-fPIC", "-o", str(plugin), str(HERE / "icount.c")])
        return plugin


def missing_tools() -> list[str]:
    """Debian packages that are needed and not installed."""
    needed = {"qemu-aarch64": "qemu-user", "mmdebstrap": "mmdebstrap"}
    return [package for tool, package in needed.items() if shutil.which(tool) is None]


def make(folder: Path, wheel: Path, *, packages: Sequence[str] = PACKAGES) -> None:
    """Make the Debian and install the wheel with aarch64 wheels of what it needs.

    Args:
        folder: where; a Debian that is there already is kept.
        wheel: of pocketface.
        packages: what a user's pip would install.

    Raises:
        BoardError: a tool is missing, or a download failed.
    """
    if tools := missing_tools():
        raise BoardError(f"needs Debian's packages: apt install {' '.join(tools)}")
    folder.mkdir(parents=True, exist_ok=True)
    root, site = folder / "root", folder / "site"
    if not (root / "usr" / "bin" / f"python{PYTHON}").is_file():
        shutil.rmtree(root, ignore_errors=True)
        options = ["--arch=arm64", "--variant=extract", "--skip=check/qemu"]
        options.append("--include=python3,libstdc++6,libgomp1")
        _call(["mmdebstrap", *options, "bookworm", str(root)])  # mmdebstrap knows the mirror
    if not (site / packages[0]).is_dir():
        options = ["--quiet", "--target", str(site), "--only-binary=:all:"]
        options += ["--python-version", PYTHON, "--implementation", "cp"]
        options += [option for name in PLATFORMS for option in ("--platform", name)]
        _call([sys.executable, "-m", "pip", "install", *options, *packages])
    shutil.rmtree(site / "pocketface", ignore_errors=True)
    shutil.unpack_archive(wheel, site, "zip")


def count_instructions(board: Board, action: str, paths: Sequence[str]) -> list[tuple[int, int]]:
    """Executed instructions, and dot products among them, of one run of each graph.

    Args:
        board: where to run.
        action: of `guest.py`: `count` for embedders, `graphs` for any ONNX graph.
        paths: absolute paths of the graphs.

    Raises:
        BoardError: the board failed.
    """
    done = board.run([str(HERE / "guest.py"), action, *paths], count=True)
    marks = {}
    for line in done.stderr.splitlines():
        match line.split():
            case ["icount", tag, instructions, dots]:
                marks[int(tag)] = int(instructions), int(dots)
    if done.returncode != 0 or len(marks) != 2 * len(paths):
        raise BoardError(f"{board.cpu}: counting failed: {last_line(done)}")
    return [
        (marks[2 * i + 1][0] - marks[2 * i][0], marks[2 * i + 1][1] - marks[2 * i][1])
        for i in range(len(paths))
    ]


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last thing that a process said."""
    return ((done.stderr + done.stdout).strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def build_wheel(folder: Path) -> Path:
    """Build the package's wheel from a copy of this checkout: setuptools reuses a stale `build/`."""
    checkout, copy = HERE.parents[1], folder / "source"
    shutil.rmtree(folder, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in checkout.iterdir():
        if path.name in ("pocketface", "models"):
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, copy)
    _call([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(copy)])
    [wheel] = folder.glob("pocketface-*.whl")
    return wheel


def _call(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise BoardError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise BoardError(f"{command[0]} failed: {last}") from None
