"""What the paper's network and its rectified form share: sizes, and the order of stem, cells, tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from training.networks.genotypes import Genotype


@dataclass(frozen=True)
class Variant:
    """Channels of the first cells' nodes, number of cells, size of the embedding."""

    channels: int
    cells: int
    embedding: int


VARIANTS = {
    "s128": Variant(16, 18, 128),
    "s256": Variant(16, 18, 256),
    "m128": Variant(32, 9, 128),
    "m256": Variant(32, 9, 256),
}


def reduction_cells(cells: int) -> tuple[int, int, int]:
    """The cells that halve the size and double the channels."""
    return cells // 3, 2 * cells // 3, cells - 1


class Layout(nn.Module):
    """Stem, cells that take the outputs of the two before them, tail.

    A subclass gives `tail` and says with `map_at` how many of its modules make the 512x7x7 map.
    """

    tail: nn.Sequential
    map_at: int

    def __init__(
        self,
        cell: Callable[[Genotype, int, int, int, bool, bool], nn.Module],
        genotype: Genotype,
        stem: nn.Sequential,
        channels: int,
        cells: int,
    ) -> None:
        """`channels` of the first cells' nodes; the stem's are four times as many."""
        super().__init__()
        self.stem = stem
        self.cells = nn.ModuleList()
        older = newer = 4 * channels
        after_reduction = False
        for index in range(cells):
            reduction = index in reduction_cells(cells)
            channels *= 2 if reduction else 1
            self.cells.append(cell(genotype, older, newer, channels, reduction, after_reduction))
            older, newer, after_reduction = newer, len(genotype.nodes(reduction)) * channels, reduction
        self.width = newer

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.stages(x, ())[-1]

    def stages(self, x: Tensor, after: Sequence[int]) -> list[Tensor]:
        """Outputs of the cells in `after`, the map before the global convolution, the embedding.

        The map is taken before its activation, for a linear target has negative values too.
        """
        older = newer = self.stem(x)
        kept: dict[int, Tensor] = {}
        for index, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer)
            if index in after:
                kept[index] = newer
        final = self.tail[: self.map_at](newer)
        return [*(kept[i] for i in after), final, self.tail[self.map_at :](final).flatten(1)]
