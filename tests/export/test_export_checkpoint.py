"""Checkpoints: recognised from their shapes, refused with the first mismatch, never executed."""

from __future__ import annotations

import os

import pytest
import torch

from export.checkpoint import load
from pocketface.errors import ModelError
from training.networks import PocketNet, RectifiedPocketNet, pocketnet, rectified


@pytest.mark.parametrize(
    ("make", "variant"),
    [(pocketnet, "s128"), (pocketnet, "s256"), (pocketnet, "m128"), (pocketnet, "m256"), (rectified, "s128")],
)
def test_variant_is_recognised(tmp_path, make, variant):
    network = make(variant)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    found = load(tmp_path / "x.pth")
    assert type(found) is type(network)
    assert not found.training
    loaded = found.state_dict()
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded[key], tensor), key


def test_official_checkpoint(shared):
    network = load(shared / "models" / "pocketnet_s128_official.pth")
    assert type(network) is PocketNet
    assert sum(p.numel() for p in network.parameters()) == 925_632


def test_prefix_of_parallel_training_and_wrapped_dict(tmp_path, small_rectified):
    state = {f"module.{key}": value for key, value in small_rectified.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.pth")
    assert type(load(tmp_path / "x.pth")) is RectifiedPocketNet


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_saved_in_another_precision(tmp_path, small, kind):
    state = {key: value.to(kind) for key, value in small.state_dict().items()}
    counter = next(key for key in state if key.endswith("num_batches_tracked"))
    state[counter] = torch.tensor(1e6).to(kind)  # beyond half precision's largest number
    torch.save(state, tmp_path / "x.pth")
    network = load(tmp_path / "x.pth")
    for key, parameter in network.named_parameters():
        assert torch.equal(parameter, state[key].float()), key
    assert network(torch.zeros(1, 3, 112, 112)).dtype == torch.float32


def _drop(state):
    del state["cells.1.preproc1.net.1.weight"]


def _reshape(state):
    state["cells.1.preproc1.net.2.weight"] = torch.zeros(4, 5, 1, 1)


def _extra(state):
    state["head.weight"] = torch.zeros(3)


def _not_finite(state):
    state["cells.1.preproc1.net.2.weight"][0, 0] = float("nan")


def _no_stem(state):
    del state["stem.0.weight"]


def _number(state):
    state["stem.0.weight"] = torch.tensor(1.0)


def _sparse(state):
    state["stem.0.weight"] = state["stem.0.weight"].to_sparse()


def _meta(state):
    state["stem.0.weight"] = state["stem.0.weight"].to("meta")


def _complex(state):
    state["stem.0.weight"] = state["stem.0.weight"].to(torch.complex64)


def _integers(state):
    state["cells.1.preproc1.net.2.weight"] = torch.zeros(8, 16, 1, 1, dtype=torch.int32)


def _no_mean(state):
    for key in [key for key in state if key.startswith("tail.") and key.endswith(".running_mean")]:
        state[key] = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_drop, "'cells.1.preproc1.net.1.weight' is missing"),
        (_reshape, r"'cells.1.preproc1.net.2.weight' has shape \(4, 5, 1, 1\), expected \(8, 16, 1, 1\)"),
        (_extra, "'head.weight' belongs to no layer"),
        (_not_finite, "'cells.1.preproc1.net.2.weight' has values that are not finite"),
        (_no_stem, "'stem.0.weight' is missing"),
        (_number, "'stem.0.weight' is a single number"),
        (_no_mean, r"'tail\.\d+\.running_mean' is a single number"),
        (_sparse, "'stem.0.weight' is a sparse tensor"),
        (_meta, "'stem.0.weight' is a meta tensor"),
        (_complex, "'stem.0.weight' is a complex tensor"),
        (_integers, "'cells.1.preproc1.net.2.weight' is of int32, expected floating point"),
    ],
)
def test_first_mismatch_is_named(tmp_path, small, damage, named):
    state = {key: value.clone() for key, value in small.state_dict().items()}
    damage(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=named) as error:
        load(tmp_path / "x.pth")
    assert "\n" not in str(error.value)
    assert "x.pth" in str(error.value)


def test_truncated_file(tmp_path, small):
    torch.save(small.state_dict(), tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 40):
        (tmp_path / "cut.pth").write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"cut\.pth"):
            load(tmp_path / "cut.pth")


class _Bomb:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    bomb = _Bomb()
    _Bomb.path = str(tmp_path / "exploded")
    torch.save({"stem.0.weight": bomb}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="refused"):
        load(tmp_path / "x.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}])
def test_other_content(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"expected|entry"):
        load(tmp_path / "x.pth")


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "none.pth")
