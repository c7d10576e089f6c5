"""What every rule needs to read and change an onnx-ir graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]


class DoesNotApplyError(Exception):
    """Why a rule leaves a node alone, in a few words; not an error of the export."""


@dataclass(frozen=True)
class Conv:
    """A convolution with constant weights.

    Attributes:
        node: the node.
        weight: `(out, in / groups, kh, kw)`.
        bias: `(out,)`, zeros where the node has none.
        groups: its groups.
        strides: down, right.
        pads: top, left, bottom, right.
    """

    node: ir.Node
    weight: Array
    bias: Array
    groups: int
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def depthwise(self) -> bool:
        """One filter a channel."""
        return bool(self.groups == self.weight.shape[0] and self.weight.shape[1] == 1)

    @property
    def plain(self) -> bool:
        """Stride 1 without padding."""
        return self.strides == (1, 1) and not any(self.pads)

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width."""
        return self.weight.shape[2], self.weight.shape[3]


def constant(value: ir.Value | None) -> Array | None:
    """The array of an initializer, or None."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def conv(node: ir.Node | None) -> Conv:
    """Read a convolution.

    Raises:
        DoesNotApplyError: the node is no 2-D convolution with constant weights.
    """
    if node is None or node.op_type != "Conv":
        raise DoesNotApplyError(f"{node.op_type if node else 'the graph input'} is no Conv")
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim != 4:
        raise DoesNotApplyError("the weights are not constant or not 2-D")
    bias: Array | None = np.zeros(weight.shape[0], weight.dtype)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
    if bias is None:
        raise DoesNotApplyError("the bias is not constant")
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        raise DoesNotApplyError("auto_pad is not resolved")
    if any(d != 1 for d in node.attributes.get_ints("dilations", [1, 1])):
        raise DoesNotApplyError("it is dilated")
    strides = tuple(node.attributes.get_ints("strides", [1, 1]))
    pads = tuple(node.attributes.get_ints("pads", [0, 0, 0, 0]))
    groups = node.attributes.get_int("group", 1)
    return Conv(node, weight, bias, groups, strides, pads)  # type: ignore[arg-type]


def only_user(value: ir.Value) -> ir.Node:
    """The one node that takes `value`.

    Raises:
        DoesNotApplyError: several do, or it is an output of the graph.
    """
    users = value.consumers()
    if value.is_graph_output():
        raise DoesNotApplyError("its result is an output of the graph")
    if len(users) != 1 or len(value.uses()) != 1:
        raise DoesNotApplyError(f"its result has {len(value.uses())} users")
    return users[0]


def channels(value: ir.Value) -> int:
    """Size of axis 1.

    Raises:
        DoesNotApplyError: the graph does not say.
    """
    if value.shape is None or len(value.shape) < 2 or not isinstance(value.shape[1], int):
        raise DoesNotApplyError(f"the channels of {value.name!r} are unknown")
    return value.shape[1]


def feature_map(value: ir.Value) -> bool:
    """Whether it is known to have four axes."""
    return value.shape is not None and len(value.shape) == 4


def input_channels(user: Conv) -> NDArray[np.intp]:
    """Which channel each weight meets: `(out, in / groups)`, groups following one another."""
    out, per_group = user.weight.shape[:2]
    group = np.arange(out) // (out // user.groups)
    columns: NDArray[np.intp] = group[:, None] * per_group + np.arange(per_group)
    return columns


def slopes(node: ir.Node) -> tuple[ir.Value, NDArray[np.float64]]:
    """Input of a PRelu on a map, and one slope a channel.

    Raises:
        DoesNotApplyError: the slopes are not constant, or not one a channel.
    """
    data, slope = node.inputs[0], constant(node.inputs[1])
    assert data is not None
    if slope is None:
        raise DoesNotApplyError("its slopes are not constant")
    if not feature_map(data):
        raise DoesNotApplyError("its input has not four axes")
    count = channels(data)
    if slope.size not in (1, count):
        raise DoesNotApplyError(f"{slope.size} slopes for {count} channels")
    return data, np.broadcast_to(slope.astype(np.float64).ravel(), (count,))


def initializer(node: ir.Node, array: Array) -> ir.Value:
    """A new constant of the graph that holds `node`."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    index = len(graph.initializers)
    while f"w{index}" in graph.initializers:
        index += 1
    array = np.ascontiguousarray(array)
    value = ir.Value(
        name=f"w{index}",
        const_value=ir.tensor(array, name=f"w{index}"),
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
    )
    graph.register_initializer(value)
    return value


def insert_before(
    node: ir.Node,
    op_type: str,
    inputs: list[ir.Value | None],
    attributes: dict[str, Any] | None = None,
    like: ir.Value | None = None,
) -> ir.Value:
    """Insert a node of one output before `node`; the output has the shape and type of `like`."""
    new = ir.node(op_type, inputs, attributes or {})
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(node, new)
    if like is not None:
        new.outputs[0].shape = like.shape
        new.outputs[0].type = like.type
    return new.outputs[0]


def insert_conv(
    node: ir.Node,
    data: ir.Value,
    weight: Array,
    bias: Array | None,
    like: ir.Value,
    *,
    groups: int = 1,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> ir.Value:
    """Insert a convolution before `node`."""
    weight = weight.astype(np.float32)
    inputs: list[ir.Value | None] = [data, initializer(node, weight)]
    if bias is not None and np.any(bias):
        inputs.append(initializer(node, bias.astype(np.float32)))
    attributes = {
        "kernel_shape": list(weight.shape[2:]),
        "group": groups,
        "strides": list(strides),
        "pads": list(pads),
        "dilations": [1, 1],
    }
    return insert_before(node, "Conv", inputs, attributes, like)


def replace(old: ir.Value, new: ir.Value) -> None:
    """Let every user of `old`, and the graph's outputs, take `new`, and drop the producer of `old`."""
    node = old.producer()
    assert node is not None
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if new.shape is None:
        new.shape, new.type = old.shape, old.type
    if old.is_graph_output():
        new.name, old.name = old.name, f"{old.name}.before"
        new.shape, new.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def remove_unused(node: ir.Node) -> None:
    """Drop `node`, and then its producers, where nobody takes their results."""
    graph = node.graph
    if graph is None or any(v.uses() or v.is_graph_output() for v in node.outputs):
        return
    producers = [value.producer() for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    for producer in producers:
        if producer is not None:
            remove_unused(producer)
