"""PReLU as a ReLU and two per-channel scales.

With r = relu(x), slope a a channel and 1 - a >= 0,

    prelu(x) = (1 - a) r + a x = relu((1 - a) x) + a x

(where x > 0 both give x, else a x). Both scales are depthwise 1x1 convolutions, the ReLU fuses into
the first and the sum into the second. Used where `prelu_fold_forward` does not apply, and for int8,
where each of the three operators has an integer form and PReLU has none.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import DoesNotApplyError, insert_before, insert_conv, replace, slopes

OP_TYPE = "PRelu"


def apply(node: ir.Node) -> None:
    """Rewrite one PRelu."""
    data, slope = slopes(node)
    keep = 1 - slope
    if np.any(keep < 0):
        raise DoesNotApplyError("a slope is above 1")
    scaled = insert_conv(node, data, keep.reshape(-1, 1, 1, 1), None, data, groups=len(keep))
    positive = insert_before(node, "Relu", [scaled], like=data)
    linear = insert_conv(node, data, slope.reshape(-1, 1, 1, 1), None, data, groups=len(slope))
    replace(node.outputs[0], insert_before(node, "Add", [linear, positive], like=data))
