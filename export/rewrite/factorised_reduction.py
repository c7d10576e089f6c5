"""The two stride-2 paths of a factorised reduction as one 2x2 convolution with stride 2.

    first(i, j)  = A x(2i, 2j)            a 1x1 with stride 2 on x
    second(i, j) = B x(2i + 1, 2j + 1)    the same on x without its first row and column
    concat = conv2x2 stride 2 with the kernel [[A, 0], [0, B]]

It needs an even height and width, or the shifted path would be one pixel shorter.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.rewrite._graph import (
    Conv,
    DoesNotApplyError,
    constant,
    conv,
    insert_conv,
    only_user,
    remove_unused,
    replace,
)

OP_TYPE = "Concat"


def apply(node: ir.Node) -> None:
    """Merge the two paths that `node` concatenates."""
    if node.attributes.get_int("axis") != 1 or len(node.inputs) != 2:
        raise DoesNotApplyError("it does not concatenate two maps along the channels")
    paths = []
    for value in node.inputs:
        assert value is not None
        if only_user(value) is not node:
            raise DoesNotApplyError("a path has another user")
        paths.append(_strided_1x1(value))
    first, second = paths
    shifted = second.node.inputs[0]
    source = first.node.inputs[0]
    assert source is not None
    assert shifted is not None
    if _shift_source(shifted) is not source:
        raise DoesNotApplyError("the second path is not the first one's input without a row and column")
    sides = source.shape.dims[2:] if source.shape is not None else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side % 2 == 0 for side in sides):
        raise DoesNotApplyError("height and width are not known to be even")
    half, c_in = first.weight.shape[:2]
    weight = np.zeros((half + second.weight.shape[0], c_in, 2, 2))
    weight[:half, :, 0, 0] = first.weight[:, :, 0, 0]
    weight[half:, :, 1, 1] = second.weight[:, :, 0, 0]
    bias = np.concatenate([first.bias, second.bias])
    replace(node.outputs[0], insert_conv(node, source, weight, bias, node.outputs[0], strides=(2, 2)))
    remove_unused(second.node)
    remove_unused(first.node)


def _strided_1x1(value: ir.Value) -> Conv:
    found = conv(value.producer())
    if found.kernel != (1, 1) or found.groups != 1 or found.strides != (2, 2) or any(found.pads):
        raise DoesNotApplyError("a path is no dense 1x1 with stride 2")
    return found


def _shift_source(value: ir.Value) -> ir.Value | None:
    """What `value` is, sliced `[:, :, 1:, 1:]`, in one or two Slice nodes."""
    cut: set[int] = set()
    current: ir.Value | None = value
    while current is not None and (node := current.producer()) is not None and node.op_type == "Slice":
        starts, ends, axes, steps = (
            constant(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2, 3, 4)
        )
        if starts is None or ends is None or axes is None or np.any(starts != 1) or np.any(ends < 2**30):
            return None
        if steps is not None and np.any(steps != 1):
            return None
        cut.update(int(a) for a in axes)
        current = node.inputs[0]
    return current if cut == {2, 3} else None
