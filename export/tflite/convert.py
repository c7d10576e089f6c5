"""An ONNX graph (NCHW, float32) to a TFLite graph (NHWC, float32), operator by operator.

Weights are transposed here, once; no TRANSPOSE is left for the runtime. ReLU and ReLU6 go into the
operator before them. What TFLite lacks is said with what XNNPACK runs:

- a padding that is not SAME is a PAD before a VALID convolution, which XNNPACK merges;
- a 3x3 max-pool with padding 1 and stride 2 is one with stride 1 and SAME, then a depthwise 1x1
  convolution with stride 2 (the batch norm that follows it in PocketNet);
- a nearest-neighbour doubling is DEPTH_TO_SPACE of four copies, since RESIZE_NEAREST_NEIGHBOR is
  not delegated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from export.rewrite._graph import Conv, DoesNotApplyError, constant, conv
from export.tflite.graph import Graph, Operator, Tensor
from pocketface.errors import ModelError

_SUBSAMPLED = ".full"


def from_onnx(model: onnx.ModelProto, size: tuple[int, int]) -> Graph:
    """Convert a rewritten graph (see `export.rewrite.FOR_TFLITE`).

    Args:
        model: ONNX graph with one input `(n, c, h, w)`; n, h and w may be open.
        size: height and width of the input of the TFLite graph, whose batch is 1.

    Raises:
        ModelError: an operator has no translation; the message names it.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    dims = fixed.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip((dims[0], dims[2], dims[3]), (1, *size), strict=True):
        dim.dim_value = value
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    ir_model = ir.from_proto(onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True))
    return _Converter(ir_model.graph).convert()


