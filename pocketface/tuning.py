"""The engine, graph and thread count that measured fastest on this device.

`pocketface bench --tune` stores them, `pocketface.registry` reads them. The file, `tuned.json` in
the user's cache:

    {"pocketnet-s128-r": {"engine": "onnxruntime", "file": "pocketnet-s128-r.fp32.onnx",
                          "threads": 2, "measured": "2026-11-22", "cpu": "Cortex-A76"}}
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from pocketface.atomic import replacing
from pocketface.errors import ModelError
from pocketface.threads import LIMIT


@dataclass(frozen=True, slots=True)
class Choice:
    """What was fastest for one model.

    Attributes:
        engine: name of the engine.
        file: the graph's file name.
        threads: threads for one call.
        measured: date, ISO 8601.
        cpu: the processor's name; a choice made on another one is ignored.
    """

    engine: str
    file: str
    threads: int
    measured: str
    cpu: str


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/pocketface`, else `~/.cache/pocketface`; not created here.

    Raises:
        ModelError: this user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "pocketface"
    except RuntimeError:
        raise ModelError("this user has no home directory; set HOME or XDG_CACHE_HOME") from None


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as Linux tells it; the machine type elsewhere."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    pairs = [line.partition(":") for line in lines]
    for wanted in ("model name", "Model", "Hardware"):
        for key, _, value in pairs:
            if key.strip() == wanted and value.strip():
                return value.strip()

    return platform.processor() or platform.machine()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The kind of processor as cards name it: "x86-64", "arm64", "arm64-dotprod", else the machine's type.

    int8 dot products (Cortex-A76, Raspberry Pi 5, phones since 2019) decide which form is the fastest.
    """
    machine = platform.machine()
    if machine in ("AMD64", "x86_64"):
        return "x86-64"
    if machine not in ("aarch64", "arm64"):
        return machine
    try:
        flags = cpuinfo.read_text(errors="replace").split()
    except OSError:
        flags = []
    return "arm64-dotprod" if "asimddp" in flags else "arm64"


def load() -> dict[str, Choice]:
    """The stored choices by model name; those made on another processor are left out.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        path = cache_folder() / "tuned.json"
    except ModelError:
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        choices = {name: Choice(**choice) for name, choice in data.items()}
        if not all(isinstance(c.threads, int) and 1 <= c.threads <= LIMIT for c in choices.values()):
            raise ValueError(f"'threads' must be 1 to {LIMIT}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: {error}; delete it and run 'pocketface bench --tune' again") from error
    cpu = cpu_name()
    return {name: choice for name, choice in choices.items() if choice.cpu == cpu}


def store(model: str, choice: Choice) -> Path:
    """Store the choice for one model beside the others.

    Returns:
        The file written.

    Raises:
        ModelError: the stored file is damaged, or this user has no home.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    choices = {**load(), model: choice}
    text = json.dumps({name: asdict(item) for name, item in sorted(choices.items())}, indent=2) + "\n"
    path = folder / "tuned.json"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
