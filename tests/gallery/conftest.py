from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pocketface.gallery.records import Header, Template

DIM = 128


def unit_rows(count, seed=0, dim=DIM):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_header(**changes):
    values = {
        "space": "test/1",
        "preprocessing": "arcface-112/1",
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
