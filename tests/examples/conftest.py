from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pocketface import FaceRecognizer, registry
from pocketface.errors import ModelError
from pocketface.types import Threshold

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of models for $POCKETFACE_MODELS: the package's own, else the reference ones."""
    try:
        if registry.default("detect") and registry.default("embed").card.calibrated:
            return None
    except ModelError:
        pass
    shared = EXAMPLES.parent.parent / "shared" / "models"
    if not shared.is_dir():
        pytest.skip("needs calibrated models in models/, or ../shared")
    folder = tmp_path_factory.mktemp("models")
    (folder / "yunet_n_dynamic.onnx").symlink_to(shared / "yunet_n_dynamic.onnx")
    graph = shared / "mobilefacenet_foamliu.onnx"
    (folder / graph.name).symlink_to(graph)
    thresholds = tuple(
        Threshold(value, fmr, 1.1 * fmr, "held-out faces", 8_000_000, None)
        for fmr, value in ((1e-3, 0.416), (1e-4, 0.509), (1e-5, 0.587))
    )
    # Under a name that is looked for when nobody chose a model, and before the others.
    card = replace(registry.find(graph, task="embed").card, name="sface", default=True, thresholds=thresholds)
    (folder / (graph.name + ".json")).write_text(card.to_json())
    return folder


@pytest.fixture
def environment(models, monkeypatch):
    """Where examples run: their models, and the folder of the examples importable."""
    if models is not None:
        monkeypatch.setenv("POCKETFACE_MODELS", str(models))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in [
        name for name, module in sys.modules.items() if str(EXAMPLES) in str(getattr(module, "__file__", ""))
    ]:
        del sys.modules[name]


@pytest.fixture
def people(environment, photos, tmp_path):
    """A gallery with the two women of examples/photos."""
    path = tmp_path / "people.db"
    with FaceRecognizer().gallery(path) as gallery:
        gallery.enroll("eileen", [photos / "eileen-collins.jpg"])
        gallery.enroll("grace", [photos / "grace-hopper.jpg"])
    return path
