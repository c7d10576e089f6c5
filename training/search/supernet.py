"""The network that holds every candidate: each edge is a weighted sum of all operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layout import reduction_cells
from training.networks.operations import FactorizedReduction, SeparableUnit
from training.networks.operations import operation as prelu_operation
from training.networks.rectified import Linear
from training.networks.rectified import operation as rectified_operation

CANDIDATES = ("zero", "dw1x1", "dw3x3", "dw5x5", "dw7x7", "max_pool", "avg_pool", "skip")
"""The paper's operations; "zero" lets an edge vanish and never enters a genotype."""

NODES = 4


def edges(nodes: int = NODES) -> list[tuple[int, int]]:
    """(node, source) of every possible edge; sources 0 and 1 are the cell's inputs."""
    return [(node, source) for node in range(nodes) for source in range(2 + node)]


class MixedEdge(nn.Module):
    """Sum of all operations on one edge, weighted by a softmax over the candidates."""

    def __init__(self, channels: int, stride: int, rectify: bool) -> None:
        super().__init__()
        make = rectified_operation if rectify else prelu_operation
        self.operations = nn.ModuleList(make(name, channels, stride) for name in CANDIDATES[1:])
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # A learned scale would let the weights undo the architecture's choice (DARTS, 3.1).
                module.weight.requires_grad_(False)
                module.bias.requires_grad_(False)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """The mix of float `(n, c, h, w)` by `weights` `(candidates,)`; zero adds nothing."""
        total: Tensor = weights[1] * self.operations[0](x)
        for weight, operation in zip(weights[2:], list(self.operations)[1:], strict=True):
            total = torch.addcmul(total, weight, operation(x))
        return total


class MixedCell(nn.Module):
    """A cell of four nodes, each the sum of mixed edges from everything before it."""

    def __init__(
        self, older: int, newer: int, channels: int, *, reduction: bool, after_reduction: bool, rectify: bool
    ) -> None:
        super().__init__()
        if rectify:
            shrink = (2, 2) if after_reduction else (1, 1)
            self.preproc0: nn.Module = Linear(older, channels, *shrink)
            self.preproc1: nn.Module = Linear(newer, channels)
        else:
            self.preproc0 = (
                FactorizedReduction(older, channels)
                if after_reduction
                else SeparableUnit(older, channels, 1, 1)
            )
            self.preproc1 = SeparableUnit(newer, channels, 1, 1)
        self.reduction = reduction
        self.activation: nn.Module = nn.ReLU() if rectify else nn.Identity()
        self.edges = nn.ModuleList(
            MixedEdge(channels, 2 if reduction and source < 2 else 1, rectify) for _, source in edges()
        )

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        """Concatenated nodes `(n, 4 c, h, w)`; `weights` is `(edges, candidates)`."""
        states = [self.activation(self.preproc0(older)), self.activation(self.preproc1(newer))]
        position = 0
        for node in range(NODES):
            incoming = [
                self.edges[position + source](states[source], weights[position + source])
                for source in range(2 + node)
            ]
            position += 2 + node
            states.append(self.activation(sum(incoming[1:], incoming[0])))
        return torch.cat(states[2:], 1)


class Architecture(nn.Module):
    """What is searched: two parameters `(edges, candidates)`, shared by all cells of a kind."""

    def __init__(self) -> None:
        super().__init__()
        # Small and random, so that no candidate starts ahead (DARTS, appendix A.1).
        self.alpha_normal = nn.Parameter(1e-3 * torch.randn(len(edges()), len(CANDIDATES)))
        self.alpha_reduce = nn.Parameter(1e-3 * torch.randn(len(edges()), len(CANDIDATES)))

    def architecture(self) -> list[nn.Parameter]:
        """The parameters that describe the architecture."""
        return [self.alpha_normal, self.alpha_reduce]

    def weights(self) -> list[nn.Parameter]:
        """The parameters of the operations."""
        chosen = {id(alpha) for alpha in self.architecture()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in chosen]

    def loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Scalar loss of a batch that a half of the faces gives."""
        raise NotImplementedError

    def entropy(self) -> float:
        """Mean entropy of the edges' softmax in nats: log(8) = 2.08 undecided, 0 decided."""
        with torch.no_grad():
            alpha = torch.cat([self.alpha_normal, self.alpha_reduce])
            return float(-(alpha.softmax(1) * alpha.log_softmax(1)).sum(1).mean())


class SuperNet(Architecture):
    """Float32 `(n, 3, s, s)` RGB in -1..1 to float32 `(n, embedding)`, s a multiple of 16.

    The whole network is searched at once.
    """

    def __init__(
        self,
        channels: int = 16,
        cells: int = 8,
        embedding: int = 128,
        size: int = 112,
        *,
        classes: int = 0,
        rectify: bool = False,
    ) -> None:
        """With `classes` people the loss is a softmax over them, without the cosine to a teacher."""
        super().__init__()
        width = 4 * channels
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        if rectify:
            self.stem.append(nn.ReLU())
        self.cells = nn.ModuleList()
        older, newer, after_reduction = width, width, False
        for index in range(cells):
            reduction = index in reduction_cells(cells)
            channels *= 2 if reduction else 1
            self.cells.append(
                MixedCell(
                    older,
                    newer,
                    channels,
                    reduction=reduction,
                    after_reduction=after_reduction,
                    rectify=rectify,
                )
            )
            older, newer, after_reduction = newer, NODES * channels, reduction
        final = size // 16
        self.tail = nn.Sequential(
            nn.Conv2d(newer, 512, 1, bias=False),
            nn.BatchNorm2d(512),
            nn.ReLU() if rectify else nn.PReLU(512),
            nn.Conv2d(512, 512, final, groups=512, bias=False),
            nn.BatchNorm2d(512),
            nn.Conv2d(512, embedding, 1, bias=False),
            nn.BatchNorm2d(embedding),
        )
        self.head = nn.Linear(embedding, classes) if classes else None

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings, not normalised."""
        mix = {False: self.alpha_normal.softmax(1), True: self.alpha_reduce.softmax(1)}
        older = newer = self.stem(x)
        for cell in self.cells:
            assert isinstance(cell, MixedCell)
            older, newer = newer, cell(older, newer, mix[cell.reduction])
        return self.tail(newer).flatten(1)  # type: ignore[no-any-return]

    def loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Softmax cross entropy over people (the paper), or 1 - cosine to the teacher."""
        x, target = batch
        embedding = self(x)
        if self.head is None:
            return 1 - F.cosine_similarity(embedding, target).mean()
        return F.cross_entropy(self.head(embedding), target)
