"""A short run of the fuzzer, and properties of the same layers."""

import os

import fuzz
import mutate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pocketface import InputError, PocketfaceError, align, cli, images, quality
from pocketface.types import Face


def test_two_thousand_damaged_files_give_results_or_typed_errors(monkeypatch, shared_models):
    monkeypatch.setenv("POCKETFACE_MODELS", shared_models)
    outcomes, failures = fuzz.run(2000, seed=1)
    assert failures == []
    assert outcomes["picture: read"] > 100, "most damage must not be caught by the first byte"
    assert outcomes["card: read"] > 1


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    """Commands run in a folder of their own: some arguments name files to write."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    yield
    os.chdir(before)


@pytest.fixture
def shared_models(request):
    """A folder with a detector where there is one, so that damaged pictures reach it."""
    try:
        return str(request.getfixturevalue("shared") / "models")
    except pytest.skip.Exception:
        return ""


def test_the_seeds_themselves_are_sound(tmp_path):
    for name, data in mutate.pictures().items():
        assert images.load(data).shape[2] == 3, name
    for data in mutate.cards().values():
        assert fuzz.read_card(data, tmp_path) == "read"
    assert fuzz.read_graph(mutate.graph(), tmp_path) == "read"


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_picture_or_an_error(data):
    message = ""
    try:
        assert images.load(data, max_pixels=10_000).ndim == 3
    except PocketfaceError as error:
        message = str(error)
    assert "\n" not in message


@given(
    arrays.arrays(
        st.sampled_from(["u1", "i2", "f4", "?"]), arrays.array_shapes(min_dims=0, max_dims=4, max_side=5)
    )
)
@settings(max_examples=200, deadline=None)
def test_any_array_gives_a_picture_or_is_told_what_is_expected(array):
    try:
        result = images.load(array)
    except InputError as error:
        message = str(error)
    else:
        assert result.dtype == np.uint8
        assert result.shape == (*array.shape[:2], 3)
        return
    assert "expected uint8" in message


@given(
    arrays.arrays(np.float64, (5, 2), elements=st.floats(-1e6, 1e6)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=200, deadline=None)
def test_any_landmarks_give_a_crop_or_an_error(landmarks, shape):
    image = np.full((*shape, 3), 200, np.uint8)
    try:
        crop = align.align(image, landmarks)
    except InputError:
        return
    assert crop.shape == (112, 112, 3)
    assert crop.max() <= 200
    face = Face(np.array([0, 0, 10, 10], np.float32), landmarks.astype(np.float32), 0.9)
    assert 0 <= quality.assess(image, face).score <= 1


@given(
    st.lists(
        st.text(max_size=12) | st.sampled_from([*cli.COMMANDS, "--json", "--threads", "--fmr", "-o", "1"]),
        max_size=6,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_arguments_give_an_exit_status(arguments):
    if {"fetch", "watch", "bench", "doctor"} & set(arguments):
        return  # these open connections, cameras and processes
    try:
        status = cli.main(arguments)
    except SystemExit as error:
        status = error.code
    assert status in (0, 1, 2)
