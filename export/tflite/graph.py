"""A TFLite graph as plain data, between the ONNX graph and the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Tensor:
    """A value of the graph.

    Attributes:
        name: unique.
        shape: sizes, NHWC for maps.
        dtype: "float32", "float16", "int8", "uint8" or "int32".
        data: contents of a constant, None for an activation.
        scale: quantisation steps, one or one a channel; None for floats.
        zero_point: the integer that stands for 0.0.
        axis: axis of the channels that `scale` runs along.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: NDArray[Any] | None = None
    scale: NDArray[np.float32] | None = None
    zero_point: int = 0
    axis: int = 0


@dataclass
class Operator:
    """One operation: name in the schema, indices of its tensors, and options.

    Attributes:
        kind: such as "CONV_2D".
        inputs: indices of tensors.
        outputs: indices of tensors.
        options: `strides` (down, right), `padding` ("SAME", "VALID"), `kernel` (height, width),
            `activation` ("NONE", "RELU", "RELU6"), `axis`, `shape`, `block`; those that it has.
    """

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """Tensors, operators in the order of execution, inputs and outputs by signature name."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)

    def add(self, tensor: Tensor) -> int:
        """Index of a new tensor."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, data: NDArray[Any]) -> int:
        """Index of a new constant."""
        data = np.ascontiguousarray(data)
        return self.add(Tensor(name, data.shape, data.dtype.name, data))

    def users(self, index: int) -> list[Operator]:
        """Operators that take a tensor."""
        return [operator for operator in self.operators if index in operator.inputs]
