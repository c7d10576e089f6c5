"""The floor's arithmetic and the command with its peers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.latency import floor

ROOT = Path(__file__).resolve().parents[2]


def test_multiply_adds_are_counted(tmp_path):
    def weight(name, *shape):
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    nodes = [
        helper.make_node(
            "Conv", ["x", "stem"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Conv", ["a", "dw"], ["b"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Conv", ["b", "pw"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "fc"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [
            weight("stem", 8, 3, 3, 3),
            weight("dw", 8, 1, 3, 3),
            weight("pw", 32, 8, 1, 1),
            weight("fc", 10, 32),
        ],
    )
    file = tmp_path / "g.onnx"
    file.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    )
    asked = floor.work(file)
    assert asked.multiply_adds == 64 * (8 * 27 + 8 * 9 + 32 * 8) + 10 * 32
    assert asked.weight_bytes == 4 * (8 * 27 + 8 * 9 + 32 * 8 + 320)


def test_floor_is_arithmetic_or_the_reading_of_weights():
    able = floor.Limits(fp32=1e9, int8=4e9, copy=1e9)
    assert floor.floor_ms(floor.Work(10_000_000, 4), able) == pytest.approx(10)
    assert floor.floor_ms(floor.Work(10_000_000, 4), able, int8=True) == pytest.approx(2.5)
    assert floor.floor_ms(floor.Work(1, 4_000_000), able) == pytest.approx(4)


def test_the_command_times_ours_and_the_peers_in_one_run(tmp_path, shared, lfw):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("Abdullah_Gul", "Colin_Powell"):
        first = sorted((lfw / name).glob("*.jpg"))[0]
        (photos / first.name).symlink_to(first)
    models = shared / "models"
    arguments = [str(photos), "--rounds", "0.001", "-o", str(tmp_path), "--peers", str(models)]
    arguments += [
        "-m",
        str(models / "mobilefacenet_foamliu.onnx"),
        "-d",
        str(models / "yunet_n_dynamic.onnx"),
    ]
    arguments += ["--plain", str(models / "mobilefacenet_foamliu.onnx")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.latency", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "latency.json").read_text())
    assert report["embedding"][0]["speedup_cpu"] == 1
    assert {"w600k_mbf.onnx (ONNX Runtime)", "mobilefacenet_foamliu.onnx (pocketface)"} <= {
        row["name"] for row in report["embedding"]
    }
    assert [row["name"].split(" (")[1] for row in report["detection"]] == [
        "OpenCV FaceDetectorYN)",
        "pocketface)",
    ]
    assert report["decision"][0]["name"].startswith("OpenCV")
    assert report["embedding"][0]["times_floor"] > 0.5
    assert "| two photos to a decision |" in (tmp_path / "latency.md").read_text()
