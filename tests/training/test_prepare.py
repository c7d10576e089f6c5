import csv
import io
import subprocess
import tarfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="preparing data needs opencv-python-headless")
pytest.importorskip("imagehash", reason="preparing data needs imagehash")

from pocketface.errors import InputError
from training.prepare import crops
from training.prepare.cli import candidates, decode, guarding, main, split_of
from training.prepare.guard import Protected, Seen
from training.prepare.pictures import contents, listing
from training.prepare.sets import family, known_set, person
from training.prepare.shards import COLUMNS, Writer, read_manifest


def random_face(seed):
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (12, 12, 3)).astype(np.uint8))
    return np.asarray(rough.resize((128, 128), Image.Resampling.BICUBIC))


def test_template_points_map_onto_themselves():
    matrix = crops.similarity(crops.TEMPLATE, crops.TEMPLATE + crops.MARGIN)
    np.testing.assert_allclose(matrix, [[1, 0, 8], [0, 1, 8]], atol=1e-4)


def test_a_crop_of_a_turned_picture_is_the_crop():
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (10, 10, 3)).astype(np.uint8))
    picture = np.asarray(rough.resize((200, 200), Image.Resampling.BICUBIC))
    points = crops.TEMPLATE * np.float32(0.8) + np.float32(50)
    turned = np.stack([199 - points[:, 1], points[:, 0]], axis=1)  # a quarter turn clockwise
    one, side = crops.crop(picture, points)
    other, _ = crops.crop(np.ascontiguousarray(np.rot90(picture, -1)), turned)
    assert side == pytest.approx(112 * 0.8, rel=1e-3)
    assert np.abs(one.astype(int) - other).mean() < 2


def test_seen_knows_a_face_after_jpeg_and_not_another():
    seen = Seen()
    face = random_face(1)
    seen.add(crops.fingerprint(face), np.eye(4, dtype=np.float32)[0])
    data = io.BytesIO()
    Image.fromarray(face).save(data, "JPEG", quality=60)
    again = np.asarray(Image.open(data).convert("RGB"))
    assert seen.has_print(crops.fingerprint(again))
    assert not seen.has_print(crops.fingerprint(random_face(2)))
    assert seen.has(np.array([0.99, 0.1, 0, 0], np.float32))
    assert not seen.has(np.array([0, 1, 0, 0], np.float32))


def test_seen_grows():
    seen = Seen()
    for i in range(5000):
        seen.add(np.array([i, 0, 0, i], np.uint64), np.ones(3, np.float32))
    assert seen.has_print(np.array([4999, 0, 0, 4999], np.uint64))


def test_protected_faces_are_kept_away(tmp_path):
    def first(face):
        return np.eye(3, dtype=np.float32)[int(face[0, 0, 0])]

    protected = Protected(first, None)
    protected.load(lambda: [np.zeros((128, 128, 3), np.uint8)], tmp_path / "protected.npz")
    same, other = np.zeros((128, 128, 3), np.uint8), np.ones((128, 128, 3), np.uint8)
    assert protected.near(same, first(same))
    assert not protected.near(other, first(other))


def test_second_opinion_decides_when_there_is_one(tmp_path):
    near = np.array([0.7, 0.714, 0], np.float32)
    for answer, expected in ((0.1, False), (0.9, True)):
        second = iter([np.array([1.0, 0], np.float32), np.array([answer, 0], np.float32)])
        protected = Protected(lambda face: np.array([1, 0, 0], np.float32), lambda face, s=second: next(s))
        protected.load(lambda: [random_face(0)], tmp_path / f"protected-{answer}.npz")
        assert protected.near(random_face(1), near) is expected


def row(identity, split, original):
    return dict.fromkeys(COLUMNS, "") | {"identity": identity, "split": split, "original": original}


