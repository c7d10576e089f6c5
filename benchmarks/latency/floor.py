"""The physical limit: what the machine can multiply and copy, and what a network asks of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pocketface.engines import get

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDE = 512
_COPY = 1 << 28


@dataclass(frozen=True)
class Limits:
    """What one thread of this machine can do.

    Attributes:
        fp32: multiply-adds a second in a float32 matrix product.
        int8: multiply-adds a second in an 8-bit matrix product.
        copy: bytes a second read and written by a copy far larger than the caches.
    """

    fp32: float
    int8: float
    copy: float


@dataclass(frozen=True)
class Work:
    """What one run of a network asks for.

    Attributes:
        multiply_adds: in convolutions and matrix products.
        weight_bytes: constants, each read at least once.
    """

    multiply_adds: int
    weight_bytes: int


def limits(repeats: int = 12) -> Limits:
    """Measure this machine, on one thread, best of several: the floor is what is possible."""
    a = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    numpy_rate = SIDE**3 / _best(lambda: a @ a, repeats)
    fp32 = SIDE**3 / _best(_matmul(np.dtype(np.float32)), repeats)
    int8 = SIDE**3 / _best(_matmul(np.dtype(np.int8)), repeats)
    source = np.ones(_COPY // 8, np.float64)
    target = np.empty_like(source)
    copy = 2 * _COPY / _best(lambda: np.copyto(target, source), repeats)
    return Limits(max(numpy_rate, fp32), int8, copy)


def work(graph: Path) -> Work:
    """Count an ONNX graph's multiply-adds and constants, for one picture.

    Raises:
        ValueError: the shape of an operator's output cannot be inferred.
    """
    model = onnx.load(graph)
    for value in model.graph.input:
        batch = value.type.tensor_type.shape.dim[0]
        batch.ClearField("dim_param")
        batch.dim_value = 1
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    constants = {c.name: c for c in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
    }
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            out = shapes.get(node.output[0], [0])
            weight = list(constants[node.input[1]].dims)
            # Every output value is a dot product over the weight's other dimensions.
            if node.op_type == "Conv":
                depth = int(np.prod(weight[1:]))
            elif node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
                depth = weight[1]
            else:
                depth = weight[0]
            count = int(np.prod(out[1:])) * depth
            if count <= 0:
                raise ValueError(f"{graph}: the shape of {node.output[0]!r} is unknown")
            total += count
    return Work(total, sum(numpy_helper.to_array(c).nbytes for c in constants.values()))


def floor_ms(asked: Work, able: Limits, *, int8: bool = False) -> float:
    """Least time in milliseconds: arithmetic at full rate, or one read of the weights if that is longer."""
    rate = able.int8 if int8 else able.fp32
    weight_bytes = asked.weight_bytes / 4 if int8 else asked.weight_bytes
    return max(asked.multiply_adds / rate, weight_bytes / able.copy) * 1e3


def _matmul(dtype: np.dtype[np.float32] | np.dtype[np.int8]) -> Callable[[], object]:
    random = np.random.default_rng(0)
    integer = dtype == np.int8
    kind, out, op = (
        (TensorProto.UINT8, TensorProto.INT32, "MatMulInteger")
        if integer
        else (TensorProto.FLOAT, TensorProto.FLOAT, "MatMul")
    )
    weight = (
        random.integers(-64, 64, (SIDE, SIDE)) if integer else random.standard_normal((SIDE, SIDE))
    ).astype(dtype)
    graph = helper.make_graph(
        [helper.make_node(op, ["a", "b"], ["c"])],
        "matmul",
        [helper.make_tensor_value_info("a", kind, [SIDE, SIDE])],
        [helper.make_tensor_value_info("c", out, [SIDE, SIDE])],
        [numpy_helper.from_array(weight, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = get("onnxruntime").load(model.SerializeToString(), threads=1)
    data = np.ones((SIDE, SIDE), np.uint8 if integer else np.float32)
    return lambda: session.run({"a": data})


def _best(call: Callable[[], object], repeats: int) -> float:
    """Seconds of processor time of the quickest of several calls."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time_ns()
        call()
        times.append(time.process_time_ns() - start)
    return max(min(times), 1) / 1e9
