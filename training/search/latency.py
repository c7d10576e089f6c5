"""What an operation costs on a device, and the expected cost of a mixed architecture.

A table is JSON: `{"target": ..., "unit": ..., "rectified": bool, "costs": {"dw3x3/16/56/1": 0.05}}`,
keyed by operation, channels, input size and stride. `python -m benchmarks.operations` measures one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.networks.genotypes import Edge, Genotype
from training.networks.layout import reduction_cells
from training.search.supernet import CANDIDATES, NODES, edges


def key(operation: str, channels: int, size: int, stride: int) -> str:
    """Where a table holds the cost of an operation on `channels` maps of `size` pixels."""
    return f"{operation}/{channels}/{size}/{stride}"


@dataclass(frozen=True)
class CostTable:
    """Costs of operations on one target, in any unit of time or work."""

    target: str
    unit: str
    costs: dict[str, float]

    @classmethod
    def read(cls, path: Path) -> CostTable:
        """Read a table; raises ValueError when it is none."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            costs = {str(k): float(v) for k, v in document["costs"].items()}
            return cls(str(document["target"]), str(document["unit"]), costs)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: not a table of costs: {error}") from error

    def cost(self, operation: str, channels: int, size: int, stride: int) -> float:
        """Cost of one operation; raises ValueError where the table has none."""
        if operation == "zero" or (operation == "skip" and stride == 1):
            return 0.0
        try:
            return self.costs[key(operation, channels, size, stride)]
        except KeyError:
            wanted = key(operation, channels, size, stride)
            raise ValueError(f"the table for {self.target} has no {wanted}: measure it") from None


@dataclass(frozen=True)
class Place:
    """Where a cell stands: its nodes' channels, its inputs' size, whether it reduces."""

    channels: int
    size: int
    reduction: bool


def places(channels: int, cells: int, size: int = 112) -> list[Place]:
    """Every cell of a network, behind a stem of stride 2."""
    result, side = [], size // 2
    for index in range(cells):
        reduction = index in reduction_cells(cells)
        channels *= 2 if reduction else 1
        result.append(Place(channels, side, reduction))
        side //= 2 if reduction else 1
    return result


def genotype_cost(table: CostTable, genotype: Genotype, where: Sequence[Place]) -> float:
    """Cost of all the nodes of a network built of the genotype."""
    return sum(
        _edge(table, edge, place)
        for place in where
        for edge in (genotype.reduce if place.reduction else genotype.normal)
    )


def _edge(table: CostTable, edge: Edge, place: Place) -> float:
    operation, source = edge
    outer = place.reduction and source < 2
    size = place.size if outer or not place.reduction else place.size // 2
    return table.cost(operation, place.channels, size, 2 if outer else 1)


class ExpectedCost:
    """Differentiable cost of the network that would be read off the architecture.

    Two edges of each node survive, so a node is expected to cost twice the mean cost of its
    candidates, weighted by the present softmax, zero left out.
    """

    def __init__(self, table: CostTable, where: Sequence[Place]) -> None:
        shape = (len(edges()), len(CANDIDATES))
        costs = {False: torch.zeros(shape), True: torch.zeros(shape)}
        for place in where:
            for e, (_, source) in enumerate(edges()):
                for c, operation in enumerate(CANDIDATES):
                    costs[place.reduction][e, c] += _edge(table, (operation, source), place)
        self._normal, self._reduce = costs[False], costs[True]

    def __call__(self, alpha_normal: Tensor, alpha_reduce: Tensor) -> Tensor:
        """Scalar, in the table's unit, with gradients to both parameters."""
        total = alpha_normal.new_zeros(())
        for alpha, table in ((alpha_normal, self._normal), (alpha_reduce, self._reduce)):
            costs = table.to(alpha.device)
            weights, position = alpha.softmax(1)[:, 1:], 0
            for node in range(NODES):
                rows = slice(position, position + 2 + node)
                total = total + 2 * (weights[rows] * costs[rows, 1:]).sum() / weights[rows].sum()
                position += 2 + node
        return total
