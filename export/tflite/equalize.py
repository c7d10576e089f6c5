"""Channels of equal range before a full int8 quantisation, which gives a tensor one step for all of them.

A channel may be scaled where it is made and scaled back where it is used, since max(0, d x) =
d max(0, x) for d > 0 (cross-layer equalisation: Nagel et al., ICCV 2019, arXiv:1906.04721, section 4.1):

    W2 act(W1 x + b1) = (W2 / d) act(d W1 x + d b1)

A depthwise filter has a step of its own for each channel, so that d costs it nothing; in a dense one
a small channel meets coarser weights, so d is taken to a power `strength` below 1.

What a convolution without activation gives to pointwise convolutions alone may be shifted as well:

    W2 (y + t) + (b2 - W2 t) = W2 y + b2

so that it begins at zero, where the rectified maps that it is concatenated with begin.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from export.rewrite._graph import Conv, DoesNotApplyError, conv, input_channels, insert_conv, replace
from export.tflite.calibrate import Observed
from pocketface.errors import ModelError

_LARGEST = 16.0
"""Largest scale: a channel that is nearly constant gains nothing from the whole range."""

_MARGIN = 0.15
"""Part of a channel's width that is kept free beyond what calibration saw, or it would be cut off."""

_CHANNELWISE = frozenset({"Relu", "PRelu", "Add", "Concat", "MaxPool", "Resize", "Flatten", "Reshape"})
_SAME_STEP = frozenset({"Concat", "MaxPool", "Resize", "Flatten", "Reshape"})


def equalize(
    model: onnx.ModelProto, observed: Mapping[str, Observed], strength: float = 0.5
) -> onnx.ModelProto:
    """The same function with evener channels.

    Args:
        model: a rewritten float graph, with the shapes that its values have.
        observed: of the same graph, from `export.tflite.calibrate.observe`.
        strength: 0 changes no scale, 1 gives all channels the range of the largest.

    Raises:
        ModelError: a convolution is of a kind that has no int8 form either, or a shape is unknown.
    """
    graph_model = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    try:
        _Equalizer(graph_model.graph, observed).apply(strength)
    except DoesNotApplyError as reason:
        raise ModelError(f"int8: {reason}") from reason
    common.RemoveUnusedNodesPass()(graph_model)  # the former weights
    return ir.to_proto(graph_model)


