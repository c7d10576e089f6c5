"""The Android app's steps, compiled for the JVM, give what Python gives."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketface import FaceDetector, registry
from pocketface.align import TEMPLATE, align
from pocketface.decide import similarity, threshold_for
from pocketface.decoders import decode_pocketface, suppress
from pocketface.detect import SCORE_THRESHOLDS
from pocketface.errors import ModelError, ThresholdError
from pocketface.types import Threshold

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = ROOT / "examples" / "android" / "app" / "src" / "main" / "kotlin" / "pocketface" / "steps"


@pytest.fixture(scope="session")
def kotlin(tmp_path_factory):
    """The harness, compiled and running."""
    if shutil.which("kotlinc") is None or shutil.which("java") is None:
        pytest.skip("needs a Kotlin compiler and Java: apt-get install kotlin default-jdk-headless")
    jar = tmp_path_factory.mktemp("kotlin") / "steps.jar"
    sources = [*sorted(STEPS.glob("*.kt")), Path(__file__).with_name("Harness.kt")]
    command = ["kotlinc", *map(str, sources), "-include-runtime", "-d", str(jar)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning:" not in done.stderr.replace("VM warning:", "")
    command = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(jar), "HarnessKt"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Harness(process)
        process.stdin.close()


class Harness:
    """Asks the running program; see Harness.kt."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def send(self, *parts: bytes) -> None:
        self.process.stdin.write(b"".join(parts))
        self.process.stdin.flush()

    def receive(self, format: str):
        return struct.unpack(f">{format}", self.process.stdout.read(struct.calcsize(f">{format}")))

    def picture(self) -> np.ndarray:
        width, height = self.receive("ii")
        return np.frombuffer(self.process.stdout.read(3 * width * height), np.uint8).reshape(height, width, 3)

    def faces(self) -> np.ndarray:
        """Rows of score, box, landmarks."""
        (count,) = self.receive("i")
        return np.array([self.receive("15d") for _ in range(count)]).reshape(count, 15)


def picture(image: np.ndarray) -> bytes:
    return struct.pack(">ii", image.shape[1], image.shape[0]) + image.tobytes()


def floats(values: np.ndarray) -> bytes:
    return struct.pack(">i", values.size) + values.astype(">f4").tobytes()


def maps(outputs: dict[str, np.ndarray]) -> bytes:
    """Outputs in the TFLite graph's layout, NHWC."""
    parts = [struct.pack(">i", len(outputs))]
    for name, values in outputs.items():
        parts += [struct.pack(">H", len(name)), name.encode(), floats(values.transpose(0, 2, 3, 1))]
    return b"".join(parts)


@pytest.fixture(scope="session")
def image(photos: Path) -> np.ndarray:
    with Image.open(photos / "eileen-collins.jpg") as photo:
        return np.asarray(photo.convert("RGB"))


@pytest.mark.parametrize(("width", "height"), [(480, 384), (333, 77), (100, 101), (31, 640)])
def test_resized_pictures_agree(kotlin, image, width: int, height: int) -> None:
    """To one grey level: some versions of Pillow resize the columns first, and each pass rounds."""
    kotlin.send(b"r", picture(image), struct.pack(">ii", width, height))
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    np.testing.assert_allclose(kotlin.picture().astype(int), np.asarray(expected).astype(int), atol=1)


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.15, 1.9, 2.6, 5.4])
def test_crops_are_equal_to_the_bit(kotlin, image, scale: float) -> None:
    shifts = np.random.default_rng(1).normal((-10, 30), 2, (5, 2))
    landmarks = TEMPLATE * scale + shifts
    kotlin.send(b"a", picture(image), struct.pack(">10d", *landmarks.ravel()))
    np.testing.assert_array_equal(kotlin.picture(), align(image, landmarks))


def test_faces_are_decoded_alike(kotlin) -> None:
    rng = np.random.default_rng(2)
    height, width = 160, 224
    outputs = {}
    for stride in (8, 16, 32):
        rows, columns = height // stride, width // stride
        outputs[f"score_{stride}"] = rng.normal(-1, 1.5, (1, 1, rows, columns)).astype(np.float32)
        outputs[f"bbox_{stride}"] = rng.uniform(0.5, 3, (1, 4, rows, columns)).astype(np.float32)
        outputs[f"kps_{stride}"] = rng.normal(0, 1, (1, 10, rows, columns)).astype(np.float32)
    (candidates,) = decode_pocketface(outputs, 1, (height, width), SCORE_THRESHOLDS["pocketface"])
    kept = suppress(candidates.boxes, candidates.scores, 0.4)
    landmarks = candidates.landmarks[kept].reshape(-1, 10)
    expected = np.concatenate([candidates.scores[kept, None], candidates.boxes[kept], landmarks], axis=1)
    kotlin.send(b"d", struct.pack(">ii", width, height), maps(outputs))
    assert len(kept) > 20
    np.testing.assert_allclose(kotlin.faces(), expected, rtol=1e-5, atol=1e-3)


