"""Decisions: who is it, how sure, and what the gallery promises."""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from pocketface.errors import GalleryError, InputError, ThresholdError
from pocketface.gallery import open_gallery
from pocketface.gallery.thresholds import bound, for_gallery
from pocketface.types import Threshold

from .conftest import make_card, make_recognizer, make_templates, near, unit_rows


@pytest.fixture
def gallery(tmp_path):
    with open_gallery(tmp_path / "people.db", make_recognizer()) as gallery:
        yield gallery


def test_nobody_is_recognised_in_an_empty_gallery(gallery):
    assert gallery.match_vectors(unit_rows(2)) == [None, None]


def test_match_has_margin_threshold_and_rate(gallery):
    ann, bob = unit_rows(2)
    gallery.enroll_templates("ann", make_templates([ann], "ann"))
    gallery.enroll_templates("bob", make_templates([bob], "bob"))
    match, unknown = gallery.match_vectors(np.stack([near(ann, 0.8), near(ann, 0.2)]))
    assert unknown is None
    assert match.person == "ann"
    assert match.similarity == pytest.approx(0.8, abs=1e-5)
    assert match.runner_up == "bob"
    assert match.margin == pytest.approx(0.8 - near(ann, 0.8) @ bob, abs=1e-5)
    assert not match.ambiguous
    assert match.threshold.fmr == 1e-3
    assert match.fpir == pytest.approx(2 * 1.1e-3)


def test_two_people_above_the_threshold_are_said(gallery):
    ann = unit_rows(1)[0]
    gallery.enroll_templates("ann", make_templates([ann], "ann"))
    gallery.enroll_templates("twin", make_templates([near(ann, 0.9)], "twin"))
    (match,) = gallery.match_vectors(near(ann, 0.95, 1)[None])
    assert match.person == "ann"
    assert match.ambiguous
    assert match.runner_up == "twin"


def test_exact_ties_are_said_and_always_fall_the_same_way(gallery):
    ann = unit_rows(1)[0]
    for name in ("zoe", "ann", "mia"):
        gallery.enroll_templates(name, make_templates([ann], name))
    (match,) = gallery.match_vectors(ann[None])
    assert (match.person, match.runner_up, match.margin, match.ambiguous) == ("ann", "mia", 0.0, True)


@pytest.mark.parametrize(
    ("templates", "fmr"), [(1, 1e-3), (9, 1e-3), (10, 1e-4), (90, 1e-4), (91, 1e-5), (900, 1e-5)]
)
def test_threshold_rises_with_the_gallery(templates, fmr):
    """N * upper bound of the FMR stays below the FPIR of 1 %."""
    operating = for_gallery(make_card().thresholds, templates)
    assert operating.threshold.fmr == pytest.approx(fmr)
    assert operating.fpir <= 0.01
    assert operating.note is None


def test_a_gallery_beyond_the_calibration_says_so_or_is_refused():
    thresholds = make_card().thresholds
    operating = for_gallery(thresholds, 5000)
    assert operating.threshold.value == 0.6
    assert operating.fpir == pytest.approx(5000 * 1.1e-5)
    assert "0.055" in operating.note
    with pytest.raises(ThresholdError, match=r"supports an FPIR of 0\.055"):
        for_gallery(thresholds, 5000, 0.01)
    assert for_gallery(thresholds, 5000, 0.06).threshold.value == 0.6


def test_union_bound_holds_for_simulated_galleries():
    """Probes of strangers against N templates: the FPIR stays below N * FMR, close to 1-(1-FMR)^N."""
    rng = np.random.default_rng(3)
    fmr, n = 0.002, 20
    trials = (rng.random((20_000, n)) < fmr).any(axis=1).mean()
    assert trials <= n * fmr * 1.1
    assert trials == pytest.approx(1 - (1 - fmr) ** n, rel=0.1)
    assert bound(make_card().thresholds[0], 10**6) == 1.0


def test_a_threshold_without_a_bound_is_not_taken_for_better_than_its_pairs():
    few = Threshold(0.5, 1e-5, None, "3,000 pairs", 3000)
    assert bound(few, 1) == pytest.approx(1e-3)
    assert for_gallery([few], 50).fpir == pytest.approx(0.05)


def test_a_model_without_thresholds_needs_an_explicit_one(tmp_path):
    recognizer = make_recognizer(thresholds=())
    with open_gallery(tmp_path / "people.db", recognizer) as gallery:
        done = gallery.enroll_templates("ann", make_templates(unit_rows(1)))
        assert "not compared" in done.warnings[0]
        with pytest.raises(ThresholdError, match="calibrate"):
            gallery.match_vectors(unit_rows(1))
    with open_gallery(tmp_path / "people.db", recognizer, threshold=0.5) as gallery:
        (match,) = gallery.match_vectors(unit_rows(1))
        assert match.person == "ann"
        assert match.fpir is None


def test_enrolling_somebody_again_under_another_name_warns(gallery):
    ann = unit_rows(1)[0]
    gallery.enroll_templates("ann", make_templates([ann], "ann"))
    done = gallery.enroll_templates("anna", make_templates([near(ann, 0.7)], "anna"))
    assert done.added == 1
    assert "already as ann (similarity 0.70)" in done.warnings[0]


def test_photos_of_two_people_under_one_name_warn(gallery):
    done = gallery.enroll_templates("ann", make_templates(unit_rows(2)))
    assert "different people" in done.warnings[0]


