"""Small networks of the real kinds, with weights that keep activations in range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_runs import settle

from training.networks import PocketNet, RectifiedPocketNet


@pytest.fixture(scope="session")
def small() -> PocketNet:
    """The paper's cells with PReLU: 3 reduction cells, 4 channels."""
    return settle(PocketNet(channels=4, cells=4, embedding=16))


@pytest.fixture(scope="session")
def small_rectified() -> RectifiedPocketNet:
    return settle(RectifiedPocketNet(channels=4, cells=4, embedding=16))


@pytest.fixture(scope="session")
def plain(small, tmp_path_factory) -> Path:
    return _plain(small, tmp_path_factory)


@pytest.fixture(scope="session")
def plain_rectified(small_rectified, tmp_path_factory) -> Path:
    return _plain(small_rectified, tmp_path_factory)


def _plain(network, tmp_path_factory) -> Path:
    from export.plain import write_plain

    path = tmp_path_factory.mktemp("plain") / "small.onnx"
    write_plain(network, path)
    return path


@pytest.fixture(scope="session")
def faces() -> np.ndarray:
    from export.pictures import own_pictures

    return own_pictures((112, 112))


@pytest.fixture(scope="session")
def official(shared, tmp_path_factory) -> onnx.ModelProto:
    """The authors' S-128 as an ordinary export."""
    from export.checkpoint import load
    from export.plain import write_plain

    path = tmp_path_factory.mktemp("official") / "plain.onnx"
    write_plain(load(shared / "models" / "pocketnet_s128_official.pth"), path)
    return onnx.load(path)
