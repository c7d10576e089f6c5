"""The sum of two pointwise convolutions into one over the concatenated inputs.

    (V a + c) + (W b + d) = [V W] [a; b] + (c + d)

In eight bits it takes fewer instructions (one rounding of the results instead of three), and neither
term is rounded by itself.
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
    remove_unused,
    replace,
)

OP_TYPE = "Add"


def apply(node: ir.Node) -> None:
    """Join the two pointwise convolutions that `node` adds."""
    terms = [_pointwise(value, node) for value in node.inputs]
    data: list[ir.Value | None] = []
    for term in terms:
        data += _members(term.node)
    joined = insert_before(node, "Concat", data, {"axis": 1})
    weight = np.concatenate([term.weight for term in terms], axis=1)
    bias = terms[0].bias.astype(np.float64) + terms[1].bias
    replace(node.outputs[0], insert_conv(node, joined, weight, bias, node.outputs[0]))
    for term in terms:
        remove_unused(term.node)


def _pointwise(value: ir.Value | None, node: ir.Node) -> Conv:
    if value is None or value.producer() is None or only_user(value) is not node:
        raise DoesNotApplyError("a term has another user")
    found = conv(value.producer())
    if found.kernel != (1, 1) or found.groups != 1 or not found.plain:
        raise DoesNotApplyError("a term is no pointwise convolution")
    return found


def _members(pointwise: ir.Node) -> list[ir.Value | None]:
    """The input of a pointwise, or what is concatenated for it alone."""
    data = pointwise.inputs[0]
    assert data is not None
    producer = data.producer()
    if producer is not None and producer.op_type == "Concat" and len(data.uses()) == 1:
        return list(producer.inputs)
    return [data]
