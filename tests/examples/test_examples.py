"""Each example does what its first lines say."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from pocketface import FaceRecognizer
from pocketface.cli import main

from .conftest import EXAMPLES


def run(monkeypatch, capsys, name, *arguments):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    import_module(name).main()
    return capsys.readouterr().out


def test_attendance_desk(people, photos, tmp_path, monkeypatch, capsys):
    table = tmp_path / "attendance.csv"
    second = photos / "eileen-collins-second-take.jpg"
    out = run(monkeypatch, capsys, "attendance_desk", people, table, second, second, photos / "no-face.jpg")
    assert out.splitlines() == [f"{second}: good day, eileen", f"{second}: eileen is noted already"]
    out = run(monkeypatch, capsys, "attendance_desk", people, table, photos / "grace-hopper.jpg", second)
    assert "good day, grace" in out
    assert "eileen is noted already" in out
    with table.open(newline="") as file:
        assert [row["person"] for row in csv.DictReader(file)] == ["eileen", "grace"]


def test_door_camera(people, photos, tmp_path, monkeypatch, capsys):
    cv2 = pytest.importorskip("cv2")
    video = str(tmp_path / "visit.mp4")
    writer = cv2.VideoWriter(video, cv2.VideoWriter.fourcc(*"mp4v"), 5, (640, 320))
    with Image.open(photos / "eileen-collins-second-take.jpg") as image:
        eileen = np.asarray(image.convert("RGB"))[..., ::-1]
    with Image.open(photos / "grace-hopper.jpg") as image:
        grace = np.asarray(image.convert("RGB").resize((256, 300)))[..., ::-1]
    for i in range(8):
        frame = np.full((320, 640, 3), 110, np.uint8)
        frame[10:310, 10 + i : 280 + i] = eileen[:300, :270]
        if i >= 3:
            frame[10:310, 330 + i : 586 + i] = grace
        writer.write(frame)
    writer.release()
    out = run(monkeypatch, capsys, "door_camera", people, video, "--may-enter", "grace")
    events = [json.loads(line) for line in out.splitlines()]
    assert [(event["person"], event["open"]) for event in events] == [("eileen", False), ("grace", True)]
    assert all(event["false_identification_rate"] <= 0.01 for event in events)


def test_photo_sorter(people, photos, tmp_path, monkeypatch, capsys):
    source, target = tmp_path / "holiday", tmp_path / "sorted"
    (source / "day").mkdir(parents=True)
    for name in ("eileen-collins-second-take.jpg", "grace-hopper.jpg", "no-face.jpg"):
        shutil.copy(photos / name, source / "day" / name)
    shutil.copy(photos / "grace-hopper.jpg", source / "grace-hopper.jpg")
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    run(monkeypatch, capsys, "photo_sorter", people, source, target)
    found = {str(path.relative_to(target)) for path in target.rglob("*.jpg")}
    assert found == {
        "eileen/eileen-collins-second-take.jpg",
        "grace/grace-hopper.jpg",
        "grace/grace-hopper-2.jpg",
        "_unknown/no-face.jpg",
        "_unreadable/broken.jpg",
    }
    assert (source / "broken.jpg").exists()


def test_photo_sorter_again_into_its_own_source(people, photos, tmp_path, monkeypatch, capsys):
    source = tmp_path / "holiday"
    target = source / "sorted"
    source.mkdir()
    shutil.copy(photos / "eileen-collins-second-take.jpg", source / "a.jpg")
    for _ in range(2):
        assert run(monkeypatch, capsys, "photo_sorter", people, source, target) == "eileen: 1\n"
    (source / "day").mkdir()
    shutil.copy(photos / "grace-hopper.jpg", source / "day" / "a.jpg")
    run(monkeypatch, capsys, "photo_sorter", people, source, target)
    assert {str(path.relative_to(target)) for path in target.rglob("*.jpg")} == {
        "eileen/a.jpg",
        "grace/a.jpg",
    }
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, capsys, "photo_sorter", people, source, source)
    assert stopped.value.code == 2
    assert "the photos lie in it" in capsys.readouterr().err


def test_photo_sorter_gives_every_name_a_folder_inside_the_target(
    environment, photos, tmp_path, monkeypatch, capsys
):
    names = ["..", ".", "a/b", "a_b", "_unknown", "a%2fb", "back\\slash"]
    path, source, target = tmp_path / "people.db", tmp_path / "holiday", tmp_path / "in" / "sorted"
    source.mkdir()
    shutil.copy(photos / "eileen-collins-second-take.jpg", source / "a.jpg")
    made = set()
    for name in names:
        with FaceRecognizer().gallery(path) as gallery:
            gallery.enroll(name, [photos / "eileen-collins.jpg"])
        run(monkeypatch, capsys, "photo_sorter", path, source, target)
        with FaceRecognizer().gallery(path) as gallery:
            gallery.forget(name)
        found = {file.parent for file in (tmp_path / "in").rglob("*.jpg")} - made
        assert [folder.parent for folder in found] == [target], name  # a new folder, directly in the target
        made |= found
    assert not {target / "_unknown", target / "_unreadable"} & made


def refused(monkeypatch, capsys, name, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, capsys, name, *arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_what_is_missing_is_one_line(people, photos, tmp_path, monkeypatch, capsys):
    pytest.importorskip("cv2")
    photo, none, table = photos / "grace-hopper.jpg", tmp_path / "none", tmp_path / "attendance.csv"
    for name, *arguments in (
        ("attendance_desk", none, table, photo),
        ("door_camera", none, "visit.mp4"),
        ("door_camera", people, f"{none}.mp4"),
        ("photo_sorter", none, photos, tmp_path / "sorted"),
    ):
        error = refused(monkeypatch, capsys, name, *arguments)
        assert error.startswith(f"{name}: ")
        assert error.count("\n") == 1, error
    assert "no such folder" in refused(monkeypatch, capsys, "photo_sorter", people, none, tmp_path / "sorted")


def test_attendance_desk_goes_on_after_a_damaged_photo(people, photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    table = tmp_path / "attendance.csv"
    photo = photos / "grace-hopper.jpg"
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, capsys, "attendance_desk", people, table, tmp_path / "broken.jpg", photo)
    assert stopped.value.code == 2
    assert capsys.readouterr().out == f"{photo}: good day, grace\n"


def test_a_port_that_does_not_exist_is_refused(monkeypatch, capsys):
    from examples.web.__main__ import main as web

    monkeypatch.setattr(sys, "argv", ["web", "--port", "70000"])
    with pytest.raises(SystemExit) as stopped:
        web()
    assert stopped.value.code == 2
    assert "--port 70000: a port is a number from 0 to 65535" in capsys.readouterr().err


@pytest.fixture
def client(environment):
    pytest.importorskip("slowapi")
    pytest.importorskip("multipart")
    testclient = pytest.importorskip("fastapi.testclient")
    service = import_module("verification_service")
    service.limiter.reset()
    return testclient.TestClient(service.app)


def send(client, a, b, **options):
    return client.post("/verify", files={"a": a.read_bytes(), "b": b.read_bytes()}, **options)


def test_verification_service(client, photos):
    first, second = photos / "eileen-collins.jpg", photos / "eileen-collins-second-take.jpg"
    answer = send(client, first, second)
    assert answer.status_code == 200, answer.text
    assert answer.json()["verified"] is True
    assert send(client, first, photos / "grace-hopper.jpg").json()["verified"] is False
    answer = send(client, first, photos / "no-face.jpg")
    assert answer.status_code == 422
    assert "no face" in answer.json()["detail"]
    answer = client.post("/verify?fmr=1e-9", files={"a": first.read_bytes(), "b": second.read_bytes()})
    assert answer.status_code == 422
    assert "FMR 1e-09" in answer.json()["detail"]


def test_verification_service_limits(client, photos):
    big = bytes(17 << 20)
    assert client.post("/verify", files={"a": big, "b": b""}).status_code == 413

    def endless():
        yield b"--x\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n"
        for _ in range(17):
            yield bytes(1 << 20)

    chunked = client.post(
        "/verify", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert chunked.status_code == 413
    statuses = [client.post("/verify", files={"a": b"x", "b": b"x"}).status_code for _ in range(40)]
    assert set(statuses) == {422, 429}
    assert statuses[-1] == 429


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_termux_recipe(people, photos, models, tmp_path):
    """The script with a camera that always sees the same; it must leave no picture behind."""
    tools = tmp_path / "bin"
    tools.mkdir()
    seen = photos / "eileen-collins-second-take.jpg"
    (tools / "termux-camera-photo").write_text(f'#!/bin/sh\ncp "{seen}" "$3"\n')
    (tools / "pocketface").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pocketface "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    result = subprocess.run(
        ["sh", EXAMPLES / "termux" / "who.sh", people],
        env=os.environ
        | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "TMPDIR": str(scratch),
            "PYTHONPATH": str(EXAMPLES.parent),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "eileen (similarity 0." in result.stdout
    assert list(scratch.iterdir()) == []


def test_the_readmes_gallery_chapter(environment, photos, tmp_path, capsys):
    """Its commands, in their order."""
    db = str(tmp_path / "people.db")

    def shell(*arguments):
        status = main([str(argument) for argument in arguments])
        assert status == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert shell("enroll", db, "eileen", photos / "eileen-collins.jpg") == "eileen: 1 photo enrolled\n"
    shell("enroll", db, "grace", photos / "grace-hopper.jpg")
    assert ": eileen (similarity 0." in shell("identify", db, photos / "eileen-collins-second-take.jpg")
    assert "2 people" in shell("gallery", db)
    assert "no damage found" in shell("gallery", db, "--audit")
    assert shell("forget", db, "grace") == "grace: forgotten, 1 template removed\n"
    with FaceRecognizer().gallery(db) as gallery:
        (match,) = gallery.identify(photos / "eileen-collins-second-take.jpg")
        assert (match.person, match.margin, match.ambiguous) == ("eileen", None, False)
        assert gallery.identify(photos / "grace-hopper.jpg") == [None]
