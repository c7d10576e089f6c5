"""Teachers run by PyTorch give what ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pocketface.errors import ModelError
from training.networks import PocketNet
from training.onnx_module import OnnxModule
from training.session import one_thread
from training.teachers import OPEN, W600K, build, export_pocketnet


def compare(graph: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32)
    session = one_thread(graph)
    expected = session.run(None, {session.get_inputs()[0].name: x})
    with torch.inference_mode():
        ours = OnnxModule(graph)(torch.from_numpy(x))
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-4 * np.abs(b).max())


def test_a_pocketnet_as_a_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export_pocketnet(PocketNet(cells=6), (0, 1), tmp_path / "teacher.onnx")
    compare(tmp_path / "teacher.onnx")


@pytest.mark.parametrize("spec", [OPEN, W600K], ids=lambda spec: spec.name)
def test_the_reference_graphs(spec: object, shared: Path, tmp_path: Path) -> None:
    build(spec, shared / "models", tmp_path / "teacher.onnx")  # type: ignore[arg-type]
    compare(tmp_path / "teacher.onnx")


def test_what_is_no_teacher_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="no ONNX graph"):
        OnnxModule(tmp_path / "text.onnx")
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "xy")
    nodes = {
        "does not run Sin": onnx.helper.make_node("Sin", ["x"], ["y"]),
        "does not run padded AveragePool": onnx.helper.make_node(
            "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        ),
    }
    for words, node in nodes.items():
        graph = onnx.helper.make_graph([node], "g", [x], [y])
        onnx.save(onnx.helper.make_model(graph), tmp_path / "graph.onnx")
        with pytest.raises(ModelError, match=words):
            OnnxModule(tmp_path / "graph.onnx")
