"""Networks for the tests: the shipped ones, else the reference ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pocketface import FaceDetector, FaceRecognizer, ModelError, registry


def shipped(task):
    try:
        return registry.default(task)
    except ModelError:
        return None


@pytest.fixture(scope="session")
def detector_model(request):
    return shipped("detect") or registry.find(
        request.getfixturevalue("shared") / "models" / "yunet_n_dynamic.onnx"
    )


@pytest.fixture(scope="session")
def embedder_model(request):
    return shipped("embed") or registry.find(
        request.getfixturevalue("shared") / "models" / "mobilefacenet_foamliu.onnx"
    )


@pytest.fixture(scope="session")
def recognizer(detector_model, embedder_model):
    return FaceRecognizer(detector_model, embedder_model, threads=1, threshold=0.4)


@pytest.fixture(scope="session")
def yunet(shared):
    """YuNet-n with open size."""
    return FaceDetector(registry.find(shared / "models" / "yunet_n_dynamic.onnx"), threads=1)


@pytest.fixture(scope="session")
def portraits(shared):
    """Large, sharp faces, 1024 x 1024."""
    return sorted((shared / "data" / "portraits").glob("*.jpg"))


@pytest.fixture(scope="session")
def scene():
    """A small colourful picture without symmetry, RGB."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, (x + y) * 2], axis=2).astype(np.uint8)


@pytest.fixture
def encode():
    """Encode a PIL image or array in memory."""

    def encode(picture, fmt="PNG", **options):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        buffer = io.BytesIO()
        image.save(buffer, fmt, **options)
        return buffer.getvalue()

    return encode
