"""Batch renormalisation: training sees what is used, and gradients are a batch norm's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic_faces import write_shards
from torch import nn

from pocketface.errors import InputError
from training.batches import Batches
from training.networks import rectified
from training.recipes import RECIPES
from training.renorm import BatchRenorm, renormalise
from training.shards import read_faces
from training.trainer import Trainer


def norms(size: int = 5) -> tuple[BatchRenorm, nn.BatchNorm2d]:
    """One of each, of the same random weights and statistics."""
    torch.manual_seed(0)
    ours, theirs = BatchRenorm(size, momentum=0.1), nn.BatchNorm2d(size, momentum=0.1)
    for tensor in (theirs.weight, theirs.bias, theirs.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(theirs.running_var, 0.5, 2)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_training_gives_what_evaluation_gives_and_its_statistics_follow_the_batches() -> None:
    ours, theirs = norms()
    x = torch.randn(8, 5, 1, 1) * 3 + 1
    torch.testing.assert_close(ours(x), theirs.eval()(x))
    theirs.train()(x)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_a_batch_that_is_as_the_statistics_say_has_a_batch_norms_gradient() -> None:
    ours, theirs = norms()
    x = torch.randn(64, 5, 1, 1, requires_grad=True)
    variance, mean = torch.var_mean(x.detach(), dim=(0, 2, 3), correction=0)
    for norm in (ours, theirs):
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    upstream = torch.randn_like(x)
    expected = torch.autograd.grad(theirs(x), [x, theirs.weight, theirs.bias], upstream)
    torch.testing.assert_close(torch.autograd.grad(ours(x), [x, ours.weight, ours.bias], upstream), expected)


def test_only_the_norms_after_the_global_convolution_change_and_all_names_stay() -> None:
    network = rectified("s128")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    renormalise(network)
    changed = [name for name, module in network.named_modules() if isinstance(module, BatchRenorm)]
    assert changed == ["tail.4", "tail.6"]
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_it_is_for_pocketnets(tmp_path: Path) -> None:
    write_shards(tmp_path, train=8, heldout=0)
    recipe = replace(RECIPES["arcface-resnet18"], renorm=True)
    with pytest.raises(InputError, match="arcface-resnet18: only PocketNets renormalise"):
        Trainer(Batches(recipe, read_faces([tmp_path], "train"), None), tmp_path / "run")
