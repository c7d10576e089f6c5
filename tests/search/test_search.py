"""The architecture search: its gradient against finite differences, its genotypes, its resume."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.errors import InputError
from training.networks.genotypes import POCKETNET, Genotype
from training.networks.layout import reduction_cells
from training.networks.pocketnet import pocketnet
from training.networks.rectified import RectifiedPocketNet
from training.search.__main__ import main
from training.search.bilevel import first_order, second_order
from training.search.blocks import Blocks, searched
from training.search.compare import main as compare
from training.search.derive import derive
from training.search.faces import Half
from training.search.latency import CostTable, ExpectedCost, genotype_cost, key, places
from training.search.run import Search, Settings, search
from training.search.supernet import CANDIDATES, SuperNet


class Toy:
    """A bilevel problem with curvature everywhere, in float64: w in R^3, a in R^2."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.a = nn.Parameter(torch.randn(2, dtype=torch.float64))
        self.mix = torch.randn(3, 2, dtype=torch.float64)

    def training(self) -> torch.Tensor:
        return (self.w.sin() * (self.mix @ self.a).exp()).sum() + (self.w**2).sum() * (self.a**2).sum()

    def validation(self) -> torch.Tensor:
        return ((self.w - 1) ** 4).sum() + (self.w.sum() * self.a.cos().sum())

    def objective(self, a: np.ndarray, rate: float, decay: float) -> float:
        """L_val(w - rate (dL_train/dw + decay w), a), by plain arithmetic and autograd for the inner step."""
        w, kept = self.w.detach().clone(), self.a.detach().clone()
        with torch.no_grad():
            self.a.copy_(torch.from_numpy(a))
        (inner,) = torch.autograd.grad(self.training(), [self.w])
        with torch.no_grad():
            self.w.sub_(rate * (inner + decay * self.w))
            value = float(self.validation())
            self.w.copy_(w)
            self.a.copy_(kept)
        return value


@pytest.mark.parametrize(("rate", "decay"), [(0.05, 0.0), (0.05, 0.1), (0.2, 0.0)])
def test_second_order_gradient_is_that_of_the_bilevel_objective(rate, decay):
    toy = Toy()
    before = toy.w.detach().clone()
    second_order([toy.a], [toy.w], toy.training, toy.validation, rate, decay)
    a, h = toy.a.detach().numpy().copy(), 1e-5
    numeric = [
        (toy.objective(a + h * e, rate, decay) - toy.objective(a - h * e, rate, decay)) / (2 * h)
        for e in np.eye(2)
    ]
    np.testing.assert_allclose(toy.a.grad.numpy(), numeric, rtol=1e-3)
    torch.testing.assert_close(toy.w.detach(), before, rtol=0, atol=0)


def test_second_order_without_a_step_is_first_order():
    toy = Toy()
    second_order([toy.a], [toy.w], toy.training, toy.validation, 0.0)
    second = toy.a.grad.clone()
    first_order([toy.a], toy.validation)
    torch.testing.assert_close(second, toy.a.grad)


@pytest.mark.parametrize("rectify", [False, True])
def test_the_supernet_embeds_and_every_operation_gets_a_gradient(rectify):
    torch.manual_seed(0)
    network = SuperNet(4, 4, 16, 32, rectify=rectify)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for alpha in network.architecture():
        assert alpha.grad is not None
        assert bool((alpha.grad.abs().sum(1) > 0).all())


def test_blocks_stand_where_both_inputs_have_one_size_and_every_operation_gets_a_gradient():
    torch.manual_seed(0)
    teacher = pocketnet("s128").eval()
    with torch.inference_mode():
        *maps, _, _ = teacher.stages(torch.rand(2, 3, 112, 112) * 2 - 1, range(18))
    maps = [m.clone() for m in maps]
    assert [i for i in searched() if i in reduction_cells(18)] == list(reduction_cells(18))
    assert all(maps[i - 2].shape[2] == maps[i - 1].shape[2] for i in searched())
    blocks = Blocks(rectify=True)
    blocks.calibrate(maps)
    loss = blocks.loss(maps)
    loss.backward()
    assert 0.9 < loss.item() < 2  # nothing of the teacher's variance is explained yet
    for alpha in blocks.architecture():
        assert bool((alpha.grad.abs().sum(1) > 0).all())


