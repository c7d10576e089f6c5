"""Batches on the student's device, here the CPU: Pillow's views, the teacher as ONNX Runtime runs it."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from synthetic_faces import face, write_shards

from training import resident
from training.augment import Augmentation, Geometry, composed
from training.networks import PocketNet
from training.paired import pair
from training.recipes import RECIPES
from training.resident import HARDSHIPS, Resident, cut, decoded, matrices, on_device
from training.shards import CENTRE, Face, centre, cropped, pixels, read_faces
from training.teachers import OFFICIAL, Teacher, export_pocketnet
from training.trainer import Trainer
from training.whitening import Whitened

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process started anew imports for seconds; a fork does here, where there is no GPU."""
    monkeypatch.setattr(resident.multiprocessing, "get_context", lambda _: FORK)


FORK = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Face]:
    folder = tmp_path_factory.mktemp("faces")
    write_shards(folder, train=12, heldout=0)
    return read_faces([folder], "train")


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()


def test_a_crop_is_pillows() -> None:
    picture = face(3, 0)
    rng = np.random.default_rng(0)
    for matrix in matrices(rng, 8, Geometry(shift=2, turn=4, scale=0.05)):
        ours = cut(tensor(picture), torch.from_numpy(matrix)[None])[0].permute(1, 2, 0).numpy()
        theirs = picture.transform(
            (112, 112), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR
        )
        # Beyond a picture Pillow has black, ours its last pixels.
        assert np.abs(ours - np.asarray(theirs, np.float32))[4:-4, 4:-4].max() < 1.01


def test_no_change_is_the_centre_and_half_of_the_crops_are_mirrored(faces: list[Face]) -> None:
    still = matrices(np.random.default_rng(0), 1, Geometry(0, 0, 0, mirror=False))
    crop = cut(
        torch.from_numpy(pixels(faces[0]).copy()).permute(2, 0, 1)[None].float(), torch.from_numpy(still)
    )
    np.testing.assert_allclose(crop[0].permute(1, 2, 0).numpy(), centre(faces[0]), atol=1e-3)
    many = matrices(np.random.default_rng(0), 400, Geometry())
    assert 150 < (np.linalg.det(many[:, :, :2]) < 0).sum() < 250


def test_a_crop_of_a_crop_is_one_cut() -> None:
    rng = np.random.default_rng(1)
    first, second = (matrices(rng, 1, Geometry(2, 4, 0.03, mirror=False)) for _ in range(2))
    corners = np.array([[0, 112, 0], [0, 0, 112], [1, 1, 1]], np.float32)
    inner = second[0] @ corners - 8  # a crop with a margin of 8 px around it
    expected = first[0] @ np.concatenate([inner, np.ones((1, 3))])
    np.testing.assert_allclose(composed(first, second)[0] @ corners, expected, rtol=1e-5)


def test_every_hardship_spoils_and_stays_a_picture() -> None:
    rng, noise = np.random.default_rng(2), torch.Generator().manual_seed(0)
    clean = torch.cat([tensor(face(person, 0, 112)) for person in range(3)])
    for hardship in HARDSHIPS:
        spoiled = hardship(clean.clone(), rng, noise)
        assert spoiled.shape == clean.shape, hardship.__name__
        assert spoiled.isfinite().all(), hardship.__name__
        assert (spoiled - clean).abs().mean() > 0.5, hardship.__name__


def test_a_blur_is_pillows_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = face(1, 0, 112)
    monkeypatch.setattr(resident, "_column", lambda rng, low, high, like: torch.full((1, 1, 1, 1), 1.5))
    ours = resident.blur(tensor(picture), np.random.default_rng(0), torch.Generator())
    theirs = tensor(picture.filter(ImageFilter.GaussianBlur(1.5)))  # boxes that come near a Gaussian
    inside = (..., slice(8, -8), slice(8, -8))
    assert (ours[inside] - theirs[inside]).abs().mean() < 1.0


