"""Small networks of the real kinds, with weights that keep activations in range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from training.networks import PocketNet, RectifiedPocketNet


def settle(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random batch-norm statistics and slopes, as training leaves them."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
            module.weight.data.uniform_(0.7, 1.3, generator=random)
            module.bias.data.normal_(0, 0.1, generator=random)
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(-0.8, 0.9, generator=random)
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, fan_in**-0.5, generator=random)
    return network.eval()


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
