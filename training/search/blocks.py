"""The search block by block: cells of S-128, each alone between maps of a teacher of that layout.

A block takes the teacher's outputs of the two cells before it and regresses, through a linear map,
the teacher's output of its own place: blockwise supervision (Li et al. 2020, "Blockwisely Supervised
Neural Architecture Search with Knowledge Distillation"). The loss is dense and a block shallow, so the
architecture's gradient has far less noise from as few faces than an embedding's at the end of a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.cell_by_cell import exposing_all
from training.losses import Hints
from training.networks.layout import VARIANTS, reduction_cells
from training.search.faces import drawn, mirrored
from training.search.latency import places
from training.search.supernet import NODES, Architecture, MixedCell
from training.shards import centre, read_faces
from training.teachers import OFFICIAL, Teacher, build

LAYOUT = VARIANTS["s128"]
WIDTHS = tuple(NODES * place.channels for place in places(LAYOUT.channels, LAYOUT.cells))
"""Channels of each cell's output, student's and teacher's."""


def searched(cells: int = LAYOUT.cells) -> tuple[int, ...]:
    """The blocks' places: each reduction, and the middle of each run of normal cells."""
    reductions = reduction_cells(cells)
    starts = (0, *(reduction + 1 for reduction in reductions[:-1]))
    middles = [(start + end) // 2 for start, end in zip(starts, reductions, strict=True)]
    return tuple(sorted((*middles, *reductions)))


@dataclass(frozen=True)
class TaughtHalf:
    """Half of the faces, and the teacher that shows its maps of them.

    Attributes:
        pictures: uint8 `(n, 112, 112, 3)`, RGB.
    """

    pictures: NDArray[np.uint8]
    teacher: Teacher

    def batch(self, size: int, rng: np.random.Generator) -> list[Tensor]:
        """The teacher's output of every cell on a random batch, half of it mirrored."""
        pictures = mirrored(self.pictures[rng.integers(len(self.pictures), size=size)], rng)
        maps = (torch.from_numpy(m) for m in self.teacher(pictures)[: LAYOUT.cells])
        return [m.contiguous(memory_format=torch.channels_last) for m in maps]


def taught_halves(
    folders: Sequence[Path], seed: int, teacher: Teacher, limit: int | None
) -> tuple[TaughtHalf, TaughtHalf]:
    """Two disjoint halves of so many faces of the `train` split, or of all."""
    crops = [centre(face) for face in drawn(read_faces(folders, "train"), seed, limit)]
    return TaughtHalf(np.stack(crops[::2]), teacher), TaughtHalf(np.stack(crops[1::2]), teacher)


def teacher_of_all_cells(models: Path, graph: Path) -> Teacher:
    """The authors' PocketNetS-128 in the folder `models`, showing every cell; `graph` is kept."""
    spec = exposing_all(OFFICIAL, WIDTHS)
    if not (models / spec.file).is_file():
        raise ValueError(f"{models / spec.file} is missing: --blocks is the folder of the teacher's weights")
    if not graph.is_file():
        graph.parent.mkdir(parents=True, exist_ok=True)
        build(spec, models, graph)
    return Teacher(spec, graph)


class Blocks(Architecture):
    """Mixed cells at the searched places; they share the two architecture parameters."""

    def __init__(self, *, rectify: bool = False) -> None:
        super().__init__()
        self.index = searched()
        where = places(LAYOUT.channels, LAYOUT.cells)
        self.cells = nn.ModuleList(
            MixedCell(
                WIDTHS[i - 2],
                WIDTHS[i - 1],
                where[i].channels,
                reduction=where[i].reduction,
                after_reduction=False,
                rectify=rectify,
            )
            for i in self.index
        )
        widths = [WIDTHS[i] for i in self.index]
        self.hints = Hints(widths, widths)
        # A quarter faster on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def calibrate(self, maps: Sequence[Tensor]) -> None:
        """Take mean and deviation of the targets' channels from a sample of the teacher's maps."""
        self.hints.calibrate([maps[i] for i in self.index])

    def loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Mean over the blocks of the fraction of variance that is left; `batch` holds all the maps."""
        mix = {False: self.alpha_normal.softmax(1), True: self.alpha_reduce.softmax(1)}
        outputs = []
        for i, cell in zip(self.index, self.cells, strict=True):
            assert isinstance(cell, MixedCell)
            outputs.append(cell(batch[i - 2], batch[i - 1], mix[cell.reduction]))
        return torch.stack(self.hints(outputs, [batch[i] for i in self.index])).mean()
