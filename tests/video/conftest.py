from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pocketface import FaceRecognizer

KNOWN = ("Serena_Williams", "George_W_Bush")
STRANGER = "Abdullah_Gul"


@pytest.fixture(scope="session")
def recognizer(shared):
    return FaceRecognizer(
        shared / "models" / "yunet_n_dynamic.onnx",
        shared / "models" / "mobilefacenet_foamliu.onnx",
        threads=1,
    )


@pytest.fixture(scope="session")
def gallery(recognizer, lfw, tmp_path_factory):
    """Two people, each from two photos that are not in the video."""
    path = tmp_path_factory.mktemp("gallery") / "people.db"
    with recognizer.gallery(path, threshold=0.416) as gallery:
        for name in KNOWN:
            gallery.enroll(name, [str(photo) for photo in sorted((lfw / name).glob("*.jpg"))[:2]])
        yield gallery


def head(path):
    with Image.open(path) as image:
        return np.asarray(image.crop((50, 40, 200, 220)))


@pytest.fixture(scope="session")
def frames(lfw):
    """60 RGB frames 480x240: a known person, behind a pillar for a while, then another and a stranger."""
    first, second = (head(sorted((lfw / name).glob("*.jpg"))[2]) for name in KNOWN)
    stranger = head(sorted((lfw / STRANGER).glob("*.jpg"))[0])
    rng = np.random.default_rng(1)
    background = rng.integers(90, 130, (240, 480, 3)).astype(np.uint8)
    frames = []
    for i in range(60):
        frame = background.copy()
        if i < 36:
            x = 10 + 4 * i
            frame[30:210, x : x + 150] = first
            if 14 <= i < 19:
                frame[:, x : x + 150] = 60
        if i >= 30:
            frame[30:210, 320 - (i - 30) : 470 - (i - 30)] = second
        if i >= 40:
            frame[30:210, 20:170] = stranger
        frames.append(frame)
    return frames


@pytest.fixture(scope="session")
def still(lfw):
    """BGR frames 240x240: a known person, a stranger in the same place, and nobody."""
    frames = []
    for name, number in ((KNOWN[0], 2), (STRANGER, 0)):
        frame = np.full((240, 240, 3), 110, np.uint8)
        frame[30:210, 45:195] = head(sorted((lfw / name).glob("*.jpg"))[number])[..., ::-1]
        frames.append(frame)
    return [*frames, np.full((240, 240, 3), 110, np.uint8)]


@pytest.fixture(scope="session")
def video(frames, tmp_path_factory):
    """The frames as an mp4 file."""
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path_factory.mktemp("video") / "door.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 10, (480, 240))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path
