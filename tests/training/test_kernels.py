from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import kernels
from training.networks import pocketnet, rectified
from training.networks.layout import Layout
from training.networks.operations import Pool

MODELS = Path(__file__).parents[2] / "models"

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs g++ on Linux")


def close(a: Tensor, b: Tensor) -> bool:
    return float((a - b).detach().abs().max()) <= 2e-5 * float(a.detach().abs().max())


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("mode", ["single", "both", "raw"])
@pytest.mark.parametrize(("channels", "size"), [(16, 24), (64, 7)])
def test_node_and_its_gradient(mode: str, channels: int, size: int, rectified: bool) -> None:
    torch.manual_seed(0)
    a, b = ((torch.randn(3, channels, size, size) * 2 + 1).requires_grad_() for _ in range(2))
    norms = [nn.BatchNorm2d(channels) for _ in range(2)]
    for norm in norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    ours = copy.deepcopy(norms)
    activation = F.relu if rectified else nn.Identity()
    if mode == "single":
        expected, got = activation(norms[0](a)), kernels.node((ours[0],), a, rectified=rectified)
    elif mode == "both":
        expected = activation(norms[0](a) + norms[1](b))
        got = kernels.node((ours[0], ours[1]), a, b, rectified=rectified)
    else:
        expected = activation(norms[0](a) + b)
        got = kernels.node((ours[0],), a, b, rectified=rectified)
    assert close(expected, got)
    used = norms if mode == "both" else norms[:1]
    inputs = [a] if mode == "single" else [a, b]
    upstream = torch.randn_like(expected)
    want = torch.autograd.grad(expected, [*inputs, *(p for n in used for p in n.parameters())], upstream)
    have = torch.autograd.grad(
        got, [*inputs, *(p for n in ours[: len(used)] for p in n.parameters())], upstream
    )
    assert all(close(w, h) for w, h in zip(want, have, strict=True))
    for norm, own in zip(used, ours, strict=False):
        assert close(norm.running_mean, own.running_mean)
        assert close(norm.running_var, own.running_var)


@pytest.mark.parametrize("values", [torch.float32, torch.bfloat16])
def test_prelu_and_its_gradient_are_pytorchs(values: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 32, 9, 8).to(values).requires_grad_()
    activation = nn.PReLU(32)
    nn.init.normal_(activation.weight)  # of both signs
    expected, got = activation(x.float()).to(values), kernels.prelu(activation, x)
    assert torch.equal(expected, got)
    upstream = torch.randn_like(expected)
    inputs = (x, activation.weight)
    want, have = (torch.autograd.grad(out, inputs, upstream) for out in (expected, got))
    assert all(w.dtype is h.dtype and close(w, h) for w, h in zip(want, have, strict=True))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_gradients(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 9, 8, requires_grad=True)
    convolution = nn.Conv2d(32, 32, kernel, stride, kernel // 2, groups=32, bias=False)
    expected, got = convolution(x), kernels.depthwise(convolution, x)
    upstream = torch.randn_like(expected)
    want = torch.autograd.grad(expected, (x, convolution.weight), upstream)
    have = torch.autograd.grad(got, (x, convolution.weight), upstream)
    assert close(expected, got)
    assert all(close(a, b) for a, b in zip(want, have, strict=True))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7)])
def test_maximum_pooling_and_its_gradient(height: int, width: int) -> None:
    torch.manual_seed(0)
    # Rectified, so many of a window are equal: the gradient is the first one's.
    x = torch.randn(2, 32, height, width).relu().requires_grad_()
    operation = Pool(32, 2, "max_pool")
    expected, got = operation.pool(x), kernels.pool(operation, x)
    upstream = torch.randn_like(expected)
    assert torch.equal(expected, got)
    assert torch.allclose(*(torch.autograd.grad(out, x, upstream)[0] for out in (expected, got)))


def gradient(network: nn.Module, run: Callable[[Tensor, tuple[int, ...]], list[Tensor]], x: Tensor) -> Tensor:
    """Of the mean squares of two cells' outputs, the last map and the embedding, in one vector."""
    network.zero_grad()
    torch.stack([output.square().mean() for output in run(x, (5, 11))]).sum().backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).double()


@pytest.mark.parametrize("build", [rectified, pocketnet])
def test_a_network_is_as_near_to_float64_as_pytorch_is(build: Callable[[str], Layout]) -> None:
    torch.manual_seed(0)
    network = build("s128").train()
    exact = copy.deepcopy(network).double()
    x = torch.randn(4, 3, 112, 112).contiguous(memory_format=torch.channels_last)
    truth = gradient(exact, exact.stages, x.double())
    ours = gradient(network, functools.partial(kernels.stages, network), x)
    theirs = gradient(network, network.stages, x)
    assert len(ours) == sum(p.numel() for p in network.parameters())
    assert (ours - truth).norm() < 1.5 * (theirs - truth).norm()