def test_held_out_people_and_families_lfw_and_old_pictures_are_no_candidates(tmp_path):
    fiw, pins = tmp_path / "fiw", tmp_path / "pins"
    paths = [
        "data/train/F0001/MID1/a.jpg",  # family held out, another member
        "data/train/F0002/MID1/b.jpg",
        "data/train/F0002/MID1/c.jpg",  # given already
    ]
    for path in paths:
        (fiw / path).parent.mkdir(parents=True, exist_ok=True)
        (fiw / path).touch()
    for name in ("Jane Doe", "John Roe", "Mary Major"):
        path = pins / "large_dataset" / f"pins_{name}" / "1.jpg"
        path.parent.mkdir(parents=True)
        path.touch()
    given = [
        row("fiw:F0001/MID7", "heldout", "data/train/F0001/MID7/x.jpg"),
        row("pins:Jane_Doe", "heldout", "elsewhere.jpg"),
        row("fiw:F0002/MID1", "train", paths[2]),
    ]
    root = {"fiw": fiw, "pins": tmp_path / "pins"}
    for path in list(pins.rglob("*.jpg")):
        target = tmp_path / "pins" / "test" / path.relative_to(pins)
        target.parent.mkdir(parents=True)
        path.rename(target)
    left = candidates(root, given, {person(":John_Roe")}, 12)
    assert {picture.path for picture in left} == {paths[1], "test/large_dataset/pins_Mary Major/1.jpg"}


def test_names():
    assert known_set("fiw").identity("data/train/F0811/MID7/P1.jpg") == "fiw:F0811/MID7"
    assert family("fiw2:F0811/MID7") == family("fiw:F0811/MID1") == "fiw:F0811"
    assert person("pins:Tom_Cruise") == person(":Tom Cruise") == "tomcruise"
    assert not known_set("anything").single
    glint = known_set("glint").identity("datasets/celebrity_images/Hugh Laurie/12.png")
    assert glint == "glint:Hugh_Laurie"
    assert person(glint) == person(known_set("pubfig83").identity("train/Hugh Laurie/7.jpg"))
    assert known_set("bollywood").identity("data/Vidya_Balan/Vidya_Balan.3.jpg") == "bollywood:Vidya_Balan"


def test_decode_refuses_what_is_no_picture():
    assert decode(b"") is None
    assert decode(b"\xff\xd8\xff\xe0 not really") is None


def test_git_and_folder_give_the_same_bytes(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "a b.jpg").write_bytes(b"one\ntwo")
    (work / "c.png").write_bytes(b"three")
    (work / "notes.txt").write_bytes(b"no picture")
    run = ["git", "-C", str(work), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*run, "init", "-q"], check=True)
    subprocess.run([*run, "add", "."], check=True)
    subprocess.run([*run, "commit", "-qm", "pictures"], check=True)
    bare = work / ".git"
    from_git = {p.path: data for p, data in contents(bare, listing("x", bare))}
    from_folder = {p.path: data for p, data in contents(work, listing("x", work))}
    assert from_git == from_folder == {"a b.jpg": b"one\ntwo", "c.png": b"three"}


def test_a_killed_run_loses_only_the_shard_it_was_filling(tmp_path):
    writer = Writer(tmp_path, "extra", 2)
    for i in range(3):
        fields = {"source": "s", "identity": "", "face_px": "99", "original": f"{i}.jpg"}
        writer.looked_at(f"s/{i}.jpg", "taken")
        writer.add(random_face(i), fields, np.zeros(4, np.uint64), np.zeros(128, np.float32))
    again = Writer(tmp_path, "extra", 2)
    assert len(again.rows) == 2
    [(looked, prints, embeddings)] = again.notes()
    assert looked == ["s/0.jpg", "s/1.jpg"]
    assert prints.shape == (2, 4)
    assert embeddings.shape == (2, 128)
    assert again.counts == {"taken": 2}
    assert not list(tmp_path.glob("*.part"))


