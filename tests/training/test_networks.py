from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.networks import (
    POCKETNET,
    Genotype,
    iresnet,
    load_genotype,
    pocketnet,
    rectified,
    resnet18,
    resnet56,
)

OFFICIAL = Path(__file__).resolve().parents[3] / "shared" / "models" / "pocketnet_s128_official.pth"


@pytest.mark.parametrize(
    ("variant", "count"),
    [("s128", 925_632), ("s256", 991_424), ("m128", 1_686_656), ("m256", 1_752_448)],
)
def test_parameters_as_published(variant: str, count: int) -> None:
    assert sum(p.numel() for p in pocketnet(variant).parameters()) == count


def test_rectified_parameters() -> None:
    assert sum(p.numel() for p in rectified("s128").parameters()) == 940_768


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs ../shared/models")
def test_official_checkpoint_loads_strictly() -> None:
    state = torch.load(OFFICIAL, map_location="cpu", weights_only=True)
    assert len(state) == 1275
    pocketnet("s128").load_state_dict(state, strict=True)


@pytest.mark.parametrize("build", [pocketnet, rectified])
def test_stages_end_in_the_embedding(build: object) -> None:
    network = build("s128").eval()  # type: ignore[operator]
    x = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        *maps, embedding = network.stages(x, (5, 11, 16))
        assert torch.equal(embedding, network(x))
    shapes = [tuple(m.shape[1:]) for m in maps]
    assert shapes == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    assert embedding.shape == (1, 128)


def test_rectified_values_are_rectified() -> None:
    network = rectified("s128").eval()
    with torch.no_grad():
        for output in network.stages(torch.randn(1, 3, 112, 112), range(18))[:-2]:
            assert float(output.min()) >= 0


@pytest.mark.parametrize("network", [resnet56(), resnet18(), iresnet(18)])
def test_other_networks_embed(network: torch.nn.Module) -> None:
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 112, 112)).shape == (1, 128)


def test_student_of_the_thesis_is_about_twelve_times_smaller() -> None:
    student, teacher = (sum(p.numel() for p in n.parameters()) for n in (resnet56(), resnet18()))
    assert 11 < teacher / student < 14


def test_genotype_survives_json(tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    path.write_text(POCKETNET.to_json())
    assert load_genotype(str(path)) == POCKETNET == load_genotype("pocketnet")


@pytest.mark.parametrize("edges", [(("dw3x3", 0),), (("dw9x9", 0), ("skip", 1)), (("skip", 0), ("skip", 2))])
def test_genotype_refuses_what_cannot_be(edges: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ValueError, match=r"expected|none of|not exist"):
        Genotype(edges, POCKETNET.reduce)
