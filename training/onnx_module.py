"""ONNX graphs of the teachers run by PyTorch, so that they can teach where the student learns: on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from torch import Tensor, nn

from pocketface.errors import ModelError

Attributes = dict[str, Any]


def _padded(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x = _padded(x, a.get("pads", [0, 0, 0, 0]))
    return F.conv2d(
        x, weight, bias, a.get("strides", 1), dilation=a.get("dilations", 1), groups=a.get("group", 1)
    )


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    return F.avg_pool2d(x, a["kernel_shape"], a.get("strides", 1))


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    x = _padded(x, a.get("pads", [0, 0, 0, 0]), -torch.inf)
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", 1))


def _batch_norm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, weight, bias, eps=a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight if a.get("transB") else weight.T, bias)


def _slice(a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, *steps: Tensor) -> Tensor:
    for axis, start, end in zip(axes.tolist(), starts.tolist(), ends.tolist(), strict=True):
        x = x[(slice(None),) * axis + (slice(start, min(end, 2**31)),)]
    return x


def _resize(a: Attributes, x: Tensor, scales: Tensor) -> Tensor:
    height, width = (
        round(side * scale) for side, scale in zip(x.shape[2:], scales.tolist()[2:], strict=True)
    )
    return F.interpolate(x, (height, width), mode="bilinear")


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": lambda a, x, low, high: x.clamp(float(low), float(high)),
    "Concat": lambda a, *parts: torch.cat(parts, dim=a["axis"]),
    "Conv": _conv,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Gather": lambda a, x, indices: x.index_select(a["axis"], indices.to(x.device)),
    "Gemm": _gemm,
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "PRelu": lambda a, x, slope: F.prelu(x, slope.flatten()),
    "Relu": lambda a, x: torch.relu(x),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": _slice,
}
"""What the teachers' graphs are made of; each takes the node's attributes, then its inputs."""


class OnnxModule(nn.Module):
    """A graph's outputs in their order, of float32 `(n, c, h, w)`; its weights are never trained."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError where the file is no graph, or has operators that no teacher has."""
        super().__init__()
        try:
            graph = onnx.load(str(path)).graph
        except (DecodeError, OSError) as error:
            raise ModelError(f"{path}: no ONNX graph") from error
        unknown = sorted({node.op_type for node in graph.node} - OPERATORS.keys() - {"Constant"})
        if unknown:
            raise ModelError(f"{path}: PyTorch does not run {', '.join(unknown)} here, which no teacher has")
        values = {tensor.name: tensor for tensor in graph.initializer}
        self.steps: list[tuple[Callable[..., Tensor], Attributes, list[str], str]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "AveragePool" and any(attributes.get("pads", ())):
                raise ModelError(f"{path}: PyTorch does not run padded AveragePool here, no teacher has it")
            if node.op_type == "Constant":
                values[node.output[0]] = attributes["value"]
            else:
                self.steps.append((OPERATORS[node.op_type], attributes, list(node.input), node.output[0]))
        self.numbers: dict[str, Tensor] = {}  # shapes and limits stay on the CPU, which reads them
        self.names: dict[str, str] = {}
        for index, (name, value) in enumerate(values.items()):
            tensor = torch.from_numpy(numpy_helper.to_array(value).copy())
            if tensor.is_floating_point() and tensor.dim():
                self.names[name] = f"constant{index}"
                self.register_buffer(self.names[name], tensor)
            else:
                self.numbers[name] = tensor
        self.input = graph.input[0].name
        self.outputs = [output.name for output in graph.output]
        last = {name: index for index, step in enumerate(self.steps) for name in step[2]}
        kept = {*self.outputs, *self.names, *self.numbers, ""}
        # What no later step takes: a graph's maps of a whole batch together fill a GPU.
        self.over = [
            [name for name in dict.fromkeys(step[2]) if last[name] == index and name not in kept]
            for index, step in enumerate(self.steps)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Apply the graph to `x`."""
        known = {name: getattr(self, attribute) for name, attribute in self.names.items()}
        known.update(self.numbers)
        known[self.input] = x
        for (run, attributes, inputs, output), over in zip(self.steps, self.over, strict=True):
            known[output] = run(attributes, *(known[name] for name in inputs if name))
            for name in over:
                del known[name]
        return [known[name] for name in self.outputs]
