"""Where the SDK's detector finds stored faces: as in their photos, and known once they were looked for."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from synthetic_faces import write_shards

from pocketface import align, images, registry
from pocketface.detect import FaceDetector
from training.found import FRAME, LARGEST, SMALLEST, cut, cuts, framed, main
from training.morphs import SOURCE
from training.shards import CENTRE, SIZE, Face, cropped


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(registry.default("detect"), threads=1)


def stored(picture: NDArray[np.uint8], key: str, source: str = "test") -> Face:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return Face(key, "", source, stream.getvalue())


def off_the_template(photo: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """A matrix from the photo to a stored face that lies five pixels off, turned by four degrees."""
    c, s = np.cos(np.radians(4)), np.sin(np.radians(4))
    aside = np.array([[c, -s, 5 + 64 - (c - s) * 64], [s, c, -3 + 64 - (s + c) * 64], [0, 0, 1]])
    inner = np.vstack([align.estimate(landmarks), (0, 0, 1)])
    return np.asarray((aside @ np.array([[1, 0, 8], [0, 1, 8], [0, 0, 1]]) @ inner)[:2])


@pytest.mark.parametrize("name", ["eileen-collins.jpg", "grace-hopper.jpg"])
def test_a_face_stored_off_the_template_is_cut_as_its_photo_is(
    name: str, photos: Path, detector: FaceDetector
) -> None:
    photo = images.load(photos / name)
    landmarks = detector.detect(photo)[0].landmarks
    matrix = off_the_template(photo, landmarks)
    inverse = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    inverse[:, 2] += 0.5 - inverse[:, :2] @ (0.5, 0.5)  # Pillow counts from the first pixel's corner
    picture = Image.fromarray(photo).transform(
        (SIZE, SIZE), Image.Transform.AFFINE, tuple(inverse.ravel()), Image.Resampling.BICUBIC
    )
    found = cut(detector, stored(np.asarray(picture), name))
    inside = (np.hstack([landmarks, np.ones((5, 1))]) @ matrix.T + 0.5 - found[:, 2]) @ np.linalg.inv(
        found[:, :2]
    ).T - 0.5
    assert np.linalg.norm(inside - align.TEMPLATE, axis=1).mean() < 3
    at_rest = np.hstack([landmarks, np.ones((5, 1))]) @ matrix.T - 8
    assert np.linalg.norm(at_rest - align.TEMPLATE, axis=1).mean() > 4


def test_what_shows_no_face_is_cut_in_the_middle(photos: Path, detector: FaceDetector) -> None:
    picture = np.asarray(Image.open(photos / "no-face.jpg").convert("RGB").resize((SIZE, SIZE)))
    face = stored(picture, "none")
    np.testing.assert_array_equal(cut(detector, face), CENTRE)
    np.testing.assert_array_equal(cropped(face, CENTRE), picture[8:120, 8:120])


def test_blends_keep_their_cut_and_no_photo_is_looked_for_twice(photos: Path, tmp_path: Path) -> None:
    photo = images.load(photos / "eileen-collins.jpg")
    landmarks = FaceDetector(registry.default("detect"), threads=1).detect(photo)[0].landmarks
    picture = align.align(photo, landmarks, SIZE)
    faces = [stored(picture, "photo"), stored(picture, "blend", SOURCE)]
    first = cuts(faces, tmp_path)
    assert not np.array_equal(first[0], CENTRE)
    np.testing.assert_array_equal(first[1], CENTRE)
    (kept,) = tmp_path.iterdir()
    with np.load(kept) as archive:
        tokens, marked = archive["keys"], archive["cuts"] + 1
    assert tokens.tolist() == [faces[0].token]
    np.savez(kept, keys=tokens, cuts=marked)
    np.testing.assert_array_equal(cuts(faces, tmp_path), [first[0] + 1, CENTRE])
    assert cuts([], tmp_path).shape == (0, 2, 3)


def test_photos_of_a_face_are_small_and_large_and_hold_all_of_it(photos: Path) -> None:
    face = Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
    sides = []
    for seed in range(40):
        photo, scale, (left, top) = framed(face, np.random.default_rng(seed))
        assert photo.shape == (FRAME, FRAME, 3)
        rows, columns = np.nonzero(photo[:, :, 0])
        assert (columns.min(), rows.min()) == (left, top)
        assert columns.max() - left + 1 == rows.max() - top + 1 == round(scale * SIZE)
        sides.append(scale * SIZE)
    assert min(sides) >= SMALLEST
    assert max(sides) <= LARGEST
    assert max(sides) > 2 * min(sides)


def test_rates_of_both_cuts_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path, train=0, heldout=60)
    weights = Path(__file__).parents[2] / "models" / "pocketnet-s128-open.pth"
    assert main([str(weights), "--faces", str(tmp_path)]) == 0
    first, *rates = capsys.readouterr().out.splitlines()
    assert first.startswith("60 faces of 30 people, ")
    assert [line.split(":")[0] for line in rates] == ["FMR 0.01"]
    assert re.fullmatch(r"FMR 0.01: TAR [01]\.\d{4}; as found FMR [\de.-]+, TAR [01]\.\d{4}", rates[0])


@pytest.mark.parametrize("damage", ["weights", "faces"])
def test_bad_input_is_one_line(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path, train=4, heldout=0)
    weights = Path(__file__).parents[2] / "models" / "pocketnet-s128-open.pth"
    given = tmp_path / "none.pth" if damage == "weights" else weights
    assert main([str(given), "--faces", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("training.found: ")
    assert error.count("\n") == 1