class _Equalizer:
    def __init__(self, graph: ir.Graph, observed: Mapping[str, Observed]) -> None:
        self.graph = graph
        self.observed = observed
        self.first: dict[ir.Value, int] = {}  # number of a value's first channel
        total = 0
        for value in (*graph.inputs, *(node.outputs[0] for node in graph)):
            self.first[value] = total
            total += self._count(value)
        self.parent = np.arange(total)
        self.fixed: set[ir.Value] = {*graph.inputs, *graph.outputs}
        self.convs: dict[ir.Node, Conv] = {}
        for node in graph:
            self._read(node)

    def apply(self, strength: float) -> None:
        shifted = {node.outputs[0] for node in self.convs if self._may_shift(node.outputs[0])}
        scale = self._scales(shifted, strength)
        shift = {
            value: np.where(np.isfinite(low := self._channels(value)[0]), -low, 0.0) * self._of(value, scale)
            for value in shifted
        }
        for node, found in self.convs.items():
            data, result = node.inputs[0], node.outputs[0]
            assert data is not None
            column = input_channels(found)
            weight = found.weight / self._of(data, scale)[column][:, :, None, None]
            bias = found.bias.astype(np.float64)
            if found.kernel == (1, 1):
                bias = bias - (weight.sum((2, 3)) * self._shift(data, shift)[column]).sum(1)
            weight = weight * self._of(result, scale)[:, None, None, None]
            bias = bias * self._of(result, scale) + shift.get(result, 0.0)
            new = insert_conv(
                node,
                data,
                weight,
                bias,
                result,
                groups=found.groups,
                strides=found.strides,
                pads=found.pads,
            )
            name, self.first[new] = result.name, self.first[result]
            if result in shift:
                shift[new] = shift[result]
            replace(result, new)
            new.name = name

    def _count(self, value: ir.Value) -> int:
        shape = value.shape
        if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
            raise DoesNotApplyError(f"the channels of {value.name!r} are unknown")
        return shape[1]

    def _read(self, node: ir.Node) -> None:
        """Which channels have one scale, because an operator maps one to the other."""
        result = node.outputs[0]
        if node.op_type == "Conv":
            self.convs[node] = conv(node)
            return
        data = [value for value in node.inputs if value in self.first]
        if node.op_type not in _CHANNELWISE or (node.op_type == "Add" and len(data) < 2):
            self.fixed.update([result, *data])
        elif node.op_type == "Concat":
            offset = self.first[result]
            for value in data:
                self._tie(self.first[value], offset, self._count(value))
                offset += self._count(value)
        else:
            for value in data:
                if self._count(value) != self._count(result):
                    self.fixed.update([value, result])
                else:
                    self._tie(self.first[value], self.first[result], self._count(value))

    def _root(self, channel: int) -> int:
        while self.parent[channel] != channel:
            channel = int(self.parent[channel])
        return channel

    def _tie(self, a: int, b: int, count: int) -> None:
        for k in range(count):
            self.parent[self._root(a + k)] = self._root(b + k)

    def _may_shift(self, value: ir.Value) -> bool:
        """Whether only pointwise convolutions take it, directly or concatenated."""
        if value.is_graph_output() or value.name not in self.observed:
            return False
        users = [use.node for use in value.uses()]
        for user in users:
            if user.op_type == "Concat" and not user.outputs[0].is_graph_output():
                users += [use.node for use in user.outputs[0].uses()]
            elif user not in self.convs or self.convs[user].kernel != (1, 1) or any(self.convs[user].pads):
                return False
        return bool(users)

    def _channels(self, value: ir.Value) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest value of each channel, with a margin."""
        seen = self.observed[str(value.name)]
        margin = _MARGIN * (seen.channel_high - seen.channel_low)
        return seen.channel_low - margin, seen.channel_high + margin

    def _scales(self, shifted: set[ir.Value], strength: float) -> NDArray[np.float64]:
        """One scale a channel number."""
        group = self._groups()
        extent: dict[ir.Value, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        limits: dict[ir.Value, tuple[float, float]] = {}
        for value in self.first:
            users = value.consumers()
            fused = len(users) == 1 and users[0].op_type == "Relu" and not value.is_graph_output()
            if fused or value.name not in self.observed or value in self.graph.inputs:
                continue
            producer = value.producer()
            if producer is not None and producer.op_type in _SAME_STEP:
                continue  # a concatenation has what its members have
            low, high = self._channels(value)
            if value in shifted:
                low, high = np.zeros_like(low), high - low
            elif self.observed[str(value.name)].low >= 0:  # rectified
                low = np.zeros_like(low)
            extent[value] = np.minimum(low, 0.0), np.maximum(high, 0.0)
            before = limits.get(group[value], (0.0, 0.0))
            limits[group[value]] = (min(before[0], float(low.min())), max(before[1], float(high.max())))
        share = np.zeros(len(self.parent))
        roots = np.array([self._root(channel) for channel in range(len(self.parent))])
        for value, (low, high) in extent.items():
            bottom, top = limits[group[value]]
            used = np.maximum(high / max(top, 1e-12), low / min(bottom, -1e-12))
            at = roots[self.first[value] : self.first[value] + len(used)]
            np.maximum.at(share, at, used)
        for value in self.fixed:
            share[roots[self.first[value] : self.first[value] + self._count(value)]] = 1.0
        scale = np.clip(np.maximum(share, 1e-12) ** -strength, 1.0, _LARGEST)
        scale[share == 0] = 1.0
        result: NDArray[np.float64] = scale[roots]
        return result

    def _groups(self) -> dict[ir.Value, ir.Value]:
        """Which values have one step in int8."""
        leader = {value: value for value in self.first}

        def find(value: ir.Value) -> ir.Value:
            while leader[value] is not value:
                value = leader[value]
            return value

        for node in self.graph:
            if node.op_type in _SAME_STEP:
                for value in node.inputs:
                    if value in leader:
                        leader[find(value)] = find(node.outputs[0])
        return {value: find(value) for value in leader}

    def _of(self, value: ir.Value, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        first = self.first[value]
        return scale[first : first + self._count(value)]

    def _shift(self, value: ir.Value, shift: Mapping[ir.Value, NDArray[np.float64]]) -> NDArray[np.float64]:
        """What is added to each channel of a convolution's input."""
        if value in shift:
            return shift[value]
        producer = value.producer()
        if producer is not None and producer.op_type == "Concat":
            members = [member for member in producer.inputs if member is not None]
            return np.concatenate([self._shift(member, shift) for member in members])
        return np.zeros(self._count(value))
