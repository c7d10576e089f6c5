"""Tiny graphs and their cards, so that these tests need no weights.

`add`: ONNX and TFLite, `embedding = image + (1, 2, 3)` a channel. `embedder`: ONNX, averages of 16 patches
through a random matrix, which takes crops as a real embedder does.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper, numpy_helper

from pocketface.cards import InputSpec, License, ModelCard, OutputSpec

OFFSETS = np.array([1.0, 2.0, 3.0], np.float32)


def onnx_model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]) -> bytes:
    def value(name: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "tiny",
        [value(*item) for item in inputs],
        [value(*item) for item in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def add_onnx() -> bytes:
    """`embedding = image + (1, 2, 3)`; batch, height and width are open."""
    shape = ["n", 3, "h", "w"]
    node = helper.make_node("Add", ["image", "offsets"], ["embedding"])
    return onnx_model(
        [node], [("image", shape)], [("embedding", shape)], {"offsets": OFFSETS.reshape(1, 3, 1, 1)}
    )


def embedder_onnx(seed: int = 0) -> bytes:
    """`(n, 3, 112, 112)` to `(n, 8)`."""
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["embedding"]),
    ]
    weight = np.random.default_rng(seed).standard_normal((48, 8)).astype(np.float32)
    return onnx_model(nodes, [("image", ["n", 3, 112, 112])], [("embedding", ["n", 8])], {"weight": weight})


def add_tflite(signature: bool = True) -> bytes:
    """The same as `add_onnx` in NHWC; the batch is open, the picture 4 x 4."""

    def tensor(name: str, shape: list[int], buffer: int, shape_signature: list[int] | None = None) -> Any:
        return tfl.TensorT(shape=shape, shapeSignature=shape_signature, name=name, buffer=buffer)

    operator = tfl.OperatorT(
        opcodeIndex=0,
        inputs=[0, 1],
        outputs=[2],
        builtinOptionsType=tfl.BuiltinOptions.AddOptions,
        builtinOptions=tfl.AddOptionsT(),
    )
    tensors = [
        tensor("in", [1, 4, 4, 3], 0, [-1, 4, 4, 3]),
        tensor("offsets", [3], 1),
        tensor("out", [1, 4, 4, 3], 0, [-1, 4, 4, 3]),
    ]
    named = tfl.SignatureDefT(
        inputs=[tfl.TensorMapT(name="image", tensorIndex=0)],
        outputs=[tfl.TensorMapT(name="embedding", tensorIndex=2)],
        signatureKey="serving_default",
    )
    model = tfl.ModelT(
        version=3,
        operatorCodes=[tfl.OperatorCodeT(builtinCode=tfl.BuiltinOperator.ADD, version=1)],
        subgraphs=[tfl.SubGraphT(tensors=tensors, inputs=[0], outputs=[2], operators=[operator])],
        buffers=[tfl.BufferT(), tfl.BufferT(data=np.frombuffer(OFFSETS.tobytes(), np.uint8))],
        signatureDefs=[named] if signature else None,
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def card_of(graph: bytes, file: str, **changes: Any) -> ModelCard:
    """A card for `embedder_onnx`, or for any bytes with that contract."""
    layout = "NHWC" if file.endswith(".tflite") else "NCHW"
    third = (1 / 127.5,) * 3
    card = ModelCard(
        name="tiny",
        task="embed",
        kind="embedder",
        file=file,
        sha256=hashlib.sha256(graph).hexdigest(),
        size=len(graph),
        format=file.rsplit(".", 1)[1],
        precision="fp32",
        license=License("CC0-1.0", "none", "yes"),
        source="made by the tests",
        input=InputSpec("image", layout, "float32", "rgb", (127.5,) * 3, third, (112, 112), "arcface-112"),
        output=OutputSpec("embedding", 8),
        space="tiny/1",
    )
    return replace(card, **changes)


def put(folder: Path, graph: bytes, file: str, **changes: Any) -> Path:
    """Write a graph and its card into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    path.write_bytes(graph)
    path.with_name(file + ".json").write_text(card_of(graph, file, **changes).to_json())
    return path


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """Makers of the graphs and of their cards."""
    return SimpleNamespace(
        add_onnx=add_onnx,
        add_tflite=add_tflite,
        embedder=embedder_onnx,
        offsets=OFFSETS,
        card_of=card_of,
        put=put,
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: no user cache, no `$POCKETFACE_MODELS`, nothing tuned."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / ".cache"))
    monkeypatch.delenv("POCKETFACE_MODELS", raising=False)
    return folder
