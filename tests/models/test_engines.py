"""Both engines compute the same, from threads, and turn every failure into an EngineError or ModelError."""

from __future__ import annotations

import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pocketface
from pocketface import engines
from pocketface.engines import TensorInfo
from pocketface.engines.memory import MemoryEngine, MemorySession
from pocketface.errors import EngineError, ModelError

PACKAGE = str(Path(pocketface.__file__).resolve().parent.parent)


@pytest.fixture(params=["onnxruntime", "litert"])
def session(request, tiny):
    graph = tiny.add_onnx() if request.param == "onnxruntime" else tiny.add_tflite()
    return engines.get(request.param).load(graph, threads=2)


def picture(session, count: int = 1, seed: int = 0):
    shape = tuple(size or 4 for size in session.inputs[0].shape[1:])
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def expected(session, image, tiny):
    channels = session.inputs[0].shape.index(3)
    return image + (tiny.offsets.reshape(3, 1, 1) if channels == 1 else tiny.offsets)


def test_result_and_description(session, tiny):
    image = picture(session)
    assert session.inputs[0].name == "image"
    assert session.inputs[0].dtype == "float32"
    assert session.inputs[0].shape[0] is None
    assert [info.name for info in session.outputs] == ["embedding"]
    np.testing.assert_allclose(session.run({"image": image})["embedding"], expected(session, image, tiny))


def test_batches_of_changing_size(session, tiny):
    for count in (1, 3, 2, 1):
        image = picture(session, count, seed=count)
        np.testing.assert_allclose(session.run({"image": image})["embedding"], expected(session, image, tiny))


def test_results_of_one_call_survive_the_next(session):
    first = session.run({"image": picture(session, seed=1)})["embedding"]
    kept = first.copy()
    session.run({"image": picture(session, seed=2)})
    np.testing.assert_array_equal(first, kept)


def test_threads_share_a_session(session, tiny):
    def call(seed: int) -> bool:
        image = picture(session, 1 + seed % 3, seed)
        return np.allclose(session.run({"image": image})["embedding"], expected(session, image, tiny))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(200)))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.float64),
        lambda x: x[..., 0],
        lambda x: x[:, :2, :2, :2],
        lambda x: x.astype(np.uint8),
    ],
)
def test_wrong_arrays_are_engine_errors(session, change):
    with pytest.raises(EngineError) as caught:
        session.run({"image": change(picture(session))})
    assert "\n" not in str(caught.value)


def test_wrong_names_are_engine_errors(session):
    with pytest.raises(EngineError):
        session.run({"picture": picture(session)})
    with pytest.raises(EngineError):
        session.run({})


def test_a_tflite_graph_without_signature_uses_its_tensors_names(tiny):
    session = engines.get("litert").load(tiny.add_tflite(signature=False), threads=1)
    assert [info.name for info in (*session.inputs, *session.outputs)] == ["in", "out"]


@pytest.mark.parametrize("name", ["onnxruntime", "litert"])
@pytest.mark.parametrize("graph", [b"", b"nonsense", b"\0\0\0\0TFL3" + b"\1" * 99])
def test_what_is_no_graph_is_a_model_error(name, graph):
    with pytest.raises(ModelError) as caught:
        engines.get(name).load(graph, threads=1)
    assert "\n" not in str(caught.value)


def test_choice_by_name_and_format():
    assert engines.for_format(".onnx").name == "onnxruntime"
    assert engines.for_format(".tflite").name == "litert"
    with pytest.raises(EngineError, match="there are onnxruntime, litert"):
        engines.get("tensorrt")
    with pytest.raises(EngineError, match="no engine runs"):
        engines.for_format(".pth")


def test_a_missing_engine_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert engines.available() == ()
    with pytest.raises(EngineError, match="pip install onnxruntime"):
        engines.get("onnxruntime")
    with pytest.raises(EngineError, match=r"pocketface\[tflite\]"):
        engines.get("litert")