@pytest.fixture
def detector() -> FaceDetector:
    """The project's own, for pictures of 320x320 as in the app."""
    try:
        model = registry.find(f"{registry.default('detect').card.name}.fp32")
    except ModelError as error:
        pytest.skip(f"needs models: {error}")
    if model.card.kind != "pocketface" or model.card.format != "onnx":
        pytest.skip("needs the project's own detector as an ONNX graph")
    card = replace(model.card, input=replace(model.card.input, size=(320, 320)))
    return FaceDetector(replace(model, card=card), engine="onnxruntime", threads=1)


def search(kotlin: Harness, network, photo: np.ndarray) -> np.ndarray:
    """The faces that the app finds, the graph running in Python."""
    kotlin.send(b"f", struct.pack(">ii", 320, 320), picture(photo))
    while kotlin.receive("i") == (1,):
        kotlin.send(maps(network.run(kotlin.picture()[None])))
    return kotlin.faces()


class Blind:
    """A detector's network that sees nothing in the first picture, so that a second try is made."""

    def __init__(self, network) -> None:
        self.card, self.batch, self.network, self.pictures = network.card, network.batch, network, 0

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        self.pictures += len(pictures)
        outputs = self.network.run(pictures)
        if self.pictures > 1:
            return outputs
        return {name: values - 99 if name.startswith("score") else values for name, values in outputs.items()}


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 512, 512), (512, 512)),
        ((0, 0, 512, 512), (1900, 1500)),
        ((0, 0, 512, 512), (150, 150)),
        pytest.param((144, 37, 304, 197), (600, 600), id="large: looked at twice more"),
        pytest.param((0, 0, 512, 512), (72, 72), id="doubtful: found by two looks at the face alone"),
    ],
)
def test_faces_of_a_photo_are_found_alike(
    kotlin, detector: FaceDetector, image, box, size: tuple[int, int], blind: bool
) -> None:
    """The whole search, with the graph running in Python."""
    photo = np.asarray(Image.fromarray(image).crop(box).resize(size))
    network = detector.network
    detector.network = Blind(network) if blind else network
    expected = detector.detect(photo)
    detector.network = Blind(network) if blind else network
    found = search(kotlin, detector.network, photo)
    assert len(found) == len(expected) >= 1
    for row, face in zip(found, expected, strict=True):
        assert row[0] == pytest.approx(face.det_score, abs=1e-3)
        np.testing.assert_allclose(row[1:5], face.bbox, atol=0.01 * face.width)
        np.testing.assert_allclose(row[5:].reshape(5, 2), face.landmarks, atol=0.01 * face.width)


class Collapsed:
    """A detector's network that says of every face that all its corners and landmarks are one point."""

    def __init__(self, network) -> None:
        self.card, self.batch, self.network = network.card, network.batch, network

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self.network.run(pictures)
        return {name: values * name.startswith("score") for name, values in outputs.items()}


def test_a_face_without_an_extent_is_none(kotlin, detector: FaceDetector, image) -> None:
    assert len(search(kotlin, detector.network, image)) == 1
    detector.network = Collapsed(detector.network)
    assert detector.detect(image) == []
    assert len(search(kotlin, detector.network, image)) == 0


def test_similarities_agree(kotlin) -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 128)).astype(np.float32)
    kotlin.send(b"c", floats(a), floats(b))
    assert kotlin.receive("d")[0] == pytest.approx(similarity(a, b), abs=1e-6)


@pytest.mark.parametrize("fmr", [1e-2, 1e-3, 5e-4, 1e-4, 1e-6])
def test_thresholds_are_chosen_alike(kotlin, fmr: float) -> None:
    """The next stricter rate is taken, and one that too few pairs support is not."""
    entries = [
        Threshold(0.3, 1e-2, data="x", impostor_pairs=50_000),
        Threshold(0.4, 1e-3, data="x", impostor_pairs=50_000),
        Threshold(0.5, 1e-4, data="x", impostor_pairs=50_000),
        Threshold(0.6, 1e-6, data="x", impostor_pairs=50_000),
    ]
    card = card_with(tuple(entries))
    rows = [struct.pack(">ddq", entry.value, entry.fmr, entry.impostor_pairs) for entry in entries]
    kotlin.send(b"t", struct.pack(">i", len(rows)), *rows, struct.pack(">d", fmr))
    (found,) = kotlin.receive("d")
    try:
        assert found == threshold_for(card, fmr).value
    except ThresholdError:
        assert np.isnan(found)


def card_with(thresholds):
    try:
        card = registry.default("embed").card
    except ModelError as error:
        pytest.skip(f"needs models: {error}")
    return replace(card, thresholds=thresholds)