def test_the_command_makes_shards_of_portraits(shared, tmp_path, capsys):
    portraits = sorted((shared / "data/portraits").glob("*.jpg"))[:4]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in portraits:
        with Image.open(path) as image:
            image.resize((400, 400)).save(pictures / path.name, quality=90)
            if path == portraits[0]:
                image.resize((380, 380)).save(pictures / "again.jpg", quality=70)
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8")
    out = tmp_path / "out"
    command = [f"people={pictures}", "--out", str(out), "--given", "", "--lfw", ""]
    assert main([*command, "--second", ""]) == 0
    assert "taken 4" in capsys.readouterr().out
    rows = read_manifest(out)
    assert len(rows) == 4
    with (out / "manifest.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    with tarfile.open(out / rows[0]["shard"]) as tar:
        names = tar.getnames()
        face = Image.open(io.BytesIO(tar.extractfile(names[0]).read()))
    assert names == [row["key"] + ".webp" for row in rows]
    assert (face.format, face.size) == ("WEBP", (128, 128))
    assert main([*command, "--second", ""]) == 0  # resumed: nothing is taken twice
    assert len(read_manifest(out)) == 4


@pytest.mark.parametrize("argument", ["people=nowhere", "nowhere"])
def test_bad_input_is_one_line(argument, tmp_path, capsys):
    assert main([argument, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error == "training.prepare: no such folder or git directory: nowhere\n"


def test_what_protects_is_there_or_an_error_or_a_warning(tmp_path, capsys):
    lfw = tmp_path / "lfw" / "Jane_Doe"
    lfw.mkdir(parents=True)
    with pytest.raises(InputError, match="--lfw: no such path"):
        guarding("lfw", str(tmp_path / "nowhere"), lfw.parent, "*/*.jpg")
    with pytest.raises(InputError, match=r"--lfw: no \*/\*\.jpg in"):
        guarding("lfw", str(lfw.parent), tmp_path, "*/*.jpg")
    assert capsys.readouterr().err == ""
    assert guarding("lfw", None, tmp_path / "nowhere", "*/*.jpg") is None
    assert capsys.readouterr().err.count("\n") == 1
    (lfw / "Jane_Doe_0001.jpg").touch()
    assert guarding("lfw", str(lfw.parent), tmp_path, "*/*.jpg") == lfw.parent
    assert guarding("lfw", "", lfw.parent, "*/*.jpg") is None
    assert capsys.readouterr().err == ""


def test_a_fraction_of_the_people_is_held_out():
    share = np.mean([split_of(f"people:{i}", f"a/{i}.jpg", 0.25) == "heldout" for i in range(4000)])
    assert 0.22 < share < 0.28
    assert {split_of("fiw:F0001/MID1", "fiw/a.jpg", 0.5), split_of("fiw2:F0001/MID2", "x", 0.5)} in (
        {"train"},
        {"heldout"},
    )
    assert {split_of("", f"a/{i}.jpg", 0) for i in range(100)} == {"train"}


def test_folders_can_be_people():
    assert known_set("own", people=True).identity("train/Jane Doe/1.jpg") == "own:train_Jane Doe"
    assert known_set("own", people=True).identity("1.jpg") == known_set("own").identity("a/1.jpg") == ""
    assert known_set("fiw", people=True) is known_set("fiw")


def test_caches_are_of_what_protects_and_recognisers(shared, photos, tmp_path, capsys):
    """A run that protects nobody, then one that protects a folder: the second has a cache of its own."""
    people, lfw = tmp_path / "people", tmp_path / "lfw"
    for folder, names in (
        (people, ("grace-hopper", "eileen-collins")),
        (lfw, ("eileen-collins-second-take",)),
    ):
        for name in names:
            (folder / name).mkdir(parents=True)
            with Image.open(photos / f"{name}.jpg") as image:
                image.resize((250, 250)).save(folder / name / "1.jpg")
    none = ["--given", "", "--second", ""]
    command = [f"own={people}", "--people", *none, "--min-face", "20"]
    assert main([*command, "--lfw", "", "--out", str(tmp_path / "all")]) == 0
    rows = read_manifest(tmp_path / "all")
    assert {row["identity"] for row in rows} == {"own:grace-hopper", "own:eileen-collins"}
    one, two = (["--out", str(tmp_path / "one"), "--lfw", path] for path in ("", str(lfw)))
    assert main([*command, *one, "--limit", "1"]) == 0
    assert main([*command, *two]) == 0
    assert len(list((tmp_path / "one").glob("protected-*.npz"))) == 2
    capsys.readouterr()
    assert main([*command, "--lfw", "", "--out", str(tmp_path / "all"), "--heldout", "0.999"]) == 2
    assert "another --heldout" in capsys.readouterr().err