def isolated(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees `folders` before everything else."""
    paths = [str(folder) for folder in folders] + [PACKAGE]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fake(folder: Path, module: str, code: str) -> Path:
    path = folder / Path(*module.split("."))
    path.mkdir(parents=True)
    for parent in (path, *path.parents):
        if parent == folder:
            break
        (parent / "__init__.py").write_text("")
    (path / "__init__.py").write_text(code)
    return folder


LOAD = """
from pocketface import engines
from pocketface.errors import EngineError
try:
    engines.get({name!r}).load(b"x", threads=1)
except EngineError as error:
    print(error)
"""


INTERPRETER = """
class Interpreter:
    def __init__(self, **_):
        raise SystemError("CreateWrapperFromBuffer returned a result with an exception set")
"""
FAILS = 'raise ImportError("numpy.core.multiarray failed to import")'


@pytest.mark.parametrize(
    ("code", "version"),
    [(INTERPRETER, "2.14.0"), (INTERPRETER, None), (FAILS, None)],
    ids=["known by its version", "fails when used", "fails when imported"],
)
def test_a_runtime_built_for_numpy_1_is_explained(tmp_path, code, version):
    """tflite-runtime 2.14 beside numpy 2 imports, then raises a SystemError; others fail to import."""
    fake(tmp_path, "ai_edge_litert.interpreter", 'raise ImportError("not for this machine")')
    fake(tmp_path, "tensorflow.lite", 'raise ImportError("not for this machine")')
    fake(tmp_path, "tflite_runtime.interpreter", code)
    if version:
        info = tmp_path / f"tflite_runtime-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tflite-runtime\nVersion: {version}\n")
    done = isolated(LOAD.format(name="litert"), tmp_path)
    assert "tflite_runtime was built for numpy 1, this is numpy 2" in done.stdout, done.stderr
    assert 'pip install "numpy<2"' in done.stdout


def test_a_broken_package_does_not_hide_a_working_one(tmp_path):
    fake(tmp_path, "ai_edge_litert.interpreter", 'raise ImportError("libfoo.so: cannot open shared object")')
    fake(tmp_path, "tflite_runtime.interpreter", "class Interpreter: pass")
    done = isolated(
        "from pocketface.engines import litert; print(litert._interpreter_class().__module__)", tmp_path
    )
    assert done.stdout.strip() == "tflite_runtime.interpreter", done.stderr


def test_a_broken_onnxruntime_is_explained(tmp_path):
    fake(tmp_path, "onnxruntime", 'raise ImportError("_ARRAY_API not found")')
    done = isolated(LOAD.format(name="onnxruntime"), tmp_path)
    assert "onnxruntime was built for numpy 1" in done.stdout, done.stderr


def test_importing_pocketface_and_listing_engines_imports_none():
    done = isolated(
        "import pocketface\nfrom pocketface import engines\nengines.available()\n"
        "print([name for name in ('onnxruntime', 'ai_edge_litert', 'tensorflow') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_telemetry_is_off_before_onnxruntime_is_imported(tmp_path):
    code = "import os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; raise ImportError('told')"
    fake(tmp_path, "onnxruntime", code)
    assert "told" in isolated(LOAD.format(name="onnxruntime"), tmp_path).stdout


def test_options_of_the_session(tiny):
    session = engines.get("onnxruntime").load(tiny.add_onnx(), threads=3)
    options = session._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


INFO = [TensorInfo("image", (None, 3), "float32")]
OUT = [TensorInfo("embedding", (None, 2), "float32")]


def test_memory_engine_runs_a_function():
    session = MemorySession(lambda feeds: {"embedding": feeds["image"][:, :2]}, INFO, OUT)
    engine = MemoryEngine(session)
    assert engine.load(b"", threads=1) is session
    assert session.run({"image": np.ones((4, 3), np.float32)})["embedding"].shape == (4, 2)


@pytest.mark.parametrize(
    ("feeds", "gives"),
    [
        ({"image": np.ones((1, 4), np.float32)}, None),
        ({"image": np.ones((1, 3))}, None),
        ({}, None),
        ({"image": np.ones((1, 3), np.float32)}, {"embedding": np.ones((1, 3), np.float32)}),
        ({"image": np.ones((1, 3), np.float32)}, {"other": np.ones((1, 2), np.float32)}),
    ],
)
def test_memory_engine_is_as_strict_as_a_real_one(feeds, gives):
    session = MemorySession(lambda _: gives or {"embedding": np.ones((1, 2), np.float32)}, INFO, OUT)
    with pytest.raises(EngineError, match="put"):
        session.run(feeds)


def test_engine_modules_are_listed():
    for name in ("onnxruntime", "litert"):
        assert importlib.import_module(f"pocketface.engines.{name}").ENGINE.name == name
