"""A depthwise kernel of more than 25 taps into four that fit into one pass of XNNPACK.

XNNPACK has depthwise kernels of up to 25 taps; what is larger, such as 7x7, takes a general path
that costs ten times as much. A sum over taps may be cut anywhere; the pointwise that follows adds
the parts up:

    D = D_1 + D_2 + D_3 + D_4         each tap in one part: upper left, upper right, lower left, lower right
    W D(x) = [W W W W] [D_1(x); D_2(x); D_3(x); D_4(x)]

Each part reaches to the middle of the kernel, so that it needs no negative padding.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import (
    Conv,
    DoesNotApplyError,
    conv,
    insert_before,
    insert_conv,
    only_user,
    replace,
)

OP_TYPE = "Conv"

_TAPS = 25


def apply(node: ir.Node) -> None:
    """Split the depthwise convolution `node` that one pointwise follows."""
    wide = conv(node)
    if not wide.depthwise or wide.kernel[0] * wide.kernel[1] <= _TAPS:
        raise DoesNotApplyError("it is no depthwise convolution of more than 25 taps")
    second = conv(only_user(node.outputs[0]))
    if second.kernel != (1, 1) or second.groups != 1 or not second.plain:
        raise DoesNotApplyError("no pointwise follows")
    rows, columns = (_cut(wide, axis) for axis in (0, 1))
    data, result = node.inputs[0], node.outputs[0]
    assert data is not None
    parts: list[ir.Value | None] = []
    for top, (first_row, last_row, before, after) in enumerate(rows):
        for left, (first_column, last_column, start, end) in enumerate(columns):
            weight = np.zeros_like(wide.weight)
            own_rows = slice(0, rows[1][0]) if top == 0 else slice(rows[1][0], None)
            own_columns = slice(0, columns[1][0]) if left == 0 else slice(columns[1][0], None)
            weight[:, :, own_rows, own_columns] = wide.weight[:, :, own_rows, own_columns]
            part = weight[:, :, first_row : last_row + 1, first_column : last_column + 1]
            bias = wide.bias if not parts else None
            pads = (before, start, after, end)
            parts.append(
                insert_conv(
                    second.node, data, part, bias, result, groups=wide.groups, strides=wide.strides, pads=pads
                )
            )
    joined = insert_before(second.node, "Concat", parts, {"axis": 1})
    weight = np.tile(second.weight, (1, len(parts), 1, 1))
    output = second.node.outputs[0]
    replace(output, insert_conv(second.node, joined, weight, second.bias, output))
    node.graph.remove(node, safe=True)  # type: ignore[union-attr]


def _cut(wide: Conv, axis: int) -> list[tuple[int, int, int, int]]:
    """Two parts of the kernel along `axis` (0 down, 1 right): first and last tap, padding on both sides."""
    kernel, stride = wide.kernel[axis], wide.strides[axis]
    sizes = [value.shape[axis + 2] if value.shape else None for value in _ends(wide.node)]
    size, out = sizes
    if not isinstance(size, int) or not isinstance(out, int):
        raise DoesNotApplyError("the size of its map is unknown")
    before = wide.pads[axis]
    after = stride * (out - 1) + kernel - before - size  # as much as is read
    parts = [(0, kernel - 1 - after, before, 0), (before, kernel - 1, 0, after)]
    if after < 0 or parts[0][1] < before or any(last - first + 1 > 5 for first, last, _, _ in parts):
        raise DoesNotApplyError("its halves need more taps or another padding")
    return parts


def _ends(node: ir.Node) -> tuple[ir.Value, ir.Value]:
    data = node.inputs[0]
    assert data is not None
    return data, node.outputs[0]
