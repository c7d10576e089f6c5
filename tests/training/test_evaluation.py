from __future__ import annotations

import numpy as np
import pytest

from training.evaluation import verify, wilson_upper


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


def test_wilson_of_none() -> None:
    assert wilson_upper(0, 1000) == pytest.approx(0.00383, abs=1e-4)
