"""A depthwise 1x1 convolution and the convolution beside it into one.

A depthwise 1x1 is a per-channel scale s and bias t (a stride takes pixels away, nothing more):

    pointwise_W(s x + t) = pointwise_{W diag(s)}(x) + (W t)       the stride moves into the pointwise
    s conv_w(x) + t      = conv_{s w}(x) + (s c + t)              where the depthwise comes second

With padding the first form needs t = 0, for the border is zero before and t after it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import (
    Conv,
    DoesNotApplyError,
    conv,
    input_channels,
    insert_conv,
    only_user,
    replace,
)

OP_TYPE = "Conv"


def apply(node: ir.Node) -> None:
    """Merge the depthwise 1x1 `node` into the convolution before or after it."""
    scale = conv(node)
    if not (scale.depthwise and scale.kernel == (1, 1) and not any(scale.pads)):
        raise DoesNotApplyError("it is no depthwise 1x1")
    data = node.inputs[0]
    assert data is not None
    factor = scale.weight.astype(np.float64).ravel()
    if scale.strides == (1, 1):
        try:
            only_user(data)
            first = conv(data.producer())
        except DoesNotApplyError:
            pass
        else:
            _scale_output(first, scale, factor)
            return
    second = conv(only_user(node.outputs[0]))
    if any(second.pads) and np.any(scale.bias):
        raise DoesNotApplyError("the next convolution pads, and the bias is not zero")
    if scale.strides != (1, 1) and second.kernel != (1, 1):
        raise DoesNotApplyError("it strides and the next convolution is no 1x1")
    _scale_input(scale, second, factor)


def _scale_output(first: Conv, scale: Conv, factor: np.ndarray) -> None:
    source = first.node.inputs[0]
    assert source is not None
    result = insert_conv(
        scale.node,
        source,
        first.weight * factor.reshape(-1, 1, 1, 1),
        first.bias * factor + scale.bias,
        scale.node.outputs[0],
        groups=first.groups,
        strides=first.strides,
        pads=first.pads,
    )
    replace(scale.node.outputs[0], result)
    first.node.graph.remove(first.node, safe=True)  # type: ignore[union-attr]


def _scale_input(scale: Conv, second: Conv, factor: np.ndarray) -> None:
    source = scale.node.inputs[0]
    assert source is not None
    column = input_channels(second)
    weight = second.weight.astype(np.float64)
    bias = second.bias + (weight.sum((2, 3)) * scale.bias[column]).sum(1)
    strides = (scale.strides[0] * second.strides[0], scale.strides[1] * second.strides[1])
    result = insert_conv(
        second.node,
        source,
        weight * factor[column][:, :, None, None],
        bias,
        second.node.outputs[0],
        groups=second.groups,
        strides=strides,
        pads=second.pads,
    )
    replace(second.node.outputs[0], result)
    scale.node.graph.remove(scale.node, safe=True)  # type: ignore[union-attr]
