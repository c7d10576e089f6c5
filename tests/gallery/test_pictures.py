"""Real photos through the library and the shell."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pocketface.cli import main
from pocketface.errors import GalleryError, ImageError, NoFaceError, QualityError, SeveralFacesError
from pocketface.gallery import Person, open_gallery
from pocketface.gallery.bulk import enroll_folder
from pocketface.gallery.enrollment import describe

from .conftest import make_recognizer, make_templates, unit_rows

LONG_AGO = "2020-01-01T12:00:00.000+00:00"

PEOPLE = ("Serena_Williams", "Tony_Blair", "George_W_Bush", "Abdullah_Gul")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def photos(lfw):
    """Three photos a person; one of Tony Blair's shows somebody else as well."""
    every = {name: [str(path) for path in sorted((lfw / name).glob("*.jpg"))[:4]] for name in PEOPLE}
    return {name: [path for path in paths if "Blair_0032" not in path][:3] for name, paths in every.items()}


@pytest.fixture(scope="module")
def models(shared):
    folder = shared / "models"
    return ["--detector", str(folder / "yunet_n_dynamic.onnx"),
            "--embedder", str(folder / "mobilefacenet_foamliu.onnx"),
            "--threads", "1"]  # fmt: skip


@pytest.fixture
def gallery(recognizer, photos, tmp_path):
    with recognizer.gallery(tmp_path / "people.db", threshold=0.416) as gallery:
        for name in PEOPLE[:3]:
            gallery.enroll(name, photos[name][:2])
        yield gallery


def test_known_people_are_named_and_strangers_are_not(gallery, photos):
    for name in PEOPLE[:3]:
        (match,) = gallery.identify(photos[name][2])
        assert match.person == name
        assert match.margin > 0.1
    assert gallery.identify(photos["Abdullah_Gul"][0]) == [None]


def test_each_face_of_a_group_gets_its_answer(gallery, photos):
    strip = np.concatenate([pixels(photos[name][2]) for name in PEOPLE], axis=1)
    faces = gallery.recognizer.analyze(strip, channel_order="rgb")
    matches = gallery.match(faces)
    by_place = [matches[i] for i in np.argsort([face.bbox[0] for face in faces])]
    assert [match and match.person for match in by_place] == [*PEOPLE[:3], None]


def test_enrolling_the_same_photo_again_changes_nothing(gallery, photos):
    done = gallery.enroll(PEOPLE[0], photos[PEOPLE[0]])
    assert (done.added, done.known) == (1, 2)


def test_the_same_person_under_another_name_is_noticed(gallery, photos):
    assert "already as Tony_Blair" in gallery.enroll("anthony", photos["Tony_Blair"][2]).warnings[0]
    audit = gallery.audit()
    assert ("Tony_Blair", "anthony") in {(pair.first, pair.second) for pair in audit.close}


def test_bad_photos_are_refused_with_the_reason_and_nothing_is_stored(gallery, photos, tmp_path):
    good = photos["Abdullah_Gul"][0]
    picture = Image.fromarray(pixels(good))
    two = np.concatenate([pixels(good), pixels(photos["Tony_Blair"][2])], axis=1)
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(Path(good).read_bytes()[:3000])
    opened = Image.open(truncated)
    for bad, error, reason in (
        (picture.filter(ImageFilter.GaussianBlur(6)), QualityError, "blurred"),
        (picture.resize((100, 100)), QualityError, "pixels wide"),
        (two, SeveralFacesError, "2 faces"),
        (np.full((250, 250, 3), 128, np.uint8), NoFaceError, "no face"),
        (str(truncated), ImageError, r"truncated\.jpg"),
        (opened, ImageError, r"truncated\.jpg"),
        ("a\0b", ImageError, r"a\\x00b"),
    ):
        with pytest.raises(error, match=reason):
            gallery.enroll("abdullah", [good, bad])
    opened.close()
    assert "abdullah" not in {person.name for person in gallery.people()}


