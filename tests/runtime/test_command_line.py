import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import pocketface
from pocketface import cli


@pytest.fixture(scope="module")
def models(detector_model, embedder_model):
    return ["--detector", str(detector_model.path), "--embedder", str(embedder_model.path), "--threads", "1"]


@pytest.fixture(scope="module")
def alone(detector_model):
    return ["--detector", str(detector_model.path), "--threads", "1"]


def test_verify_same_and_different(models, photos, capsys):
    first, second = str(photos / "eileen-collins.jpg"), str(photos / "eileen-collins-second-take.jpg")
    assert cli.main(["verify", first, second, "--threshold", "0.4", *models]) == 0
    assert re.match(
        r"same person: similarity 0\.\d+ >= threshold 0\.400\n  uncalibrated", capsys.readouterr().out
    )
    assert cli.main(["verify", first, str(photos / "grace-hopper.jpg"), "--threshold", "0.4", *models]) == 1
    assert capsys.readouterr().out.startswith("different people: similarity")


def test_verify_json_holds_what_the_decision_rests_on(models, photos, capsys, embedder_model, detector_model):
    pair = [str(photos / "eileen-collins.jpg"), str(photos / "grace-hopper.jpg")]
    assert cli.main(["verify", *pair, "--json", "--threshold", "0.4", *models]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["verified"] is False
    assert document["threshold"]["value"] == 0.4
    assert document["threshold"]["calibrated"] is False
    assert [entry["path"] for entry in document["pictures"]] == pair
    assert len(document["pictures"][0]["face"]["landmarks"]) == 5
    assert document["embedder"]["sha256"] == embedder_model.card.sha256
    assert document["embedder"]["commercial"] in ("yes", "no", "unclear")
    assert document["detector"]["id"] == detector_model.id
    assert document["policy"] == "largest"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-face.jpg", "no face found"),
        ("README.md", "not a picture"),
        ("missing.jpg", "no such file"),
        (".", "folder"),
    ],
)
def test_errors_are_one_line_and_status_two(models, photos, capsys, name, words):
    bad = str(photos / name)
    assert cli.main(["verify", str(photos / "eileen-collins.jpg"), bad, "--threshold", "0.4", *models]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith(f"pocketface: {bad}: ")
    assert words in output.err


def test_save_picture_draws_the_decision(models, photos, tmp_path):
    out = tmp_path / "decision.png"
    pair = [str(photos / "eileen-collins.jpg"), str(photos / "eileen-collins-second-take.jpg")]
    assert cli.main(["verify", *pair, "--threshold", "0.4", "--save-picture", str(out), *models]) == 0
    with Image.open(out) as drawn:
        picture = np.asarray(drawn).astype(int)
    assert picture.shape[2] == 3
    green = (picture[:, :, 1] > picture[:, :, 0] + 60) & (picture[:, :, 1] > picture[:, :, 2] + 40)
    assert green[590:].any(), "the decision is written in green"
    assert os.listdir(tmp_path) == ["decision.png"]
    assert cli.main(["verify", *pair, "--threshold", "0.4", "--save-picture", "x.docx", *models]) == 2


def test_detect(alone, photos, capsys, tmp_path):
    assert cli.main(["detect", str(photos), *alone]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{photos / 'no-face.jpg'}: 0 faces" in lines
    assert f"{photos / 'grace-hopper.jpg'}: 1 face" in lines
    out = tmp_path / "faces.jpg"
    hopper = str(photos / "grace-hopper.jpg")
    assert cli.main(["detect", hopper, "--json", "--save-picture", str(out), *alone]) == 0
    document = json.loads(capsys.readouterr().out)
    (face,) = document["pictures"][0]["faces"]
    assert 0.5 < face["det_score"] <= 1
    with Image.open(out) as drawn:
        assert drawn.format == "JPEG"


def test_detect_goes_on_after_a_bad_file(alone, photos, capsys):
    assert cli.main(["detect", "missing.jpg", str(photos / "grace-hopper.jpg"), *alone]) == 2
    output = capsys.readouterr()
    assert output.err == "pocketface: missing.jpg: no such file\n"
    assert "1 face\n" in output.out


def test_embed_writes_vectors(models, photos, tmp_path, capsys, recognizer):
    out = tmp_path / "vectors.npz"
    assert cli.main(["embed", str(photos), "-o", str(out), *models]) == 2
    output = capsys.readouterr()
    assert output.out == f"{out}: 3 vectors of 4 pictures, 1 failed\n"
    assert output.err == f"pocketface: {photos / 'no-face.jpg'}: no face found\n"
    with np.load(out, allow_pickle=False) as data:
        assert data["embeddings"].shape == (3, recognizer.dim)
        assert data["landmarks"].shape == (3, 5, 2)
        assert str(data["model"]) == recognizer.model
        row = data["paths"].tolist().index(str(photos / "grace-hopper.jpg"))
        assert data["embeddings"][row] @ recognizer.embed(photos / "grace-hopper.jpg") > 0.9999
    assert cli.main(["embed", str(photos / "grace-hopper.jpg"), "--json", *models]) == 0
    (face,) = json.loads(capsys.readouterr().out)["faces"]
    assert len(face["embedding"]) == recognizer.dim
    assert cli.main(["embed", str(photos), *models]) == 2


def test_usage(capsys):
    assert cli.main([]) == 2
    assert "COMMAND" in capsys.readouterr().err
    for arguments in (["nonsense"], ["verify", "a.jpg"], ["verify", "a", "b", "--threads", "0"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: pocketface {command}" in capsys.readouterr().out


def test_ctrl_c_is_quiet(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert cli.main(["models"]) == 130
    assert capsys.readouterr() == ("", "")


def run(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_closed_pipe_is_quiet(alone, photos):
    command = [sys.executable, "-m", "pocketface", "detect", *[str(photos)] * 30, *alone]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == cli.BROKEN_PIPE


def test_help_does_not_import_numpy():
    code = (
        "import sys; from pocketface.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted(set(sys.modules) & {'numpy', 'PIL', 'onnxruntime'}), file=sys.stderr)"
    )
    result = run("-c", code)
    assert result.stderr == "[]\n"
    for command in cli.COMMANDS:
        assert f"    {command}" in result.stdout


def test_importing_the_package_imports_no_engine():
    code = (
        "import sys, numpy; before = set(sys.modules); import pocketface; pocketface.FaceRecognizer\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'onnxruntime', 'ai_edge_litert', 'tensorflow', 'cv2', 'scipy', 'torch'}))"
    )
    assert run("-c", code).stdout == "[]\n"


def test_every_public_name_is_there():
    assert list(pocketface.__all__) == sorted(pocketface.__all__)
    assert set(pocketface.__all__) == {*pocketface._HOMES, "__version__"}
    for name in pocketface.__all__:
        value = getattr(pocketface, name)
        if isinstance(value, type):
            assert value.__doc__
    assert set(pocketface.__all__) <= set(dir(pocketface))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pocketface.nonsense
    errors = {name for name, value in vars(pocketface.errors).items() if isinstance(value, type)}
    assert errors <= set(pocketface.__all__)


BLOCKED = """
import socket, sys

def refuse(*arguments, **options):
    raise SystemExit("a socket was opened")

class Refused(socket.socket):
    def __init__(self, *arguments, **options):
        refuse()

socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refuse

def hook(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        refuse()

sys.addaudithook(hook)
from pocketface.cli import main
for arguments in ({verify!r}, {detect!r}, {embed!r}):
    status = main(arguments)
    if status != 0:
        raise SystemExit(f"{{arguments[0]}}: {{status}}")
"""


def test_nothing_leaves_the_device_and_nothing_is_left_behind(models, alone, photos, tmp_path):
    home, work, temporary = (tmp_path / name for name in ("home", "work", "tmp"))
    for folder in (home, work, temporary):
        folder.mkdir()
    first, second = str(photos / "eileen-collins.jpg"), str(photos / "eileen-collins-second-take.jpg")
    code = BLOCKED.format(
        verify=["verify", first, second, "--threshold", "0.4", *models],
        detect=["detect", first, *alone],
        embed=["embed", first, "-o", "vectors.npz", *models],
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(photos.parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    result = run("-c", code, env=environment, cwd=work)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["vectors.npz"]