def test_derive_keeps_the_two_strongest_edges_and_never_zero():
    network = SuperNet(4, 4, 16, 32)
    with torch.no_grad():
        network.alpha_normal.zero_()
        network.alpha_normal[:, CANDIDATES.index("zero")] = 5  # zero is strongest everywhere
        # The last node has sources 0..4 in rows 9..13: make 1 and 4 win.
        network.alpha_normal[10, CANDIDATES.index("dw7x7")] = 4
        network.alpha_normal[13, CANDIDATES.index("skip")] = 3
    genotype = derive(network)
    assert genotype.normal[6:] == (("dw7x7", 1), ("skip", 4))
    assert "zero" not in {operation for operation, _ in genotype.normal + genotype.reduce}
    x = RectifiedPocketNet(genotype, 4, 4, 8)(torch.randn(2, 3, 112, 112))
    assert x.shape == (2, 8)


def test_derive_keeps_the_strongest_skips_alone():
    network = SuperNet(4, 4, 16, 32)
    skip, second = CANDIDATES.index("skip"), CANDIDATES.index("dw3x3")
    with torch.no_grad():
        network.alpha_normal.zero_()
        network.alpha_normal[:, skip] = torch.linspace(3, 4, 14)
        network.alpha_normal[:, second] = 2
    assert [o for o, _ in derive(network).normal] == ["skip"] * 8
    normal = derive(network, skips=2).normal
    assert [o for o, _ in normal].count("skip") == 2
    assert {o for o, _ in normal[6:]} == {"skip"}  # the last node's are the strongest
    assert {o for o, _ in normal[:6]} == {"dw3x3"}