def test_photos_upside_down_are_not_enrolled(gallery, photos):
    """Their faces are found, with landmarks that make a template of nobody."""
    photo = photos[PEOPLE[3]][0]
    for turns in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(pixels(photo), turns)[:, :, ::-1])
        with pytest.raises((QualityError, NoFaceError)):
            gallery.enroll("somebody", [turned])
    with pytest.raises(QualityError, match="on its side or head"):
        gallery.enroll("somebody", [np.ascontiguousarray(np.rot90(pixels(photo), 2)[:, :, ::-1])])


def test_reembedding_with_another_model(gallery, photos, shared):
    from pocketface import FaceRecognizer

    other = FaceRecognizer(
        shared / "models" / "yunet_n_dynamic.onnx", shared / "models" / "peers" / "w600k_mbf.onnx", threads=1
    )
    with pytest.raises(GalleryError, match="no photos of George_W_Bush"):
        gallery.reembed(other, {name: photos[name][:2] for name in PEOPLE[:2]})
    assert gallery.identify(photos["Tony_Blair"][2])[0].person == "Tony_Blair"
    changed = gallery.reembed(other, {name: photos[name][:2] for name in PEOPLE[:3]})
    assert changed.store.header.dim == 512
    assert changed.identify(photos["Tony_Blair"][2])[0].person == "Tony_Blair"


def test_reembedding_changes_neither_who_is_enrolled_nor_since_when(recognizer, photos, tmp_path):
    blurred = Image.fromarray(pixels(photos["Tony_Blair"][0])).filter(ImageFilter.GaussianBlur(6))
    at = "2026-01-02T03:04:05.000+00:00"
    with recognizer.gallery(tmp_path / "people.db", threshold=0.416) as gallery:
        template = describe(recognizer, "tony", blurred, check_quality=False)
        gallery.store.add("tony", [template], at=at)
        given = {"tony": [blurred], "forgotten": photos["George_W_Bush"]}
        with pytest.raises(QualityError):
            gallery.reembed(recognizer, given)
        changed = gallery.reembed(recognizer, given, check_quality=False)
        assert changed.people() == [Person("tony", 1, at, at)]
        assert changed.operating().threshold.value == 0.416


