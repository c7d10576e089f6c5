"""Cards survive a round trip, and a wrong one is refused by the name of its wrong field."""

from __future__ import annotations

import contextlib
import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketface import known
from pocketface.cards import MAX_CARD_BYTES, ModelCard
from pocketface.errors import ModelError
from pocketface.types import Threshold

CARD: dict[str, Any] = {
    "schema": 1,
    "name": "pocketnet-s128-r",
    "task": "embed",
    "kind": "embedder",
    "file": "pocketnet-s128-r.fp32.onnx",
    "sha256": "ab" * 32,
    "size": 3900000,
    "format": "onnx",
    "precision": "fp32",
    "license": {"weights": "CC-BY-NC-SA-4.0", "data": "research sets", "commercial": "no", "notes": ""},
    "source": "trained by training/",
    "input": {
        "name": "image",
        "layout": "NCHW",
        "dtype": "float32",
        "channels": "rgb",
        "mean": [127.5, 127.5, 127.5],
        "scale": [0.00784, 0.00784, 0.00784],
        "size": [112, 112],
        "template": "arcface-112",
    },
    "output": {"name": "embedding", "dim": 128},
    "space": "pocketnet-s128-r/1",
    "thresholds": [
        {
            "fmr": 0.001,
            "value": 0.41,
            "fmr_upper": 0.00101,
            "fnmr": 0.3,
            "impostor_pairs": 8000000,
            "data": "held-out faces",
        }
    ],
    "accuracy": [{"data": "LFW", "protocol": "10-fold", "metric": "accuracy", "value": 0.98, "command": ""}],
    "speed": {"fastest_on": ["x86-64", "arm64"], "relative_to_plain": 2.5},
    "golden": {"crop": "cd" * 32, "values": [0.1] * 8, "norm": 12.5},
    "default": True,
}


def changed(path: str, value: object) -> str:
    data = copy.deepcopy(CARD)
    *parents, last = path.split(".")
    place: Any = data
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return json.dumps(data)


def test_the_architectures_example_is_read_in_full():
    card = ModelCard.from_json(json.dumps(CARD))
    assert card.id == "pocketnet-s128-r@abababababab"
    assert card.input.size == (112, 112)
    assert card.input.batch is None
    assert card.thresholds == (Threshold(0.41, 0.001, 0.00101, "held-out faces", 8000000, 0.3),)
    assert card.default
    assert card.calibrated


def test_round_trip():
    card = ModelCard.from_json(json.dumps(CARD))
    assert ModelCard.from_json(card.to_json()) == card


@pytest.mark.parametrize("entry", known.KNOWN, ids=lambda entry: entry.card.file)
def test_cards_of_public_files_are_valid(entry):
    assert ModelCard.from_json(entry.card.to_json()) == entry.card


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sha256", ..., "'sha256' is missing"),
        ("sha256", "AB" * 32, "64 lower-case hex digits"),
        ("schema", 2, "schema 2 is not known"),
        ("name", "../evil", "'name' must be"),
        ("file", "../x.onnx", "a file name without a folder"),
        ("file", "a/x.onnx", "a file name without a folder"),
        ("task", "classify", "one of embed, detect"),
        ("task", [], "one of embed, detect"),
        ("kind", "yunet", "one of embedder"),
        ("precision", "fp8", "one of fp32"),
        ("size", -1, "'size' must be an integer"),
        ("size", True, "'size' must be an integer"),
        ("size", 1.5, "'size' must be an integer"),
        ("thershold", 1, "unknown field 'thershold'"),
        ("license.commercial", "maybe", "yes, no, unclear"),
        ("license", None, "license: an object is expected"),
        ("input.mean", [1, 2], "'mean' must be a list of 3"),
        ("input.mean", [1, 2, "3"], "'mean' must be a number"),
        ("input.scale", [1, 0, 1], "'scale' must not be zero"),
        ("input.scale", [1, 10**400, 1], "finite"),
        ("input.size", [112], "[height, width]"),
        ("input.size", [None, None], "two integers"),
        ("input.channels", "grb", "rgb, bgr"),
        ("input.template", "mine", "arcface-112"),
        ("input.batch", 0, "'batch' must be an integer"),
        ("output", ..., "'output' is missing"),
        ("output.dim", 0, "'dim' must be an integer"),
        ("space", "", "'space' must be text"),
        ("thresholds", {}, "'thresholds' must be a list"),
        ("thresholds.0.value", 1.5, "-1 to 1"),
        ("thresholds.0.impostor_pairs", ..., "thresholds[0]: the field 'impostor_pairs' is missing"),
        ("accuracy.0.value", "98 %", "'value' must be a number"),
        ("golden.values", [1.0] * 7, "list of 8"),
        ("default", "yes", "'default' must be true or false"),
    ],
)
def test_a_wrong_field_is_named(path, value, message):
    with pytest.raises(ModelError) as caught:
        ModelCard.from_json(changed(path, value), "x.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"schema": NaN}',
        '{"schema": 1, "schema": 1}',
        "[" * 100_000,
        "\ud800",
        b"\xff\xfe\x00",
        " " * (MAX_CARD_BYTES + 1),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_card_is_refused(text):
    with pytest.raises(ModelError):
        ModelCard.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=5,
)
PATHS = [
    *CARD,
    *(f"input.{key}" for key in CARD["input"]),
    *(f"license.{key}" for key in CARD["license"]),
    *(f"thresholds.0.{key}" for key in CARD["thresholds"][0]),
    *(f"golden.{key}" for key in CARD["golden"]),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_any_value_in_any_field_gives_a_card_or_a_model_error(path, value):
    text = changed(path, value)
    try:
        card = ModelCard.from_json(text)
    except ModelError:
        return
    assert ModelCard.from_json(card.to_json()) == card
    assert all(math.isfinite(number) for number in (*card.input.mean, *card.input.scale))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_mutated_text_gives_a_card_or_a_model_error(mutations):
    text = bytearray(json.dumps(CARD).encode())
    for place, value in mutations:
        text[place % len(text)] = value
    with contextlib.suppress(ModelError):
        ModelCard.from_json(bytes(text))
