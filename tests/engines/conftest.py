"""Two tiny graphs, ONNX and TFLite, that compute the same: `embedding = image + (1, 2, 3)` a channel."""

from __future__ import annotations

from types import SimpleNamespace

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper, numpy_helper

OFFSETS = np.array([1.0, 2.0, 3.0], np.float32)


def onnx_graph(metadata: str = "") -> bytes:
    """The ONNX graph; batch, height and width are open."""
    shape = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "offsets"], ["embedding"])],
        "add",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(OFFSETS.reshape(1, 3, 1, 1), "offsets")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name=metadata
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tflite_graph(signature: bool = True) -> bytes:
    """The TFLite graph, NHWC; the batch is open, the picture 4 x 4."""

    def tensor(name: str, shape: list[int], buffer: int, shape_signature: list[int] | None = None):
        return tfl.TensorT(shape=shape, shapeSignature=shape_signature, name=name, buffer=buffer)

    graph = tfl.SubGraphT(
        tensors=[
            tensor("in", [1, 4, 4, 3], 0, [-1, 4, 4, 3]),
            tensor("offsets", [3], 1),
            tensor("out", [1, 4, 4, 3], 0, [-1, 4, 4, 3]),
        ],
        inputs=[0],
        outputs=[2],
        operators=[
            tfl.OperatorT(
                opcodeIndex=0,
                inputs=[0, 1],
                outputs=[2],
                builtinOptionsType=tfl.BuiltinOptions.AddOptions,
                builtinOptions=tfl.AddOptionsT(),
            )
        ],
    )
    signatures = [
        tfl.SignatureDefT(
            inputs=[tfl.TensorMapT(name="image", tensorIndex=0)],
            outputs=[tfl.TensorMapT(name="embedding", tensorIndex=2)],
            signatureKey="serving_default",
        )
    ]
    model = tfl.ModelT(
        version=3,
        operatorCodes=[tfl.OperatorCodeT(builtinCode=tfl.BuiltinOperator.ADD, version=1)],
        subgraphs=[graph],
        buffers=[tfl.BufferT(), tfl.BufferT(data=np.frombuffer(OFFSETS.tobytes(), np.uint8))],
        signatureDefs=signatures if signature else None,
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="session")
def graphs() -> SimpleNamespace:
    """The makers of the two graphs and the offsets they add."""
    return SimpleNamespace(onnx=onnx_graph, tflite=tflite_graph, offsets=OFFSETS)
