import io
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import pocketface
from pocketface import InputError, atomic, cli


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


def test_pictures_that_cannot_be_saved_are_said_before_the_work(photos, tmp_path, capsys):
    """Nothing is loaded for it: there is no such embedder."""
    photo = str(photos / "eileen-collins.jpg")
    nowhere, other = str(tmp_path / "nowhere" / "x.png"), str(tmp_path / "x.docx")
    for command in (["verify", photo, photo, "--embedder", "none"], ["detect", photo, "--detector", "none"]):
        for target in (nowhere, other):
            assert cli.main([*command, "--save-picture", target]) == 2
            assert f"pocketface: {target}: " in capsys.readouterr().err
    assert cli.main(["bench", "--embedder", "none", "--html", nowhere]) == 2
    assert nowhere in capsys.readouterr().err


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


def test_identify_goes_on_after_a_bad_file_and_takes_folders(models, photos, tmp_path, capsys):
    gallery = str(tmp_path / "a.db")
    (tmp_path / "new").mkdir()
    shutil.copy(photos / "eileen-collins-second-take.jpg", tmp_path / "new" / "visitor.jpg")
    assert cli.main(["enroll", gallery, "eileen", str(photos / "eileen-collins.jpg"), *models]) == 0
    capsys.readouterr()
    asked = [str(photos / "README.md"), str(tmp_path / "new"), "missing.jpg"]
    assert cli.main(["identify", gallery, *asked, "--json", "--threshold", "0.4", *models]) == 2
    output = capsys.readouterr()
    bad, good, missing = json.loads(output.out)["photos"]
    assert good["photo"] == str(tmp_path / "new" / "visitor.jpg")
    assert good["faces"][0]["match"]["person"] == "eileen"
    assert "not a picture" in bad["error"]
    assert missing["error"] == "missing.jpg: no such file"
    assert output.err.endswith("pocketface: missing.jpg: no such file\n")


def test_a_folder_without_pictures_stops_nothing(models, alone, photos, tmp_path, capsys):
    empty, set_ = tmp_path / "empty", tmp_path / "new" / "set.jpg"  # a folder that is named like a picture
    for folder in (empty, set_):
        folder.mkdir(parents=True)
    visitor = set_ / "visitor.jfif"
    shutil.copy(photos / "eileen-collins-second-take.jpg", visitor)
    asked = [str(empty), str(tmp_path / "new")]
    said = f"pocketface: {empty}: no picture in this folder"

    assert cli.main(["detect", *asked, "--json", *alone]) == 2
    output = capsys.readouterr()
    bad, good = json.loads(output.out)["pictures"]
    assert (bad["path"], good["path"], len(good["faces"])) == (str(empty), str(visitor), 1)
    assert f"pocketface: {bad['error']}\n" == output.err
    assert output.err.startswith(said)

    gallery = str(tmp_path / "a.db")
    assert cli.main(["enroll", gallery, "eileen", str(photos / "eileen-collins.jpg"), *models]) == 0
    capsys.readouterr()
    assert cli.main(["identify", gallery, *asked, "--threshold", "0.4", *models]) == 2
    output = capsys.readouterr()
    assert output.out.startswith(f"{visitor}: face at ")
    assert ": eileen (" in output.out
    assert output.err.splitlines()[-1].startswith(said)

    assert cli.main(["embed", *asked, "-o", str(tmp_path / "v.npz"), *models]) == 2
    output = capsys.readouterr()
    assert "1 vectors of 2 pictures, 1 failed" in output.out
    assert output.err.startswith(said)
    assert cli.main(["detect", str(tmp_path / "new"), *alone]) == 0


def test_detect_goes_on_after_a_heic_without_its_extra(alone, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic = tmp_path / "x.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert cli.main(["detect", str(heic), str(photos / "grace-hopper.jpg"), "--json", *alone]) == 2
    first, second = json.loads(capsys.readouterr().out)["pictures"]
    assert "pocketface[heic]" in first["error"]
    assert len(second["faces"]) == 1


def test_embed_checks_its_target_before_the_work(models, photos, tmp_path, capsys):
    target = tmp_path / "none" / "v.npz"
    assert cli.main(["embed", str(photos), "-o", str(target), *models]) == 2
    assert capsys.readouterr() == (
        "",
        f"pocketface: {target}: the folder {target.parent} does not exist; make it first\n",
    )


@pytest.mark.skipif(os.name == "nt", reason="modes, links and pipes of POSIX")
def test_embeddings_are_for_their_owner_and_links_stay(models, photos, tmp_path):
    real, link, pipe = (tmp_path / name for name in ("real.npz", "link.npz", "pipe"))
    real.write_bytes(b"older")
    real.chmod(0o644)
    link.symlink_to(real)
    os.mkfifo(pipe)
    photo = str(photos / "grace-hopper.jpg")
    assert cli.main(["embed", photo, "-o", str(link), *models]) == 0
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert cli.main(["embed", photo, "-o", str(pipe), *models]) == 0
    reader.join()
    with np.load(io.BytesIO(received[0])) as piped, np.load(real) as written:
        assert np.array_equal(piped["embeddings"], written["embeddings"])
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.npz", "pipe", "real.npz"]


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_the_umask_and_an_existing_mode_are_respected(tmp_path):
    path = tmp_path / "a.txt"
    before = os.umask(0o027)
    try:
        for mode in (0o640, 0o604):
            with atomic.replacing(path) as temporary:
                temporary.write_text("text")
            assert stat.S_IMODE(path.stat().st_mode) == mode
            path.chmod(0o604)
    finally:
        os.umask(before)


def test_a_single_picture_is_no_batch(recognizer, photos):
    path = photos / "grace-hopper.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image)
        for_one = (str(path), path, path.read_bytes(), io.BytesIO(), image, pixels, pixels[:, :, 0])
    for picture in for_one:
        with pytest.raises(InputError, match="give embed_batch a list"):
            recognizer.embed_batch(picture)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(seconds, capsys):
    assert cli.main(["doctor", f"--timeout={seconds}"]) == 2
    assert "--timeout" in capsys.readouterr().err


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


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
def test_closed_standard_streams_change_no_answer(models, photos):
    pair = [str(photos / "eileen-collins.jpg"), str(photos / "eileen-collins-second-take.jpg")]
    command = [sys.executable, "-m", "pocketface", "verify", *pair, "--threshold", "0.4", *models]
    results = {}
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        line = f"{shlex.join(command)} {closed}"
        results[closed] = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)
    assert {result.returncode for result in results.values()} == {0}
    assert results[">&-"].stderr == ""
    assert results["2>&-"].stdout.startswith("same person")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_photo_may_come_through_a_pipe(models, photos):
    first, second = photos / "eileen-collins.jpg", photos / "eileen-collins-second-take.jpg"
    command = [sys.executable, "-m", "pocketface", "verify", str(second), "/dev/stdin", "--threshold", "0.4"]
    result = subprocess.run([*command, *models], input=first.read_bytes(), capture_output=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, b"")


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
