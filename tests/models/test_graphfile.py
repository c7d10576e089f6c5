"""What is not a complete model file is refused, and said as what it is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pocketface.errors import ModelError
from pocketface.graphfile import check


def graph(*, external: bool = False, in_attribute: bool = False) -> bytes:
    weight = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", "../../etc/passwd"
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if in_attribute:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 3]) for name in "xy"]
    inner = helper.make_graph(nodes, "g", value[:1], value[1:], [] if in_attribute else [weight])
    return helper.make_model(inner).SerializeToString()


@pytest.mark.parametrize("in_attribute", [False, True])
def test_a_whole_graph_passes(in_attribute):
    check(graph(in_attribute=in_attribute), ".onnx", "m")


@pytest.mark.parametrize("in_attribute", [False, True])
def test_external_data_is_refused_wherever_it_is(in_attribute):
    with pytest.raises(ModelError, match="m: the weights lie in another file"):
        check(graph(external=True, in_attribute=in_attribute), ".onnx", "m")


def test_a_truncated_graph_is_noticed():
    whole = graph()
    opset = len(onnx.ModelProto(opset_import=onnx.load_from_string(whole).opset_import).SerializeToString())
    for size in range(
        len(whole) - opset
    ):  # the opset comes last; without it the file is whole but the engine refuses it
        with pytest.raises(ModelError):
            check(whole[:size], ".onnx", "m")


@pytest.mark.parametrize(
    ("content", "suffix", "reason"),
    [
        (b"", ".onnx", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", ".onnx", "Git LFS pointer"),
        (b"  <!DOCTYPE html><html></html>", ".onnx", "web page"),
        (b"<html><head></head></html>", ".tflite", "web page"),
        (b"just some text", ".onnx", "damaged ONNX file"),
        (b"\x08\x07", ".onnx", "holds no graph"),
        (b"\x1c\0\0\0XXXX", ".tflite", "not a TFLite file"),
        (b"PK\x03\x04", ".zip", ".onnx or .tflite"),
        (b"\x3a\x02" * 40 + b"\x3a\0", ".onnx", "damaged ONNX file"),
    ],
)
def test_disguises_are_named(content, suffix, reason):
    with pytest.raises(ModelError) as caught:
        check(content, suffix, "m")
    assert reason in str(caught.value)


def test_deep_nesting_ends_in_an_error():
    message = b""
    for _ in range(200):
        for key in (b"\x32", b"\x2a", b"\x0a"):  # an attribute's graph, a node's attribute, a graph's node
            message = key + encoded(len(message)) + message
    with pytest.raises(ModelError):
        check(b"\x3a" + encoded(len(message)) + message, ".onnx", "m")


def encoded(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
