"""From faces to cells and back: which cell answers for which face, and what its answer means.

The assignment is SimOTA (YOLOX): a face may take cells of any stride near its centre; it takes as
many of the cheapest as its ten best overlaps add up to. The cells that a small face could have taken
and did not see it nearly as well as those it took, so they are asked for nothing. All faces of a batch
are done at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training.networks.detector import STRIDES, Outputs

REACH = 2
"""A face looks at cells within so many of its centre's cell, at each stride: 5 x 5."""

SMALL, LARGE = (0.0, 1.0, 1.5), (9.0, 12.0, 1e9)
"""At each stride, sides of faces it may answer for, in strides."""

TINY = 28.0
"""Faces below this side, in pixels, leave their other cells alone."""


@dataclass(frozen=True, slots=True)
class Cells:
    """All cells of a batch in one row each, image by image, stride by stride.

    `scores` (n, cells) logits; `boxes` (n, cells, 4) x1, y1, x2, y2 and `points` (n, cells, 5, 2) in
    pixels; `centres` (cells, 2) pixels; `strides` (cells,) float32.
    """

    scores: Tensor
    boxes: Tensor
    points: Tensor
    centres: Tensor
    strides: Tensor


class Pairs(NamedTuple):
    """`image`, `cell` and `face` of each pair, int64 (p,); no cell has two faces.

    `spare` is the image and the cell, int64 (s,) each, of all that small faces could have taken.
    """

    image: Tensor
    cell: Tensor
    face: Tensor
    spare: tuple[Tensor, Tensor]


def decode(outputs: Outputs) -> Cells:
    """Nine maps as cells in pixels."""
    scores, boxes, points, centres, strides = [], [], [], [], []
    for stride, score, box, marks in zip(STRIDES, *outputs, strict=True):
        n, _, high, wide = score.shape
        rows, columns = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        centre = (torch.stack([columns, rows], dim=-1).reshape(-1, 2) + 0.5) * stride
        reach = box.permute(0, 2, 3, 1).reshape(n, -1, 4) * stride
        scores.append(score.reshape(n, -1))
        boxes.append(torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1))
        shifts = marks.permute(0, 2, 3, 1).reshape(n, -1, 5, 2) * stride
        points.append(shifts + centre[:, None])
        centres.append(centre)
        strides.append(torch.full((high * wide,), float(stride)))
    return Cells(
        torch.cat(scores, 1),
        torch.cat(boxes, 1),
        torch.cat(points, 1),
        torch.cat(centres),
        torch.cat(strides),
    )


def encode(boxes: Tensor, points: Tensor, centres: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """The maps' numbers (k, 4) and (k, 10) for boxes (k, 4) and points (k, 5, 2) in pixels."""
    reach = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], dim=1) / strides[:, None]
    return reach, ((points - centres[:, None]) / strides[:, None, None]).flatten(1)


def overlap(one: Tensor, other: Tensor, generalized: bool = False) -> Tensor:
    """IoU of boxes (..., 4) pair by pair, or the generalized one of Rezatofighi et al."""
    top, bottom = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    inter = (bottom - top).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (one, other)]
    union = areas[0] + areas[1] - inter + 1e-6
    iou = inter / union
    if not generalized:
        return iou
    hull = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    around = hull.clamp(min=0).prod(-1) + 1e-6
    return iou - (around - union) / around


@torch.no_grad()
def assign(cells: Cells, size: tuple[int, int], owner: Tensor, boxes: Tensor) -> Pairs:
    """Pairs of a cell and a face.

    Args:
        cells: what the network says; the cost of a pair is how far it is from right.
        size: height and width of the images in pixels.
        owner: (g,) int64, the image of each face.
        boxes: (g, 4) float32 pixels, the faces.
    """
    if not len(owner):
        none = torch.zeros(0, dtype=torch.int64)
        return Pairs(none, none, none, (none, none))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).prod(1).sqrt()
    window = torch.arange(-REACH, REACH + 1)
    steps = torch.stack(torch.meshgrid(window, window, indexing="ij"), dim=-1).reshape(-1, 2)
    index, valid, start = [], [], 0
    for level, stride in enumerate(STRIDES):
        high, wide = size[0] // stride, size[1] // stride
        at = (centre / stride).floor().long()[:, None] + steps[None]
        fits = (side >= SMALL[level] * stride) & (side <= LARGE[level] * stride)
        inside = (at >= 0).all(-1) & (at[..., 0] < wide) & (at[..., 1] < high)
        index.append(start + at[..., 1].clamp(0, high - 1) * wide + at[..., 0].clamp(0, wide - 1))
        valid.append(inside & fits[:, None])
        start += high * wide
    candidate, allowed = torch.cat(index, 1), torch.cat(valid, 1)
    far = (cells.centres[candidate] - centre[:, None]).abs() / cells.strides[candidate][..., None]
    half = (boxes[:, 2:] - boxes[:, :2])[:, None] / 2 / cells.strides[candidate][..., None]
    allowed &= (far <= (half * 0.7).clamp(min=0.75)).all(-1)
    image = owner[:, None].expand_as(candidate)
    iou = overlap(cells.boxes[image, candidate], boxes[:, None]) * allowed
    doubt = F.binary_cross_entropy_with_logits(
        cells.scores[image, candidate], torch.ones_like(iou), reduction="none"
    )
    cost = doubt - 3 * torch.log(iou + 1e-6) + 0.3 * far.square().sum(-1) + 1e6 * ~allowed
    most = iou.topk(10, dim=1).values.sum(1).round().clamp(1, 10)
    order = cost.argsort(dim=1)[:, :10]
    taken = torch.arange(10)[None] < most[:, None]
    taken &= allowed.gather(1, order)
    face = torch.arange(len(owner))[:, None].expand_as(order)[taken]
    cell, price = candidate.gather(1, order)[taken], cost.gather(1, order)[taken]
    place = owner[face] * len(cells.centres) + cell
    cheapest = torch.full((int(owner.max() + 1) * len(cells.centres),), float("inf"))
    cheapest.scatter_reduce_(0, place, price, "amin")
    wins = price <= cheapest[place]
    left = allowed & (side < TINY)[:, None]
    return Pairs(owner[face][wins], cell[wins], face[wins], (image[left], candidate[left]))
