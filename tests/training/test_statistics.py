"""Batch norms' statistics: those of the faces, whatever stood there before, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_faces import write_shards
from torch import nn

from training.average import main
from training.networks import rectified
from training.shards import Face, centre, read_faces
from training.statistics import renew


@pytest.fixture
def faces(tmp_path: Path) -> list[Face]:
    write_shards(tmp_path, train=64, heldout=8)
    return read_faces([tmp_path], "train")


def test_they_become_those_of_the_faces(faces: list[Face]) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3))
    network[0].running_mean.fill_(7)
    renew(network, faces)
    crops = np.stack([centre(face) for face in faces]).astype(np.float64)
    pixels = (crops / 255 - 0.5) / 0.5  # views are shifted and turned, so only about the centres
    np.testing.assert_allclose(network[0].running_mean, pixels.mean((0, 1, 2)), atol=0.03)
    np.testing.assert_allclose(network[0].running_var, pixels.var((0, 1, 2)), rtol=0.1)
    assert not network.training
    assert network[0].momentum == nn.BatchNorm2d(3).momentum


def test_fewer_faces_than_a_batch_change_nothing(faces: list[Face]) -> None:
    network = rectified("s128")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    renew(network, faces[:31])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training


def test_an_average_takes_them_anew_and_leaves_weights_alone(tmp_path: Path, faces: list[Face]) -> None:
    assert faces
    network = rectified("s128")
    torch.save(network.state_dict(), tmp_path / "one.pth")
    arguments = [str(tmp_path / "one.pth"), "--faces", str(tmp_path), "--out"]
    for out in ("first.pth", "second.pth"):
        assert main([*arguments, str(tmp_path / out)]) == 0
    first, second = (torch.load(tmp_path / out, weights_only=True) for out in ("first.pth", "second.pth"))
    for name, value in network.state_dict().items():
        assert torch.equal(first[name], second[name])
        assert torch.equal(first[name], value) != (name.endswith(("mean", "var", "tracked")))
