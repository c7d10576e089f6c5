"""The step of both forms of PocketNet: cells, and what comes before and after them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.kernels.functions import convolve, depthwise, node, pool, prelu
from training.networks.layout import Layout
from training.networks.operations import FactorizedReduction, Pool, SeparableUnit
from training.networks.pocketnet import Cell
from training.networks.rectified import Linear, RectifiedCell, Separable


def _merged(first: nn.Module, second: nn.Module, x: Tensor) -> Tensor:
    """A depthwise 1x1, its stride too, and the pointwise after it as one convolution."""
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    weight = second.weight * first.weight.transpose(0, 1)
    return F.conv2d(x, weight.to(x.dtype), stride=first.stride)


def _linear(operation: nn.Module, x: Tensor) -> tuple[Tensor, nn.BatchNorm2d | None]:
    """An operation up to its batch norm, and that batch norm."""
    if isinstance(operation, Separable):
        return convolve(operation.pointwise, depthwise(operation.depthwise, x)), operation.bn
    if isinstance(operation, Linear):
        return convolve(operation.conv, x), operation.bn
    if isinstance(operation, Pool):
        return pool(operation, x), operation.bn
    if isinstance(operation, SeparableUnit):
        activation, first, second, bn = operation.net
        assert isinstance(first, nn.Conv2d)
        assert isinstance(bn, nn.BatchNorm2d)
        x = prelu(activation, x)
        if first.kernel_size == (1, 1):
            return _merged(first, second, x), bn
        return convolve(second, depthwise(first, x)), bn
    if isinstance(operation, FactorizedReduction):
        x = prelu(operation.relu, x)
        paths = (
            _merged(operation.conv11, operation.conv12, x),
            _merged(operation.conv21, operation.conv22, x[:, :, 1:, 1:]),
        )
        return torch.cat(paths, dim=1), operation.bn
    return x, None


def run_cell(cell: nn.Module, older: Tensor, newer: Tensor) -> Tensor:
    """What `cell(older, newer)` gives in training mode."""
    assert isinstance(cell, Cell | RectifiedCell)
    rectified = isinstance(cell, RectifiedCell)
    states: list[Tensor] = []
    for preprocessing, x in ((cell.preproc0, older), (cell.preproc1, newer)):
        y, bn = _linear(preprocessing, x)
        assert bn is not None
        states.append(node((bn,), y, rectified=rectified))
    for pair, sources in zip(cell.dag, cell.sources, strict=True):
        assert isinstance(pair, nn.ModuleList)
        (a, bn_a), (b, bn_b) = (
            _linear(operation, states[source]) for operation, source in zip(pair, sources, strict=True)
        )
        if bn_a is None:
            a, b, bn_a, bn_b = b, a, bn_b, bn_a
        if bn_a is None:
            states.append(torch.relu(a + b) if rectified else a + b)
        else:
            norms = (bn_a,) if bn_b is None else (bn_a, bn_b)
            states.append(node(norms, a, b, rectified=rectified))
    return torch.cat(states[2:], dim=1)


def trunk(network: Layout, x: Tensor, after: Sequence[int]) -> list[Tensor]:
    """Outputs of the cells in `after`, and of the last cell."""
    convolution, bn, *activation = list(network.stem)
    assert isinstance(bn, nn.BatchNorm2d)
    older = newer = node((bn,), convolve(convolution, x), rectified=bool(activation))
    kept: dict[int, Tensor] = {}
    for index, cell in enumerate(network.cells):
        older, newer = newer, run_cell(cell, older, newer)
        if index in after:
            kept[index] = newer
    return [*(kept[i] for i in after), newer]


def run_tail(network: Layout, x: Tensor) -> tuple[Tensor, Tensor]:
    """From the last cell's output to the map before the global convolution, and the embedding."""
    at, tail = network.map_at, list(network.tail)
    convolution, bn, activation, global_convolution = tail[at - 2 : at + 2]
    assert isinstance(global_convolution, nn.Conv2d)
    for first in tail[: at - 2]:  # the paper's PReLU
        x = prelu(first, x)
    final = bn(convolve(convolution, x).float())
    # PyTorch's gradient of the 7x7 depthwise weights costs as much as ten cells of the last stage.
    pooled = (activation(final) * global_convolution.weight[:, 0]).sum(dim=(2, 3), keepdim=True)
    return final, network.tail[at + 2 :](pooled).flatten(1)


def stages(network: Layout, x: Tensor, after: Sequence[int]) -> list[Tensor]:
    """What `network.stages(x, after)` gives in training mode, faster."""
    *kept, last = trunk(network, x, after)
    return [*kept, *run_tail(network, last)]
