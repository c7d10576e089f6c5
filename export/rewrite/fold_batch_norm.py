"""Batch norm into the convolution before it.

    bn(y) = g (y - m) / sqrt(v + e) + b = s y + t,   s = g / sqrt(v + e),   t = b - s m
    bn(conv_w(x) + c) = conv_{s w}(x) + (s c + t)

One that follows something else becomes the depthwise 1x1 convolution with weight s and bias t,
which an engine's convolution layout holds, and which the other rules can merge further.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import (
    DoesNotApplyError,
    constant,
    conv,
    feature_map,
    insert_conv,
    only_user,
    replace,
)

OP_TYPE = "BatchNormalization"


def apply(node: ir.Node) -> None:
    """Fold one BatchNormalization."""
    data = node.inputs[0]
    assert data is not None
    arrays = [constant(value) for value in node.inputs[1:5]]
    if any(a is None for a in arrays):
        raise DoesNotApplyError("its statistics are not constant")
    if not feature_map(data):
        raise DoesNotApplyError("its input has not four axes")
    gamma, beta, mean, variance = (np.asarray(a, np.float64) for a in arrays)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    shift = beta - scale * mean
    producer = data.producer()
    try:
        before = conv(producer)
        only_user(data)
    except DoesNotApplyError:
        weight = scale.reshape(-1, 1, 1, 1)
        replace(node.outputs[0], insert_conv(node, data, weight, shift, node.outputs[0], groups=len(scale)))
        return
    source = before.node.inputs[0]
    assert source is not None
    result = insert_conv(
        node,
        source,
        before.weight * scale.reshape(-1, 1, 1, 1),
        before.bias * scale + shift,
        node.outputs[0],
        groups=before.groups,
        strides=before.strides,
        pads=before.pads,
    )
    replace(node.outputs[0], result)
    before.node.graph.remove(before.node, safe=True)  # type: ignore[union-attr]
