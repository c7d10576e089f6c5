"""From architecture parameters to a genotype: the two strongest edges of each node."""

from __future__ import annotations

from torch import Tensor

from training.networks.genotypes import Edge, Genotype
from training.search.supernet import CANDIDATES, NODES, Architecture


def derive(network: Architecture) -> Genotype:
    """The genotype of the present architecture.

    An edge's strength is its largest weight other than zero's; a node keeps its two strongest
    edges, each with that operation (DARTS, 2.4).
    """
    return Genotype(_cell(network.alpha_normal), _cell(network.alpha_reduce))


def _cell(alpha: Tensor) -> tuple[Edge, ...]:
    weights = alpha.detach().softmax(1)[:, 1:]
    strength, best = weights.max(1)
    chosen: list[Edge] = []
    position = 0
    for node in range(NODES):
        ranked = sorted(range(2 + node), key=strength[position:].tolist().__getitem__, reverse=True)
        chosen += [(CANDIDATES[1 + int(best[position + s])], s) for s in ranked[:2]]
        position += 2 + node
    return tuple(chosen)
