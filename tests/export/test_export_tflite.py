"""TFLite graphs: the numbers of PyTorch, the operators that one delegate takes, eight bits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from graph_runs import cosine, run_onnx, run_tflite
from onnx import TensorProto, helper, numpy_helper

from export.rewrite import FOR_INT8, FOR_TFLITE, rewrite
from export.tflite import precision
from export.tflite.calibrate import METHODS, Observed, observe
from export.tflite.convert import from_onnx
from export.tflite.equalize import equalize
from export.tflite.quantize import full_int8
from export.tflite.writer import to_bytes
from pocketface.errors import ModelError

SIZE = (112, 112)


def inputs(faces: np.ndarray) -> np.ndarray:
    """NHWC, as the float graphs take it."""
    return (faces.astype(np.float32) - 127.5) / 127.5


def convert(path, rules=FOR_TFLITE):
    return from_onnx(rewrite(onnx.load(path), rules)[0], SIZE)


def mean_cosine(network, graph: bytes, faces: np.ndarray, *, uint8: bool = False) -> float:
    with torch.inference_mode():
        expected = network(torch.from_numpy(inputs(faces).transpose(0, 3, 1, 2))).numpy()
    given = faces if uint8 else inputs(faces)
    found = [run_tflite(graph, picture[None])["embedding"] for picture in given]
    return float(np.mean([cosine(a, b) for a, b in zip(expected, found, strict=True)]))


def operators(graph: bytes) -> Counter:
    model = schema.ModelT.InitFromPackedBuf(graph, 0)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    codes = [names[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    return Counter(codes[op.opcodeIndex] for op in model.subgraphs[0].operators)


@pytest.mark.parametrize("which", ["small", "small_rectified"])
@pytest.mark.parametrize(
    ("change", "least"),
    [(lambda g: g, 0.999999), (precision.half, 0.99999), (precision.int8_weights, 0.998)],
    ids=["fp32", "fp16", "int8w"],
)
def test_float_forms(request, faces, which, change, least):
    network = request.getfixturevalue(which)
    path = request.getfixturevalue("plain" if which == "small" else "plain_rectified")
    graph = to_bytes(change(convert(path)), "test")
    assert mean_cosine(network, graph, faces) > least
    found = operators(graph)
    assert not found["TRANSPOSE"] + found["PADV2"] + found["RELU"]
    assert bool(found["PRELU"]) == (which == "small")


def _quantized(path, faces, rules, method="minmax") -> bytes:
    model = rewrite(onnx.load(path), rules)[0]
    seen = observe(model, inputs(faces).transpose(0, 3, 1, 2))
    ranges = {name: observed.range(method) for name, observed in seen.items()}
    return to_bytes(full_int8(from_onnx(model, SIZE), ranges, 127.5, 1 / 127.5), "test")


@pytest.mark.parametrize("method", METHODS)
def test_rectified_network_is_integer_throughout(small_rectified, plain_rectified, faces, method):
    graph = _quantized(plain_rectified, faces, FOR_INT8, method)
    assert mean_cosine(small_rectified, graph, faces, uint8=True) > 0.985
    found = operators(graph)
    assert found["QUANTIZE"] == found["DEQUANTIZE"] == 1  # the picture, the embedding
    model = schema.ModelT.InitFromPackedBuf(graph, 0)
    main = model.subgraphs[0]
    types = [main.tensors[i].type for i in (*main.inputs, *main.outputs)]
    assert types == [schema.TensorType.UINT8, schema.TensorType.FLOAT32]


@pytest.mark.parametrize("which", ["plain", "plain_rectified"])
def test_equalised_network_is_the_same_with_evener_channels(request, which, faces):
    before = rewrite(onnx.load(request.getfixturevalue(which)), FOR_INT8)[0]
    x = inputs(faces).transpose(0, 3, 1, 2)
    seen = observe(before, x)
    after = equalize(before, seen, 1.0)
    (expected,), (found,) = run_onnx(before, x), run_onnx(after, x)
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()

    def evenness(observed):
        """How much of its tensor's range a channel uses on average."""
        widths = [s.channel_high - s.channel_low for s in observed.values() if s.channel_high.size > 3]
        return np.mean([np.mean(width / max(width.max(), 1e-9)) for width in widths])

    assert evenness(observe(after, x)) > evenness(seen) + 0.05


def test_equalised_int8_follows_more_closely(small_rectified, plain_rectified, faces):
    model = rewrite(onnx.load(plain_rectified), FOR_INT8)[0]
    x = inputs(faces).transpose(0, 3, 1, 2)
    cosines = []
    for chosen in (model, equalize(model, observe(model, x))):
        seen = observe(chosen, x)
        ranges = {name: observed.range("minmax") for name, observed in seen.items()}
        means = {name: observed.mean for name, observed in seen.items()} if chosen is not model else None
        graph = to_bytes(full_int8(from_onnx(chosen, SIZE), ranges, 127.5, 1 / 127.5, means), "test")
        cosines.append(mean_cosine(small_rectified, graph, faces, uint8=True))
    assert cosines[1] > cosines[0]


