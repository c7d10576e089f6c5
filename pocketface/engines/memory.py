"""An engine for tests: a Python function in place of a graph, no model file and no runtime.

Example:
    def halves(feeds):
        return {"embedding": feeds["image"].mean(axis=(2, 3))}

    session = MemorySession(halves, inputs=[TensorInfo("image", (None, 3, 112, 112), "float32")],
                            outputs=[TensorInfo("embedding", (None, 3), "float32")])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pocketface.engines.protocol import TensorInfo
from pocketface.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Function = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


class MemorySession:
    """A session that calls a function, and checks what goes in and comes out as a real one would.

    Args:
        function: takes the feeds by name, returns the outputs by name.
        inputs: what the function accepts; None in a shape accepts every size.
        outputs: what it gives.
    """

    def __init__(
        self, function: Function, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
    ) -> None:
        self._function = function
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Call the function; EngineError when names, shapes or dtypes differ from what was declared."""
        _check("input", self.inputs, feeds)
        results = dict(self._function(feeds))
        _check("output", self.outputs, results)
        return results


class MemoryEngine:
    """An engine whose every `load` gives the same session, whatever the graph's bytes.

    Args:
        session: what `load` returns.
    """

    name = "memory"
    formats = frozenset({".onnx", ".tflite"})

    def __init__(self, session: MemorySession) -> None:
        self.session = session

    def load(self, graph: bytes, *, threads: int) -> MemorySession:
        """Give the session."""
        return self.session


def _check(what: str, expected: Sequence[TensorInfo], arrays: Mapping[str, NDArray[Any]]) -> None:
    names = {info.name for info in expected}
    if set(arrays) != names:
        raise EngineError(f"{what}s {sorted(names)} are expected, not {sorted(arrays)}")
    for info in expected:
        array = arrays[info.name]
        fits = len(array.shape) == len(info.shape) and all(
            size in (None, actual) for size, actual in zip(info.shape, array.shape, strict=True)
        )
        if not fits or array.dtype.name != info.dtype:
            raise EngineError(
                f"{what} {info.name!r} must be {info.dtype} {info.shape}, not {array.dtype} {array.shape}"
            )