def test_the_same_template_twice_is_stored_once(gallery):
    templates = make_templates(unit_rows(2))
    assert gallery.enroll_templates("ann", templates).added == 2
    again = gallery.enroll_templates("ann", templates)
    assert (again.added, again.known) == (0, 2)
    assert [event.what for event in gallery.events()] == ["enroll"]


def test_another_models_gallery_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "our people.db"
    open_gallery(path, make_recognizer()).close()
    before = path.read_bytes()
    with pytest.raises(GalleryError) as caught:
        open_gallery(path, make_recognizer(space="other/1"))
    assert str(caught.value).endswith(f": pocketface gallery '{path}' --reembed FOLDER")
    assert path.read_bytes() == before
    # Another precision of the same network has the same space.
    open_gallery(path, make_recognizer(sha256="1" * 64, precision="int8")).close()


def test_forget(gallery):
    rows = unit_rows(2)
    gallery.enroll_templates("ann", make_templates(rows[:1], "ann"))
    gallery.enroll_templates("bob", make_templates(rows[1:], "bob"))
    assert gallery.forget("ann") == 1
    assert gallery.match_vectors(rows[:1]) == [None]
    assert [person.name for person in gallery.people()] == ["bob"]
    assert [(event.what, event.person) for event in gallery.events()] == [
        ("enroll", None), ("enroll", "bob"), ("forget", None),
    ]  # fmt: skip
    with pytest.raises(GalleryError, match="nobody is enrolled as 'ann'"):
        gallery.forget("ann")


def test_retention(gallery):
    rows = unit_rows(2)
    long_ago = (datetime.now(timezone.utc) - timedelta(days=40)).isoformat(timespec="milliseconds")
    gallery.store.add("old", make_templates(rows[:1], "old"), at=long_ago)
    gallery.enroll_templates("new", make_templates(rows[1:], "new"))
    assert gallery.match_vectors(rows[:1])[0].person == "old"
    gallery.retention_days = 30
    assert gallery.match_vectors(rows[:1]) == [None]
    assert [person.name for person in gallery.people()] == ["new"]
    assert gallery.events()[-1].what == "expire"
    with pytest.raises(InputError):
        gallery.retention_days = 0


def test_retention_is_kept_when_the_gallery_is_opened_again(tmp_path):
    path = tmp_path / "people.db"
    long_ago = (datetime.now(timezone.utc) - timedelta(days=40)).isoformat(timespec="milliseconds")
    with open_gallery(path, make_recognizer()) as gallery:
        gallery.retention_days = 30
        gallery.store.add("old", make_templates(unit_rows(1)), at=long_ago)
    with open_gallery(path, make_recognizer()) as gallery:
        assert gallery.match_vectors(unit_rows(1)) == [None]
        assert gallery.people() == []


def test_audit_lists_close_pairs_odd_photos_and_the_expected_rate(gallery):
    a, b, c = unit_rows(3)
    gallery.enroll_templates("ann", make_templates([a, near(a, 0.9)], "a"))
    gallery.enroll_templates("sister", make_templates([near(a, 0.8, 1)], "s"))
    gallery.enroll_templates("bob", make_templates([b, c], "b"))
    audit = gallery.audit()
    assert [(pair.first, pair.second) for pair in audit.close] == [("ann", "sister")]
    assert audit.close[0].similarity == pytest.approx(0.8, abs=1e-5)
    assert audit.inconsistent == ("bob",)
    assert audit.operating.fpir == pytest.approx(5 * 1.1e-3)
    assert (audit.people, audit.templates) == (3, 5)


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_export_gives_every_template_and_loads_without_pickle(gallery, tmp_path, suffix):
    rows = unit_rows(3)
    gallery.enroll_templates("ann", make_templates(rows[:2], "ann"))
    gallery.enroll_templates("bob", make_templates(rows[2:], "bob"))
    path = tmp_path / f"out.{suffix}"
    assert gallery.export(path) == 3
    if suffix == "npz":
        with np.load(path, allow_pickle=False) as data:
            names, vectors = data["names"].tolist(), data["embeddings"]
            assert json.loads(str(data["header"]))["space"] == "test/1"
    else:
        document = json.loads(path.read_text())
        names = [item["person"] for item in document["templates"]]
        vectors = np.array([item["embedding"] for item in document["templates"]], np.float32)
    assert names == ["ann", "ann", "bob"]
    np.testing.assert_array_equal(vectors, rows)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("threshold", [float("nan"), 40.0, -1.5])
def test_a_threshold_that_is_no_cosine_is_refused(tmp_path, threshold):
    with pytest.raises(InputError, match="cosine"):
        open_gallery(tmp_path / "people.db", make_recognizer(), threshold=threshold)


def test_a_name_is_the_same_however_its_letters_are_written(gallery):
    composed, parts = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    gallery.enroll_templates(parts, make_templates(unit_rows(1), "a"))
    gallery.enroll_templates(composed, make_templates(unit_rows(1, 1), "b"))
    assert [(person.name, person.templates) for person in gallery.people()] == [(composed, 2)]
    # As galleries of before hold it.
    gallery.store.add(parts, make_templates(unit_rows(1, 2), "c"), at="2026-11-22T12:00:00.000+00:00")
    assert gallery.forget(parts) == 3
    assert gallery.people() == []


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, None])
def test_names_that_are_none(gallery, name):
    with pytest.raises(InputError):
        gallery.enroll_templates(name, make_templates(unit_rows(1)))


def test_probes_of_another_shape_or_norm_are_refused(gallery):
    for probes in (unit_rows(1, dim=64), unit_rows(1)[0], 2 * unit_rows(1), unit_rows(1).astype(np.float64)):
        with pytest.raises(InputError):
            gallery.match_vectors(probes)
