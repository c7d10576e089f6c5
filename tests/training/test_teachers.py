"""A reference teacher without the mean of its embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from synthetic_faces import write_shards

from pocketface.errors import InputError
from training.networks import PocketNet
from training.onnx_module import OnnxModule
from training.shards import Face, centre, read_faces
from training.teachers import OFFICIAL, RETAIL, W600K, Teacher, build, export_pocketnet


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    torch.manual_seed(0)
    export_pocketnet(PocketNet(cells=4).eval(), (0,), path)
    return path


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Face]:
    folder = tmp_path_factory.mktemp("faces")
    write_shards(folder, train=12, heldout=0)
    return read_faces([folder], "train")


def teacher(graph: Path) -> Teacher:
    return Teacher(replace(OFFICIAL, hints=(0,), hint_channels=(64, 512)), graph)


def test_a_centred_teacher_keeps_its_maps_and_loses_its_mean(
    graph: Path, faces: list[Face], tmp_path: Path
) -> None:
    crops = np.stack([centre(face) for face in faces])
    plain, centred = teacher(graph), teacher(graph)
    centred.centre_on(faces, tmp_path / "mean.npy")
    *maps, before = plain(crops)
    *same, after = centred(crops)
    mean = before.mean(axis=0)
    assert np.linalg.norm(mean) > 0.1 * np.linalg.norm(before, axis=1).mean()
    tiny = 1e-4 * np.abs(before).max()  # random weights, small embeddings
    np.testing.assert_allclose(after.mean(axis=0), 0, atol=tiny)
    np.testing.assert_allclose(after, before - mean, atol=tiny)
    np.testing.assert_array_equal(centred.embed(crops), after)
    for one, other in zip(maps, same, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_mean_is_kept_for_the_next_part_of_a_run(graph: Path, faces: list[Face], tmp_path: Path) -> None:
    first, next_part = teacher(graph), teacher(graph)
    first.centre_on(faces, tmp_path / "mean.npy")
    next_part.centre_on(faces[:3], tmp_path / "mean.npy")  # folders may have grown or shrunk
    np.testing.assert_array_equal(first.centre, next_part.centre)


def test_a_teachers_file_may_lie_in_a_folder_of_the_models(shared: Path, tmp_path: Path) -> None:
    graph = tmp_path / "teacher.onnx"
    build(W600K, shared / "models", graph)
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    model = cv2.dnn.readNetFromONNX(str(shared / "models" / "peers" / "w600k_mbf.onnx"))
    model.setInput(cv2.dnn.blobFromImages(list(crops), 1 / 127.5, mean=(127.5, 127.5, 127.5)))
    np.testing.assert_allclose(Teacher(W600K, graph).embed(crops), model.forward(), atol=1e-3)


def test_a_teachers_own_view_is_what_opencv_cuts(tmp_path: Path) -> None:
    """Of a graph that gives every fourth pixel of its input, in a batch of one and as a map."""
    helper = onnx.helper
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, size, size])
        for name, size in (("x", 128), ("y", 32))
    )
    weight = onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[4, 4])
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], [weight]), opset_imports=[helper.make_opsetid("", 19)]
    )
    model.ir_version = 10
    onnx.save(model, str(tmp_path / RETAIL.file))
    spec = replace(RETAIL, embedding=3 * 32 * 32)
    build(spec, tmp_path, tmp_path / "teacher.onnx")

    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    views = [cv2.resize(crop[:, 8:104].astype(np.float32), (128, 128)) for crop in crops]
    expected = np.stack([view[::4, ::4, ::-1].transpose(2, 0, 1).ravel() for view in views])
    np.testing.assert_allclose(Teacher(spec, tmp_path / "teacher.onnx").embed(crops), expected, atol=1e-2)
    with torch.inference_mode():
        [theirs] = OnnxModule(tmp_path / "teacher.onnx")(
            torch.from_numpy(crops.astype(np.float32).transpose(0, 3, 1, 2))
        )
    np.testing.assert_allclose(theirs.numpy(), expected, atol=1e-2)


def test_a_missing_teacher_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w600k_mbf\.onnx is missing: --models"):
        build(W600K, tmp_path, tmp_path / "teacher.onnx")
