"""The runtime reads the trained graph's maps as training does, in both layouts and at every size.

At 320x320 the points' map of stride 32 is as wide as it is deep, (1, 10, 10, 10): its own shape does
not tell the layout, the score map's does.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from pocketface.decoders import decode_pocketface  # noqa: E402
from training.detector.targets import decode  # noqa: E402
from training.networks.detector import STRIDES  # noqa: E402


@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("size", [(64, 96), (128, 128), (320, 320), (320, 64)])
def test_runtime_and_training_decode_alike(size, layout):
    rng = np.random.default_rng(0)
    outputs = [
        [rng.normal(size=(1, depth, size[0] // s, size[1] // s)).astype(np.float32) for s in STRIDES]
        for depth in (1, 4, 10)
    ]
    cells = decode(tuple([torch.from_numpy(value) for value in maps] for maps in outputs))
    named = {
        f"{kind}_{s}": value if layout == "channels first" else value.transpose(0, 2, 3, 1)
        for kind, maps in zip(("score", "bbox", "kps"), outputs, strict=True)
        for s, value in zip(STRIDES, maps, strict=True)
    }
    found = decode_pocketface(named, 1, size, 1e-6)[0]
    order = np.argsort(found.scores)
    expected = np.argsort(cells.scores[0].sigmoid().numpy())
    np.testing.assert_allclose(found.boxes[order], cells.boxes[0].numpy()[expected], atol=1e-3)
    np.testing.assert_allclose(found.landmarks[order], cells.points[0].numpy()[expected], atol=1e-3)
