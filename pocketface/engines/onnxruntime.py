"""ONNX Runtime as an engine: CPU, explicit threads that never spin, no telemetry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pocketface.engines.messages import built_for_numpy_1, cannot_import, first_line, is_numpy_mismatch
from pocketface.engines.protocol import TensorInfo
from pocketface.errors import EngineError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int64)": "int64",
}
_ERRORS_ONLY = 3


def _import() -> ModuleType:
    # From 1.29 on ONNX Runtime sends telemetry and writes a device id, unless told not to before the import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        if is_numpy_mismatch(error):
            remedy = "pip install --upgrade onnxruntime"
            raise EngineError(built_for_numpy_1("onnxruntime", remedy)) from error
        raise EngineError(cannot_import("onnxruntime", error)) from error


def version() -> str:
    """Version of the installed ONNX Runtime; EngineError when it cannot be imported."""
    return f"onnxruntime {_import().__version__}"


def _errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its classes share no base but Exception."""
    state = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    own = [item for item in state if isinstance(item, type) and issubclass(item, Exception)]
    return (*own, ValueError, TypeError, RuntimeError)


class OnnxSession:
    """A graph loaded into ONNX Runtime, whose `Run` is thread-safe."""

    def __init__(self, session: Any, errors: tuple[type[Exception], ...]) -> None:
        self._session = session
        self._errors = errors
        self.inputs = tuple(_info(node) for node in session.get_inputs())
        self.outputs = tuple(_info(node) for node in session.get_outputs())
        self._names = [info.name for info in self.outputs]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph; see `pocketface.engines.protocol.Session.run`."""
        try:
            results = self._session.run(self._names, dict(feeds))
        except self._errors as error:
            raise EngineError(f"ONNX Runtime refused the input: {first_line(error)}") from error
        return dict(zip(self._names, results, strict=True))


def _info(node: Any) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(node.name, shape, _DTYPES.get(node.type, node.type))


class OnnxRuntime:
    """The engine; see `pocketface.engines.protocol.Engine`."""

    name = "onnxruntime"
    formats = frozenset({".onnx"})

    def load(self, graph: bytes, *, threads: int) -> OnnxSession:
        """Load an ONNX graph from memory; see `pocketface.engines.protocol.Engine.load`."""
        ort = _import()
        errors = _errors()
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(threads, 1)
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        # Waiting threads sleep: a spinning worker drains the battery and takes the core of the camera.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            # Its fallback would print to the user's terminal and try the same provider again.
            session = ort.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
        except errors as error:
            raise ModelError(
                f"ONNX Runtime {ort.__version__} cannot load the graph: {first_line(error)}"
            ) from error
        return OnnxSession(session, errors)


ENGINE = OnnxRuntime()
