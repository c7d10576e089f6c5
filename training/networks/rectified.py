"""PocketNet made for int8: ReLU, once, in the operator that produces a value.

Against the paper's network: stem, preprocessing and every node end in one ReLU, which a runtime
fuses into the convolution or the sum before it, and everything downstream takes that rectified
value; a depthwise 1x1 is merged with its pointwise, the factorised reduction is one 2x2 stride-2
convolution. An int8 graph then has no operator left in float.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.genotypes import POCKETNET, Genotype
from training.networks.layout import VARIANTS, Layout
from training.networks.operations import Pool


class Separable(nn.Module):
    """Depthwise kxk, pointwise 1x1, batch norm, all linear; the node that sums it rectifies."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.bn(self.pointwise(self.depthwise(x)))  # type: ignore[no-any-return]


class Linear(nn.Module):
    """One convolution and its batch norm: a merged 1x1, or 2x2 with stride 2."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.bn(self.conv(x))  # type: ignore[no-any-return]


def operation(name: str, channels: int, stride: int) -> nn.Module:
    """The operation of a genotype's edge, on `channels` rectified channels."""
    if name == "skip":
        return nn.Identity() if stride == 1 else Linear(channels, channels, 2, 2)
    if name in ("max_pool", "avg_pool"):
        return Pool(channels, stride, name)
    if name == "dw1x1":
        return Linear(channels, channels, 1, stride)
    return Separable(channels, int(name[-1]), stride)


class RectifiedCell(nn.Module):
    """Two rectified inputs to one rectified output: the nodes, concatenated."""

    def __init__(
        self,
        genotype: Genotype,
        c_older: int,
        c_newer: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        shrink = (2, 2) if after_reduction else (1, 1)
        self.preproc0 = Linear(c_older, channels, *shrink)
        self.preproc1 = Linear(c_newer, channels)
        nodes = genotype.nodes(reduction)
        self.sources = [(a[1], b[1]) for a, b in nodes]
        self.dag = nn.ModuleList(
            nn.ModuleList(
                operation(name, channels, 2 if reduction and source < 2 else 1) for name, source in pair
            )
            for pair in nodes
        )
        self.relu = nn.ReLU()

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        """Apply the module to `older`."""
        states = [self.relu(self.preproc0(older)), self.relu(self.preproc1(newer))]
        for pair, (a, b) in zip(self.dag, self.sources, strict=True):
            assert isinstance(pair, nn.ModuleList)
            states.append(self.relu(pair[0](states[a]) + pair[1](states[b])))
        return torch.cat(states[2:], dim=1)


class RectifiedPocketNet(Layout):
    """Float32 `(n, 3, 112, 112)`, RGB, `(x / 255 - 0.5) / 0.5`, to float32 `(n, embedding)`."""

    map_at = 2

    def __init__(
        self,
        genotype: Genotype = POCKETNET,
        channels: int = 16,
        cells: int = 18,
        embedding: int = 128,
    ) -> None:
        width = 4 * channels
        stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        super().__init__(RectifiedCell, genotype, stem, channels, cells)
        self.tail = nn.Sequential(
            nn.Conv2d(self.width, 512, 1, bias=False),
            nn.BatchNorm2d(512),
            nn.ReLU(),
            nn.Conv2d(512, 512, 7, groups=512, bias=False),
            nn.BatchNorm2d(512),
            nn.Conv2d(512, embedding, 1, bias=False),
            nn.BatchNorm2d(embedding),
        )


def rectified(variant: str, genotype: Genotype = POCKETNET) -> RectifiedPocketNet:
    """The rectified form of one of the paper's four sizes, with random weights."""
    v = VARIANTS[variant]
    return RectifiedPocketNet(genotype, v.channels, v.cells, v.embedding)
