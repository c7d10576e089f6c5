"""Smaller weights, float arithmetic: a DEQUANTIZE of each constant, which XNNPACK runs once, at load.

fp16 halves the file (cosine 1.0000); int8w, w ~ s q with integers q of -127..127 and one s a filter,
makes it a third.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from export.tflite.graph import Graph, Operator, Tensor

CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Axis of the filters in the weights of the operators that have them."""


def half(graph: Graph) -> Graph:
    """The graph with its convolutions' weights in float16."""
    result = copy.deepcopy(graph)
    for index, _ in _weights(result):
        tensor = result.tensors[index]
        assert tensor.data is not None
        _store(result, index, Tensor("", tensor.shape, "float16", tensor.data.astype(np.float16)))
    return result


def int8_weights(graph: Graph) -> Graph:
    """The graph with its convolutions' weights in int8, one scale a filter."""
    result = copy.deepcopy(graph)
    for index, axis in _weights(result):
        tensor = result.tensors[index]
        assert tensor.data is not None
        integers, scale = quantize_filters(tensor.data, axis)
        _store(result, index, Tensor("", tensor.shape, "int8", integers, scale, 0, axis))
    return result


def quantize_filters(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and one scale a filter, of the clipping range with the least squared error.

    Args:
        weight: any shape.
        axis: axis of the filters.

    Returns:
        int8 of the same shape, -127..127, and float32 `(filters,)`.
    """
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    peak = np.maximum(np.abs(rows).max(1), 1e-12)
    best, scale = np.full(len(rows), np.inf), peak / 127
    for shrink in np.linspace(1.0, 0.7, 13):
        step = peak * shrink / 127
        error = ((np.clip(np.rint(rows / step[:, None]), -127, 127) * step[:, None] - rows) ** 2).sum(1)
        scale = np.where(error < best, step, scale)
        best = np.minimum(error, best)
    scale = scale.astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    integers = np.clip(np.rint(weight / scale.reshape(shape)), -127, 127).astype(np.int8)
    return integers, scale


def _weights(graph: Graph) -> list[tuple[int, int]]:
    """Index and filter axis of every convolution's weights."""
    found = {op.inputs[1]: CHANNEL_AXIS[op.kind] for op in graph.operators if op.kind in CHANNEL_AXIS}
    return sorted(found.items())


def _store(graph: Graph, index: int, stored: Tensor) -> None:
    """Let constant `index` be computed from `stored` by a DEQUANTIZE."""
    tensor = graph.tensors[index]
    stored.name = f"{tensor.name}.{stored.dtype}"
    tensor.data = None
    graph.operators.insert(0, Operator("DEQUANTIZE", [graph.add(stored)], [index]))
