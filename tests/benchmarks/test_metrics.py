"""Error rates against scikit-learn's and scipy's on the same scores."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve

from benchmarks.accuracy import metrics, report
from benchmarks.accuracy.metrics import Scores


@pytest.fixture
def scores():
    random = np.random.default_rng(3)
    same = np.tile(np.repeat([True, False], 300), 10)
    score = np.where(same, random.normal(0.5, 0.15, 6000), random.normal(0.05, 0.12, 6000))
    score[::17] = np.round(score[::17], 2)  # ties
    person = random.integers(0, 900, 6000)
    other = np.where(same, person, (person + 1 + random.integers(0, 800, 6000)) % 900)
    return Scores(score, same, person, other, np.repeat(np.arange(10), 600))


def test_auc_and_eer_agree_with_scikit_learn(scores):
    fpr, tpr, _ = roc_curve(scores.same, scores.score, drop_intermediate=False)
    assert metrics.auc(scores.genuine, scores.impostor) == pytest.approx(
        roc_auc_score(scores.same, scores.score), abs=1e-12
    )
    crossing = brentq(lambda x: 1.0 - x - interp1d(fpr, tpr)(x), 0.0, 1.0)
    assert metrics.eer(scores.genuine, scores.impostor) == pytest.approx(crossing, abs=1e-6)


@pytest.mark.parametrize("fmr", [0.1, 0.01, 0.001])
def test_tar_is_the_best_that_scikit_learns_curve_allows(scores, fmr):
    fpr, tpr, _ = roc_curve(scores.same, scores.score, drop_intermediate=False)
    [point] = metrics.operating_points(scores, (fmr,), replicates=0)
    assert point.tar == pytest.approx(tpr[fpr <= fmr + 1e-12].max(), abs=1e-12)
    assert metrics.fmr_at(scores.impostor, point.value) <= fmr + 1e-12
    assert point.fmr_upper > point.false_matches / point.impostor_pairs


def test_thresholds_need_three_expected_false_matches(scores):
    points = {p.fmr: p for p in metrics.operating_points(scores, replicates=0)}
    assert points[1e-3].supported  # 3,000 impostor pairs: 3 expected
    assert not points[1e-4].supported
    assert points[1e-4].value is None
    assert points[1e-4].fmr_upper == pytest.approx(3 / 3000, rel=0.01)  # rule of 3


def test_ten_fold_takes_its_threshold_from_the_other_folds(scores):
    accuracies, thresholds = metrics.ten_fold(scores)
    for k in range(10):
        test = scores.fold == k
        candidates = np.unique(scores.score[~test])
        best = max(accuracy_score(scores.same[~test], scores.score[~test] >= t) for t in candidates[::29])
        got = accuracy_score(scores.same[~test], scores.score[~test] >= thresholds[k])
        assert got >= best
        assert accuracies[k] == accuracy_score(scores.same[test], scores.score[test] >= thresholds[k])


def test_failures_to_enrol_count_as_errors_and_never_as_matches(scores):
    failed = scores.score.copy()
    failed[:600:2] = -np.inf  # half of the first fold, genuine and impostor
    broken = Scores(failed, scores.same, scores.left, scores.right, scores.fold)
    summary = metrics.summarise(broken, replicates=0)
    assert summary.failed_pairs == 300
    assert summary.fold_accuracies[0] <= 0.5
    assert summary.genuine_pairs == 3000
    tar = {p.fmr: p.tar for p in summary.points}
    whole = {p.fmr: p.tar for p in metrics.summarise(scores, replicates=0).points}
    assert tar[1e-1] == pytest.approx(whole[1e-1] - 150 / 3000, abs=0.01)
    assert 0 < summary.eer < 1


def test_bootstrap_interval_holds_the_truth_and_shrinks_with_more_people(scores):
    [point] = metrics.operating_points(scores, (0.01,))
    assert point.tar_low < point.tar < point.tar_high
    few = scores.left < 90
    part = Scores(scores.score[few], scores.same[few], scores.left[few], scores.right[few])
    [narrow], [wide] = (metrics.bootstrap(s, (0.05,)) for s in (scores, part))
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_perfect_and_useless_scores():
    same = np.repeat([True, False], 50)
    people = np.arange(100)
    perfect = Scores(same.astype(float), same, people, people + 1)
    assert metrics.eer(perfect.genuine, perfect.impostor) == 0
    assert metrics.auc(perfect.genuine, perfect.impostor) == 1
    useless = Scores(np.zeros(100), same, people, people + 1)
    assert metrics.auc(useless.genuine, useless.impostor) == 0.5
    assert metrics.eer(useless.genuine, useless.impostor) == pytest.approx(0.5)


def test_rates_by_group(scores):
    inside = scores.left % 2 == 0
    rates = metrics.by_group(scores, {"even": inside, "none": inside & ~inside}, 0.3)
    assert rates["none"]["fmr"] is None
    assert rates["even"]["fmr"] == pytest.approx((scores.score[inside & ~scores.same] >= 0.3).mean())
    assert rates["even"]["fnmr"] == pytest.approx((scores.score[inside & scores.same] < 0.3).mean())


def test_tar_within_a_group_is_at_the_groups_own_false_match_rate(scores):
    inside = scores.left % 2 == 0
    rates = metrics.by_group(scores, {"even": inside, "few": inside & (scores.left < 2)}, 0.3, fmr=0.01)
    fpr, tpr, _ = roc_curve(scores.same[inside], scores.score[inside], drop_intermediate=False)
    assert rates["even"]["tar_at_own_fmr"] == pytest.approx(tpr[fpr <= 0.01][-1])
    assert rates["few"]["tar_at_own_fmr"] is None


def test_the_false_match_rates_bound_counts_people_and_not_pairs():
    """Two people whose 180 pairs all match are one mistake, not 180."""
    rng = np.random.default_rng(3)
    left, right = rng.integers(0, 60, 20_000), rng.integers(60, 120, 20_000)
    score = rng.uniform(-1, 0, 20_000)
    left[:180], right[:180], score[:180] = 0, 60, 1.0
    same = np.zeros(20_000, bool)
    same[-10:], score[-10:], right[-10:] = True, 0.5, left[-10:]
    [point] = metrics.operating_points(Scores(score, same, left, right), (0.01,))
    assert point.false_matches / point.impostor_pairs == pytest.approx(0.01, rel=0.02)
    assert point.fmr_upper > 2 * metrics.upper_bound(point.false_matches, point.impostor_pairs)


def test_a_rate_without_the_bootstrap_is_printed_without_an_interval(scores):
    [point] = metrics.operating_points(scores, (0.01,), replicates=0)
    assert report._tar(asdict(point)) == f"{point.tar:.2%}"
