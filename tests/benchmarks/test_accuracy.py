"""`python -m benchmarks.accuracy` from pictures to the report."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.crops import CropSource
from benchmarks.accuracy.protocols import heldout
from benchmarks.accuracy.protocols.pairs import Picture
from pocketface.detect import FaceDetector
from pocketface.errors import InputError


@pytest.fixture
def crops(tmp_path):
    """LFW's layout with two folds of 60 pairs of aligned crops; people are colour patterns."""
    random = np.random.default_rng(5)
    root = tmp_path / "lfw"
    for person in range(20):
        face = random.integers(0, 255, (4, 4, 3))
        folder = root / f"P_{person}"
        folder.mkdir(parents=True)
        for number in range(1, 5):
            small = np.clip(face + random.normal(0, 25, face.shape), 0, 255).astype(np.uint8)
            Image.fromarray(small).resize((112, 112), Image.Resampling.NEAREST).save(
                folder / f"P_{person}_{number:04d}.jpg"
            )
    rows = ["2\t30"]
    for fold in range(2):
        people = range(fold * 10, fold * 10 + 10)
        rows += [f"P_{p}\t{i}\t{i + 1}" for p in people for i in (1, 2, 3)]
        rows += [f"P_{p}\t{i}\tP_{(p + 1) % 10 + fold * 10}\t{i}" for p in people for i in (1, 2, 3)]
    (root / "pairs.txt").write_text("\n".join(rows))
    return root


def run(tmp_path, root, *models, more=()):
    arguments = [
        "lfw",
        str(root),
        "--aligned",
        "--cache",
        str(tmp_path / "cache"),
        "--output",
        str(tmp_path / "out"),
    ]
    for model in models:
        arguments += ["--model", str(model.path)]
    return main([*arguments, *more])


def test_report_compares_the_precisions_of_one_network(tmp_path, crops, tiny, capsys):
    assert run(tmp_path, crops, tiny(), tiny(precision="int8", noise=0.2)) == 0
    out = capsys.readouterr().out
    assert "60 genuine and 60 impostor pairs; aligned crops, no mirror averaging" in out
    report = json.loads((tmp_path / "out" / "lfw.json").read_text())
    exact, rough = report["models"]
    assert exact["accuracy"] > 0.95
    assert exact["points"][5]["supported"] is False
    assert "not enough pairs (60)" in out or exact["points"][1]["supported"]
    assert 0.8 < rough["cosine_min"] <= rough["cosine_mean"] < 1
    assert rough["tar_change"]["0.1"] == rough["points"][0]["tar"] - exact["points"][0]["tar"]
    assert exact["size"] == tiny().path.stat().st_size
    assert [t["fmr"] for t in exact["card_thresholds"]] == [0.1]
    for plot in ("det", "roc", "scores"):
        with Image.open(tmp_path / "out" / f"lfw-{plot}.png") as image:
            assert image.size[0] > 500


def test_an_interrupted_run_goes_on_from_the_cache(tmp_path, crops, tiny):
    run(tmp_path, crops, tiny())
    blocks = sorted((tmp_path / "cache").rglob("*.npz"))
    assert len(blocks) == 2  # one of crops, one of embeddings
    first = json.loads((tmp_path / "out" / "lfw.json").read_text())["models"][0]
    for picture in crops.rglob("*.jpg"):  # same sizes, other contents: only the cache knows the old ones
        picture.write_bytes(bytes(picture.stat().st_size))
    run(tmp_path, crops, tiny())
    assert json.loads((tmp_path / "out" / "lfw.json").read_text())["models"][0] == first
    run(tmp_path, crops, tiny(name="other"))  # another graph starts from the same crops
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 3


def test_mirror_averaging_is_done_and_said(tmp_path, crops, tiny, capsys):
    run(tmp_path, crops, tiny(), more=["--mirror"])
    assert "mirrored crops added" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "lfw.json").read_text())["mirror"] is True


def test_a_photo_is_no_aligned_crop(tmp_path, crops, tiny, capsys):
    Image.new("RGB", (250, 250)).save(crops / "P_0" / "P_0_0001.jpg")
    assert run(tmp_path, crops, tiny()) == 2
    assert "250x250 is no aligned crop of 112x112; give --detector" in capsys.readouterr().err


def test_margins_are_cut_off():
    image = np.zeros((128, 128, 3), np.uint8)
    image[8:-8, 8:-8] = 200
    file = _png(image)
    source = CropSource([Picture("x", file, "x", margin=8)], "digest", None, None)
    crop, found = source.block(0)
    assert (crop == 200).all()
    assert found.tolist() == [True]
    with pytest.raises(InputError, match="of 112x112"):
        CropSource([Picture("x", file, "x")], "digest", None, None).block(0)


def test_photos_without_a_face_are_failures_to_enrol(tmp_path, lfw, models, tiny):
    from benchmarks.accuracy import embeddings, metrics
    from benchmarks.accuracy.protocols.pairs import PairList
    from pocketface.embed import Embedder

    people = ["Abdullah_Gul", "Tony_Blair"]
    photos = [Picture(f"{p}{i}", lfw / p / f"{p}_{i:04d}.jpg", p) for p in people for i in range(1, 20)]
    photos = [p for p in photos if p.source.is_file()][:4]
    blank = Picture("blank", _png(np.full((250, 250, 3), 90, np.uint8)), people[0])
    pairs = PairList()
    for photo in photos:
        pairs.add(photo, blank, same=photo.person == blank.person, fold=0)
        pairs.add(photos[0], photo, same=photo.person == photos[0].person, fold=1)
    built = pairs.build("x", aligned=False)
    source = CropSource(built.pictures, built.digest(), FaceDetector(models[0], threads=1), None)
    made = embeddings.embed(source, Embedder(tiny(), threads=1), mirror=False)
    scores = embeddings.score(built, made)
    assert made.found.sum() == len(built.pictures) - 1
    assert np.isneginf(scores.score).sum() == len(photos)
    assert len(scores.score) == 2 * len(photos)
    assert metrics.fnmr_at(scores.genuine, -1.0) > 0


def test_heldout_reports_relatives_and_groups(tmp_path, shared, tiny, monkeypatch):
    whole = heldout.load(shared / "data" / "faces")
    monkeypatch.setattr(heldout, "load", lambda root: whole.first(3000))
    assert (
        main(
            [
                "heldout",
                "x",
                "-m",
                str(tiny().path),
                "--cache",
                str(tmp_path / "c"),
                "-o",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    entry = json.loads((tmp_path / "o" / "heldout.json").read_text())["models"][0]
    assert entry["accuracy"] is None
    assert set(entry["groups"]) <= {"fiw", "pins", "thai-mps", "us-house"}


def _png(pixels):
    import io

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