def table() -> CostTable:
    costs = {}
    for place in (*places(4, 4, 32), *places(16, 18)):
        for c, operation in enumerate(CANDIDATES[1:]):
            for size in (place.size, place.size // 2):
                for stride in (1, 2):
                    costs[key(operation, place.channels, size, stride)] = float(1 + c) * size
    return CostTable("a test", "ms", costs)


def test_expected_cost_of_a_decided_architecture_is_the_genotypes_cost():
    network = SuperNet(4, 4, 16, 32)
    where = places(4, 4, 32)
    with torch.no_grad():
        for alpha, edges in (
            (network.alpha_normal, POCKETNET.normal),
            (network.alpha_reduce, POCKETNET.reduce),
        ):
            alpha.fill_(-40)
            alpha[:, 0] = 40
            first = [0, 2, 5, 9]
            for position, (operation, source) in enumerate(edges):
                alpha[first[position // 2] + source] = -40
                alpha[first[position // 2] + source, CANDIDATES.index(operation)] = 40
    # Two operations on one edge (dw3x3 and dw3x3 on 3 and 0 are two edges) never share a row in POCKETNET.
    assert derive(network).nodes(False)[0] in (POCKETNET.nodes(False)[0], POCKETNET.nodes(False)[0][::-1])
    expected = ExpectedCost(table(), where)(network.alpha_normal, network.alpha_reduce).item()
    assert expected == pytest.approx(genotype_cost(table(), POCKETNET, where), rel=1e-4)


def test_latency_pulls_the_architecture_to_cheap_operations():
    network = SuperNet(4, 4, 16, 32)
    cost = ExpectedCost(table(), places(4, 4, 32))
    optimizer = torch.optim.Adam(network.architecture(), 0.1)
    start = cost(network.alpha_normal, network.alpha_reduce).item()
    for _ in range(30):
        optimizer.zero_grad()
        cost(network.alpha_normal, network.alpha_reduce).backward()
        optimizer.step()
    assert cost(network.alpha_normal, network.alpha_reduce).item() < 0.5 * start


def toy_search(samples: int) -> Search:
    rng = np.random.default_rng(3)
    classes = torch.arange(16) % 2
    pictures = rng.integers(0, 60, (16, 32, 32, 3), dtype=np.uint8)
    pictures[1::2, :, :16] += 150
    settings = Settings(
        batch=8,
        samples=samples,
        every=32,
        architecture_rate=0.05,
        weights_rate=0.05,
    )
    half = Half(pictures, classes)
    torch.manual_seed(1)
    return Search(settings, (half, half), SuperNet(4, 4, 128, 32, classes=2), table())


def test_a_search_learns_and_a_killed_one_goes_on_where_it_stood(tmp_path):
    whole = toy_search(64)
    start = whole.network.entropy()
    search(whole, tmp_path / "whole", None)
    rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").read_text(encoding="utf-8").splitlines()))
    assert float(rows[-1]["training_loss"]) < 0.8 * math.log(2)  # chance on two classes is log 2
    assert whole.network.entropy() < start
    for name in ("curves.png", "genotype-0000064.png") if shutil.which("dot") else ("curves.png",):
        assert (tmp_path / "whole" / name).read_bytes().startswith(b"\x89PNG")

    part = toy_search(64)
    for _ in range(5):
        part.step()
    state = tmp_path / "state.pt"
    torch.save(part.state(), state)
    resumed = toy_search(64)
    resumed.restore(torch.load(state, weights_only=True))
    while resumed.samples < 64:
        resumed.step()
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_genotype_written_is_one_that_training_reads(tmp_path, monkeypatch, capsys):
    """Although Graphviz, which draws it, is not installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    search(toy_search(16), tmp_path, None)
    assert "genotype-0000016.png is not drawn: install Graphviz" in capsys.readouterr().err
    text = (tmp_path / "genotype.json").read_text(encoding="utf-8")
    assert len(Genotype.from_json(text).normal) == 8


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--size", "50"], "multiple of 16"),
        (["--cells", "3"], "at least 4"),
        (["--latency-weight", "1"], "--latency"),
        (["--blocks", "no-such-folder"], "pocketnet_s128_official.pth is missing"),
        (["--blocks", ".", "--teacher", "t.onnx"], "leave --teacher out"),
        pytest.param(
            ["--device", "cuda"],
            "no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU"),
        ),
        (["--latency", "no-such-table.json"], "no-such-table.json"),
        ([], "manifest.csv"),
    ],
)
def test_bad_input_is_one_line(arguments, word, tmp_path, capsys):
    assert main(["--faces", str(tmp_path), "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1


def test_a_search_of_other_settings_is_refused_in_a_line(tmp_path):
    search(toy_search(16), tmp_path, None)
    search(toy_search(32), tmp_path, None)  # longer
    other = toy_search(32)
    other.settings = replace(other.settings, batch=4)
    with pytest.raises(InputError, match=r"state\.pt: begun with batch 8, not 4"):
        search(other, tmp_path, None)
    half = other.halves[0]
    wide = Search(toy_search(32).settings, (half, half), SuperNet(8, 4, 128, 32, classes=2), table())
    with pytest.raises(InputError, match=r"state\.pt: of another network"):
        search(wide, tmp_path, None)


def test_a_comparison_without_its_teacher_is_one_line(tmp_path, capsys):
    arguments = ["pocketnet", "--faces", str(tmp_path), "--teacher", "nope.onnx", "--out", str(tmp_path)]
    assert compare(arguments) == 2
    assert "no such graph: nope.onnx" in capsys.readouterr().err


def test_a_table_that_is_none_is_refused(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"costs": [1]}), encoding="utf-8")
    with pytest.raises(ValueError, match="not a table"):
        CostTable.read(path)
