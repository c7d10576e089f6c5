"""`python -m benchmarks.accuracy` from pictures to the report."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy import embeddings, metrics
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.crops import CropSource
from benchmarks.accuracy.protocols import heldout
from benchmarks.accuracy.protocols import lfw as lfw_protocol
from benchmarks.accuracy.protocols.pairs import PairList, Picture
from pocketface import images, registry
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
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
    assert rough["accuracy_change"] == rough["accuracy"] - exact["accuracy"]
    assert f"({100 * rough['accuracy_change']:+.2f})" in out
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


def test_a_damaged_block_of_the_cache_is_made_anew(tmp_path, crops, tiny):
    run(tmp_path, crops, tiny())
    first = json.loads((tmp_path / "out" / "lfw.json").read_text())["models"][0]
    for cut in (0, 300):  # empty, and a zip without its end
        for block in (tmp_path / "cache").rglob("*.npz"):
            block.write_bytes(block.read_bytes()[:cut])
        assert run(tmp_path, crops, tiny()) == 0
        assert json.loads((tmp_path / "out" / "lfw.json").read_text())["models"][0] == first


@pytest.mark.parametrize("module", ["views", "recognizer", "detect"])
def test_changed_code_makes_new_crops(tmp_path, module, monkeypatch):
    package = tmp_path / "pocketface"
    shutil.copytree(Path(images.__file__).parent, package, ignore=shutil.ignore_patterns("models"))
    monkeypatch.setattr(images, "__file__", str(package / "images.py"))
    before = CropSource([], "digest", None, None).key
    with (package / f"{module}.py").open("a") as file:
        file.write("# changed\n")
    assert CropSource([], "digest", None, None).key != before


def test_photos_without_any_face(tmp_path, models, tiny, capsys):
    root = tmp_path / "lfw"
    for person in ("Ann", "Cy"):
        (root / person).mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (250, 250)).save(root / person / f"{person}_{number:04d}.jpg")
    rows = ["Ann\t1\t2", "Ann\t1\tCy\t1"]
    (root / "pairs.txt").write_text("\n".join(["2\t1", *rows, *rows]))
    cache = ["--cache", str(tmp_path / "cache")]
    assert main(["lfw", str(root), "-m", str(tiny().path), "-d", str(models[0].path), *cache]) == 2
    error = capsys.readouterr().err
    assert f"error: {root}: no pair has a face in both pictures" in error


def test_graphs_of_one_file_name_are_both_in_the_plots(tmp_path, crops, tiny):
    ours = tiny()
    other = tmp_path / "other"
    shutil.copytree(ours.path.parent, other)
    heights = []
    for models in ([ours], [ours, registry.from_file(other / ours.path.name)]):
        assert run(tmp_path, crops, *models) == 0
        with Image.open(tmp_path / "out" / "lfw-scores.png") as image:
            heights.append(image.height)
    assert heights[1] > 1.5 * heights[0]  # a panel each


@pytest.mark.parametrize(
    "arguments",
    [
        ["lfw", "x", "--jobs", "0"],
        ["lfw", "x", "--replicates", "-1"],
        ["lfw", "x", "--limit", "0"],
        ["ijb-c", "x", "--limit", "100"],  # pairs of templates would need all their pictures
    ],
)
def test_options_that_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert arguments[2] in capsys.readouterr().err


def test_several_processes_give_the_same_embeddings(tmp_path, crops, tiny):
    pairs = lfw_protocol.load(crops, aligned=True)
    embedder = Embedder(tiny(), threads=1)
    made = []
    for jobs, folder in ((1, None), (2, tmp_path / "cache")):
        source = CropSource(pairs.pictures, pairs.digest(), None, folder, size=30)
        made.append(embeddings.embed(source, embedder, mirror=False, jobs=jobs))
    assert np.array_equal(made[0].vectors, made[1].vectors)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2 * 3


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


def test_errors_are_one_line(tmp_path, crops, capsys):
    shutil.rmtree(crops / "P_3")
    (tmp_path / "manifest.csv").write_text("key,shard,source,identity,split\n1,none.tar,own,ann,heldout\n")
    (tmp_path / "file").write_text("{}")
    file, cache = str(tmp_path / "file"), ["--cache", str(tmp_path / "cache")]
    cases = [
        (["lfw", str(crops), "--aligned", *cache], "P_3_0001.jpg: No such file"),
        (["lfw", str(crops), *cache, "-o", file], f"{file}: cannot be made a folder"),
        (["pack", str(tmp_path / "none.bin"), *cache], "none.bin: No such file"),
        (["heldout", str(tmp_path), *cache], "none.tar: cannot be read (No such file"),
        (["megaface", str(tmp_path / "none.json"), "a", file, "b"], "none.json: No such file"),
        (["megaface", file, "a", file, "b"], f"{file}: no list of the MegaFace kit"),
    ]
    for arguments, expected in cases:
        assert main(arguments) == 2, arguments
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("module", "package"), [("accuracy", "scipy"), ("latency", "onnx"), ("soak", "psutil")]
)
def test_a_missing_package_is_one_line(module, package):
    code = (
        f"import runpy, sys; sys.modules[{package!r}] = None; "
        f"runpy.run_module('benchmarks.{module}', run_name='__main__', alter_sys=True)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'.[benchmarks]'" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def _command(module, *arguments):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_a_short_soak_measures_and_none_is_refused():
    done = _command("soak", "--count", "3")
    assert done.returncode in (0, 1), done.stderr  # caches still fill
    assert "3 pictures in" in done.stdout
    refused = _command("soak", "--count", "0")
    assert refused.returncode == 2
    assert "--count: 0 is not positive" in refused.stderr


def test_operations_say_before_measuring_that_they_cannot_write(tmp_path):
    done = _command("operations", "--out", tmp_path / "none" / "x.json")
    assert done.returncode == 2
    assert "make it first" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def _png(pixels):
    import io

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_ijb_from_pictures_to_template_scores(tmp_path, tiny, capsys):
    random = np.random.default_rng(2)
    root = tmp_path / "IJBC"
    (root / "meta").mkdir(parents=True)
    (root / "loose_crop").mkdir()
    points = (
        "38.3 51.7 73.5 51.5 56.0 71.7 41.5 92.4 70.7 92.2"  # the template itself: crops stay as they are
    )
    faces, media = [], []
    for person in range(6):
        look = random.integers(0, 255, (4, 4, 3))
        for k in range(4):  # two templates a person, two pictures each
            number = person * 4 + k + 1
            small = np.clip(look + random.normal(0, 20, look.shape), 0, 255).astype(np.uint8)
            picture = Image.fromarray(small).resize((112, 112), Image.Resampling.NEAREST)
            picture.save(root / "loose_crop" / f"{number}.jpg")
            faces.append(f"{number}.jpg {points} 0.{9 - k}")
            media.append(f"{number}.jpg {person * 2 + k // 2 + 1} {number}")
    pairs = [(2 * a + 1, 2 * b + 2, int(a == b)) for a in range(6) for b in range(6)]
    (root / "meta" / "ijbc_name_5pts_score.txt").write_text("\n".join(faces))
    (root / "meta" / "ijbc_face_tid_mid.txt").write_text("\n".join(media))
    (root / "meta" / "ijbc_template_pair_label.txt").write_text(
        "\n".join("{} {} {}".format(*p) for p in pairs)
    )
    cache = ["--cache", str(tmp_path / "cache"), "-o", str(tmp_path / "out"), "--aligned"]
    assert main(["ijb-c", str(root), "-m", str(tiny().path), "--weighting", "both", *cache]) == 0
    assert "IJB-C, 6 genuine and 30 impostor pairs" in capsys.readouterr().out
    entry = json.loads((tmp_path / "out" / "ijb-c.json").read_text())["models"][0]
    assert entry["points"][0]["tar"] > 0.8
    assert [point["fmr"] for point in entry["points"]] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]


def test_megaface_from_feature_files(tmp_path, capsys):
    from benchmarks.accuracy.protocols import megaface

    random = np.random.default_rng(4)
    paths = {"probes": [], "others": []}
    for person in range(4):
        centre = random.normal(size=8)
        for k in range(2):
            paths["probes"].append((f"{person}", f"{person}/{k}.png", centre + 0.05 * random.normal(size=8)))
    for i in range(30):
        paths["others"].append(("", f"{i}.jpg", random.normal(size=8)))
    for name, entries in paths.items():
        for _, path, vector in entries:
            megaface.write_feature(tmp_path / name / f"{path}.bin", vector.astype(np.float32))
        listed = {"id": [e[0] for e in entries], "path": [e[1] for e in entries]}
        (tmp_path / f"{name}.json").write_text(json.dumps(listed))
    lists = [str(tmp_path / part) for part in ("probes.json", "probes", "others.json", "others")]
    assert main(["megaface", *lists, "-o", str(tmp_path / "out")]) == 0
    assert "8 probes, 30 distractors" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "megaface.json").read_text())["rank_1"] > 0.7
