"""PocketNet (Boutros et al., IEEE Access 10, 2022), with the authors' state-dict keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.genotypes import POCKETNET, Genotype
from training.networks.layout import VARIANTS, Layout
from training.networks.operations import FactorizedReduction, SeparableUnit, operation


class Cell(nn.Module):
    """Two inputs to one output: the nodes of the genotype, concatenated."""

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
        self.preproc0: nn.Module = (
            FactorizedReduction(c_older, channels)
            if after_reduction
            else SeparableUnit(c_older, channels, 1, 1)
        )
        self.preproc1 = SeparableUnit(c_newer, channels, 1, 1)
        nodes = genotype.nodes(reduction)
        self.sources = [(a[1], b[1]) for a, b in nodes]
        self.dag = nn.ModuleList(
            nn.ModuleList(
                operation(name, channels, 2 if reduction and source < 2 else 1) for name, source in pair
            )
            for pair in nodes
        )

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        """Apply the module to `older`."""
        states = [self.preproc0(older), self.preproc1(newer)]
        for pair, (a, b) in zip(self.dag, self.sources, strict=True):
            assert isinstance(pair, nn.ModuleList)
            states.append(pair[0](states[a]) + pair[1](states[b]))
        return torch.cat(states[2:], dim=1)


class PocketNet(Layout):
    """Float32 `(n, 3, 112, 112)`, RGB, `(x / 255 - 0.5) / 0.5`, to float32 `(n, embedding)`."""

    map_at = 3

    def __init__(
        self,
        genotype: Genotype = POCKETNET,
        channels: int = 16,
        cells: int = 18,
        embedding: int = 128,
    ) -> None:
        width = 4 * channels
        stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        super().__init__(Cell, genotype, stem, channels, cells)
        self.tail = nn.Sequential(
            nn.PReLU(self.width),
            nn.Conv2d(self.width, 512, 1, bias=False),
            nn.BatchNorm2d(512),
            nn.PReLU(512),
            nn.Conv2d(512, 512, 7, groups=512, bias=False),
            nn.BatchNorm2d(512),
            nn.Conv2d(512, embedding, 1, bias=False),
            nn.BatchNorm2d(embedding),
        )


def pocketnet(variant: str, genotype: Genotype = POCKETNET) -> PocketNet:
    """One of the paper's four networks, `s128`, `s256`, `m128` or `m256`, with random weights."""
    v = VARIANTS[variant]
    return PocketNet(genotype, v.channels, v.cells, v.embedding)
