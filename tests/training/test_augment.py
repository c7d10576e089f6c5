from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.augment import HARDSHIPS, Augmentation, Geometry, crop, views
from training.shards import CENTRE

RNG = np.random.default_rng(0)
FACE = Image.fromarray(np.kron(RNG.integers(0, 256, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8))
STILL = Geometry(shift=0, turn=0, scale=0, mirror=False)


def test_still_crop_is_the_centre() -> None:
    assert np.array_equal(np.asarray(crop(FACE, RNG, STILL)), np.asarray(FACE)[8:120, 8:120])


def test_mirror_is_exact() -> None:
    how = Geometry(shift=0, turn=0, scale=0, mirror=True)
    centre = np.asarray(FACE)[8:120, 8:120]
    seen = {np.asarray(crop(FACE, np.random.default_rng(i), how)).tobytes() for i in range(12)}
    assert seen == {centre.tobytes(), np.ascontiguousarray(centre[:, ::-1]).tobytes()}


def test_a_crop_of_another_cut_is_that_cut_and_its_mirror_image() -> None:
    cut = np.array([[1, 0, 11], [0, 1, 6]], np.float32)
    moved = np.asarray(FACE)[6:118, 11:123]
    assert np.array_equal(np.asarray(crop(FACE, RNG, STILL, cut)), moved)
    how = Geometry(shift=0, turn=0, scale=0, mirror=True)
    seen = {np.asarray(crop(FACE, np.random.default_rng(i), how, cut)).tobytes() for i in range(12)}
    assert seen == {moved.tobytes(), np.ascontiguousarray(moved[:, ::-1]).tobytes()}
    for seed in range(4):
        plain, same = (crop(FACE, np.random.default_rng(seed), cut=one) for one in (None, CENTRE))
        difference = np.asarray(plain, np.int16) - np.asarray(same, np.int16)
        assert abs(difference).max() <= 1


def test_a_share_of_the_views_begins_where_the_detector_found_the_face() -> None:
    cut = np.array([[1, 0, 11], [0, 1, 6]], np.float32)
    how = Augmentation(STILL, light=0.0, found=0.5)
    seen = [views(FACE, np.random.default_rng(i), how, cut)[1].tobytes() for i in range(400)]
    assert 150 < seen.count(np.asarray(FACE)[6:118, 11:123].tobytes()) < 250
    assert len(set(seen)) == 2


def test_teacher_sees_the_clean_crop() -> None:
    how = Augmentation(STILL, light=0.0, harden=1.0)
    clean, hard = views(FACE, np.random.default_rng(3), how)
    assert np.array_equal(clean, np.asarray(FACE)[8:120, 8:120])
    assert not np.array_equal(clean, hard)


def test_views_depend_on_the_generator_alone() -> None:
    how = Augmentation(harden=1.0, light=0.2)
    first, second = (views(FACE, np.random.default_rng(5), how) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("hardship", HARDSHIPS, ids=lambda f: f.__name__)
def test_hardships_keep_size_and_leave_their_input(hardship: object) -> None:
    image = crop(FACE, RNG, STILL)
    before = image.tobytes()
    result = hardship(image, np.random.default_rng(1))  # type: ignore[operator]
    assert result.size == (112, 112)
    assert result.mode == "RGB"
    assert image.tobytes() == before
