from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pocketface import FaceRecognizer
from pocketface.cards import InputSpec, License, ModelCard, OutputSpec
from pocketface.embed import Embedder
from pocketface.gallery.records import Header, Template
from pocketface.registry import Model
from pocketface.types import Threshold

DIM = 128


def unit_rows(count, seed=0, dim=DIM):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_header(**changes):
    values = {
        "space": "test/1",
        "preprocessing": "arcface-112/4",
        "dim": DIM,
        "model": "test@0123456789ab",
        "model_sha256": hashlib.sha256(b"test").hexdigest(),
        "created": "2026-11-22T12:00:00.000+00:00",
    }
    return Header(**(values | changes))


def make_templates(vectors, prefix="t"):
    return [Template(f"{prefix}{i}", vector, f"{prefix}{i}.jpg", 0.9) for i, vector in enumerate(vectors)]


@pytest.fixture
def header():
    return make_header()


def make_card(**changes):
    """The card of an embedder with thresholds for FMR 1e-2 to 1e-5."""
    card = ModelCard(
        name="test",
        task="embed",
        kind="embedder",
        file="test.onnx",
        sha256=hashlib.sha256(b"test").hexdigest(),
        size=1,
        format="onnx",
        precision="fp32",
        license=License("CC0-1.0", "none", "yes"),
        source="tests",
        input=InputSpec(
            "image", "NCHW", "float32", "rgb", (127.5,) * 3, (1 / 127.5,) * 3, (112, 112), "arcface-112"
        ),
        output=OutputSpec("embedding", DIM),
        space="test/1",
        thresholds=tuple(
            Threshold(value, 10.0**-power, 1.1 * 10.0**-power, "test faces", 10**7, 0.1)
            for power, value in ((2, 0.3), (3, 0.4), (4, 0.5), (5, 0.6))
        ),
    )
    return replace(card, **changes)


def make_recognizer(**changes):
    """What a gallery needs for embeddings that are there already; it has no graph."""
    embedder = Embedder(Model(make_card(**changes), Path("test.onnx")), threads=1)
    return SimpleNamespace(embedder=embedder, channel_order="bgr", max_pixels=64_000_000)


def near(vector, similarity, seed=0):
    """A unit vector of exactly this cosine to another."""
    other = unit_rows(1, 1000 + seed, len(vector))[0]
    other = other - vector * (other @ vector)
    other /= np.linalg.norm(other)
    return (similarity * vector + np.sqrt(1 - similarity**2) * other).astype(np.float32)


@pytest.fixture(scope="session")
def recognizer(shared):
    """Reference models on real pictures."""
    return FaceRecognizer(
        shared / "models" / "yunet_n_dynamic.onnx",
        shared / "models" / "mobilefacenet_foamliu.onnx",
        threads=1,
    )