def bf16(*shape: int) -> Tensor:
    return torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()


def near(expected: Tensor, got: Tensor) -> bool:
    """To bfloat16's precision, which is 2^-8 of a value, and sums of values err as their largest."""
    a, b = expected.detach().float(), got.detach().float()
    return float((a - b).abs().max()) <= 0.01 * float(a.abs().max())


@pytest.mark.parametrize("mode", ["single", "both", "raw"])
def test_a_node_of_bfloat16_is_a_float32_one_rounded(mode: str) -> None:
    torch.manual_seed(0)
    a, b = bf16(3, 32, 12, 12), bf16(3, 32, 12, 12)
    norms = [nn.BatchNorm2d(32) for _ in range(2 if mode == "both" else 1)]
    ours = copy.deepcopy(norms)
    other = None if mode == "single" else b
    expected = kernels.node(tuple(norms), a.float(), None if other is None else other.float())
    got = kernels.node(tuple(ours), a, other)
    assert got.dtype is torch.bfloat16
    assert torch.equal(expected.bfloat16(), got)
    upstream = torch.randn_like(expected).bfloat16()
    inputs = [a] if mode == "single" else [a, b]
    want = torch.autograd.grad(expected, [*inputs, *norms[0].parameters()], upstream.float())
    have = torch.autograd.grad(got, [*inputs, *ours[0].parameters()], upstream)
    assert [h.dtype for h in have[len(inputs) :]] == [torch.float32] * 2
    assert all(near(w, h) for w, h in zip(want, have, strict=True))
    assert close(norms[0].running_var, ours[0].running_var)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_gradients_of_bfloat16(stride: int) -> None:
    torch.manual_seed(0)
    x, convolution = bf16(2, 32, 9, 8), nn.Conv2d(32, 32, 5, stride, 2, groups=32, bias=False)
    w = convolution.weight
    expected = F.conv2d(x.float(), w.bfloat16().float(), stride=stride, padding=2, groups=32)
    got = kernels.depthwise(convolution, x)
    upstream = torch.randn_like(expected).bfloat16()
    assert near(expected, got)
    assert all(
        near(a, b)
        for a, b in zip(
            torch.autograd.grad(expected, (x, w), upstream.float()),
            torch.autograd.grad(got, (x, w), upstream),
            strict=True,
        )
    )


def test_pooling_of_bfloat16_is_pytorchs() -> None:
    torch.manual_seed(0)
    x = bf16(2, 32, 9, 7)
    operation = Pool(32, 2, "max_pool")
    expected, got = operation.pool(x), kernels.pool(operation, x)
    assert torch.equal(expected, got)
    upstream = torch.randn_like(expected)
    want, have = (torch.autograd.grad(out, x, upstream)[0] for out in (expected, got))
    assert near(want, have)


def as_near_to_float64_as_autocast(network: Layout, weights: Path) -> None:
    """With weights that are trained: at random ones a rounded value changes the gradient's direction."""
    network.load_state_dict(torch.load(weights, "cpu", weights_only=True))
    network.train()
    torch.manual_seed(0)
    coarse = torch.randn(8, 3, 7, 7)
    x = F.interpolate(coarse, (112, 112), mode="bicubic").contiguous(memory_format=torch.channels_last)
    exact = copy.deepcopy(network).double()
    truth = gradient(exact, exact.stages, x.double())
    ours = gradient(network, functools.partial(kernels.stages, network), x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        theirs = gradient(network, network.stages, x)
    assert (theirs - truth).norm() < 0.5 * truth.norm()
    # Where the CPU multiplies no bfloat16, PyTorch rounds less often than it does elsewhere.
    assert (ours - truth).norm() < 2 * (theirs - truth).norm()


def test_a_rectified_network_of_bfloat16_is_as_near_to_float64_as_autocast_is() -> None:
    as_near_to_float64_as_autocast(rectified("s128"), MODELS / "pocketnet-s128-r.pth")


def test_the_papers_network_of_bfloat16_is_as_near_to_float64_as_autocast_is(shared: Path) -> None:
    as_near_to_float64_as_autocast(pocketnet("s128"), shared / "models" / "pocketnet_s128_official.pth")


def test_the_library_leaves_the_processor_as_it_was() -> None:
    kernels.node((nn.BatchNorm2d(16),), torch.randn(2, 16, 4, 4))
    assert np.float32(2e-38) / np.float32(4) > 0, "subnormal numbers are flushed to zero"
