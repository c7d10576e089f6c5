"""The detector as an ONNX graph: what the runtime, the browser and the phone code against.

Input `image` float32 (n, 3, h, w), RGB 0..255, h and w multiples of 32, all three dynamic. Outputs
for s in 8, 16, 32: `score_s` (n, 1, h/s, w/s) logits, `bbox_s` (n, 4, ...) left, top, right, bottom
in strides from the cell's centre, `kps_s` (n, 10, ...) x0, y0, x1, y1, ... likewise.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from training.networks.detector import STRIDES, Detector, fused

OPSET = 17
NAMES = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]


class _Flat(nn.Module):
    """The same network with its nine maps in one tuple, in the order of `NAMES`."""

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        scores, boxes, points = self.network(image)
        return (*scores, *boxes, *points)


def export(network: Detector, path: Path) -> None:
    """Write the graph, batch norms folded, checked, complete or absent."""
    axes = {"image": {0: "n", 2: "h", 3: "w"}}
    axes |= {name: {0: "n", 2: f"{name}_h", 3: f"{name}_w"} for name in NAMES}
    partial = path.with_suffix(".part.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Flat(fused(network)).eval(),
            (torch.zeros(1, 3, 64, 96),),
            str(partial),
            input_names=["image"],
            output_names=NAMES,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(partial), full_check=True)
    partial.rename(path)
