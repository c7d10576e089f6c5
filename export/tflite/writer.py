"""A graph to the bytes of a TFLite file."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.graph import Graph, Operator, Tensor

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
}
_ACTIVATIONS = {
    "NONE": schema.ActivationFunctionType.NONE,
    "RELU": schema.ActivationFunctionType.RELU,
    "RELU6": schema.ActivationFunctionType.RELU6,
}
_PADDINGS = {"SAME": schema.Padding.SAME, "VALID": schema.Padding.VALID}


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data begins at a multiple of 16 bytes, which the generated code does not do."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 (overrides generated code)
        size = len(self.content)
        if size:
            builder.StartVector(1, size, 16)
            builder.head = builder.Head() - size
            builder.Bytes[builder.Head() : builder.Head() + size] = self.content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if size:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def to_bytes(graph: Graph, description: str) -> bytes:
    """Serialise `graph` with one signature, "serving_default"."""
    codes: dict[tuple[str, int], int] = {}
    operators = []
    for operator in graph.operators:
        key = (operator.kind, _version(operator, graph))
        index = codes.setdefault(key, len(codes))
        options_type, options = _options(operator)
        operators.append(
            schema.OperatorT(
                opcodeIndex=index,
                inputs=operator.inputs,
                outputs=operator.outputs,
                builtinOptionsType=options_type,
                builtinOptions=options,
            )
        )
    buffers: list[_Buffer] = [_Buffer(b"")]  # the schema's empty buffer, for activations
    tensors = [_tensor(tensor, buffers) for tensor in graph.tensors]
    model = schema.ModelT(
        version=3,
        description=description,
        operatorCodes=[_code(kind, version) for kind, version in codes],
        subgraphs=[
            schema.SubGraphT(
                tensors=tensors,
                inputs=list(graph.inputs.values()),
                outputs=list(graph.outputs.values()),
                operators=operators,
                name="main",
            )
        ],
        buffers=buffers,
        signatureDefs=[
            schema.SignatureDefT(
                inputs=[schema.TensorMapT(name, index) for name, index in graph.inputs.items()],
                outputs=[schema.TensorMapT(name, index) for name, index in graph.outputs.items()],
                signatureKey="serving_default",
            )
        ],
    )
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(kind: str, version: int) -> schema.OperatorCodeT:
    number = getattr(schema.BuiltinOperator, kind)
    return schema.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=version)


def _version(operator: Operator, graph: Graph) -> int:
    """The version in which TFLite gave the operator these types; older runtimes refuse newer ones."""
    first = graph.tensors[operator.inputs[0]]
    match operator.kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            return 3 if first.dtype == "int8" else 1
        case "DEQUANTIZE":
            if first.scale is not None and len(first.scale) > 1:
                return 5
            return 3 if first.dtype == "float16" else 2
        case "ADD" | "CONCATENATION" | "MAX_POOL_2D" | "PAD" | "DEPTH_TO_SPACE":
            return 2 if first.dtype == "int8" else 1
        case _:
            return 1


def _tensor(tensor: Tensor, buffers: list[_Buffer]) -> schema.TensorT:
    buffer = 0
    if tensor.data is not None:
        buffer = len(buffers)
        buffers.append(_Buffer(tensor.data.tobytes()))
    quantization = None
    if tensor.scale is not None:
        quantization = schema.QuantizationParametersT(
            scale=np.asarray(tensor.scale, np.float32),
            zeroPoint=np.full(len(tensor.scale), tensor.zero_point, np.int64),
            quantizedDimension=tensor.axis,
        )
    return schema.TensorT(
        shape=np.asarray(tensor.shape, np.int32),
        type=_TYPES[tensor.dtype],
        buffer=buffer,
        name=tensor.name,
        quantization=quantization,
    )


def _options(operator: Operator) -> tuple[int, Any]:
    kinds = schema.BuiltinOptions
    options = operator.options
    down, right = options.get("strides", (1, 1))
    activation = _ACTIVATIONS[options.get("activation", "NONE")]
    padding = _PADDINGS[options.get("padding", "VALID")]
    match operator.kind:
        case "CONV_2D":
            return kinds.Conv2DOptions, schema.Conv2DOptionsT(
                padding=padding, strideW=right, strideH=down, fusedActivationFunction=activation
            )
        case "DEPTHWISE_CONV_2D":
            return kinds.DepthwiseConv2DOptions, schema.DepthwiseConv2DOptionsT(
                padding=padding,
                strideW=right,
                strideH=down,
                depthMultiplier=1,
                fusedActivationFunction=activation,
            )
        case "MAX_POOL_2D":
            height, width = options["kernel"]
            return kinds.Pool2DOptions, schema.Pool2DOptionsT(
                padding=padding, strideW=right, strideH=down, filterWidth=width, filterHeight=height
            )
        case "ADD":
            return kinds.AddOptions, schema.AddOptionsT(fusedActivationFunction=activation)
        case "CONCATENATION":
            return kinds.ConcatenationOptions, schema.ConcatenationOptionsT(axis=options["axis"])
        case "RESHAPE":
            return kinds.ReshapeOptions, schema.ReshapeOptionsT(newShape=list(options["shape"]))
        case "DEPTH_TO_SPACE":
            return kinds.DepthToSpaceOptions, schema.DepthToSpaceOptionsT(blockSize=options["block"])
        case "PAD":
            return kinds.PadOptions, schema.PadOptionsT()
        case _:
            return kinds.NONE, None
