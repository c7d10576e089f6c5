"""LiteRT (TensorFlow Lite) as an engine, under whichever of its three package names is installed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pocketface.engines.messages import (
    built_for_numpy_1,
    cannot_import,
    first_line,
    is_numpy_mismatch,
    numpy_2,
)
from pocketface.engines.protocol import TensorInfo
from pocketface.errors import EngineError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Newest name first; tflite_runtime ended in 2023, except in Termux.
_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")
_REMEDY = 'pip install "pocketface[tflite]" (ai-edge-litert)'


def _interpreter_class() -> Any:
    broken = []
    for name in _MODULES:
        package = name.split(".")[0]
        if find_spec(package) is None:
            continue
        if _is_of_2023(package) and numpy_2():
            broken.append(built_for_numpy_1(package, _REMEDY))
            continue
        try:
            return import_module(name).Interpreter
        except ImportError as error:
            mismatch = is_numpy_mismatch(error)
            broken.append(built_for_numpy_1(package, _REMEDY) if mismatch else cannot_import(package, error))
    if broken:
        raise EngineError("; ".join(broken))
    raise EngineError(f"no LiteRT is installed: {_REMEDY}")


def _is_of_2023(package: str) -> bool:
    """Whether it is tflite-runtime 2.14 or older, built for numpy 1.

    Beside numpy 2 it imports, and ends in a SystemError or a crash when the first interpreter is made.
    """
    if package != "tflite_runtime":
        return False
    major, _, minor = _version(package).partition(".")
    return (int(major), int(minor.split(".")[0])) <= (2, 14) if major.isdigit() and minor else False


def version() -> str:
    """Package and version of the LiteRT that is used; EngineError when none can be imported."""
    package = _interpreter_class().__module__.split(".")[0]
    return f"{package} {_version(package)}".strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


class LiteRtSession:
    """A graph loaded into LiteRT; its interpreter serves one thread at a time, so calls take turns."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._lock = threading.Lock()
        inputs, outputs = _details(interpreter)
        self.inputs = tuple(_info(name, details) for name, details in inputs.items())
        self.outputs = tuple(_info(name, details) for name, details in outputs.items())
        self._input_at = {name: details["index"] for name, details in inputs.items()}
        self._output_at = {name: details["index"] for name, details in outputs.items()}
        self._shapes = {name: tuple(map(int, details["shape"])) for name, details in inputs.items()}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph; see `pocketface.engines.protocol.Session.run`."""
        self._check(feeds)
        try:
            with self._lock:
                self._resize(feeds)
                for name, array in feeds.items():
                    self._interpreter.set_tensor(self._input_at[name], array)
                self._interpreter.invoke()
                return {name: self._interpreter.get_tensor(at) for name, at in self._output_at.items()}
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"LiteRT failed: {first_line(error)}") from error

    def _check(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        if set(feeds) != set(self._input_at):
            raise EngineError(f"LiteRT: inputs {sorted(self._input_at)} are expected, not {sorted(feeds)}")
        for info in self.inputs:
            array = feeds[info.name]
            fits = len(array.shape) == len(info.shape) and all(
                size in (None, actual) for size, actual in zip(info.shape, array.shape, strict=True)
            )
            if not fits or array.dtype.name != info.dtype:
                raise EngineError(
                    f"LiteRT: input {info.name!r} must be {info.dtype} {info.shape}, "
                    f"not {array.dtype} {array.shape}"
                )

    def _resize(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        changed = {name: array.shape for name, array in feeds.items() if array.shape != self._shapes[name]}
        if not changed:
            return
        for name, shape in changed.items():
            self._interpreter.resize_tensor_input(self._input_at[name], list(shape))
        self._interpreter.allocate_tensors()
        self._shapes.update(changed)


def _details(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs by the first signature's names, else by the tensors' own."""
    signatures = interpreter.get_signature_list()
    if signatures:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        return runner.get_input_details(), runner.get_output_details()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return {item["name"]: item for item in inputs}, {item["name"]: item for item in outputs}


def _info(name: str, details: Mapping[str, Any]) -> TensorInfo:
    import numpy

    shape = tuple(int(size) if size >= 0 else None for size in details["shape_signature"])
    return TensorInfo(name, shape, numpy.dtype(details["dtype"]).name)


class LiteRt:
    """The engine; see `pocketface.engines.protocol.Engine`."""

    name = "litert"
    formats = frozenset({".tflite"})

    def load(self, graph: bytes, *, threads: int) -> LiteRtSession:
        """Load a TFLite graph from memory; see `pocketface.engines.protocol.Engine.load`."""
        interpreter_class = _interpreter_class()
        try:
            interpreter = interpreter_class(model_content=graph, num_threads=max(threads, 1))
            interpreter.allocate_tensors()
            return LiteRtSession(interpreter)
        except SystemError as error:  # how a binary for another numpy fails
            package = interpreter_class.__module__.split(".")[0]
            raise EngineError(built_for_numpy_1(package, _REMEDY)) from error
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"LiteRT cannot load the graph: {first_line(error)}") from error


ENGINE = LiteRt()
