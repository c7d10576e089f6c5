"""A tiny embedder for tests that are about the benchmarks and not about faces."""

import hashlib
import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pocketface import registry
from pocketface.errors import ModelError

DIM = 16


@pytest.fixture
def tiny(tmp_path):
    """Makes embedders: means of a 4x4 grid of pixels, projected to 16 values; `noise` imitates int8."""

    def make(name="tiny", precision="fp32", noise=0.0, space="tiny/1"):
        random = np.random.default_rng(1)
        weight = random.standard_normal((48, DIM)).astype(np.float32)
        weight += noise * random.standard_normal((48, DIM)).astype(np.float32)
        nodes = [
            helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[28, 28], strides=[28, 28]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["embedding"]),
        ]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 112, 112])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", DIM])],
            [numpy_helper.from_array(weight, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        data = model.SerializeToString()
        path = tmp_path / "models" / f"{name}.{precision}.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        card = {
            "schema": 1,
            "name": name,
            "task": "embed",
            "kind": "embedder",
            "file": path.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "format": "onnx",
            "precision": precision,
            "license": {"weights": "CC0-1.0", "data": "none", "commercial": "yes", "notes": ""},
            "source": "made by a test",
            "input": {
                "name": "image",
                "layout": "NCHW",
                "dtype": "float32",
                "channels": "rgb",
                "mean": [127.5] * 3,
                "scale": [1 / 127.5] * 3,
                "size": [112, 112],
                "template": "arcface-112",
            },
            "output": {"name": "embedding", "dim": DIM},
            "space": space,
            "thresholds": [],
            "accuracy": [],
        }
        path.with_suffix(".onnx.json").write_text(json.dumps(card))
        return registry.from_file(path)

    return make


@pytest.fixture
def models(request):
    """The default detector and embedder, or the reference ones where none is installed."""
    try:
        return registry.default("detect"), registry.default("embed")
    except ModelError:
        folder = request.getfixturevalue("shared") / "models"
        return (
            registry.find(folder / "yunet_n_dynamic.onnx"),
            registry.find(folder / "mobilefacenet_foamliu.onnx"),
        )
