"""The teacher's inner maps, which a student's regress: feature-level distillation for the detector.

YuNet and `facedet` have cells of the same strides, so a map of one is a target for the other's through
a learned 1x1 layer: the backbone's map of stride 4 and its levels, the levels merged, what the heads read,
and the logits. These say something at every cell, where labels say something at faces.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from pocketface.errors import InputError
from training.losses import Hints
from training.networks.detector import Features
from training.session import one_thread

# As `yunet_n_dynamic.onnx` names them: of stride 4, and by stride 8, 16, 32.
EARLY = "232"
LEVELS, MERGED, SHARED = ("241", "250", "259"), ("283", "273", "263"), ("287", "291", "295")
CLASS, OBJECT = ("297", "299", "301"), ("309", "311", "313")

KINDS = ("early", "levels", "merged", "shared", "logits")
"""Of maps: the first in one stride, each of the others in three."""

WIDTH = 64
"""Channels of each of the teacher's and the student's inner maps."""

LOWEST = -12.0
"""Logits are cut off here: how sure the teacher is of a blank wall is no matter."""


class Inner:
    """The teacher with its inner maps as outputs, on one thread."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path))
        self._names = [EARLY, *LEVELS, *MERGED, *SHARED, *CLASS, *OBJECT]
        if not set(self._names) <= {name for node in model.graph.node for name in node.output}:
            raise InputError(f"{path}: not the YuNet whose maps are known here, yunet_n_dynamic.onnx")
        for name in self._names:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self._session = one_thread(model)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps (n, c, h/s, w/s) of images (n, 3, h, w) float32 RGB 0..255, by kind, then stride.

        All have 64 channels but the logits: class and object.
        """
        bgr = np.ascontiguousarray(images.flip(1).numpy())
        # One at a time its activations stay in the cache.
        rows = [self._session.run(self._names, {"input": bgr[i : i + 1]}) for i in range(len(bgr))]
        maps = [
            torch.from_numpy(np.concatenate(column)).contiguous(memory_format=torch.channels_last)
            for column in zip(*rows, strict=True)
        ]
        logits = [torch.cat(pair, 1).clamp(min=LOWEST) for pair in zip(maps[10:13], maps[13:], strict=True)]
        return [*maps[:10], *logits]


def hints() -> Hints:
    """Learned 1x1 layers from what `paired` gives to what `Inner` gives."""
    return Hints([WIDTH // 2] + [WIDTH] * 6 + [2 * WIDTH] * 3 + [WIDTH] * 3, [WIDTH] * 10 + [2] * 3)


def paired(features: Features) -> list[Tensor]:
    """The student's maps in the order of the teacher's."""
    read = [torch.cat(pair, 1) for pair in zip(features.what, features.where, strict=True)]
    return [features.early, *features.levels, *features.merged, *read, *features.what]
