"""PReLU before convolutions as a ReLU and one per-channel scale.

With r = relu(x) and slope a a channel,

    prelu(x) = (1 - a) r + a x                 r where x > 0 gives x, else a x
             = (1 - a) (r + c x),              c = a / (1 - a)

so a convolution conv_w after it becomes conv_{w (1 - a)}(r + c x), and c x is a depthwise 1x1 to
which an engine adds r while it writes; r serves all PReLUs of one x. ONNX Runtime's blocked layout
has no PRelu, so there each one costs two reorders of its map.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import (
    Conv,
    DoesNotApplyError,
    conv,
    initializer,
    input_channels,
    insert_before,
    insert_conv,
    replace,
    slopes,
)

OP_TYPE = "PRelu"

_SMALLEST = 1 / 16
"""Smallest |1 - a| that is divided by: below it c would pass 15 and four bits be lost."""


def apply(node: ir.Node) -> None:
    """Rewrite one PRelu."""
    data, slope = slopes(node)
    keep = 1 - slope
    if np.any(np.abs(keep) < _SMALLEST):
        raise DoesNotApplyError("a slope is too near 1")
    users = _convolutions(node.outputs[0])
    positive = insert_before(node, "Relu", [data], like=data)
    linear = insert_conv(node, data, (slope / keep).reshape(-1, 1, 1, 1), None, data, groups=len(keep))
    replace(node.outputs[0], insert_before(node, "Add", [linear, positive], like=data))
    for user in users:
        weight = user.weight.astype(np.float64) * keep[input_channels(user)][:, :, None, None]
        user.node.replace_input_with(1, initializer(user.node, weight.astype(np.float32)))


def _convolutions(value: ir.Value) -> list[Conv]:
    if value.is_graph_output():
        raise DoesNotApplyError("its result is an output of the graph")
    found = []
    for user, index in value.uses():
        if index != 0:
            raise DoesNotApplyError("it gives the weights of a convolution")
        found.append(conv(user))
    return found
