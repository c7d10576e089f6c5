"""`features` and `answers` of the network in training mode, faster on one thread of a CPU with g++.

Batch norm, sum and ReLU are one pass and 1x1 convolutions matrix products (`training.kernels`).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.kernels import convolve, depthwise, node, pointwise
from training.networks.detector import Block, Detector, Entry, Features, Head, Outputs


def _block(block: Block, x: Tensor) -> Tensor:
    convolution, norm = block.pointwise
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    y = pointwise(convolution, depthwise(block.depthwise, x))
    if isinstance(block, Entry):
        dense, beside = block.patch
        assert isinstance(beside, nn.BatchNorm2d)
        return node((norm, beside), y, convolve(dense, x))
    return node((norm,), y, x if block.sums else None)


def _blocks(blocks: nn.Module, x: Tensor) -> Tensor:
    for block in blocks.children():
        assert isinstance(block, Block)
        x = _block(block, x)
    return x


def features(network: Detector, image: Tensor) -> Features:
    """Of (n, 3, h, w), RGB 0..255, channels last, h and w multiples of 32, in the type that they have.

    In bfloat16 every map is, and a CPU that multiplies it is faster; parameters' gradients are float32.
    """
    first, norm, _, second, other, _ = network.stem
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(other, nn.BatchNorm2d)
    x = node((other,), convolve(second, node((norm,), convolve(first, image * network.scale))))
    x = early = _blocks(network.early, x)
    levels: list[Tensor] = []
    for stage in network.stages:
        x = _blocks(stage, x)
        levels.append(x)
    merged = list(levels)
    for level in (1, 0):
        above = F.interpolate(merged[level + 1], scale_factor=2.0, mode="nearest")
        merge = network.merges[level]
        assert isinstance(merge, Block)
        merged[level] = _block(merge, merged[level] + above)
    what, where = (
        [_blocks(getattr(head, kind), x) for head, x in zip(network.heads, merged, strict=True)]
        for kind in ("what", "where")
    )
    return Features(early, levels, merged, what, where)


def answers(network: Detector, features: Features) -> Outputs:
    """What `network.answers` gives, float32."""
    heads = [head for head in network.heads if isinstance(head, Head)]
    scores = [pointwise(head.score, x.float()) for head, x in zip(heads, features.what, strict=True)]
    boxes = [pointwise(head.box, x.float()) for head, x in zip(heads, features.where, strict=True)]
    points = [pointwise(head.points, x.float()) for head, x in zip(heads, features.where, strict=True)]
    return scores, boxes, points
