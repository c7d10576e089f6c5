"""Inference engines behind one protocol; none is imported before it is used.

Example:
    get("onnxruntime").load(graph_bytes, threads=2).run({"image": array})
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from pocketface.engines.protocol import Engine, Session, TensorInfo
from pocketface.errors import EngineError

__all__ = ["Engine", "Session", "TensorInfo", "available", "engine_of", "for_format", "get", "runnable"]

_ENGINES = ("onnxruntime", "litert")
_PACKAGES = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai_edge_litert", "tflite_runtime", "tensorflow"),
}
_FORMATS = {".onnx": "onnxruntime", ".tflite": "litert"}
_INSTALL = {
    "onnxruntime": 'pip install onnxruntime (Termux: "pkg install python-onnxruntime")',
    "litert": 'pip install "pocketface[tflite]" (Termux: "pkg install python-tflite-runtime")',
}


def available() -> tuple[str, ...]:
    """Names of the engines that are installed; not imported, so a broken one is listed too."""
    return tuple(name for name in _ENGINES if any(find_spec(package) for package in _PACKAGES[name]))


def runnable() -> frozenset[str]:
    """Suffixes of the files that an installed engine runs."""
    return frozenset(suffix for suffix, name in _FORMATS.items() if name in available())


def engine_of(suffix: str) -> str:
    """Name of the engine for files of that suffix, installed or not.

    Raises:
        EngineError: no engine runs such files.
    """
    if suffix not in _FORMATS:
        raise EngineError(f"no engine runs {suffix!r} files; {', '.join(_FORMATS)} are run")
    return _FORMATS[suffix]


def get(name: str) -> Engine:
    """The engine of that name.

    Raises:
        EngineError: no such engine, or it is not installed, or its installation is broken.
    """
    if name not in _ENGINES:
        raise EngineError(f"no engine {name!r}; there are {', '.join(_ENGINES)}")
    if name not in available():
        raise EngineError(f"the engine {name} is not installed: {_INSTALL[name]}")
    engine: Engine = import_module(f"pocketface.engines.{name}").ENGINE
    return engine


def for_format(suffix: str) -> Engine:
    """The engine that runs files of that suffix (".onnx" or ".tflite").

    Raises:
        EngineError: no engine runs it, or the one that does is missing or broken.
    """
    return get(engine_of(suffix))
