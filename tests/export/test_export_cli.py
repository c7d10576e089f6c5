"""The commands, from a checkpoint to graphs that the runtime runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graph_runs import settle
from PIL import Image

from export import release
from export.__main__ import main
from export.contract import RECALL, read_contract
from export.verify import fastest_of
from pocketface import FaceRecognizer
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
from pocketface.errors import ModelError
from pocketface.registry import from_file
from training.networks import pocketnet


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, faces):
    folder = tmp_path_factory.mktemp("faces")
    for index, face in enumerate(faces):
        Image.fromarray(face).resize((128, 128)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory, small_rectified, pictures):
    folder = tmp_path_factory.mktemp("export")
    torch.save(small_rectified.state_dict(), folder / "net.pth")
    points = [{"fmr": 0.001, "threshold": 0.4, "fmr_upper": 0.0011, "tar": 0.75}]
    figures = {"samples": 1234, "heldout": {"points": points, "genuine": 10, "impostor": 1000}}
    (folder / "net.json").write_text(json.dumps(figures))
    license_ = {"weights": "MIT", "data": "own", "commercial": "yes"}
    info = {"license": license_, "source": "a test", "data": "own faces"}
    (folder / "info.json").write_text(json.dumps(info))
    arguments = [str(folder / "net.pth"), "--out", str(folder / "out"), "--calibration", str(pictures)]
    assert main([*arguments, "--card-info", str(folder / "info.json"), "--ranges", "minmax"]) in (0, 1)
    return folder / "out"


FILES = ["fp32.onnx", "fp32.tflite", "fp16.tflite", "int8w.tflite"]


@pytest.mark.parametrize("file", FILES)
def test_every_form_runs_in_the_runtime(exported, small_rectified, faces, file):
    model = from_file(exported / f"net.{file}")
    found, _ = Embedder(model, threads=1).embed(faces[:2])
    with torch.inference_mode():
        x = torch.from_numpy((faces[:2].astype(np.float32) - 127.5) / 127.5).permute(0, 3, 1, 2)
        expected = torch.nn.functional.normalize(small_rectified(x)).numpy()
    assert (found * expected).sum(1).min() > 0.995


def test_a_less_exact_form_must_be_a_tenth_faster():
    assert fastest_of([("int8", 9.5), ("fp32", 10.0)]) == 1
    assert fastest_of([("fp32", 10.0), ("fp32", 9.9), ("int8", 9.5)]) == 1
    assert fastest_of([("int8", 8.5), ("fp16", 9.5), ("fp32", 10.0)]) == 0


def test_cards(exported):
    model = from_file(exported / "net.fp32.onnx")
    card = model.card
    assert card.license.weights == "MIT"
    assert card.source == "a test; 1,234 samples"
    assert [(t.fmr, t.value, t.fnmr, t.impostor_pairs, t.data) for t in card.thresholds] == [
        (0.001, 0.4, 0.25, 1000, "own faces")
    ]
    assert card.golden is not None
    assert card.speed.relative_to_plain > 0
    graphs = [path for path in exported.iterdir() if path.suffix in (".onnx", ".tflite")]
    spaces = {from_file(path).card.space for path in graphs}
    weights = hashlib.sha256((exported.parent / "net.pth").read_bytes()).hexdigest()
    assert spaces == {f"net/{weights[:8]}"}  # other weights of the network are another space
    assert from_file(exported / "net.fp32.tflite").card.input.batch == 1


def test_a_detectors_figures_in_its_cards(tmp_path):
    info, figures = tmp_path / "info.json", tmp_path / "net.json"
    info.write_text(json.dumps({"task": "detect"}))
    ours = {"faces": 10, "pictures": 8, RECALL: 0.7, "landmark error, mean": 0.19}
    found = {"longer side, pixels": 320, "figures": {"by hand": {"ours": ours}}}
    figures.write_text(json.dumps(found))
    rows = read_contract(info, figures).accuracy
    assert [(row.data, row.metric, row.value) for row in rows] == [
        ("held-out pictures (by hand)", "recall", 0.7),
        ("held-out pictures (by hand)", "mean landmark error over the eye distance", 0.19),
    ]
    assert "1 false positive per 100" in rows[0].protocol
    figures.write_text('{"figures": []}')
    with pytest.raises(ModelError, match="no figures"):
        read_contract(info, figures)


def test_lfw_accuracy_in_the_card(tmp_path, plain_rectified, lfw, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    people = ["Tony_Blair", "Colin_Powell", "Serena_Williams", "Vladimir_Putin"]
    photos = {person: sorted((lfw / person).glob("*.jpg"))[:3] for person in people}
    root = tmp_path / "lfw"
    for person in people:
        (root / person).mkdir(parents=True)
        for number, photo in enumerate(photos[person], 1):
            shutil.copyfile(photo, root / person / f"{person}_{number:04d}.jpg")
    rows = ["2\t2"]
    for one, other in (people[:2], people[2:]):
        rows += [f"{one}\t1\t2", f"{other}\t1\t2", f"{one}\t1\t{other}\t1", f"{one}\t2\t{other}\t2"]
    (root / "pairs.txt").write_text("\n".join(rows))
    arguments = [str(plain_rectified), "--out", str(tmp_path / "out"), "--only", "onnx-fp32"]
    assert main([*arguments, "--name", "net", "--lfw", str(root)]) == 0
    row = from_file(tmp_path / "out" / "net.fp32.onnx").card.accuracy[0]
    assert (row.data, row.metric) == ("LFW", "accuracy")
    assert 0 <= row.value <= 1
    assert "ten folds, end to end, detector facedet@" in row.protocol
    (root / people[0] / f"{people[0]}_0001.jpg").unlink()
    other = ["--out", str(tmp_path / "other"), "--only", "onnx-fp32", "--lfw", str(root)]
    assert main([str(plain_rectified), *other]) == 2
    assert not list((tmp_path / "other").iterdir())


def test_what_fails_at_the_last_step_leaves_no_graph_without_its_card(
    tmp_path, plain_rectified, lfw, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, out = tmp_path / "lfw", tmp_path / "out"
    for person in ("Ann", "Bea"):
        (root / person).mkdir(parents=True)
        for number in range(1, 5):
            (root / person / f"{person}_{number:04d}.jpg").write_bytes(b"damaged")
    rows = ["2\t1", "Ann\t1\t2", "Ann\t1\tBea\t1", "Bea\t1\t2", "Ann\t2\tBea\t2"]
    (root / "pairs.txt").write_text("\n".join(rows))
    arguments = [str(plain_rectified), "--out", str(out), "--only", "onnx-fp32", "--name", "net"]
    assert main([*arguments, "--lfw", str(root)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {path.name for path in out.iterdir()} == {"net.plain.onnx", "net.plain.onnx.json"}


def write_heldout(folder, faces, people):
    """Shards of two held-out faces a person."""
    random = np.random.default_rng(0)
    rows = ["key,shard,source,identity,split"]
    with tarfile.open(folder / "faces.tar", "w") as tar:
        for index in range(2 * people):
            noise = random.normal(0, 30, faces[0].shape)
            pixels = np.clip(faces[index // 2 % len(faces)] + noise, 0, 255).astype(np.uint8)
            stream = io.BytesIO()
            Image.fromarray(pixels).resize((128, 128)).save(stream, "PNG")
            entry = tarfile.TarInfo(f"{index}.png")
            entry.size = stream.tell()
            stream.seek(0)
            tar.addfile(entry, stream)
            rows.append(f"{index},faces.tar,own,p{index // 2},heldout")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(("people", "rates"), [(3, []), (14, [0.01])])
def test_few_heldout_faces_support_few_thresholds(tmp_path, plain_rectified, faces, capsys, people, rates):
    """Two faces a person: 12 impostor pairs, then 364."""
    write_heldout(tmp_path, faces, people)
    arguments = [str(plain_rectified), "--out", str(tmp_path / "out"), "--only", "onnx-fp32"]
    assert main([*arguments, "--name", "net", "--heldout", str(tmp_path)]) == 0
    card = from_file(tmp_path / "out" / "net.fp32.onnx").card
    assert [threshold.fmr for threshold in card.thresholds] == rates
    said = f"no thresholds: {tmp_path} has too few impostor pairs" in capsys.readouterr().out
    assert said == (not rates)


def test_known_thresholds_are_those_of_fp32_alone(tmp_path, small_rectified, pictures, faces):
    write_heldout(tmp_path, faces, people=14)
    torch.save(small_rectified.state_dict(), tmp_path / "net.pth")
    points = [{"fmr": 0.01, "threshold": 0.123, "fmr_upper": 0.02, "tar": 0.75}]
    figures = {"heldout": {"points": points, "genuine": 10, "impostor": 1000}}
    (tmp_path / "net.json").write_text(json.dumps(figures))
    forms = ["--only", "onnx-fp32,tflite-int8w", "--heldout", str(tmp_path)]
    arguments = [str(tmp_path / "net.pth"), "--out", str(tmp_path / "out"), "--calibration", str(pictures)]
    assert main([*arguments, *forms]) == 0
    known, measured = (
        from_file(tmp_path / "out" / f"net.{file}").card.thresholds for file in ("fp32.onnx", "int8w.tflite")
    )
    assert [(t.value, t.impostor_pairs) for t in known] == [(0.123, 1000)]
    assert [t.impostor_pairs for t in measured] == [364]
    assert measured[0].value != 0.123


def test_check(exported, capsys, tmp_path):
    assert main(["check", str(exported), "--json", str(tmp_path / "figures.json")]) == 0
    rows = {row["file"]: row for row in json.loads((tmp_path / "figures.json").read_text())}
    assert rows["net.fp32.onnx"]["cosine_lowest"] > 0.99999
    assert "net.int8w.tflite" in capsys.readouterr().out


def test_form_that_fails_its_check_is_not_written(tmp_path, small, capsys, monkeypatch):
    from export.forms import FORMS, Form

    torch.save(small.state_dict(), tmp_path / "net.pth")
    strict = Form("tflite", "int8w", 1.0, FORMS["tflite-int8w"].build)
    monkeypatch.setitem(FORMS, "tflite-int8w", strict)
    assert main([str(tmp_path / "net.pth"), "--out", str(tmp_path), "--only", "tflite-int8w"]) == 1
    assert "not written: mean cosine" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.tflite*"))


@pytest.mark.parametrize("variant", ["s256", "m128", "m256"])
def test_variants_in_every_form_decide_alike(tmp_path, variant, photos):
    """Full int8 is left out: it is refused for networks with PReLU."""
    torch.save(settle(pocketnet(variant)).state_dict(), tmp_path / "net.pth")
    forms = "onnx-fp32,tflite-fp32,tflite-fp16,tflite-int8w"
    assert main([str(tmp_path / "net.pth"), "--out", str(tmp_path), "--only", forms]) == 0
    pair = [photos / "eileen-collins.jpg", photos / "grace-hopper.jpg"]
    similarities = []
    for file in FILES:
        model = from_file(tmp_path / f"net.{file}")
        assert model.card.output.dim == int(variant[1:])
        recognizer = FaceRecognizer(embedder=model.path, threads=1)
        similarities.append(recognizer.verify(*pair, threshold=0.5).similarity)
    assert max(similarities) - min(similarities) < 0.01


def test_detector_goes_the_same_way(tmp_path, pictures):
    from training.detector.graph import export as write_graph
    from training.networks.detector import Detector as Network

    torch.manual_seed(0)
    write_graph(Network().eval(), tmp_path / "det.onnx")
    info = tmp_path / "info.json"
    info.write_text(json.dumps({"task": "detect", "source": "a test"}))
    forms = "onnx-fp32,tflite-fp32,tflite-fp16"
    arguments = [str(tmp_path / "det.onnx"), "--out", str(tmp_path / "out"), "--only", forms]
    assert main([*arguments, "--card-info", str(info), "--calibration", str(pictures), "--size", "96"]) == 0
    picture = np.zeros((96, 96, 3), np.uint8)
    for file in ("det.fp32.onnx", "det.fp32.tflite"):
        model = from_file(tmp_path / "out" / file)
        assert model.card.kind == "pocketface"
        FaceDetector(model, threads=1).detect(picture)


def test_example_of_an_own_checkpoint(tmp_path, small_rectified, pictures):
    """As its first line says: in a clone, nothing on the path."""
    torch.save(small_rectified.state_dict(), tmp_path / "own.pth")
    command = [sys.executable, "-m", "examples.export_finetuned"]
    root = Path(__file__).resolve().parents[2]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(checkpoint, out="out"):
        arguments = [str(tmp_path / checkpoint), str(pictures), str(tmp_path / out)]
        return subprocess.run(
            [*command, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
        )

    done = run("own.pth")
    assert done.returncode in (0, 1), done.stderr  # the random network's int8 may stray
    for file in ("own.fp32.onnx", "own.fp16.tflite", "own.int8w.tflite"):
        assert f"{file}: 16 values" in done.stdout
        card = from_file(tmp_path / "out" / file).card
        assert card.license.weights == "proprietary"
        assert not card.calibrated
    missing = run("none.pth")
    assert missing.returncode == 2
    assert missing.stderr.startswith("export: ")
    (tmp_path / "file").touch()
    taken = run("own.pth", "file")
    assert taken.returncode == 2
    assert taken.stderr == f"{tmp_path / 'file'}: cannot be made a folder (File exists)\n"


def test_optimize(tmp_path, plain, capsys):
    assert main(["optimize", str(plain), "-o", str(tmp_path / "fast.onnx")]) == 0
    out = capsys.readouterr().out
    assert "prelu_fold_forward: " in out
    assert "ms on one thread" in out
    assert not any(node.op_type == "PRelu" for node in onnx.load(tmp_path / "fast.onnx").graph.node)


def test_optimize_takes_detectors_of_any_size(tmp_path):
    """Their inputs are multiples of 32."""
    graph = Path(__file__).resolve().parents[2] / "models" / "facedet.fp32.onnx"
    assert main(["optimize", str(graph), "-o", str(tmp_path / "fast.onnx")]) == 0
    assert (tmp_path / "fast.onnx").is_file()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ("(float[1,3,8,8] x) => (bool[1,3,8,8] y) { z = Relu(x) y = Greater(x, z) }", ""),
        ("(float[1,3,8,8] x) => (float[0,3,8,8] y) <int64[1] c = {0}> { y = Slice(x, c, c) }", ""),
        ("() => (float[1] y) <float[1] c = {1}> { y = Relu(c) }", "one input of four axes"),
        (
            "(float[1,3,8,8] x) => (float[1,3,8,8] a, float[1,3,8,8] y) "
            "{ a = Relu(x) z = Sub(x, x) l = Log(z) y = Mul(l, z) }",
            "differs by nan",
        ),
    ],
    ids=["truth values", "no elements", "no input", "not a number"],
)
def test_optimize_of_unusual_graphs(tmp_path, capsys, graph, message):
    head = '<ir_version: 8, opset_import: ["": 17]> g '
    onnx.save(onnx.parser.parse_model(head + graph), tmp_path / "x.onnx")
    status = main(["optimize", str(tmp_path / "x.onnx"), "-o", str(tmp_path / "y.onnx")])
    assert message in capsys.readouterr().err
    assert status == (2 if message else 0)
    assert (tmp_path / "y.onnx").exists() == (not message)


def test_nothing_to_release(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["release", str(tmp_path / "none"), "--faces", "f", "--scenes", "s"])
    assert release.main() == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'none'}: nothing to release" in error
    assert error.count("\n") == 1


def test_a_missing_package_is_one_line(tmp_path, plain):
    code = "import sys; sys.modules['flatbuffers'] = None; from export.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(plain), "--out", str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "'.[export]'" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_errors_are_one_line(tmp_path, plain, small, capsys):
    (tmp_path / "page.onnx").write_text("<html>")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "odd.json").write_text('{"licence": {}}')
    (tmp_path / "detect.json").write_text('{"task": "detect"}')
    (tmp_path / "list.json").write_text('{"fastest_on": []}')
    (tmp_path / "words.json").write_text('{"fastest_on": {"onnx-fp32": "x86-64"}}')
    Image.new("1", (20000, 10000)).save(tmp_path / "vast.png")
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for name in ("vast", "noise"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            tar.add(tmp_path / f"{name}.png", "1.png")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "noise.tar").read_bytes()[:20000])
    torch.save(small.state_dict(), tmp_path / "net.pth")
    shutil.copy(plain, tmp_path / "net.onnx")
    net, out = str(tmp_path / "net.onnx"), ["--out", str(tmp_path / "out")]
    cases = [
        (["optimize", str(tmp_path / "page.onnx"), "-o", str(tmp_path / "y.onnx")], "no valid ONNX graph"),
        (["optimize", net, "-o", str(tmp_path / "no" / "y.onnx")], "its folder does not exist"),
        (["check", str(tmp_path / "nothing")], "no graphs"),
        ([str(tmp_path / "none.pth"), *out], "no such file"),
        ([net, *out, "--only", "onnx-fp8"], "unknown form 'onnx-fp8'"),
        ([net, *out, "--ranges", "best"], "'best' is none of"),
        ([net, *out, "--only", "tflite-int8"], "--calibration"),
        ([net, *out, "--calibration", str(tmp_path / "none")], "expected a folder"),
        ([net, *out, "--calibration", str(tmp_path / "cut.tar")], "cut.tar: a damaged tar"),
        ([net, *out, "--calibration", str(tmp_path / "vast.tar")], "1.png has too many pixels"),
        ([net, *out, "--card-info", str(tmp_path / "bad.json")], "cannot be read as JSON"),
        ([net, *out, "--card-info", str(tmp_path / "list.json")], "'fastest_on' must be an object"),
        ([net, *out, "--card-info", str(tmp_path / "words.json")], "of 'onnx-fp32' must be a list"),
        ([net, *out, "--card-info", str(tmp_path / "odd.json")], "unknown field 'licence'"),
        ([str(tmp_path / "net.pth"), *out, "--genotype", "nope"], "'nope' is neither a file nor one of"),
        ([net, "--out", str(tmp_path / "bad.json")], "bad.json: cannot be made a folder"),
        ([net, *out, "--card-info", str(tmp_path / "detect.json"), "--size", "300"], "a multiple of 32"),
        ([net, *out, "--card-info", str(tmp_path / "detect.json")], "net.onnx: the graph does not run on 3x"),
        (["optimize", net, "-o", str(tmp_path)], f"{tmp_path}: "),
    ]
    for arguments, expected in cases:
        assert main(arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.startswith("export: ")
        assert expected in error
        assert error.count("\n") == 1, error
