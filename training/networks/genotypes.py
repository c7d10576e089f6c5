"""Genotypes: what a cell computes, as data.

A cell has two inputs (0 the older, 1 the newer) and nodes 2, 3, ...; each node is the sum of two
operations, each on an input or an earlier node. PocketNet's is from Boutros et al. 2022.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

Edge = tuple[str, int]
"""An operation's name and the index of its input: 0, 1 the cell's inputs, 2.. the nodes."""

OPERATIONS = ("dw1x1", "dw3x3", "dw5x5", "dw7x7", "max_pool", "avg_pool", "skip")


@dataclass(frozen=True)
class Genotype:
    """Edges of the normal and of the reduction cell: two per node, in the order of the nodes."""

    normal: tuple[Edge, ...]
    reduce: tuple[Edge, ...]

    def __post_init__(self) -> None:
        for name, edges in (("normal", self.normal), ("reduce", self.reduce)):
            if not edges or len(edges) % 2:
                raise ValueError(f"{name}: expected two edges for every node, got {len(edges)}")
            for position, (operation, source) in enumerate(edges):
                if operation not in OPERATIONS:
                    raise ValueError(f"{name}[{position}]: operation {operation!r} is none of {OPERATIONS}")
                if not 0 <= source < 2 + position // 2:
                    raise ValueError(f"{name}[{position}]: input {source} does not exist yet")

    def nodes(self, reduction: bool) -> tuple[tuple[Edge, Edge], ...]:
        """The pairs of edges that are summed, one pair a node."""
        edges = self.reduce if reduction else self.normal
        return tuple((edges[i], edges[i + 1]) for i in range(0, len(edges), 2))

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal genotype."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read `{"normal": [["dw3x3", 0], ...], "reduce": [...]}`."""
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("expected an object with 'normal' and 'reduce'")
        try:
            normal, reduce = (
                tuple((str(operation), int(source)) for operation, source in document[name])
                for name in ("normal", "reduce")
            )
        except (KeyError, TypeError) as error:
            raise ValueError("expected lists of [operation, input] in normal and reduce") from error
        return cls(normal, reduce)


POCKETNET = Genotype(
    normal=(
        ("dw3x3", 0),
        ("dw1x1", 1),
        ("dw3x3", 2),
        ("dw5x5", 0),
        ("dw3x3", 3),
        ("dw3x3", 0),
        ("dw3x3", 4),
        ("skip", 0),
    ),
    reduce=(
        ("dw3x3", 1),
        ("dw7x7", 0),
        ("skip", 2),
        ("dw5x5", 1),
        ("max_pool", 0),
        ("skip", 2),
        ("max_pool", 0),
        ("max_pool", 1),
    ),
)

GENOTYPES = {"pocketnet": POCKETNET}


def load_genotype(name_or_file: str) -> Genotype:
    """A genotype by its name in `GENOTYPES`, or from a JSON file."""
    if name_or_file in GENOTYPES:
        return GENOTYPES[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise ValueError(f"{name_or_file!r} is neither a file nor one of {sorted(GENOTYPES)}")
    return Genotype.from_json(path.read_text(encoding="utf-8"))
