"""The self-test: does every engine, graph and thread setting give the right answer on this machine?

Each check runs in a process of its own (`pocketface.probe`), because an engine built for another
processor ends its process with a signal, and a broken one may hang. This module imports neither
numpy nor an engine: it must run where they do not.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pocketface import engines, registry, tuning
from pocketface.errors import EngineError, ModelError
from pocketface.threads import default_threads, usable_cpus

ENGINES = ("onnxruntime", "litert")
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "fphp")
_CRASHES = {
    "SIGILL": "an instruction this processor lacks: install an older version or the other engine",
    "SIGSEGV": "a crash inside the engine: reinstall it, or install the other one",
    "SIGBUS": "a crash inside the engine: reinstall it, or install the other one",
    "SIGKILL": "killed, probably for want of memory",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried.

    Attributes:
        what: the engine, or the graph with engine and threads.
        ok: whether it gave what it should; None when it was left out.
        message: what it gave, or what is wrong and what to do.
    """

    what: str
    ok: bool | None
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the self-test found.

    Attributes:
        system: names and values: versions, processor, threads.
        notes: what the user should know about this machine.
        checks: engines first, then graphs.
        tuned: the stored choice for each model on this processor.
    """

    system: dict[str, str]
    notes: tuple[str, ...]
    checks: tuple[Check, ...]
    tuned: dict[str, tuning.Choice]

    @property
    def ok(self) -> bool:
        """Whether an engine and a graph passed and nothing failed."""
        passed = [check for check in self.checks if check.ok]
        return len(passed) > 1 and all(check.ok is not False for check in self.checks)


def examine(timeout: float = 60.0) -> Report:
    """Run the whole self-test.

    Args:
        timeout: seconds after which a check counts as hanging.
    """
    notes = _notes(platform.machine(), struct.calcsize("P") * 8, _cpu_flags(), bool(engines.available()))
    try:
        tuned = tuning.load()
    except ModelError as error:
        tuned = {}
        notes.append(str(error))
    notes += [str(problem) for problem in registry.problems()]
    notes += _faster_elsewhere()
    checks = [_engine_check(name, timeout) for name in ENGINES]
    working = {name for name, check in zip(ENGINES, checks, strict=True) if check.ok}
    for model in registry.installed():
        checks += _graph_checks(model, working, timeout)
    if not registry.installed():
        checks.append(
            Check("graphs", False, "none is installed: 'pocketface models fetch sface' and 'fetch yunet'")
        )
    return Report(_system(), tuple(notes), tuple(checks), tuned)


def _system() -> dict[str, str]:
    flags = [flag for flag in _FLAGS if flag in _cpu_flags()]
    return {
        "pocketface": _version("pocketface"),
        "python": f"{platform.python_version()}, {struct.calcsize('P') * 8}-bit",
        "system": f"{platform.system()} {platform.machine()}",
        "numpy": _version("numpy"),
        "pillow": _version("pillow"),
        "processor": " ".join([tuning.cpu_name(), *flags]),
        "threads": f"{default_threads()} of {usable_cpus()} usable processors",
        "embedder": _default_form(),
        **_terms(),
    }


def _notes(machine: str, bits: int, flags: frozenset[str], has_engine: bool) -> list[str]:
    """What is special about this machine, a sentence each."""
    notes = []
    if bits == 32:
        here = (
            f"the kernel is 64-bit ({machine}) but this Python is 32-bit"
            if "64" in machine
            else f"this system ({machine}) is 32-bit"
        )
        other = "" if has_engine else ", or Debian's own python3-onnxruntime"
        notes.append(
            f"{here}, and engines are published for 64-bit only: install a 64-bit Raspberry Pi OS{other}"
        )
    if machine in ("x86_64", "AMD64") and flags and "avx2" not in flags:
        notes.append("this processor has no AVX2: everything works, several times slower")
    if machine in ("aarch64", "arm64") and flags and "asimddp" not in flags:
        notes.append("this processor has no int8 dot products (asimddp): fp32 forms are the fastest here")
    return notes


def _faster_elsewhere() -> list[str]:
    """That the default embedder has a faster form here, for which an engine is missing."""
    try:
        chosen = registry.default("embed")
    except (EngineError, ModelError):
        return []  # the checks say it
    if registry.fastest_here(chosen):
        return []
    forms = [m for m in registry.installed() if m.card.name == chosen.card.name and registry.fastest_here(m)]
    return [
        f"{form.card.file} is the fastest form on {tuning.processor()}, and no engine for it is installed: "
        f'pip install "pocketface[{form.card.format}]"'
        for form in forms[:1]
        if form.path.suffix not in engines.runnable()
    ]


def _default_form() -> str:
    try:
        chosen = registry.default("embed")
    except (EngineError, ModelError) as error:
        return str(error)
    tuned = tuning.load().get(chosen.card.name)
    if tuned is not None and tuned.file == chosen.card.file:
        return f"{chosen.card.file}, tuned"
    known = registry.fastest_here(chosen)
    return f"{chosen.card.file}{f', the fastest form on {tuning.processor()}' if known else ''}"


def _terms() -> dict[str, str]:
    """The terms of the default embedder's weights."""
    try:
        license_ = registry.default("embed").card.license
    except (EngineError, ModelError):
        return {}
    return {"terms": f"{license_.weights}, commercial use: {license_.commercial}"}


def _cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        flag
        for line in lines
        if line.split(":")[0].strip() in ("flags", "Features")
        for flag in line.partition(":")[2].split()
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def _engine_check(name: str, timeout: float) -> Check:
    try:
        if name not in engines.available():
            engines.get(name)
    except EngineError as error:
        return Check(name, None, str(error))
    return _probe(name, ["engine", name], timeout)


def _graph_checks(model: registry.Model, working: set[str], timeout: float) -> list[Check]:
    card = model.card
    engine = engines.engine_of(model.path.suffix)
    if engine not in working:
        return [Check(f"{card.file}, {engine}", None, f"left out: {engine} does not work here")]
    settings = sorted({1, default_threads(), _tuned_threads(model)})
    return [
        _probe(
            f"{card.file}, {engine}, {threads} thread{'s' if threads > 1 else ''}",
            ["graph", str(model.path), engine, str(threads)],
            timeout,
        )
        for threads in settings
    ]


def _tuned_threads(model: registry.Model) -> int:
    try:
        return model.threads() or 1
    except ModelError:  # a damaged tuned.json is a note already
        return 1


def _probe(what: str, arguments: list[str], timeout: float) -> Check:
    """Run a probe in a process of its own."""
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), here)))
    command = [sys.executable, "-m", "pocketface.probe", *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return Check(what, False, f"hangs: no answer within {timeout:g} s")
    except OSError as error:
        return Check(what, False, f"cannot start {sys.executable}: {error.strerror}")
    if done.returncode < 0:
        return Check(what, False, _crash(-done.returncode))
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        return Check(what, bool(answer["ok"]), str(answer["message"]))
    except (ValueError, LookupError, TypeError):
        lines = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        return Check(what, False, lines[-1][:200])


def _crash(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}: {_CRASHES.get(name, 'ended by a signal')}"
