"""The face detector: anchor-free, strides 8, 16 and 32, one score, one box, five points a cell.

Every operator is a convolution with a fused ReLU, a sum with a fused ReLU, or a nearest resize, so
that an int8 graph has nothing left in float. The input is RGB 0..255, only scaled: a scale folds
into the first convolution exactly, a shift would not (its zero padding would no longer be grey).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDES = (8, 16, 32)
SCALE = 1 / 128
"""What the pixels are multiplied by before the first convolution."""

Outputs = tuple[list[Tensor], list[Tensor], list[Tensor]]
"""Scores (n, 1, h/s, w/s) logits, boxes (n, 4, ...), points (n, 10, ...), each a list over strides."""


class Features(NamedTuple):
    """Maps (n, c, h/s, w/s), each a list over strides, but `early` (n, 32, h/4, w/4).

    `levels` as the backbone gives them, `merged` with what coarser strides saw, and what the heads' blocks
    make of these for the score (`what`) and for box and points (`where`).
    """

    early: Tensor
    levels: list[Tensor]
    merged: list[Tensor]
    what: list[Tensor]
    where: list[Tensor]


def unit(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(c_out, momentum=0.03)]


class Block(nn.Module):
    """Depthwise 3x3, pointwise, batch norm, a sum with the input where shapes agree, ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False)
        self.pointwise = nn.Sequential(*unit(c_in, c_out, 1))
        self.sums = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h / stride, w / stride)."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return F.relu(y.add_(x) if self.sums else y, inplace=True)


class Entry(Block):
    """A block that halves the size and sees every 2x2 cells whole beside: a dense convolution, added.

    A depthwise convolution alone leaves of four cells with c numbers each c in all, and of a face of
    10 px hardly more.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 2)
        convolution = nn.Conv2d(c_in, c_out, 2, 2, bias=False)
        self.patch = nn.Sequential(convolution, nn.BatchNorm2d(c_out, momentum=0.03))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, c_out, h / 2, w / 2)."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return F.relu(y.add_(self.patch(x)), inplace=True)


class Head(nn.Module):
    """One stride's answers: two blocks for the score, two for box and points, a 1x1 for each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.what, self.where = (
            nn.Sequential(Block(channels, channels), Block(channels, channels)) for _ in range(2)
        )
        self.score = nn.Conv2d(channels, 1, 1)
        self.box = nn.Conv2d(channels, 4, 1)
        self.points = nn.Conv2d(channels, 10, 1)
        for last, spread in ((self.score, 0.01), (self.box, 0.02), (self.points, 0.02)):
            nn.init.normal_(last.weight, std=spread)
        nn.init.constant_(self.score.bias, -4.6)  # type: ignore[arg-type]
        nn.init.constant_(self.box.bias, 2.0)  # type: ignore[arg-type]
        nn.init.zeros_(self.points.bias)  # type: ignore[arg-type]

    def forward(self, what: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What its blocks gave, (n, c, h, w) each, to the three maps."""
        return self.score(what), self.box(where), self.points(where)


class Detector(nn.Module):
    """Float32 (n, 3, h, w), RGB 0..255, h and w multiples of 32, to `Outputs`.

    For the cell (i, j) of stride s with centre ((j + 0.5) s, (i + 0.5) s): a box is the distances to
    its left, top, right and bottom edge in strides, points are dx, dy in strides of the picture's
    left eye, right eye, nose, left and right mouth corner.
    """

    def __init__(
        self, widths: tuple[int, int, int] = (16, 32, 64), depths: tuple[int, int, int] = (3, 4, 3)
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.scale = SCALE
        self.stem = nn.Sequential(
            *unit(3, first, 3, 2),
            nn.ReLU(inplace=True),
            *unit(first, second, 3, 2),
            nn.ReLU(inplace=True),
        )
        self.early = nn.Sequential(Block(second, second), Block(second, second))
        stages = []
        for level, depth in enumerate(depths):
            blocks = [Block(third, third, 2) if level else Entry(second, third)]
            blocks += [Block(third, third) for _ in range(depth)]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.merges = nn.ModuleList([Block(third, third) for _ in range(2)])
        self.heads = nn.ModuleList([Head(third) for _ in STRIDES])

    def features(self, image: Tensor) -> Features:
        """The maps that answers are read from, of all strides."""
        x = early = self.early(self.stem(image if self.scale == 1 else image * self.scale))
        levels: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        merged = list(levels)
        for level in (1, 0):
            above = F.interpolate(merged[level + 1], scale_factor=2.0, mode="nearest")
            merged[level] = self.merges[level](merged[level] + above)
        heads = [head for head in self.heads if isinstance(head, Head)]
        what = [head.what(x) for head, x in zip(heads, merged, strict=True)]
        where = [head.where(x) for head, x in zip(heads, merged, strict=True)]
        return Features(early, levels, merged, what, where)

    def answers(self, features: Features) -> Outputs:
        """The maps of all strides."""
        made = [
            head(what, where)
            for head, what, where in zip(self.heads, features.what, features.where, strict=True)
        ]
        scores, boxes, points = zip(*made, strict=True)
        return list(scores), list(boxes), list(points)

    def forward(self, image: Tensor) -> Outputs:
        """The maps of all strides."""
        return self.answers(self.features(image))


def fused(network: Detector) -> Detector:
    """A copy for inference: batch norms folded into convolutions, the pixel scale into the first."""
    made = copy.deepcopy(network).eval()
    for sequence in [m for m in made.modules() if isinstance(m, nn.Sequential)]:
        for i in range(len(sequence) - 1):
            convolution, norm = sequence[i], sequence[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[i] = fuse_conv_bn_eval(convolution, norm)
                sequence[i + 1] = nn.Identity()
    first = made.stem[0]
    assert isinstance(first, nn.Conv2d)
    first.weight.data *= made.scale
    made.scale = 1.0
    return made


def parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in network.parameters())
