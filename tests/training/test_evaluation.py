from __future__ import annotations

import numpy as np
import pytest

from pocketface.calibrate import upper_bound
from training.evaluation import fmr_upper, verify


def test_every_pair_is_counted_and_thresholds_hold() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(60), 4)
    x = rng.normal(size=(60, 16))[people] + rng.normal(size=(240, 16)) * 0.4
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    result = verify(x, [str(p) for p in people])
    assert result.genuine == 60 * 6
    assert result.impostor == 240 * 239 // 2 - 60 * 6
    scores = x @ x.T
    impostor = scores[np.triu(people[:, None] != people[None, :])]
    for point in result.points[:2]:
        assert (impostor > point.threshold).mean() == pytest.approx(point.fmr, rel=0.05)
        assert point.fmr_upper > point.fmr * 0.95
    tars = [point.tar for point in result.points]
    assert tars == sorted(tars, reverse=True)
    assert tars[0] > 0.9


def test_rates_that_the_pairs_do_not_support_are_left_out() -> None:
    x = np.random.default_rng(1).normal(size=(30, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert [point.fmr for point in verify(x, [str(i // 2) for i in range(30)]).points] == [1e-2]


def test_the_bound_is_that_of_drawing_people_and_listing_their_pairs() -> None:
    """Faces of the drawn people, every pair looked at one by one."""
    rng = np.random.default_rng(2)
    people = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    false = np.triu((rng.random((len(people),) * 2) < 0.03) & (people[:, None] != people), 1)
    false[people == 3, :] |= (people != 3) & (people > 3)  # one person looks like everybody after him
    first, second = (people[index] for index in np.nonzero(false))
    bound = fmr_upper(first, second, np.bincount(people))
    rates = []
    for _ in range(400):
        drawn = np.concatenate([np.flatnonzero(people == p) for p in rng.integers(0, 40, 40)])
        other = people[drawn][:, None] != people[drawn]
        rates.append((false | false.T)[np.ix_(drawn, drawn)][other].mean())
    assert bound == pytest.approx(np.quantile(rates, 0.95), rel=0.06)
    impostors = int((people[:, None] < people).sum())
    assert bound > 1.2 * upper_bound(len(first), impostors)


def test_without_a_false_match_the_bound_is_the_rule_of_three() -> None:
    none = np.zeros(0, int)
    assert fmr_upper(none, none, np.full(100, 2)) == pytest.approx(3 / (200 * 199 / 2 - 100), rel=0.01)
