"""Each rule alone on graphs made by hand, and all of them on networks: same output, other operators."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from graph_runs import run_onnx
from onnx import TensorProto, helper, numpy_helper

from export import rewrite as rules
from export.pictures import own_pictures
from export.rewrite import (
    FOR_INT8,
    FOR_ONNX_RUNTIME,
    FOR_TFLITE,
    factorised_reduction,
    fold_batch_norm,
    join_sums,
    merge_depthwise_1x1,
    prelu_fold_forward,
    prelu_two_scales,
    split_wide_depthwise,
    zero_tiny_weights,
)

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


def graph(nodes, constants, channels=8, side=12, outputs=("y",)) -> onnx.ModelProto:
    shapes = {"x": [1, channels, side, side]}
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes["x"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model


def apply(model, *chosen):
    """The rewritten graph, after checking that its outputs are the same; operators; reports."""
    after, reports = rules.rewrite(model, chosen)
    shape = [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = RANDOM.normal(0, 1, shape).astype(np.float32)
    for expected, found in zip(run_onnx(model, x), run_onnx(after, x), strict=True):
        assert np.abs(expected - found).max() <= 2e-6 * max(1.0, np.abs(expected).max())
    assert [v.name for v in after.graph.output] == [v.name for v in model.graph.output]
    return Counter(node.op_type for node in after.graph.node), reports


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


BN = {"g": normal(8), "b": normal(8), "m": normal(8), "v": RANDOM.uniform(0.5, 2, 8).astype(np.float32)}


def test_batch_norm_into_convolution():
    nodes = [node("Conv", "x w c", "h", pads=[1] * 4), node("BatchNormalization", "h g b m v", "y")]
    operators, _ = apply(graph(nodes, {"w": normal(8, 8, 3, 3), "c": normal(8), **BN}), fold_batch_norm)
    assert operators == {"Conv": 1}


def test_batch_norm_elsewhere_becomes_depthwise():
    nodes = [
        node("MaxPool", "x", "h", kernel_shape=[3, 3], pads=[1] * 4),
        node("BatchNormalization", "h g b m v", "y"),
    ]
    operators, _ = apply(graph(nodes, BN), fold_batch_norm)
    assert operators == {"MaxPool": 1, "Conv": 1}


def test_batch_norm_keeps_a_convolution_that_others_use():
    nodes = [
        node("Conv", "x w", "h"),
        node("BatchNormalization", "h g b m v", "n"),
        node("Add", "h n", "y"),
    ]
    operators, _ = apply(graph(nodes, {"w": normal(8, 8, 1, 1), **BN}), fold_batch_norm)
    assert operators == {"Conv": 2, "Add": 1}


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_1x1_into_next(stride):
    nodes = [
        node("Conv", "x d e", "h", group=8, strides=[stride] * 2),
        node("Conv", "h w c", "y"),
    ]
    constants = {"d": normal(8, 1, 1, 1), "e": normal(8), "w": normal(6, 8, 1, 1), "c": normal(6)}
    operators, _ = apply(graph(nodes, constants), merge_depthwise_1x1)
    assert operators == {"Conv": 1}


def test_depthwise_1x1_into_grouped_next():
    nodes = [node("Relu", "x", "r"), node("Conv", "r d", "h", group=8), node("Conv", "h w", "y", group=4)]
    operators, _ = apply(
        graph(nodes, {"d": normal(8, 1, 1, 1), "w": normal(12, 2, 3, 3)}), merge_depthwise_1x1
    )
    assert operators == {"Relu": 1, "Conv": 1}


def test_depthwise_1x1_into_previous():
    nodes = [node("Conv", "x w c", "h", pads=[1] * 4, strides=[2, 2]), node("Conv", "h d e", "y", group=8)]
    constants = {"w": normal(8, 8, 3, 3), "c": normal(8), "d": normal(8, 1, 1, 1), "e": normal(8)}
    operators, _ = apply(graph(nodes, constants), merge_depthwise_1x1)
    assert operators == {"Conv": 1}


def test_bias_before_padding_is_kept_and_said():
    nodes = [node("Conv", "x d e", "h", group=8), node("Conv", "h w", "y", pads=[1] * 4)]
    constants = {"d": normal(8, 1, 1, 1), "e": normal(8), "w": normal(8, 8, 3, 3)}
    operators, (report,) = apply(graph(nodes, constants), merge_depthwise_1x1)
    assert operators == {"Conv": 2}
    assert "the next convolution pads, and the bias is not zero" in report.reasons


def _reduction(side):
    nodes = [
        node("Conv", "x a", "p", strides=[2, 2]),
        node("Slice", "x one end axis2", "s"),
        node("Slice", "s one end axis3", "t"),
        node("Conv", "t b c", "q", strides=[2, 2]),
        node("Concat", "p q", "y", axis=1),
    ]
    integers = {"one": [1], "end": [2**31 - 1], "axis2": [2], "axis3": [3]}
    constants = {"a": normal(4, 8, 1, 1), "b": normal(4, 8, 1, 1), "c": normal(4)}
    constants |= {name: np.array(value, np.int64) for name, value in integers.items()}
    return nodes, constants, side


def test_factorised_reduction():
    nodes, constants, side = _reduction(12)
    operators, _ = apply(graph(nodes, constants, side=side), factorised_reduction)
    assert operators == {"Conv": 1}


def test_concatenation_of_something_else_is_left():
    nodes = [node("Relu", "x", "r"), node("Concat", "x r", "y", axis=1)]
    _, (report,) = apply(graph(nodes, {}), factorised_reduction)
    assert report.applied == 0
    assert report.reasons


SLOPES = np.linspace(-0.8, 0.9, 8).astype(np.float32).reshape(8, 1, 1)


def test_prelu_folded_into_every_next_convolution():
    nodes = [
        node("PRelu", "x a", "h"),
        node("Conv", "h d", "p", group=8, pads=[1] * 4),
        node("Conv", "h w c", "q"),
        node("Add", "p q", "y"),
    ]
    constants = {"a": SLOPES, "d": normal(8, 1, 3, 3), "w": normal(8, 8, 1, 1), "c": normal(8)}
    operators, _ = apply(graph(nodes, constants), prelu_fold_forward)
    assert operators == {"Relu": 1, "Conv": 3, "Add": 2}


def test_prelu_that_cannot_fold_takes_two_scales():
    nodes = [node("PRelu", "x a", "y")]
    operators, (fold, scales) = apply(graph(nodes, {"a": SLOPES}), prelu_fold_forward, prelu_two_scales)
    assert operators == {"Conv": 2, "Relu": 1, "Add": 1}
    assert fold.reasons == {"its result is an output of the graph": 1}
    assert scales.applied == 1


@pytest.mark.parametrize(("slope", "rule"), [(0.99, prelu_two_scales), (1.7, prelu_fold_forward)])
def test_prelu_with_slopes_near_and_above_one(slope, rule):
    nodes = [node("PRelu", "x a", "h"), node("Conv", "h w", "y")]
    constants = {"a": np.full((8, 1, 1), slope, np.float32), "w": normal(8, 8, 1, 1)}
    operators, reports = apply(graph(nodes, constants), prelu_fold_forward, prelu_two_scales)
    assert "PRelu" not in operators
    assert [r.rule for r in reports if r.applied] == [rule.__name__.rpartition(".")[2]]


def test_one_slope_for_all_channels():
    nodes = [node("PRelu", "x a", "h"), node("Conv", "h w", "y")]
    constants = {"a": np.full((1,), 0.25, np.float32), "w": normal(8, 8, 1, 1)}
    operators, _ = apply(graph(nodes, constants), *FOR_ONNX_RUNTIME)
    assert "PRelu" not in operators


def test_slopes_that_are_computed_are_left():
    nodes = [node("Relu", "x", "a"), node("PRelu", "x a", "y")]
    operators, (report,) = apply(graph(nodes, {}), prelu_two_scales)
    assert operators["PRelu"] == 1
    assert report.reasons == {"its slopes are not constant": 1}


@pytest.mark.parametrize(("stride", "side", "kernel"), [(2, 12, 7), (1, 9, 7), (1, 12, 9), (2, 13, 7)])
def test_wide_depthwise_in_four(stride, side, kernel):
    pads = [kernel // 2] * 4
    nodes = [
        node("Conv", "x d e", "h", group=8, strides=[stride] * 2, pads=pads),
        node("Conv", "h w c", "y"),
    ]
    constants = {"d": normal(8, 1, kernel, kernel), "e": normal(8), "w": normal(6, 8, 1, 1), "c": normal(6)}
    operators, _ = apply(graph(nodes, constants, side=side), split_wide_depthwise)
    assert operators == {"Conv": 5, "Concat": 1}


@pytest.mark.parametrize(
    ("kernel", "pads", "follower", "reason"),
    [
        (5, 2, "Conv", "it is no depthwise convolution of more than 25 taps"),
        (7, 3, "Relu", "Relu is no Conv"),
        (7, 0, "Conv", "its halves need more taps or another padding"),
        (11, 5, "Conv", "its halves need more taps or another padding"),
    ],
)
def test_depthwise_that_is_left_whole(kernel, pads, follower, reason):
    nodes = [node("Conv", "x d", "h", group=8, pads=[pads] * 4)]
    constants = {"d": normal(8, 1, kernel, kernel)}
    if follower == "Conv":
        nodes.append(node("Conv", "h w", "y"))
        constants["w"] = normal(6, 8, 1, 1)
    else:
        nodes.append(node(follower, "h", "y"))
    _, (report,) = apply(graph(nodes, constants), split_wide_depthwise)
    assert report.applied == 0
    assert reason in report.reasons


def test_sum_of_pointwise_convolutions():
    nodes = [
        node("Conv", "x d", "a", group=8, pads=[1] * 4),
        node("Relu", "x", "b"),
        node("Concat", "a b", "c", axis=1),
        node("Conv", "c v p", "s"),
        node("Conv", "b w q", "t"),
        node("Add", "s t", "y"),
    ]
    constants = {"d": normal(8, 1, 3, 3), "v": normal(6, 16, 1, 1), "p": normal(6), "w": normal(6, 8, 1, 1)}
    operators, _ = apply(graph(nodes, {**constants, "q": normal(6)}), join_sums)
    assert operators == {"Conv": 2, "Relu": 1, "Concat": 1}  # one concatenation, not one of another


def test_sum_whose_term_others_take_is_left():
    nodes = [
        node("Conv", "x v", "s"),
        node("Conv", "x w", "t"),
        node("Add", "s t", "u"),
        node("Add", "u t", "y"),
    ]
    _, (report,) = apply(graph(nodes, {"v": normal(8, 8, 1, 1), "w": normal(8, 8, 1, 1)}), join_sums)
    assert report.applied == 0
    assert report.reasons == {"its result has 2 users": 1, "Add is no Conv": 1}


def test_dead_filters_become_zero():
    weight = normal(8, 8, 1, 1)
    weight[3] = 1e-30
    weight[5, 2] = 1e-42  # subnormal
    nodes = [node("Conv", "x w c", "y")]
    after, _ = rules.rewrite(graph(nodes, {"w": weight, "c": normal(8)}), (zero_tiny_weights,))
    arrays = [numpy_helper.to_array(i) for i in after.graph.initializer]
    stored = next(a for a in arrays if a.ndim == 4)
    assert not stored[3].any()
    assert np.array_equal(stored[[0, 1, 2, 4, 6, 7]], weight[[0, 1, 2, 4, 6, 7]])
    assert stored[5, 2] == 0


@pytest.mark.parametrize("chosen", [FOR_ONNX_RUNTIME, FOR_TFLITE, FOR_INT8])
def test_small_network(plain, faces, chosen):
    before = onnx.load(plain)
    after, _ = rules.rewrite(before, chosen)
    x = ((faces[:3].astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    (expected,), (found,) = run_onnx(before, x), run_onnx(after, x)
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()
    operators = Counter(n.op_type for n in after.graph.node)
    assert not operators["BatchNormalization"] + operators["Slice"] + operators["Identity"]
    assert bool(operators["PRelu"]) == (chosen is FOR_TFLITE)


def test_official_network(official):
    after, reports = rules.rewrite(official, FOR_ONNX_RUNTIME)
    applied = {report.rule: report.applied for report in reports}
    assert applied["prelu_fold_forward"] == 152
    assert applied["factorised_reduction"] == 2
    assert applied["zero_tiny_weights"] > 100
    faces = own_pictures((112, 112))[:2]
    x = ((faces.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    (expected,), (found,) = run_onnx(official, x), run_onnx(after, x)
    assert np.abs(expected - found).max() < 5e-6


def test_official_network_for_int8(official):
    after, reports = rules.rewrite(official, FOR_INT8)
    applied = {report.rule: report.applied for report in reports}
    assert applied["split_wide_depthwise"] == 3
    assert applied["join_sums"] == 48
    x = ((own_pictures((112, 112))[:1].astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    (expected,), (found,) = run_onnx(official, x), run_onnx(after, x)
    assert np.abs(expected - found).max() < 5e-6


def test_mobile_face_net_of_insightface(shared):
    before = onnx.load(shared / "models" / "peers" / "w600k_mbf.onnx")
    after, _ = rules.rewrite(before, FOR_ONNX_RUNTIME)
    assert not any(n.op_type == "PRelu" for n in after.graph.node)
    x = ((own_pictures((112, 112))[:1].astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    (expected,), (found,) = run_onnx(before, x), run_onnx(after, x)
    assert np.abs(expected - found).max() < 2e-5 * np.abs(expected).max()
