"""Weights that weight decay drove towards zero, to zero.

Filters that died in training keep weights of 1e-20 to 1e-40. Their products with activations are
subnormal floats, on which many x86 processors take a hundred times longer: the authors' S-128
spends nine tenths of its time so. With |w_i| < d set to zero, a sum changes by at most

    |sum w_i x_i| <= d sum |x_i|,       d = 1e-15,

which is below the rounding of a float32 sum (6e-8 relative) wherever the sum is above 1e-8 times
the activations. A filter whose weights are all tiny gives its bias instead of its bias.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import DoesNotApplyError, constant, initializer

OP_TYPE = "Conv"

_SMALLEST = 1e-15


def apply(node: ir.Node) -> None:
    """Set the tiny weights and biases of one convolution to zero."""
    changed = False
    for index in range(1, len(node.inputs)):
        array = constant(node.inputs[index])
        if array is None or array.dtype != np.float32:
            continue
        tiny = (array != 0) & (np.abs(array) < _SMALLEST)
        if tiny.any():
            node.replace_input_with(index, initializer(node, np.where(tiny, np.float32(0), array)))
            changed = True
    if not changed:
        raise DoesNotApplyError("no weight is tiny")
