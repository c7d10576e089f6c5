"""Targets that lean towards a person's other pictures: how far, whose, and who is left as he is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.agreed import agreed


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def _people(count: int, pictures: int, noise: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Who people are `(count * pictures, 64)`, and pictures that show it with noise."""
    generator = np.random.default_rng(1)
    persons = np.repeat(_unit(generator.normal(size=(count, 64))), pictures, axis=0)
    return persons, _unit(persons + noise * generator.normal(size=persons.shape) / 8)


def test_targets_come_nearer_to_who_the_people_are_the_more_they_lean() -> None:
    persons, targets = _people(count=30, pictures=5, noise=1.0)
    people = [f"set:{index // 5}" for index in range(150)]
    cosines = [(agreed(targets, people, weight) * persons).sum(axis=1).mean() for weight in (0.0, 0.5, 1.0)]
    assert cosines[0] + 0.05 < cosines[1]
    assert cosines[1] + 0.02 < cosines[2]


def test_two_pictures_lean_by_a_third_of_the_other() -> None:
    targets = np.array([[1, 0], [0, 1]], np.float32)
    result = agreed(targets, ["set:a", "set:a"], 1.0)
    np.testing.assert_allclose(result, _unit(np.array([[1, 1 / 3], [1 / 3, 1]])), rtol=1e-6)
    half = agreed(targets, ["set:a", "set:a"], 0.5)
    np.testing.assert_allclose(half, _unit(np.array([[1, 1 / 6], [1 / 6, 1]])), rtol=1e-6)


def test_people_of_one_picture_and_people_who_are_not_known_keep_their_targets() -> None:
    _, targets = _people(count=4, pictures=1, noise=1.0)
    before = targets.copy()
    np.testing.assert_array_equal(agreed(targets, ["", "set:a", "set:b", ""], 1.0), before)
    np.testing.assert_array_equal(targets, before)


def test_a_picture_of_somebody_else_neither_leans_nor_is_leant_to() -> None:
    _, targets = _people(count=2, pictures=6, noise=0.3)
    people = ["set:a"] * 5 + ["set:b"] * 7  # the sixth picture of the first person is with the second's
    result = agreed(targets, people, 1.0)
    np.testing.assert_array_equal(result[5], targets[5])
    np.testing.assert_allclose(result[6:], agreed(targets[6:], people[6:], 1.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_results_are_unit_vectors_whatever_the_order_of_the_faces(weight: float) -> None:
    _, targets = _people(count=12, pictures=4, noise=1.5)
    people = [f"set:{index // 4}" for index in range(48)]
    result = agreed(targets, people, weight)
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, rtol=1e-5)
    order = np.random.default_rng(2).permutation(48)
    other = agreed(targets[order], [people[index] for index in order], weight)
    np.testing.assert_allclose(other, result[order], rtol=1e-4, atol=1e-6)
