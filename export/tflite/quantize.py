"""Full int8: a float graph and its ranges to an integer one, uint8 picture in, float values out.

    activations   x ~ s (q - z)        one s and z a tensor, q of -128..127
    weights       w ~ s_f q            one s_f a filter, q of -127..127
    bias          b ~ s s_f q          32 bits

(Jacob et al., CVPR 2018, arXiv:1712.05877, and TFLite's quantisation specification.) An operator that
only moves values (pool, concatenation, padding, reshape) shares one s and z between what it takes and
gives, so that it copies bytes. What has no integer form (PRELU) runs in float between a DEQUANTIZE
and a QUANTIZE.

The picture enters as uint8 p with mean m and scale c: c (p - m). Where m is no integer, z is its floor
and the rest, a constant, goes into the bias of the first convolution.

Rounded weights W + E add E x to a result, on average E times the mean of x, which calibration knows: it
is taken out of the bias (Nagel et al., ICCV 2019, arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from export.tflite.graph import Graph, Operator, Tensor
from export.tflite.precision import CHANNEL_AXIS, quantize_filters
from pocketface.errors import ModelError

_MOVERS = frozenset({"CONCATENATION", "MAX_POOL_2D", "PAD", "RESHAPE", "DEPTH_TO_SPACE"})
_INTEGER = _MOVERS | CHANNEL_AXIS.keys() | {"ADD"}


def full_int8(
    graph: Graph,
    ranges: dict[str, tuple[float, float]],
    mean: float,
    scale: float,
    means: Mapping[str, NDArray[np.float64]] | None = None,
) -> Graph:
    """Quantise `graph`.

    Args:
        graph: float graph with one input.
        ranges: lowest and highest value of the activations, by tensor name; operators that only move
            values need none of their own.
        mean: of the input, in units of a pixel.
        scale: of the input; the float graph takes `(pixel - mean) * scale`.
        means: mean of each channel of the activations, by tensor name, to correct biases by.

    Returns:
        A new graph with a uint8 input and float32 outputs of the same names.
    """
    return _Quantizer(graph, ranges, mean, scale, means or {}).quantize()


class _Quantizer:
    def __init__(
        self,
        source: Graph,
        ranges: dict[str, tuple[float, float]],
        mean: float,
        scale: float,
        means: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self.source = source
        self.means = means
        self.padded = {op.outputs[0]: op.inputs[0] for op in source.operators if op.kind == "PAD"}
        self.mean, self.scale = mean, scale
        self.graph = Graph()
        self.integer: dict[int, int] = {}  # source tensor to its int8 tensor
        self.parent = list(range(len(source.tensors)))
        for operator in source.operators:
            if operator.kind in _MOVERS:
                data = [i for i in operator.inputs if source.tensors[i].data is None]
                for index in data:
                    self._join(index, operator.outputs[0])
        (self.entry,) = source.inputs.values()
        self.parameters: dict[int, tuple[float, int]] = {}
        groups: dict[int, tuple[float, float]] = {}
        for index, tensor in enumerate(source.tensors):
            if tensor.data is not None or tensor.name not in ranges:
                continue
            low, high = ranges[tensor.name]
            root = self._root(index)
            before = groups.get(root, (0.0, 0.0))
            groups[root] = (min(low, before[0]), max(high, before[1]))
        for root, (low, high) in groups.items():
            step = max(high - low, 1e-9) / 255
            self.parameters[root] = (step, int(np.clip(round(-128 - low / step), -128, 127)))
        self.parameters[self._root(self.entry)] = (scale, math.floor(mean) - 128)

    def quantize(self) -> Graph:
        entry = self.source.tensors[self.entry]
        step, zero = self._parameters(self.entry)
        picture = Tensor(
            entry.name, entry.shape, "uint8", scale=np.array([step], np.float32), zero_point=zero + 128
        )
        (name,) = self.source.inputs
        self.graph.inputs[name] = self.graph.add(picture)
        self.graph.operators.append(
            Operator("QUANTIZE", [self.graph.inputs[name]], [self._new(self.entry, ".int8")])
        )
        for operator in self.source.operators:
            if operator.kind in CHANNEL_AXIS:
                self._convolution(operator)
            elif operator.kind in _INTEGER:
                inputs = [self._int8(i) for i in operator.inputs]
                self._append(operator, inputs)
            else:
                self._float(operator)
        for name, index in self.source.outputs.items():
            tensor = self.source.tensors[index]
            result = self.graph.add(Tensor(f"{tensor.name}.float", tensor.shape))
            self.graph.operators.append(Operator("DEQUANTIZE", [self.integer[index]], [result]))
            self.graph.outputs[name] = result
        return self.graph

    def _root(self, index: int) -> int:
        while self.parent[index] != index:
            index = self.parent[index]
        return index

    def _join(self, first: int, second: int) -> None:
        self.parent[self._root(first)] = self._root(second)

    def _parameters(self, index: int) -> tuple[float, int]:
        return self.parameters[self._root(index)]

    def _new(self, index: int, suffix: str = "") -> int:
        tensor = self.source.tensors[index]
        step, zero = self._parameters(index)
        quantized = Tensor(
            f"{tensor.name}{suffix}", tensor.shape, "int8", None, np.array([step], np.float32), zero
        )
        self.integer[index] = self.graph.add(quantized)
        return self.integer[index]

    def _int8(self, index: int) -> int:
        """The int8 tensor of an activation; constants of movers (amounts, shapes) stay as they are."""
        tensor = self.source.tensors[index]
        if index not in self.integer and tensor.data is not None:
            self.integer[index] = self.graph.constant(tensor.name, tensor.data)
        return self.integer[index]

    def _append(self, operator: Operator, inputs: list[int]) -> None:
        result = self._new(operator.outputs[0])
        self.graph.operators.append(Operator(operator.kind, inputs, [result], dict(operator.options)))

    def _convolution(self, operator: Operator) -> None:
        weight, bias = (self.source.tensors[i] for i in operator.inputs[1:])
        if weight.data is None or bias.data is None:
            raise ModelError(f"int8: the weights of {weight.name!r} are not constant")
        axis = CHANNEL_AXIS[operator.kind]
        integers, steps = quantize_filters(weight.data, axis)
        step = self._parameters(operator.inputs[0])[0]
        values = bias.data.astype(np.float64)
        if self._root(operator.inputs[0]) == self._root(self.entry):
            # The integer zero stands for floor(mean): what it is off by, times the filters' sums.
            others = tuple(i for i in range(weight.data.ndim) if i != axis)
            offset = (self.mean - math.floor(self.mean)) * self.scale
            values = values - offset * weight.data.astype(np.float64).sum(others)
        values = values - self._rounding(operator, weight.data, integers, steps)
        limit = 2**31 - 1
        integer_bias = np.clip(np.rint(values / (step * steps.astype(np.float64))), -limit, limit)
        inputs = [
            self._int8(operator.inputs[0]),
            self.graph.add(Tensor(weight.name, weight.shape, "int8", integers, steps, 0, axis)),
            self.graph.add(
                Tensor(bias.name, bias.shape, "int32", integer_bias.astype(np.int32), steps * step)
            ),
        ]
        self._append(operator, inputs)

    def _rounding(
        self,
        operator: Operator,
        weight: NDArray[np.float32],
        integers: NDArray[np.int8],
        steps: NDArray[np.float32],
    ) -> NDArray[np.float64] | float:
        """What the rounded weights add to each filter's result on average."""
        data = operator.inputs[0]
        name = self.source.tensors[self.padded.get(data, data)].name
        if name not in self.means:
            return 0.0
        axis = CHANNEL_AXIS[operator.kind]
        shape = [1] * weight.ndim
        shape[axis] = -1
        added = integers * steps.astype(np.float64).reshape(shape) - weight
        result: NDArray[np.float64] = (
            np.moveaxis(added * self.means[name], axis, 0).reshape(len(steps), -1).sum(1)
        )
        return result

    def _float(self, operator: Operator) -> None:
        inputs = []
        for index in operator.inputs:
            tensor = self.source.tensors[index]
            if tensor.data is not None:
                inputs.append(self.graph.constant(tensor.name, tensor.data))
                continue
            inputs.append(self.graph.add(Tensor(f"{tensor.name}.{len(self.graph.tensors)}", tensor.shape)))
            self.graph.operators.append(Operator("DEQUANTIZE", [self.integer[index]], [inputs[-1]]))
        tensor = self.source.tensors[operator.outputs[0]]
        result = self.graph.add(Tensor(f"{tensor.name}.float", tensor.shape))
        self.graph.operators.append(Operator(operator.kind, inputs, [result], dict(operator.options)))
        self.graph.operators.append(Operator("QUANTIZE", [result], [self._new(operator.outputs[0])]))