def test_whom_retention_has_removed_is_enrolled_anew(recognizer, photos, tmp_path):
    photo = photos["Tony_Blair"][0]
    with recognizer.gallery(tmp_path / "people.db") as gallery:
        for enroll in (
            lambda: gallery.enroll("tony", photo),
            lambda: enroll_folder(gallery, {"tony": [photo]})[0][0],
        ):
            gallery.retention_days = None
            if gallery.people():
                gallery.forget("tony")
            gallery.store.add(
                "tony", [describe(recognizer, "tony", photo)], at="2020-01-01T00:00:00.000+00:00"
            )
            gallery.store.retention_days = 30
            assert (enroll().added, gallery.expire(), len(gallery.people())) == (1, [], 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems' file names are text")
def test_a_photo_whose_name_is_no_text(gallery, photos, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/J\xf6rg.jpg")
    shutil.copy(photos["Abdullah_Gul"][0], path)
    assert gallery.enroll("abdullah", path).added == 1
    assert "J\\udcf6rg.jpg" in {template.source for _, template in gallery.store.templates()}


def test_the_shell_takes_options_anywhere_and_leaves_no_empty_gallery(photos, models, tmp_path, capsys):
    db, black = tmp_path / "people.db", tmp_path / "black.png"
    Image.new("RGB", (200, 200)).save(black)
    assert main(["enroll", str(db), "tony", str(black), *models]) == 2
    assert main(["enroll", str(db), "tony", photos["Tony_Blair"][0], "--retention", "-1", *models]) == 2
    assert not db.exists()
    capsys.readouterr()
    one, two, three = photos["Tony_Blair"]
    assert main(["enroll", str(db), "tony", *models, "--any-quality", one]) == 0
    assert main(["enroll", str(db), "--any-quality", "tony", two, *models]) == 0
    assert main(["enroll", "--json", str(db), *models, "--", "tony", three]) == 0
    assert capsys.readouterr().out.startswith("tony: 1 photo enrolled\ntony: 1 photo enrolled\n{")
    assert main(["identify", str(db), one, "--json", two, "--threshold", "0.3", *models]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [photo["photo"] for photo in found["photos"]] == [one, two]
    with pytest.raises(SystemExit):
        main(["enroll", str(db), "tony", "--any-qualty", one])


def test_the_passphrase_of_a_new_gallery_is_asked_for_twice(photos, models, tmp_path, capsys, monkeypatch):
    db = tmp_path / "people.db"
    answers = iter(["sesame", "seasme", "sesame", "sesame", "sesame"])
    monkeypatch.delenv("POCKETFACE_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    enroll = ["enroll", str(db), "tony", photos["Tony_Blair"][0], "--passphrase", *models]
    assert main(enroll) == 2
    assert "differ" in capsys.readouterr().err
    assert not db.exists()
    assert main(enroll) == 0
    assert main(["gallery", str(db), "--passphrase", *models]) == 0


def test_the_shell_forgets_everybody_named(recognizer, models, tmp_path, capsys, monkeypatch):
    """Although one is not there, and another process keeps what was stored from being overwritten."""
    monkeypatch.setattr("pocketface.gallery.sqlite._BUSY_SECONDS", 0.05)
    db = str(tmp_path / "people.db")
    rows = unit_rows(3, dim=recognizer.embedder.dim)
    with recognizer.gallery(db) as gallery:
        for name, row in zip(("ann", "bob", "eve"), rows, strict=True):
            gallery.enroll_templates(name, make_templates([row], name))
        reader = sqlite3.connect(db, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM template").fetchone() == (3,)
        assert main(["forget", db, "ann", "nobody", "bob"]) == 2
        captured = capsys.readouterr()
        said = [line.partition(",")[0] for line in captured.out.splitlines()]
        assert said == ["ann: forgotten", "bob: forgotten"]
        assert "nobody is enrolled as 'nobody'" in captured.err
        assert f"pocketface gallery {db} --vacuum" in captured.err
        reader.close()
        assert main(["gallery", db, "--vacuum", *models]) == 0
        assert [person.name for person in gallery.people()] == ["eve"]


def test_the_shell(photos, models, tmp_path, capsys, monkeypatch):
    """What the README shows, with the network out of reach."""
    monkeypatch.setattr(socket.socket, "connect", None)
    monkeypatch.setenv("POCKETFACE_PASSPHRASE", "sesame")
    db = str(tmp_path / "people.db")
    key = ["--passphrase"]

    def run(*arguments):
        status = main([*arguments, *(models if arguments[0] != "forget" else ())])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    for name in PEOPLE[:2]:
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for photo in photos[name][:2]:
            shutil.copy(photo, folder)
    Image.new("RGB", (200, 200)).save(tmp_path / "photos" / PEOPLE[0] / "black.png")

    status, out, err = run("enroll", db, "--folder", str(tmp_path / "photos"), *key)
    assert status == 2
    assert out.splitlines() == [f"{name}: 2 photos enrolled" for name in sorted(PEOPLE[:2])]
    assert "black.png: no face found" in err
    status, out, _ = run("enroll", db, PEOPLE[2], *photos[PEOPLE[2]][:2], *key)
    assert (status, out) == (0, "George_W_Bush: 2 photos enrolled\n")

    status, out, _ = run("identify", db, photos["Tony_Blair"][2], *key, "--threshold", "0.416")
    assert status == 0
    assert "Tony_Blair (similarity 0." in out
    status, out, _ = run("identify", db, photos["Abdullah_Gul"][0], *key, "--threshold", "0.416", "--json")
    document = json.loads(out)
    assert status == 1
    assert [face["match"] for face in document["photos"][0]["faces"]] == [None]

    assert "wrong key" in (monkeypatch.setenv("POCKETFACE_PASSPHRASE", "x"), run("gallery", db, *key))[1][2]
    monkeypatch.setenv("POCKETFACE_PASSPHRASE", "sesame")
    status, out, _ = run("gallery", db, *key)
    assert status == 0
    assert "3 people" in out
    assert ", encrypted," in out
    status, out, _ = run("gallery", db, "--audit", *key, "--threshold", "0.416", "--json")
    assert json.loads(out)["close"] == []
    assert run("forget", db, "Tony_Blair", *key)[:2] == (0, "Tony_Blair: forgotten, 2 templates removed\n")
    status, _, err = run("forget", db, "Tony_Blair", *key)
    assert status == 2
    assert err.count("\n") == 1
    status, out, _ = run("gallery", db, "--log", *key)
    assert [line.split()[1] for line in out.splitlines()] == ["enroll", "enroll", "enroll", "forget"]
    assert "Tony_Blair" not in out
    status, _, err = run("identify", str(tmp_path / "none.db"), photos["Tony_Blair"][0])
    assert status == 2
    assert "enrol somebody first" in err


@pytest.fixture
def foreign(tmp_path):
    """A gallery of a model that is not installed, with one person who was enrolled long ago."""
    path = tmp_path / "old people.db"
    with open_gallery(path, make_recognizer()) as gallery:
        for name, row in zip(("ann", "bob"), unit_rows(2), strict=True):
            gallery.enroll_templates(name, make_templates([row], name))
        gallery.store.add("eve", make_templates(unit_rows(1, 7), "eve"), at=LONG_AGO)
    return str(path)


def test_after_a_change_of_model_people_are_listed_expired_and_forgotten(foreign, tmp_path, capsys):
    def told(*arguments, status=0):
        # Options that `gallery` could not follow, if it asked for a model; `forget` has none.
        options = ["--detector", "none", "--embedder", "none"] if arguments[0] == "gallery" else []
        assert main([*arguments, *options]) == status
        return capsys.readouterr().out.splitlines()

    assert [line.partition(":")[0] for line in told("gallery", foreign)[:-1]] == ["ann", "bob", "eve"]
    assert len(told("gallery", foreign, "--log")) == 3
    assert told("gallery", foreign, "--export", str(tmp_path / "a.npz")) == [
        f"{tmp_path / 'a.npz'}: 3 templates"
    ]
    assert told("gallery", foreign, "--retention", "36") == ["retention: 36 days", "eve: forgotten"]
    with open_gallery(foreign, make_recognizer()) as gallery:
        gallery.store.add("eve", make_templates(unit_rows(1, 7), "eve"), at=LONG_AGO)
    assert told("gallery", foreign, "--expire") == ["eve: forgotten"]
    assert told("gallery", foreign, "--vacuum") == []
    assert told("forget", foreign, "ann", "nobody", status=2) == ["ann: forgotten, 1 template removed"]
    assert b"ann" not in Path(foreign).read_bytes()
    with open_gallery(foreign, make_recognizer()) as gallery:
        assert [person.name for person in gallery.people()] == ["bob"]
        assert [(event.what, event.person) for event in gallery.events()] == [
            ("enroll", None), ("enroll", "bob"), ("enroll", None), ("expire", None),
            ("enroll", None), ("expire", None), ("forget", None),
        ]  # fmt: skip
    assert told("gallery", foreign, "--audit", status=2) == []


def test_whom_a_new_limit_forgets_is_said_although_somebody_reads(foreign, capsys, monkeypatch):
    monkeypatch.setattr("pocketface.gallery.sqlite._BUSY_SECONDS", 0.05)
    reader = sqlite3.connect(foreign, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM template").fetchone() == (3,)
    assert main(["gallery", foreign, "--retention", "36"]) == 2
    captured = capsys.readouterr()
    reader.close()
    assert captured.out == "retention: 36 days\neve: forgotten\n"
    assert f"pocketface gallery '{foreign}' --vacuum" in captured.err
    assert main(["gallery", foreign, "--retention", "0"]) == 2
    assert main(["gallery", foreign, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["retention_days"] == 36


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (["--export", "o.json"], {"exported": 3, "file": "o.json"}),
        (["--retention", "30"], {"retention_days": 30, "forgotten": ["eve"]}),
        (["--retention", "never"], {"retention_days": None, "forgotten": []}),
        (["--expire"], {"forgotten": []}),
        (["--vacuum"], {"vacuumed": True}),
    ],
)
def test_what_a_gallery_is_told_to_do_is_one_json_document(
    foreign, action, expected, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["gallery", foreign, *action, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected


def test_reembedding_in_the_shell(foreign, photos, models, tmp_path, capsys):
    """Another model's gallery gets photos of who is to stay; the others can be forgotten first."""
    (tmp_path / "photos" / "ann").mkdir(parents=True)
    shutil.copy(photos["Tony_Blair"][0], tmp_path / "photos" / "ann" / "a.jfif")
    reembed = ["gallery", foreign, "--reembed", str(tmp_path / "photos"), "--json", *models]
    assert main(reembed) == 2
    assert "no photos of bob, eve" in capsys.readouterr().err
    assert main(["forget", foreign, "bob", "eve"]) == 0
    capsys.readouterr()
    assert main(reembed) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reembedded"] == 1
    assert main(["gallery", foreign, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["header"]["model"] == document["embedder"]["id"]


def test_who_and_what_a_folder_has_no_place_for_is_said(photos, models, tmp_path, capsys):
    db, folder = str(tmp_path / "people.db"), tmp_path / "ff"
    for name in ("alice", "bob", "carol/holiday.jpg"):
        (folder / name).mkdir(parents=True)
    shutil.copy(photos["Serena_Williams"][0], folder / "alice" / "x.JFIF")
    shutil.copy(photos["Serena_Williams"][0], folder / "loose.jpg")
    (folder / "bob" / "b.tiff").touch()
    shutil.copy(photos["Tony_Blair"][0], folder / "carol" / "holiday.jpg" / "1.jpe")
    assert main(["enroll", db, "--folder", str(folder), *models]) == 2
    captured = capsys.readouterr()
    assert captured.out == "alice: 1 photo enrolled\ncarol: 1 photo enrolled\n"
    loose, nothing = captured.err.splitlines()
    assert "1 picture lies beside the people's folders (loose.jpg)" in loose
    assert nothing.startswith(f"pocketface: {folder / 'bob'}: no picture in this folder")
    (folder / "loose.jpg").unlink()
    assert main(["enroll", db, "--folder", str(folder), "--json", *models]) == 2
    assert list(json.loads(capsys.readouterr().out)["refused"]) == [str(folder / "bob")]
    (folder / "bob" / "b.tiff").unlink()
    (folder / "bob").rmdir()
    assert main(["enroll", db, "--folder", str(folder), *models]) == 0
    assert capsys.readouterr().err == ""


def test_a_folder_without_anybody_leaves_no_gallery(models, tmp_path):
    assert main(["enroll", str(tmp_path / "people.db"), "--folder", str(tmp_path), *models]) == 2
    assert list(tmp_path.iterdir()) == []


def test_whom_enrolling_forgets_is_said(recognizer, photos, models, tmp_path, capsys):
    db = str(tmp_path / "people.db")
    with recognizer.gallery(db) as gallery:
        rows = unit_rows(1, dim=recognizer.embedder.dim)
        gallery.store.add("eve", make_templates(rows, "eve"), at=LONG_AGO)
    assert main(["enroll", db, "tony", photos["Tony_Blair"][0], "--retention", "30", *models]) == 0
    assert capsys.readouterr().out == "eve: forgotten\ntony: 1 photo enrolled\n"