def test_a_teacher_on_the_device_is_the_teacher(faces: list[Face], tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name in ("one", "two"):
        export_pocketnet(PocketNet(cells=6), (0, 1), tmp_path / f"{name}.onnx")
    spec = replace(OFFICIAL, hints=(0, 1), hint_channels=(64, 128, 512))
    first, second = (Teacher(spec, tmp_path / f"{name}.onnx") for name in ("one", "two"))
    first.centre = np.random.default_rng(0).normal(size=128).astype(np.float32)
    matrix = np.random.default_rng(1).normal(size=(128, 128)).astype(np.float32)
    teacher = Whitened(pair(first, second, faces, tmp_path / "common.npy"), matrix)
    crops = np.stack([centre(one) for one in faces[:2]])
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        ours = on_device(teacher, torch.device("cpu"))(x)
    for a, b in zip(ours, teacher(crops), strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=2e-3 * np.abs(b).max())


def test_batches_depend_on_their_first_sample_alone(faces: list[Face]) -> None:
    recipe = replace(
        RECIPES["pocketnet-s128-r-second"], augmentation=Augmentation(light=0.2, harden=0.9), late_from=1.0
    )
    targets = np.random.default_rng(0).normal(size=(len(faces), 128)).astype(np.float32)
    device = torch.device("cpu")
    one, two = (Resident(recipe, faces, None, targets, device) for _ in range(2))
    one.make(0, 8)
    a, b = one.make(8, 8), two.make(8, 8)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.embeddings, b.embeddings)
    assert not torch.equal(a.images, two.make(16, 8).images)
    for row, sample in zip(a.embeddings, range(8, 16), strict=True):
        assert torch.equal(row, torch.from_numpy(targets[one.index(sample)]))


def test_views_begin_where_the_detector_found_the_faces(faces: list[Face]) -> None:
    still = Augmentation(Geometry(0, 0, 0, mirror=False), light=0.0, found=1.0)
    recipe = replace(RECIPES["pocketnet-s128-r-second"], augmentation=still, late_from=1.0)
    targets = np.random.default_rng(0).normal(size=(len(faces), 128)).astype(np.float32)
    cuts = np.repeat(CENTRE[None], len(faces), axis=0)
    cuts[:, 0, 2] += np.arange(len(faces)) % 5 - 2
    batches = Resident(recipe, faces, None, targets, torch.device("cpu"), cuts=cuts)
    images = (batches.make(0, 8).images * 127.5 + 127.5).permute(0, 2, 3, 1).numpy()
    for image, sample in zip(images, range(8), strict=True):
        index = batches.index(sample)
        np.testing.assert_allclose(image, cropped(faces[index], cuts[index]), atol=1e-2)


def test_decoded_faces_are_kept_and_others_are_not_taken_for_them(faces: list[Face], tmp_path: Path) -> None:
    first = decoded(faces[:5], tmp_path)
    (kept,) = tmp_path.iterdir()
    np.testing.assert_array_equal(first, np.stack([pixels(one) for one in faces[:5]]))
    kept_at = kept.stat().st_mtime_ns
    decoded(faces[:5], tmp_path)
    assert kept.stat().st_mtime_ns == kept_at
    np.testing.assert_array_equal(decoded(faces[1:6], tmp_path)[:4], first[1:])


def test_a_run_learns_from_resident_faces(faces: list[Face], tmp_path: Path) -> None:
    recipe = replace(RECIPES["pocketnet-s128-r-second"], minutes=0, samples=48, batches=((0, 8),))
    targets = np.random.default_rng(0).normal(size=(len(faces), 128)).astype(np.float32)
    run = Trainer(Resident(recipe, faces, None, targets, torch.device("cpu"), tmp_path), tmp_path / "run")
    rows = list(run.run(1e9))
    assert np.mean([row["cosine"] for row in rows[-2:]]) > np.mean([row["cosine"] for row in rows[:2]])
