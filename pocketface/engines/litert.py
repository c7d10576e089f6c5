"""LiteRT (TensorFlow Lite) as an engine, under whichever of its three package names is installed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pocketface.engines.protocol import TensorInfo
from pocketface.errors import EngineError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Newest name first; tflite_runtime ended in 2023, except in Termux.
_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")


def _interpreter_class() -> Any:
    broken = []
    for name in _MODULES:
        if find_spec(name.split(".")[0]) is None:
            continue
        try:
            return import_module(name).Interpreter
        except (
            ImportError,
            AttributeError,
        ) as error:  # AttributeError: numpy 1's _ARRAY_API is gone in numpy 2
            broken.append(_broken(name.split(".")[0], error))
    if broken:
        raise EngineError("; ".join(broken))
    raise EngineError('no LiteRT is installed: pip install "pocketface[tflite]"')


def version() -> str:
    """Package and version of the LiteRT that is used; EngineError when none can be imported."""
    package = _interpreter_class().__module__.split(".")[0]
    return f"{package} {metadata.version(package)}"


def _broken(package: str, error: ImportError | AttributeError) -> str:
    import numpy

    text = str(error)
    if numpy.lib.NumpyVersion(numpy.__version__) >= "2.0.0" and (
        "multiarray" in text or "_ARRAY_API" in text
    ):
        return (
            f"{package} was built for numpy 1 and this is numpy {numpy.__version__}: "
            'pip install "pocketface[tflite]" (ai-edge-litert), or pip install "numpy<2"'
        )
    name = package.replace("_", "-")
    return f"{name} cannot be imported ({_line(error)}): pip install --force-reinstall {name}"


def _line(error: BaseException) -> str:
    """The first line of an error, at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


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
            raise EngineError(f"LiteRT failed: {_line(error)}") from error

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
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"LiteRT cannot load the graph: {_line(error)}") from error


ENGINE = LiteRt()
