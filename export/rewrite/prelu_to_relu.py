"""PReLU as ReLU and a scale, which fuse into neighbouring convolutions where PRelu does not.

With r = relu(x) and slope a a channel,

    prelu(x) = (1 - a) r + a x                 r where x > 0 gives x, else a x
             = (1 - a) (r + c x),              c = a / (1 - a)

so a convolution conv_w after it becomes conv_{w (1 - a)}(r + c x), and c x is a depthwise 1x1 to
which an engine adds r while it writes. Where something else follows, or 1 - a is so near zero
that rounding would grow, (1 - a) x goes through a depthwise 1x1 with a fused ReLU instead
(relu((1 - a) x) = (1 - a) relu(x) as 1 - a > 0):

    prelu(x) = relu((1 - a) x) + a x.

ONNX Runtime's blocked layout has no PRelu, so each one costs two reorders of its map.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import (
    Conv,
    DoesNotApplyError,
    channels,
    constant,
    conv,
    feature_map,
    initializer,
    insert_before,
    insert_conv,
    replace,
)

OP_TYPE = "PRelu"

_SMALLEST = 1 / 16
"""Smallest 1 - a that is divided by; below, c would grow past 15 and lose four bits."""


def apply(node: ir.Node) -> None:
    """Rewrite one PRelu."""
    data = node.inputs[0]
    slopes = constant(node.inputs[1])
    assert data is not None
    if slopes is None:
        raise DoesNotApplyError("its slopes are not constant")
    if not feature_map(data):
        raise DoesNotApplyError("its input has not four axes")
    count = channels(data)
    if slopes.size not in (1, count):
        raise DoesNotApplyError(f"{slopes.size} slopes for {count} channels")
    slope = np.broadcast_to(slopes.astype(np.float64).ravel(), (count,))
    keep = 1 - slope
    users = _convolutions(node.outputs[0])
    if users is not None and np.all(np.abs(keep) >= _SMALLEST):
        _fold_forward(node, data, slope / keep, keep, users)
    elif np.all(keep >= 0):
        _two_scales(node, data, slope, keep)
    else:
        raise DoesNotApplyError("a slope is above 1 and what follows is no convolution")


def _convolutions(value: ir.Value) -> list[Conv] | None:
    if value.is_graph_output():
        return None
    found = []
    for user, index in value.uses():
        try:
            found.append(conv(user))
        except DoesNotApplyError:
            return None
        if index != 0:
            return None
    return found


def _fold_forward(
    node: ir.Node, data: ir.Value, ratio: np.ndarray, keep: np.ndarray, users: list[Conv]
) -> None:
    positive = insert_before(node, "Relu", [data], like=data)
    linear = insert_conv(node, data, ratio.reshape(-1, 1, 1, 1), None, data, groups=len(ratio))
    replace(node.outputs[0], insert_before(node, "Add", [linear, positive], like=data))
    for user in users:
        out, per_group = user.weight.shape[:2]
        group = np.arange(out) // (out // user.groups)
        column = group[:, None] * per_group + np.arange(per_group)
        weight = user.weight.astype(np.float64) * keep[column][:, :, None, None]
        user.node.replace_input_with(1, initializer(user.node, weight.astype(np.float32)))


def _two_scales(node: ir.Node, data: ir.Value, slope: np.ndarray, keep: np.ndarray) -> None:
    scaled = insert_conv(node, data, keep.reshape(-1, 1, 1, 1), None, data, groups=len(keep))
    positive = insert_before(node, "Relu", [scaled], like=data)
    linear = insert_conv(node, data, slope.reshape(-1, 1, 1, 1), None, data, groups=len(slope))
    replace(node.outputs[0], insert_before(node, "Add", [linear, positive], like=data))
