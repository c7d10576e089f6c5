"""Faces blended of two: shards like any other, of two people of the training split, the same each time."""

from pathlib import Path

import numpy as np
import pytest
from skimage.exposure import match_histograms
from synthetic_faces import face, write_shards

from training.morphs import blend, in_light_of, main, mask, pairs
from training.shards import Face, read_faces


def _faces(identities: list[str]) -> list[Face]:
    return [Face(f"face-{index}", identity, "test", b"") for index, identity in enumerate(identities)]


def test_shards_of_blends_are_read_as_faces_of_nobody_and_are_the_same_each_time(tmp_path: Path) -> None:
    write_shards(tmp_path, train=12, heldout=4)
    for out in ("one", "two"):
        assert main([str(tmp_path), "--out", str(tmp_path / out), "--count", "30"]) == 0
    first, second = (read_faces([tmp_path / out], "train") for out in ("one", "two"))
    assert len(first) == 30
    assert {face.identity for face in first} == {""}
    assert first == second
    assert not read_faces([tmp_path / "one"], "heldout")
    assert len(read_faces([tmp_path, tmp_path / "one"], "train")) == 42


def test_blends_of_other_faces_have_other_keys(tmp_path: Path) -> None:
    keys = []
    for train in (12, 14):
        folder = tmp_path / str(train)
        folder.mkdir()
        write_shards(folder, train=train, heldout=0)
        assert main([str(folder), "--out", str(folder / "out"), "--count", "9"]) == 0
        keys.append({face.key for face in read_faces([folder / "out"], "train")})
    assert len(keys[0]) == len(keys[1]) == 9
    assert not keys[0] & keys[1]


def test_nobody_is_blended_with_himself_and_every_face_serves_as_often_as_others() -> None:
    faces = _faces(["a", "a", "a", "b", "c", "", ""])
    made = list(pairs(faces, 700))
    assert len(made) == 700
    assert all(one.key != other.key for one, other in made)
    assert not any(one.identity and one.identity == other.identity for one, other in made)
    shown = [sum(one.key == face.key for one, _ in made) for face in faces[3:]]
    assert max(shown) - min(shown) < 40


def test_a_mask_goes_from_one_face_to_the_other() -> None:
    masks = [mask(np.random.default_rng(seed)) for seed in range(200)]
    assert all(m.min() >= 0 and m.max() <= 1 for m in masks)
    flat = [m for m in masks if np.ptp(m) == 0]
    assert 70 < len(flat) < 130
    assert all(m.min() == 0 and m.max() == 1 for m in masks if np.ptp(m))
    assert all(0.25 < m[40:112, 36:92].mean() < 0.75 for m in masks)


def test_a_blend_lies_between_its_two_faces() -> None:
    one, other = (np.asarray(face(person, 0)) for person in (1, 2))
    lit = np.clip(in_light_of(one, other), 0, 255)
    for seed in range(20):
        made = blend(one, other, np.random.default_rng(seed)).astype(float)
        low = np.minimum(np.minimum(one, lit), lit[:, ::-1])
        high = np.maximum(np.maximum(one, lit), lit[:, ::-1])
        assert (made >= low - 1).all()
        assert (made <= high + 1).all()


def test_the_second_face_takes_the_light_of_the_first() -> None:
    one, other = (np.asarray(face(person, 0)) for person in (3, 4))
    middle = np.s_[40:112, 36:92]
    lit = in_light_of(one, other)[middle]
    matched = match_histograms(other[middle], one[middle], channel_axis=-1)
    assert np.abs(lit.mean((0, 1)) - matched.mean((0, 1))).max() < 2
    assert np.abs(lit.mean((0, 1)) - one[middle].mean((0, 1))).max() < 0.01


def test_too_few_people_and_folders_without_faces_are_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(tmp_path, train=2, heldout=2)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "a blend wants faces of two people, got 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "no manifest.csv" in capsys.readouterr().err