def test_bias_takes_out_what_rounded_weights_add():
    nodes = [helper.make_node("Conv", ["image", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    weight = np.random.default_rng(5).uniform(0.1, 1, (4, 4, 1, 1)).astype(np.float32)
    model = _graph(nodes, {"w": weight})
    pictures = np.random.default_rng(6).integers(0, 256, (1, 8, 8, 4)).astype(np.uint8)
    x = (pictures / np.float32(255)).transpose(0, 3, 1, 2)
    (expected,) = run_onnx(model, x)
    seen = observe(model, x)
    ranges = {name: observed.range("minmax") for name, observed in seen.items()}
    errors = []
    for means in (None, {name: observed.mean for name, observed in seen.items()}):
        graph = to_bytes(full_int8(from_onnx(model, (8, 8)), ranges, 0.0, 1 / 255, means), "test")
        found = run_tflite(graph, pictures)["y"].transpose(0, 3, 1, 2)
        errors.append(np.abs((found - expected).mean((0, 2, 3))).max())
    assert errors[1] < errors[0]


def test_prelu_network_as_int8(small, plain, faces):
    split = _quantized(plain, faces, FOR_INT8)
    assert operators(split)["DEQUANTIZE"] == 1
    assert mean_cosine(small, split, faces, uint8=True) > 0.97
    kept = _quantized(plain, faces, FOR_TFLITE)
    assert operators(kept)["DEQUANTIZE"] == 1 + operators(kept)["PRELU"]
    assert mean_cosine(small, kept, faces, uint8=True) > 0.97


def test_constants_are_aligned(plain):
    graph = to_bytes(convert(plain), "test")
    model = schema.Model.GetRootAs(graph, 0)
    sizes = 0
    begin = np.frombuffer(graph, np.uint8).__array_interface__["data"][0]
    for index in range(model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray) and data.size:
            sizes += data.size
            assert (data.__array_interface__["data"][0] - begin) % 16 == 0
    assert sizes > 10_000


def _graph(nodes, constants=None, channels=4, side=8):
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _same(model, side=8):
    x = np.random.default_rng(0).normal(0, 1, (1, 4, side, side)).astype(np.float32)
    graph = to_bytes(from_onnx(model, (side, side)), "test")
    found = run_tflite(graph, np.ascontiguousarray(x.transpose(0, 2, 3, 1)))["y"]
    (expected,) = run_onnx(model, x)
    assert np.allclose(found.transpose(0, 3, 1, 2), expected, atol=1e-5)
    return operators(graph)


def test_max_pool_with_stride_and_padding():
    nodes = [helper.make_node("MaxPool", ["image"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)]
    assert _same(_graph(nodes)) == {"MAX_POOL_2D": 1, "DEPTHWISE_CONV_2D": 1}


def test_doubling():
    nodes = [
        helper.make_node(
            "Resize",
            ["image", "", "s"],
            ["y"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    ]
    model = _graph(nodes, {"s": np.array([1, 1, 2, 2], np.float32)})
    assert _same(model) == {"CONCATENATION": 1, "DEPTH_TO_SPACE": 1}


def test_relu_of_a_value_that_others_take_stays():
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["h"], pads=[1] * 4),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Add", ["h", "r"], ["y"]),
    ]
    weight = np.random.default_rng(1).normal(0, 1, (4, 4, 3, 3)).astype(np.float32)
    assert _same(_graph(nodes, {"w": weight}))["RELU"] == 1


def test_relu6_goes_into_the_convolution_and_other_limits_are_refused():
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["h"], pads=[1] * 4),
        helper.make_node("Clip", ["h", "low", "high"], ["y"], name="cut"),
    ]
    weight = np.random.default_rng(1).normal(0, 3, (4, 4, 3, 3)).astype(np.float32)
    limits = {"low": np.float32(0), "high": np.float32(6)}
    arrays = {"w": weight, **{name: np.asarray(value) for name, value in limits.items()}}
    assert _same(_graph(nodes, arrays)) == {"CONV_2D": 1}
    with pytest.raises(ModelError, match=r"Clip \(cut\) to other limits"):
        from_onnx(_graph(nodes, {**arrays, "high": np.asarray(np.float32(1))}), (8, 8))


def test_what_has_no_translation_is_named():
    model = _graph([helper.make_node("Elu", ["image"], ["y"], name="odd")])
    with pytest.raises(ModelError, match=r"no translation of Elu \(odd\)"):
        from_onnx(model, (8, 8))


def test_filters_are_rounded_to_the_nearest_step():
    weight = np.random.default_rng(2).normal(0, 1, (6, 3, 3, 5)).astype(np.float32)
    weight[2] = 0
    for axis in (0, 3):
        integers, scale = precision.quantize_filters(weight, axis)
        assert integers.dtype == np.int8
        assert integers.min() >= -127
        shape = [1] * 4
        shape[axis] = -1
        error = np.abs(integers * scale.reshape(shape) - weight)
        clipped = np.abs(integers) == 127
        assert (error <= 0.5001 * scale.reshape(shape))[~clipped].all()


def test_ranges_hold_zero_and_leave_out_outliers():
    values = np.append(np.random.default_rng(3).uniform(1, 2, 20_000), 1000.0).astype(np.float32)
    seen = Observed(0.0, 1000.0, [values])
    assert seen.range("minmax") == (0.0, 1000.0)
    assert seen.range("percentile")[0] == 0.0
    assert seen.range("percentile")[1] < 3
    assert seen.range("mse")[1] <= 1000.0
