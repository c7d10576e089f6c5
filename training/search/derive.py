"""From architecture parameters to a genotype: the two strongest edges of each node."""

from __future__ import annotations

from torch import Tensor

from training.networks.genotypes import Edge, Genotype
from training.search.supernet import CANDIDATES, NODES, Architecture, edges


def derive(network: Architecture, skips: int = NODES * 2) -> Genotype:
    """The genotype of the present architecture.

    An edge's strength is its largest weight other than zero's; a node keeps its two strongest
    edges, each with that operation (DARTS, 2.4). A cell keeps its `skips` strongest skips at the most:
    free and without anything to learn, they win early (P-DARTS, Chen et al. 2019, 3.3).
    """
    return Genotype(_cell(network.alpha_normal, skips), _cell(network.alpha_reduce, skips))


def _cell(alpha: Tensor, skips: int) -> tuple[Edge, ...]:
    weights = alpha.detach().softmax(1)[:, 1:].clone()
    skip = CANDIDATES.index("skip") - 1
    while True:
        rows = _strongest(weights)
        taken = [row for row in rows if int(weights[row].argmax()) == skip]
        if len(taken) <= skips:
            break
        weights[min(taken, key=lambda row: float(weights[row, skip])), skip] = 0
    return tuple((CANDIDATES[1 + int(weights[row].argmax())], edges()[row][1]) for row in rows)


def _strongest(weights: Tensor) -> list[int]:
    """The rows of the two strongest edges of each node, stronger first."""
    strength, rows = weights.max(1).values.tolist(), []
    for node in range(NODES):
        own = [row for row, edge in enumerate(edges()) if edge[0] == node]
        rows += sorted(own, key=strength.__getitem__, reverse=True)[:2]
    return rows
