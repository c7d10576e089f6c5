"""Exact rewriting of ONNX graphs: same function, faster operators.

One rule a file: its docstring states the algebra, `OP_TYPE` the nodes it looks at, `apply` rewrites
one of them or raises `DoesNotApplyError` with the reason. `rewrite` runs a tuple of rules to a fixed
point and reports what was done and what was not, and why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol, cast

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from export.rewrite import (
    factorised_reduction,
    fold_batch_norm,
    join_sums,
    merge_depthwise_1x1,
    prelu_fold_forward,
    prelu_two_scales,
    split_wide_depthwise,
    zero_tiny_weights,
)
from export.rewrite._graph import DoesNotApplyError

__all__ = ["FOR_INT8", "FOR_ONNX_RUNTIME", "FOR_TFLITE", "DoesNotApplyError", "Report", "Rule", "rewrite"]


class Rule(Protocol):
    """A module of this package."""

    __name__: str
    OP_TYPE: str

    def apply(self, node: ir.Node) -> None:
        """Rewrite one node of type `OP_TYPE`, or raise `DoesNotApplyError` and change nothing."""


@dataclass(frozen=True)
class Report:
    """How often a rule was applied, and why it was not elsewhere (reason and number of nodes)."""

    rule: str
    applied: int
    reasons: dict[str, int]


_COMMON = (fold_batch_norm, merge_depthwise_1x1, factorised_reduction)

FOR_ONNX_RUNTIME = cast(
    "tuple[Rule, ...]", (*_COMMON, prelu_fold_forward, prelu_two_scales, zero_tiny_weights)
)
"""Rules for ONNX Runtime, in order."""

FOR_TFLITE = cast("tuple[Rule, ...]", (*_COMMON, split_wide_depthwise, zero_tiny_weights))
"""Rules for LiteRT, whose XNNPACK has a good PRELU of its own."""

FOR_INT8 = cast(
    "tuple[Rule, ...]", (*_COMMON, prelu_two_scales, split_wide_depthwise, join_sums, zero_tiny_weights)
)
"""Rules before a full int8 quantisation, in which no engine has a PReLU."""


def rewrite(model: onnx.ModelProto, rules: tuple[Rule, ...]) -> tuple[onnx.ModelProto, list[Report]]:
    """Apply `rules`, one after the other, each to a fixed point.

    Args:
        model: any ONNX graph; it is not changed.
        rules: such as `FOR_ONNX_RUNTIME`.

    Returns:
        The new graph, and one report a rule.
    """
    graph_model = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    _tidy(graph_model)
    reports = []
    for rule in rules:
        applied, reasons = 0, Counter[str]()
        changed = True
        while changed:
            changed = False
            reasons.clear()
            for node in list(graph_model.graph):
                if node.op_type != rule.OP_TYPE or node.graph is None:
                    continue
                try:
                    rule.apply(node)
                except DoesNotApplyError as reason:
                    reasons[str(reason)] += 1
                else:
                    applied += 1
                    changed = True
        reports.append(Report(rule.__name__.rpartition(".")[2], applied, dict(reasons)))
    _tidy(graph_model)
    result = ir.to_proto(graph_model)
    onnx.checker.check_model(result)
    return result, reports


def _tidy(model: ir.Model) -> None:
    """Constants to initializers, no identities, nothing unused, every value named."""
    for step in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
    ):
        step(model)
