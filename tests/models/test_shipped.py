"""The models that ship: complete cards, whole graphs, the promised answers, the same from both engines."""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pocketface import golden, registry
from pocketface.embed import Embedder

FOLDER = Path(__file__).resolve().parents[2] / "models"

# How closely two forms of one network agree on a face: the cosine of their embeddings.
AGREEMENT = {"fp32": 0.9999, "fp16": 0.9999, "int8w": 0.99, "int8": 0.95}


@pytest.fixture(scope="module")
def shipped() -> list[registry.Model]:
    models = [
        registry.from_file(path) for path in sorted(FOLDER.iterdir()) if path.suffix in registry.SUFFIXES
    ]
    assert {model.card.task for model in models} == {"embed", "detect"}
    return models


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """The self-test's face and variants of it, `(5, 112, 112, 3)`."""
    face = golden.crop().astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 12, face.shape)
    variants = [face, face[:, ::-1], face * 0.5, face + noise, np.roll(face, 6, axis=1)]
    return np.clip(np.stack(variants), 0, 255).astype(np.uint8)


def test_every_graph_has_its_own_card_with_terms(shipped):
    for model in shipped:
        card = model.card
        assert registry.card_file(model.path), model.path.name
        assert card.license.weights not in ("", "unknown"), card.file
        assert card.license.data, card.file
        assert card.source, card.file
        assert (card.golden is not None) == (card.task == "embed"), card.file


def test_every_graph_is_whole_and_keeps_its_promise(shipped):
    for model in shipped:
        assert model.read()
        assert golden.check(model, threads=1)


def test_forms_of_one_embedder_agree(shipped, faces):
    embedded = {
        model.path.name: (model, Embedder(model, threads=1).embed(faces)[0])
        for model in shipped
        if model.card.task == "embed"
    }
    compared = set()
    for (one, first), (two, second) in combinations(embedded.values(), 2):
        if one.card.space != two.card.space:
            continue
        wanted = min(AGREEMENT[one.card.precision], AGREEMENT[two.card.precision])
        cosines = (first * second).sum(axis=1)
        assert cosines.min() > wanted, (one.path.name, two.path.name, cosines)
        if wanted == 0.9999:
            compared.add(frozenset((one.card.format, two.card.format)))
    assert frozenset(("onnx", "tflite")) in compared


def test_weights_that_ship_are_those_the_graphs_were_made_of(shipped):
    for card in (model.card for model in shipped if model.card.task == "embed"):
        weights = FOLDER / f"{card.name}.pth"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        assert card.space == f"{card.name}/{digest[:8]}", card.file


def test_defaults_are_shipped(shipped, home):
    names = {model.card.name for model in shipped}
    for task in ("embed", "detect"):
        assert registry.default(task).card.name in names


def test_the_folders_page_quotes_the_cards(shipped):
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for model in shipped:
        assert model.card.name in page
        if model.card.task != "embed":
            continue
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{model.path.name}` "))
        figures = {(a.data, a.metric): 100 * a.value for a in model.card.accuracy}
        missed = {t.fmr: t.fnmr for t in model.card.thresholds}  # `accuracy` has them rounded already
        rates = [100 * (1 - missed[fmr]) for fmr in (0.01, 0.001, 0.0001)]
        assert " / ".join(f"{rate:.1f}" for rate in rates) in row, row
        assert f"{figures['LFW', 'accuracy']:.2f} %" in row, row
