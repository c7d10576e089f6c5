"""The one thing an inference engine must do: run a graph on named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, shape and dtype of a graph's input or output.

    Attributes:
        name: as in the graph (the signature's name for TFLite).
        shape: sizes; None where the graph leaves one open.
        dtype: numpy's name of the element type, "float32" or "uint8".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Session(Protocol):
    """A loaded graph. May be called from several threads at once."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The graph's inputs."""
        ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The graph's outputs."""
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph.

        Args:
            feeds: one array for each input, by name.

        Returns:
            Each output by name.

        Raises:
            EngineError: the engine refused the arrays or failed.
        """
        ...


class Engine(Protocol):
    """A way to run graphs of one or more file formats."""

    @property
    def name(self) -> str:
        """Short name, such as "onnxruntime"."""
        ...

    @property
    def formats(self) -> frozenset[str]:
        """File suffixes it runs, such as {".onnx"}."""
        ...

    def load(self, graph: bytes, *, threads: int) -> Session:
        """Load a graph from memory.

        Args:
            graph: the file's bytes, whose sha256 was checked by the caller.
            threads: threads for one call, at least 1.

        Raises:
            EngineError: the engine is not installed or broken (the message says how to mend it).
            ModelError: the bytes are not a graph this engine can run.
        """
        ...