class _Converter:
    def __init__(self, source: ir.Graph) -> None:
        self.source = source
        self.graph = Graph()
        self.index: dict[ir.Value, int] = {}
        self.translate: dict[str, Callable[[ir.Node], None]] = {
            "Conv": self._conv,
            "PRelu": self._prelu,
            "Relu": self._relu,
            "Clip": self._relu,
            "Add": self._add,
            "Concat": self._concat,
            "MaxPool": self._max_pool,
            "Resize": self._double,
            "Flatten": self._flatten,
            "Reshape": self._flatten,
        }

    def convert(self) -> Graph:
        for value in self.source.inputs:
            self.graph.inputs[str(value.name)] = self._activation(value)
        for node in self.source:
            if node.op_type not in self.translate:
                raise ModelError(f"TFLite: no translation of {node.op_type} ({node.name})")
            self.translate[node.op_type](node)
        for value in self.source.outputs:
            self.graph.outputs[str(value.name)] = self.index[value]
        return self.graph

    def _shape(self, value: ir.Value) -> tuple[int, ...]:
        if value.shape is None or not value.shape.is_static():
            raise ModelError(f"TFLite: the shape of {value.name!r} is not known")
        dims = tuple(int(d) for d in value.shape.dims)  # type: ignore[arg-type]
        return (dims[0], dims[2], dims[3], dims[1]) if len(dims) == 4 else dims

    def _activation(self, value: ir.Value, suffix: str = "") -> int:
        index = self.graph.add(Tensor(f"{value.name}{suffix}", self._shape(value)))
        if not suffix:
            self.index[value] = index
        return index

    def _input(self, node: ir.Node, position: int = 0) -> int:
        value = node.inputs[position]
        assert value is not None
        if value not in self.index:
            raise ModelError(f"TFLite: {node.op_type} ({node.name}) of a constant is not translated")
        return self.index[value]

    def _emit(self, kind: str, inputs: list[int], node: ir.Node, **options: object) -> None:
        """An operator whose result is the node's, or that of the ReLU or ReLU6 that alone takes it."""
        result = node.outputs[0]
        if "activation" in options and not result.is_graph_output():
            users = result.consumers()
            fused = _rectifier(users[0]) if len(users) == 1 else None
            if fused is not None:
                options["activation"] = fused
                result = users[0].outputs[0]
        self.graph.operators.append(Operator(kind, inputs, [self._activation(result)], dict(options)))

    def _conv(self, node: ir.Node) -> None:
        try:
            found = conv(node)
        except DoesNotApplyError as reason:
            raise ModelError(f"TFLite: Conv ({node.name}): {reason}") from reason
        data = self._input(node)
        strides = found.strides
        pooled = self.graph.tensors[data].name.endswith(_SUBSAMPLED)
        if pooled:
            strides = (2, 2)
        if found.depthwise:
            kind, weight = "DEPTHWISE_CONV_2D", found.weight.transpose(1, 2, 3, 0)
        elif found.groups == 1:
            kind, weight = "CONV_2D", found.weight.transpose(0, 2, 3, 1)
        else:
            raise ModelError(f"TFLite: Conv ({node.name}) of {found.groups} groups is not translated")
        data, padding = self._padded(data, found)
        name = str(node.outputs[0].name)
        inputs = [
            data,
            self.graph.constant(f"{name}.weight", weight.astype(np.float32)),
            self.graph.constant(f"{name}.bias", found.bias.astype(np.float32)),
        ]
        self._emit(kind, inputs, node, strides=strides, padding=padding, activation="NONE")

    def _padded(self, data: int, found: Conv) -> tuple[int, str]:
        if not any(found.pads):
            return data, "VALID"
        top, left, bottom, right = found.pads
        height, width = found.kernel
        if found.strides == (1, 1) and (top, left) == (bottom, right) == (height // 2, width // 2):
            return data, "SAME"
        tensor = self.graph.tensors[data]
        n, h, w, c = tensor.shape
        name = f"{found.node.outputs[0].name}.pad"
        result = self.graph.add(Tensor(name, (n, h + top + bottom, w + left + right, c)))
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        self.graph.operators.append(
            Operator("PAD", [data, self.graph.constant(f"{name}.amounts", amounts)], [result])
        )
        return result, "VALID"

    def _prelu(self, node: ir.Node) -> None:
        slope = constant(node.inputs[1])
        if slope is None:
            raise ModelError(f"TFLite: PRelu ({node.name}) has no constant slopes")
        count = self._shape(node.outputs[0])[-1]
        slopes = np.broadcast_to(slope.ravel(), (count,)).astype(np.float32)
        name = f"{node.outputs[0].name}.slope"
        self._emit("PRELU", [self._input(node), self.graph.constant(name, slopes.reshape(1, 1, count))], node)

    def _relu(self, node: ir.Node) -> None:
        kind = _rectifier(node)
        if kind is None:
            raise ModelError(f"TFLite: no translation of Clip ({node.name}) to other limits than 0 and 6")
        if node.outputs[0] not in self.index:  # else it went into the operator before it
            self._emit(kind, [self._input(node)], node)

    def _add(self, node: ir.Node) -> None:
        self._emit("ADD", [self._input(node, 0), self._input(node, 1)], node, activation="NONE")

    def _concat(self, node: ir.Node) -> None:
        if node.attributes.get_int("axis") not in (1, -3):
            raise ModelError(f"TFLite: Concat ({node.name}) of another axis than the channels")
        inputs = [self._input(node, i) for i in range(len(node.inputs))]
        self._emit("CONCATENATION", inputs, node, axis=3)

    def _max_pool(self, node: ir.Node) -> None:
        attributes = node.attributes
        kernel = tuple(attributes.get_ints("kernel_shape"))
        strides = tuple(attributes.get_ints("strides", [1, 1]))
        pads = tuple(attributes.get_ints("pads", [0, 0, 0, 0]))
        if attributes.get_int("ceil_mode", 0) or pads != (kernel[0] // 2, kernel[1] // 2) * 2:
            raise ModelError(f"TFLite: MaxPool ({node.name}) with pads {pads} is not translated")
        data = self._input(node)
        result = node.outputs[0]
        if strides == (1, 1):
            self._emit("MAX_POOL_2D", [data], node, kernel=kernel, padding="SAME")
            return
        if strides != (2, 2):
            raise ModelError(f"TFLite: MaxPool ({node.name}) with strides {strides} is not translated")
        source = self.graph.tensors[data]
        full = self.graph.add(Tensor(f"{result.name}{_SUBSAMPLED}", source.shape))
        self.graph.operators.append(
            Operator("MAX_POOL_2D", [data], [full], {"kernel": kernel, "padding": "SAME"})
        )
        if all(_depthwise_1x1(user) for user in result.consumers()) and not result.is_graph_output():
            self.index[result] = full  # each of them takes over the stride
            return
        count = source.shape[-1]
        inputs = [
            full,
            self.graph.constant(f"{result.name}.weight", np.ones((1, 1, 1, count), np.float32)),
            self.graph.constant(f"{result.name}.bias", np.zeros(count, np.float32)),
        ]
        self._emit("DEPTHWISE_CONV_2D", inputs, node, strides=(2, 2), padding="VALID")

    def _double(self, node: ir.Node) -> None:
        get = node.attributes.get_string
        data = self._input(node)
        n, h, w, c = self.graph.tensors[data].shape
        if (
            get("mode", "nearest") != "nearest"
            or get("coordinate_transformation_mode", "half_pixel") != "asymmetric"
            or get("nearest_mode", "round_prefer_floor") != "floor"
            or self._shape(node.outputs[0]) != (n, 2 * h, 2 * w, c)
        ):
            raise ModelError(f"TFLite: Resize ({node.name}) is no nearest-neighbour doubling")
        copies = self.graph.add(Tensor(f"{node.outputs[0].name}.copies", (n, h, w, 4 * c)))
        self.graph.operators.append(Operator("CONCATENATION", [data] * 4, [copies], {"axis": 3}))
        self._emit("DEPTH_TO_SPACE", [copies], node, block=2)

    def _flatten(self, node: ir.Node) -> None:
        data = self._input(node)
        n, *rest = self.graph.tensors[data].shape
        shape = self._shape(node.outputs[0])
        if rest[:-1] != [1, 1] or shape != (n, rest[-1]):
            raise ModelError(f"TFLite: {node.op_type} ({node.name}) of a map larger than 1x1")
        target: NDArray[np.int32] = np.array(shape, np.int32)
        name = f"{node.outputs[0].name}.shape"
        self._emit("RESHAPE", [data, self.graph.constant(name, target)], node, shape=shape)


def _depthwise_1x1(node: ir.Node) -> bool:
    try:
        found = conv(node)
    except DoesNotApplyError:
        return False
    return found.depthwise and found.kernel == (1, 1) and found.plain


def _rectifier(node: ir.Node) -> str | None:
    """TFLite's name of the ReLU or ReLU6 that the node is."""
    if node.op_type == "Relu":
        return "RELU"
    limits = [constant(value) for value in node.inputs[1:]] if node.op_type == "Clip" else []
    given = [None if limit is None else float(limit) for limit in limits]
    return "RELU6" if given == [0.0, 6.0] else None
