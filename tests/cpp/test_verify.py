"""The C++ example, compiled here, decides as Python does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pocketface import FaceRecognizer, registry
from pocketface.errors import ModelError

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "cpp"
COLLAPSED = [f"{what}_{stride}" for what in ("bbox", "kps") for stride in (8, 16, 32)]


@pytest.fixture(scope="session")
def onnxruntime_library(tmp_path_factory) -> Path:
    """Folder with the library that Python uses, under the names that linker and loader look for."""
    import onnxruntime

    files = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not files:
        pytest.skip("this onnxruntime package holds no libonnxruntime.so to link with")
    folder = tmp_path_factory.mktemp("onnxruntime")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(files[0])
    return folder


@pytest.fixture(scope="session")
def verify(onnxruntime_library: Path, tmp_path_factory):
    """Runs the compiled example: arguments to exit status, stdout and stderr."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("needs CMake and a C++ compiler")
    build = tmp_path_factory.mktemp("build")
    library = f"-DONNXRUNTIME_LIBRARY={onnxruntime_library / 'libonnxruntime.so'}"
    configured = subprocess.run(
        ["cmake", "-S", EXAMPLE, "-B", build, library],
        capture_output=True,
        text=True,
        check=False,
    )
    problem = r"Could not find (\w+)|by \"(nlohmann_json)\"|Could NOT find (JPEG)"
    missing = re.search(problem, configured.stderr)
    if configured.returncode != 0 and missing:
        name = next(name for name in missing.groups() if name)
        pytest.skip(f"needs {name}: apt-get install libjpeg-dev nlohmann-json3-dev libonnxruntime-dev")
    assert configured.returncode == 0, configured.stderr
    command = ["cmake", "--build", build, "--parallel", "2"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    assert "warning" not in compiled.stderr

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [build / "verify", *map(str, arguments)],
            env={"LD_LIBRARY_PATH": str(onnxruntime_library), "ORT_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def models() -> list[Path]:
    """The default detector and embedder in their fp32 ONNX form."""
    try:
        names = [registry.default(task).card.name for task in ("detect", "embed")]
    except ModelError as error:
        pytest.skip(f"needs models: {error}")
    models = [registry.find(f"{name}.fp32") for name in names]
    assert [model.card.format for model in models] == ["onnx", "onnx"]
    return [model.path for model in models]


@pytest.fixture(scope="session")
def cards(models: list[Path]) -> list[Path | None]:
    return [registry.card_file(path) for path in models]


@pytest.fixture(scope="session")
def recognizer(models: list[Path]) -> FaceRecognizer:
    return FaceRecognizer(*models, engine="onnxruntime", threads=1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("eileen-collins.jpg", "eileen-collins-second-take.jpg"),
        ("eileen-collins.jpg", "grace-hopper.jpg"),
    ],
)
def test_it_decides_as_python_does(verify, cards, recognizer, photos: Path, first: str, second: str) -> None:
    expected = recognizer.verify(photos / first, photos / second)
    done = verify(*cards, photos / first, photos / second)
    pattern = r"(same person|different people): similarity (-?[\d.]+), threshold ([\d.]+) \(FMR 0.001\)\n"
    line = re.fullmatch(pattern, done.stdout)
    assert line, done.stdout + done.stderr
    assert float(line[2]) == pytest.approx(expected.similarity, abs=1e-4)
    assert float(line[3]) == pytest.approx(expected.threshold.value, abs=1e-6)
    assert done.returncode == (0 if expected.verified else 1)
    assert (line[1] == "same person") == expected.verified


def test_a_large_sharp_photo_agrees(verify, cards, recognizer, photos: Path, tmp_path: Path) -> None:
    """Exercises averaging before the warp, and the EXIF orientation."""
    from PIL import Image

    large = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "grace-hopper.jpg") as photo:
        turned = photo.resize((2003, 2347)).transpose(Image.Transpose.ROTATE_90)
        turned.save(large, quality=95, exif=exif)
    expected = recognizer.verify(large, photos / "eileen-collins.jpg")
    done = verify(*cards, large, photos / "eileen-collins.jpg")
    found = re.search(r"similarity (-?[\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) == pytest.approx(expected.similarity, abs=1e-3)


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
def test_faces_of_any_size_agree(verify, cards, recognizer, photos: Path, tmp_path, box, size) -> None:
    from PIL import Image

    part = tmp_path / "part.jpg"
    with Image.open(photos / "grace-hopper.jpg") as photo:
        photo.crop(box).resize(size).save(part, quality=95)
    expected = recognizer.verify(part, photos / "grace-hopper.jpg")
    done = verify(*cards, part, photos / "grace-hopper.jpg")
    found = re.search(r"similarity (-?[\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) == pytest.approx(expected.similarity, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no face was found"), (b"just text", "not a JPEG file"), ("missing", "No such file")],
)
def test_bad_pictures_are_one_line(verify, cards, photos: Path, tmp_path: Path, content, reason: str) -> None:
    path = tmp_path / "picture.jpg"
    if content is None:
        path = photos / "no-face.jpg"
    elif isinstance(content, bytes):
        path.write_bytes(content)
    done = verify(*cards, path, photos / "grace-hopper.jpg")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert path.name in done.stderr
    assert reason in done.stderr


def test_a_face_without_an_extent_is_none(verify, models, cards, photos: Path, tmp_path: Path) -> None:
    """No crop can be cut out of it, as when a damaged detector says that all its corners are one point."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(models[0]))
    zero = onnx.numpy_helper.from_array(np.float32(0), "zero")
    graph.graph.initializer.append(zero)
    for node in graph.graph.node:
        node.output[:] = [f"{name}_as_it_was" if name in COLLAPSED else name for name in node.output]
    nodes = [onnx.helper.make_node("Mul", [f"{name}_as_it_was", "zero"], [name]) for name in COLLAPSED]
    graph.graph.node.extend(nodes)
    onnx.save(graph, str(tmp_path / models[0].name))
    shutil.copy(cards[0], tmp_path)
    done = verify(tmp_path / cards[0].name, cards[1], *[photos / "grace-hopper.jpg"] * 2)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no face was found" in done.stderr
