"""The browser gives the numbers that Python gives."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketface.align import align, estimate
from pocketface.images import load

LOAD = """async () => {
    const ort = await import("./onnxruntime/ort.wasm.min.mjs");
    const pocketface = await import("./pocketface.js");
    const recognizer = await pocketface.FaceRecognizer.load(ort, {
        detector: await pocketface.fetchModel("models/detector.json", "models/detector.onnx"),
        embedder: await pocketface.fetchModel("models/embedder.json", "models/embedder.onnx"),
    });
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    window.testing = { ...pocketface, recognizer, bytes, area };
}"""
EMBED_FILE = """async (text) => {
    const { recognizer, readPicture, bytes, area } = window.testing;
    const image = await readPicture(new Blob([bytes(text)]));
    const [face] = (await recognizer.detect(image)).sort((a, b) => area(b) - area(a));
    const { embedding, norm } = await recognizer.embed(recognizer.align(image, face.landmarks));
    return { embedding: [...embedding], norm, box: face.box, landmarks: face.landmarks };
}"""
EMBED_CROP = """async (text) => {
    const { recognizer, bytes } = window.testing;
    const { embedding, norm } = await recognizer.embed({ width: 112, height: 112, data: bytes(text) });
    return { embedding: [...embedding], norm };
}"""
ALIGN = """([text, width, height, landmarks]) => {
    const { align, estimate, bytes } = window.testing;
    const crop = align({ width, height, data: bytes(text) }, landmarks);
    return { crop: [...crop.data], matrix: estimate(landmarks) };
}"""


@pytest.fixture(scope="module")
def module(loaded):
    """The loaded page, with the module's functions in `window.testing`."""
    loaded.evaluate(LOAD)
    return loaded


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def assert_same_embedding(module, recognizer, path: Path) -> None:
    face = recognizer.analyze(path)
    face = max(face, key=lambda face: face.area)
    found = module.evaluate(EMBED_FILE, text(path.read_bytes()))
    assert np.dot(found["embedding"], face.embedding) >= 0.999, path
    assert found["norm"] == pytest.approx(face.norm, rel=0.01)
    np.testing.assert_allclose(found["box"], face.bbox, atol=0.01 * face.width)
    np.testing.assert_allclose(found["landmarks"], face.landmarks, atol=0.01 * face.width)

    crop = align(load(path), face.landmarks)
    found = module.evaluate(EMBED_CROP, text(crop.tobytes()))
    expected, _ = recognizer.embedder.embed(crop[None])
    assert np.dot(found["embedding"], expected[0]) >= 0.9999, path


def test_embeddings_of_lfw_agree(module, recognizer, lfw: Path) -> None:
    people = sorted(path for path in lfw.iterdir() if path.is_dir())
    for person in people[:: len(people) // 20][:20]:
        assert_same_embedding(module, recognizer, sorted(person.glob("*.jpg"))[0])


def test_embeddings_of_the_repositorys_photos_agree(module, recognizer, faces) -> None:
    for path in faces:
        assert_same_embedding(module, recognizer, path)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        pytest.param(
            (165, 123, 368, 326), (900, 900), id="overflowing: a second try, smaller, with a margin"
        ),
        pytest.param((100, 60, 440, 400), (900, 900), id="large: looked at twice more"),
        pytest.param((0, 0, 512, 600), (88, 103), id="small: looked at twice more"),
        pytest.param((0, 0, 512, 600), (36, 42), id="doubtful: found by two looks at the face alone"),
    ],
)
def test_embeddings_of_faces_of_any_size_agree(module, recognizer, faces, tmp_path, box, size) -> None:
    part = tmp_path / "part.png"
    with Image.open(faces[1]) as photo:
        photo.crop(box).resize(size).save(part)
    assert_same_embedding(module, recognizer, part)


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.15, 1.9, 2.6, 5.4])
def test_crops_are_equal_to_the_bit(module, faces, scale: float) -> None:
    with Image.open(faces[0]) as photo:
        image = np.asarray(photo.convert("RGB").resize((500, 400)))
    template = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
    shifts = np.random.default_rng(1).normal((-10, 30), 2, (5, 2))
    landmarks = (template * scale + shifts).astype(np.float32)
    found = module.evaluate(ALIGN, [text(image.tobytes()), 500, 400, landmarks.astype(float).tolist()])
    np.testing.assert_allclose(np.reshape(found["matrix"], (2, 3)), estimate(landmarks), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(np.reshape(found["crop"], (112, 112, 3)), align(image, landmarks))


@pytest.mark.parametrize(("width", "height"), [(480, 384), (333, 77), (100, 101), (31, 640)])
def test_resized_pictures_agree(module, faces, width: int, height: int) -> None:
    """To one grey level: some versions of Pillow resize the columns first, and each pass rounds."""
    with Image.open(faces[0]) as photo:
        image = photo.convert("RGB").resize((500, 400))
    expected = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))
    found = module.evaluate(
        """async ([text, width, height]) => {
            const { resize } = await import("./pixels.js");
            const image = { width: 500, height: 400, data: window.testing.bytes(text) };
            return [...resize(image, width, height).data];
        }""",
        [text(image.tobytes()), width, height],
    )
    np.testing.assert_allclose(np.reshape(found, (height, width, 3)), expected.astype(int), atol=1)
