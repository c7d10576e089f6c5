"""The mean of weights: each tensor's, its figures beside it, bad input in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from synthetic_faces import write_shards
from torch import nn

from training.average import main, mean, network_of
from training.networks import VARIANTS, pocketnet, rectified, resnet56


def test_every_tensor_is_the_mean_and_a_run_can_begin_there(tmp_path: Path) -> None:
    networks = []
    paths = [tmp_path / run / "weights.pth" for run in ("first", "second")]  # two runs of one recipe
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        networks.append(rectified("s128"))
        path.parent.mkdir()
        torch.save(networks[-1].state_dict(), path)
    out = tmp_path / "mean.pth"
    faces = tmp_path / "faces"
    faces.mkdir()
    write_shards(faces, train=0, heldout=40)
    assert main([*map(str, paths), "--out", str(out), "--faces", str(faces)]) == 0
    found = torch.load(out, weights_only=True)
    for name, weight in networks[0].state_dict().items():
        other = networks[1].state_dict()[name]
        torch.testing.assert_close(found[name], (weight + other) / 2 if weight.is_floating_point() else other)
    rectified("s128").load_state_dict(found)
    figures = json.loads(out.with_suffix(".json").read_text())
    assert figures["mean_of"] == ["first/weights.pth", "second/weights.pth"]
    assert figures["heldout"]["genuine"] == 20


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(rectified("s128").state_dict(), tmp_path / "one.pth")
    for name in ("other", "another"):
        torch.save(resnet56().state_dict(), tmp_path / f"{name}.pth")
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"network": rectified("s128").state_dict(), "seen": 16}, tmp_path / "checkpoint.pth")
    for second, word in (
        ("other.pth", "of another network than"),
        ("text.pth", "not a file of weights"),
        ("checkpoint.pth", "not weights alone"),
        ("none.pth", "no such file"),
    ):
        out = tmp_path / "mean.pth"
        assert main([str(tmp_path / "one.pth"), str(tmp_path / second), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert word in error
        assert error.count("\n") == 1
        assert not out.exists()
    resnets = [str(tmp_path / name) for name in ("other.pth", "another.pth")]
    assert main([*resnets, "--out", str(tmp_path / "mean.pth")]) == 2
    assert "other.pth: weights of none of the four PocketNets" in capsys.readouterr().err


@pytest.mark.parametrize("build", [rectified, pocketnet])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_is_known_by_its_weights(build: Callable[[str], nn.Module], variant: str) -> None:
    network = build(variant).eval()
    crop = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        torch.testing.assert_close(network_of(network.state_dict(), Path("a.pth"))(crop), network(crop))


def test_one_file_is_its_own_mean(tmp_path: Path) -> None:
    state = rectified("s128").state_dict()
    torch.save(state, tmp_path / "one.pth")
    for name, weight in mean([tmp_path / "one.pth"]).items():
        assert torch.equal(weight, state[name])
