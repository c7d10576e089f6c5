"""What a batch costs: quality focal loss for scores, generalized IoU for boxes, points by box side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.detector.targets import assign, decode, overlap
from training.networks.detector import Outputs

WEIGHTS = {"score": 2.0, "box": 2.0, "points": 8.0}


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and the faces of all of them in one list.

    `images` (n, 3, h, w) float32 RGB 0..255; `owner` (g,) int64, the image of each face; `boxes`
    (g, 4), `points` (g, 5, 2) float32 pixels; `sure` (g,) bool and `clear` (g,) float32, as in `Scene`.
    """

    images: Tensor
    owner: Tensor
    boxes: Tensor
    points: Tensor
    sure: Tensor
    clear: Tensor


def losses(outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
    """The three terms, unweighted.

    Score: |target - p|^2 times cross entropy, where the target is 0.5 + 0.5 IoU, times how clear the
    face is, at a face's cells and 0 elsewhere; cells of doubtful faces, and those that a small face left,
    count nothing. Box: 1 - GIoU.
    Points: smooth L1 of the error over the face's side.
    """
    cells = decode(outputs)
    height, width = batch.images.shape[2:]
    owner, boxes, points = (t[batch.sure] for t in (batch.owner, batch.boxes, batch.points))
    image, cell, face, spare = assign(cells, (height, width), owner, boxes)
    target, weight = torch.zeros_like(cells.scores), torch.ones_like(cells.scores)
    for who, box in zip(batch.owner[~batch.sure].tolist(), batch.boxes[~batch.sure], strict=True):
        reach = torch.maximum((box[2:] - box[:2]) / 2, 0.75 * cells.strides[:, None])  # as far as `assign`
        hidden = ((cells.centres - (box[:2] + box[2:]) / 2).abs() <= reach).all(1)
        weight[who, hidden] = 0
    weight[spare] = 0
    found = cells.boxes[image, cell]
    quality = overlap(found.detach(), boxes[face])
    target[image, cell] = batch.clear[batch.sure][face] * (0.5 + 0.5 * quality)
    weight[image, cell] = 1
    focus = (target - cells.scores.sigmoid()).detach().square()
    entropy = F.binary_cross_entropy_with_logits(cells.scores, target, reduction="none")
    count = max(len(face), 1)
    score = (weight * focus * entropy).sum() / count
    if not len(face):
        nothing = sum((t.sum() * 0 for maps in outputs[1:] for t in maps), start=score * 0)
        return {"score": score, "box": nothing, "points": nothing}
    box_loss = (1 - overlap(found, boxes[face], generalized=True)).mean()
    side = (boxes[face, 2:] - boxes[face, :2]).prod(1).sqrt()[:, None, None]
    off = (cells.points[image, cell] - points[face]) / side
    return {
        "score": score,
        "box": box_loss,
        "points": F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.02),
    }


def total(terms: dict[str, Tensor]) -> Tensor:
    """The weighted sum."""
    return sum((WEIGHTS[name] * term for name, term in terms.items()), start=torch.zeros(()))
