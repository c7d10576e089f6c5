"""Turns what detector graphs give into scores, boxes and landmarks.

One function for each `kind` of model card; all take the outputs by name and the size of the input, and
give one `Candidates` for each picture, in pixels of the input, before non-maximum suppression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pocketface.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Outputs: TypeAlias = Mapping[str, NDArray[Any]]

STRIDES = (8, 16, 32)
_MAX_CANDIDATES = 2000  # of the best scores; more than any picture of faces needs


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What one picture's cells claim.

    Attributes:
        scores: float32 `(k,)`, 0 to 1.
        boxes: float32 `(k, 4)`, `[x1, y1, x2, y2]`.
        landmarks: float32 `(k, 5, 2)`.
    """

    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def decode_yunet(outputs: Outputs, batch: int, size: tuple[int, int], threshold: float) -> list[Candidates]:
    """YuNet: score sqrt(cls * obj), box as centre offset and log size, from the cell's corner.

    Wu et al., "YuNet: a tiny millisecond-level face detector", MIR 2023; decoded as in OpenCV's
    FaceDetectorYN.
    """
    levels = []
    for stride in STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        shape = (batch, rows * columns)
        cls = _output(outputs, f"cls_{stride}", (*shape, 1))[..., 0]
        obj = _output(outputs, f"obj_{stride}", (*shape, 1))[..., 0]
        box = _output(outputs, f"bbox_{stride}", (*shape, 4))
        kps = _output(outputs, f"kps_{stride}", (*shape, 10))
        scores = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
        picture, cell = np.nonzero(scores >= threshold)
        origin = np.stack([cell % columns, cell // columns], axis=1).astype(np.float32)
        raw = box[picture, cell]
        centre = (origin + raw[:, :2]) * stride
        half = np.exp(np.minimum(raw[:, 2:], 20.0)) * (stride / 2)
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        landmarks = (kps[picture, cell].reshape(-1, 5, 2) + origin[:, None]) * stride
        levels.append((picture, scores[picture, cell], boxes, landmarks))
    return _by_picture(levels, batch)


def decode_scrfd(outputs: Outputs, batch: int, size: tuple[int, int], threshold: float) -> list[Candidates]:
    """SCRFD with keypoints: two anchors a cell, distances from the cell's corner in strides.

    Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022. The
    outputs of insightface's graphs have numbers for names, so they are told apart by their shapes.
    """
    by_width: dict[int, list[NDArray[Any]]] = {1: [], 4: [], 10: []}
    for output in outputs.values():
        if output.shape[-1] in by_width:
            by_width[output.shape[-1]].append(output)
    if any(len(group) != len(STRIDES) for group in by_width.values()):
        raise ModelError("not an SCRFD graph with keypoints: 3 outputs each of width 1, 4, 10 are expected")
    for group in by_width.values():
        group.sort(key=lambda output: -output.size)
    levels = []
    for level, stride in enumerate(STRIDES):
        rows, columns = size[0] // stride, size[1] // stride
        anchors = rows * columns * 2
        scores, distances, offsets = (
            _reshaped(f"stride {stride}", by_width[width][level], (batch, anchors, width))
            for width in (1, 4, 10)
        )
        picture, anchor = np.nonzero(scores[..., 0] >= threshold)
        cell = anchor // 2
        origin = np.stack([cell % columns, cell // columns], axis=1).astype(np.float32)
        boxes, landmarks = _from_distances(
            origin, distances[picture, anchor], offsets[picture, anchor], stride
        )
        levels.append((picture, scores[picture, anchor, 0], boxes, landmarks))
    return _by_picture(levels, batch)


def decode_pocketface(
    outputs: Outputs, batch: int, size: tuple[int, int], threshold: float
) -> list[Candidates]:
    """The project's own detector: logits and distances from the cell's centre (docs/architecture.md)."""
    levels = []
    logit = float(np.log(threshold / (1 - threshold)))
    for stride in STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        scores = _output(outputs, f"score_{stride}", (batch, 1, rows, columns))[:, 0]
        # Only the score map tells the layout: others may be as wide as they are deep.
        last = outputs[f"score_{stride}"].shape == (batch, rows, columns, 1)
        picture, row, column = np.nonzero(scores >= logit)
        distances, offsets = (
            _map(outputs, f"{name}_{stride}", (batch, rows, columns), depth, last)[picture, row, column]
            for name, depth in (("bbox", 4), ("kps", 10))
        )
        origin = np.stack([column, row], axis=1).astype(np.float32) + np.float32(0.5)
        boxes, landmarks = _from_distances(origin, distances, offsets, stride)
        probability = 1 / (1 + np.exp(-scores[picture, row, column].astype(np.float32)))
        levels.append((picture, probability, boxes, landmarks))
    return _by_picture(levels, batch)


Decoder: TypeAlias = Callable[["Outputs", int, tuple[int, int], float], list[Candidates]]

DECODERS: dict[str, Decoder] = {
    "pocketface": decode_pocketface,
    "yunet": decode_yunet,
    "scrfd": decode_scrfd,
}


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: `(k, 4)`, `[x1, y1, x2, y2]`.
        scores: `(k,)`.
        overlap: boxes whose intersection over union with a better one is above this are dropped.

    Returns:
        Indices of the boxes kept, best score first.
    """
    order = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        corners = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.clip(corners[1] - corners[0], 0, None).prod(axis=1)
        union = areas[best] + areas[order] - shared
        order = order[shared <= overlap * union]
    return np.array(kept, dtype=np.intp)


def _from_distances(
    origin: NDArray[np.float32], distances: NDArray[Any], offsets: NDArray[Any], stride: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    boxes = np.concatenate([origin - distances[:, :2], origin + distances[:, 2:]], axis=1) * stride
    landmarks = (origin[:, None] + offsets.reshape(-1, 5, 2)) * stride
    return boxes, landmarks


def _by_picture(levels: Sequence[tuple[NDArray[Any], ...]], batch: int) -> list[Candidates]:
    picture, scores, boxes, landmarks = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    sound = np.isfinite(scores) & np.isfinite(boxes).all(axis=1) & np.isfinite(landmarks).all(axis=(1, 2))
    result = []
    for index in range(batch):
        mine = (picture == index) & sound
        result.append(
            Candidates(
                scores[mine].astype(np.float32, copy=False),
                boxes[mine].astype(np.float32, copy=False),
                landmarks[mine].astype(np.float32, copy=False),
            )
        )
    return result


def _output(outputs: Outputs, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if name not in outputs:
        raise ModelError(f"the detector has no output {name!r}; does its card name the right kind?")
    return _reshaped(name, outputs[name], shape)


def _reshaped(name: str, output: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    expected = int(np.prod(shape))
    if output.size != expected:
        raise ModelError(f"the detector's output {name!r} has {output.size} values, {expected} are expected")
    return output.reshape(shape)


def _map(outputs: Outputs, name: str, shape: tuple[int, int, int], depth: int, last: bool) -> NDArray[Any]:
    """An output as `(batch, rows, columns, depth)`; `last` says whether the graph gives it so."""
    batch, rows, columns = shape
    if last:
        return _output(outputs, name, (batch, rows, columns, depth))
    return _output(outputs, name, (batch, depth, rows, columns)).transpose(0, 2, 3, 1)
