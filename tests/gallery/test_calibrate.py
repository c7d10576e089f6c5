"""Thresholds from own photos, with bounds that hold."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from pocketface.calibrate import Calibration, read_pairs, upper_bound
from pocketface.calibration_report import rounded_up
from pocketface.cli import main
from pocketface.decide import explicit_threshold
from pocketface.errors import InputError, ThresholdError

stats = pytest.importorskip("scipy.stats")
metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize(
    ("errors", "trials"),
    [(0, 10), (0, 3000), (1, 10), (3, 3000), (30, 3000), (2999, 3000), (800, 8_000_000), (8000, 8_000_000)],
)
def test_upper_bound_is_scipys_clopper_pearson(errors, trials):
    assert upper_bound(errors, trials) == pytest.approx(
        stats.beta.ppf(0.95, errors + 1, trials - errors), rel=1e-7
    )


def test_without_an_error_it_is_the_rule_of_three():
    assert upper_bound(0, 3000) == pytest.approx(3 / 3000, rel=2e-3)
    assert upper_bound(5, 5) == 1.0


@pytest.fixture
def calibration():
    rng = np.random.default_rng(5)
    genuine = np.sort(np.clip(rng.normal(0.6, 0.15, 2000), -1, 1).astype(np.float32))
    impostor = np.sort(np.clip(rng.normal(0.05, 0.1, 50_000), -1, 1).astype(np.float32))
    return Calibration("test", genuine, impostor, 500, 100, {})


def test_rates_agree_with_scikit_learn(calibration):
    scores = np.concatenate([calibration.genuine, calibration.impostor])
    labels = np.repeat([1, 0], [len(calibration.genuine), len(calibration.impostor)])
    fpr, tpr, cuts = metrics.roc_curve(labels, scores, drop_intermediate=False)
    for row in calibration.thresholds():
        at = np.flatnonzero(fpr <= row.fmr + 1e-12)[-1]
        assert row.fnmr == pytest.approx(1 - tpr[at], abs=1e-9)
        assert cuts[at + 1] < row.value <= cuts[at]
        assert row.fmr_upper > row.fmr * 0.999
    assert calibration.equal_error_rate() == pytest.approx(fpr[np.argmin(np.abs(fpr - (1 - tpr)))], abs=1e-3)


def test_ties_among_impostors_do_not_pass_for_a_lower_rate():
    impostor = np.sort(np.concatenate([np.zeros(9000), np.full(1000, 0.5)]).astype(np.float32))
    calibration = Calibration("ties", np.array([0.9], np.float32), impostor, 10, 5, {})
    row = calibration.threshold(0.01)
    assert row.value > 0.5
    assert calibration.passed(row.value) == 0


def test_rates_beyond_the_pairs_are_refused(calibration):
    assert [row.fmr for row in calibration.thresholds()][-1] >= 1e-4
    with pytest.raises(ThresholdError, match="impostor pairs"):
        calibration.threshold(1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_the_printed_threshold_keeps_its_rate(seed):
    rng = np.random.default_rng(seed)
    impostor = np.sort(rng.normal(0, 0.1, 3000).astype(np.float32))
    calibration = Calibration("test", np.array([0.9], np.float32), impostor, 10, 5, {})
    printed = float(rounded_up(calibration.threshold(1e-3).value))
    assert calibration.passed(printed) / len(impostor) <= 1e-3


def test_a_printed_threshold_can_be_used():
    """A photo in two people's folders is as similar to itself as rounding makes it."""
    impostor = np.full(3000, 1.0, np.float32)
    calibration = Calibration("test", np.array([1.0], np.float32), impostor, 10, 5, {})
    assert explicit_threshold(float(rounded_up(calibration.threshold(1e-3).value))).value == 1.0


def test_a_report_that_cannot_be_written_is_said_before_the_work(tmp_path, capsys, monkeypatch):
    """The photos do not exist, so whatever reads them would complain of them."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("a.jpg,b.jpg,1\na.jpg,c.jpg,0\n")

    def error(report):
        assert main(["calibrate", str(pairs), "--report", str(report)]) == 2
        return capsys.readouterr().err

    assert "ends in .html" in error(tmp_path / "x.pdf")
    assert "does not exist" in error(tmp_path / "none" / "x.html")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pocketface[plots]" in error(tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == [pairs]


def test_pairs_file(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("a,b,same\nx.jpg,y.jpg,1\n\nsub/z.jpg, y.jpg ,no\n")
    assert read_pairs(path) == [
        (str(tmp_path / "x.jpg"), str(tmp_path / "y.jpg"), True),
        (str(tmp_path / "sub" / "z.jpg"), str(tmp_path / "y.jpg"), False),
    ]
    path.write_text("x.jpg,y.jpg,1\nx.jpg,y.jpg\n")
    with pytest.raises(InputError, match="line 2"):
        read_pairs(path)


def test_the_shell_on_a_folder_and_on_pairs(lfw, shared, tmp_path, capsys):
    models = ["--detector", str(shared / "models" / "yunet_n_dynamic.onnx"),
              "--embedder", str(shared / "models" / "mobilefacenet_foamliu.onnx"),
              "--threads", "1"]  # fmt: skip
    people = [folder for folder in sorted(lfw.iterdir()) if folder.is_dir()][:16]
    root = tmp_path / "photos"
    for person in people:
        (root / person.name).mkdir(parents=True)
        for photo in sorted(person.glob("*.jpg"))[:3]:
            (root / person.name / photo.name).write_bytes(photo.read_bytes())
    (root / people[0].name / "none.png").write_bytes(b"not a picture")
    report = tmp_path / "report.html"
    status = main(
        ["calibrate", "--folder", str(root), "--fmr", "0.1", "--report", str(report), "--json", *models]
    )
    document = json.loads(capsys.readouterr().out)
    assert status == 0
    assert document["people"] == 16
    assert list(document["failures"]) == [str(root / people[0].name / "none.png")]
    assert document["threshold"]["fnmr"] < 0.1
    assert document["threshold"]["fmr_upper"] > 0.1
    page = report.read_text()
    assert f"--threshold {math.ceil(document['threshold']['value'] * 1e4) / 1e4:.4f}" in page
    assert "data:image/png;base64," in page
    assert "none.png" in page

    several = [folder for folder in people if len(list(folder.glob("*.jpg"))) > 1]
    pairs = tmp_path / "pairs.csv"
    a, b = sorted(several[0].glob("*.jpg"))[:2]
    other = next(folder for folder in people if folder != several[0])
    pairs.write_text(f"{a},{b},1\n{a},{next(other.glob('*.jpg'))},0\n")
    assert main(["calibrate", str(pairs), *models]) == 2
    captured = capsys.readouterr()
    assert "1 genuine and 1 impostor pairs" in captured.out
    assert "needs" in captured.err
