"""Networks are shared by threads, pickle, and survive fork and spawn; nothing is written or sent."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pocketface
from pocketface import registry
from pocketface.network import Network

PACKAGE = str(Path(pocketface.__file__).resolve().parent.parent)


@pytest.fixture(params=["tiny.onnx", "tiny.tflite"])
def path(request, tiny, tmp_path):
    graph = tiny.embedder() if request.param.endswith(".onnx") else tiny.add_tflite()
    return tiny.put(tmp_path / "models", graph, request.param)


def pixels(path, count=2):
    side = 112 if path.suffix == ".onnx" else 4
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def run(code: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": PACKAGE, **(env or {})},
    )


PRELUDE = """
import os, sys
import numpy as np
from pathlib import Path
from pocketface import registry
from pocketface.network import Network

def pixels(path):
    side = 112 if path.suffix == ".onnx" else 4
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)

def answer(network):
    return network.run(pixels(network.model.path))["embedding"]
"""

FORK = (
    PRELUDE
    + """
network = Network(registry.find(sys.argv[1]), threads=2)
expected = answer(network)
pid = os.fork()
if pid == 0:
    try:
        os._exit(0 if np.array_equal(answer(network), expected) else 1)
    finally:
        os._exit(9)
status = os.waitpid(pid, 0)[1]
assert np.array_equal(answer(network), expected)
sys.exit(os.waitstatus_to_exitcode(status))
"""
)

SPAWN = """
import multiprocessing, sys
if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    import spawned
    network = spawned.Network(spawned.registry.find(sys.argv[1]), threads=2)
    expected = spawned.answer(network)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.map(spawned.answer, [network])[0]
    assert spawned.np.array_equal(result, expected)
"""


def test_pickle(path):
    network = Network(registry.find(path), threads=1)
    expected = network.run(pixels(path))["embedding"]
    copy = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(copy.run(pixels(path))["embedding"], expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fork_after_use(path):
    done = run(FORK, str(path))
    assert done.returncode == 0, done.stderr


def test_spawn(path, tmp_path):
    (tmp_path / "spawned.py").write_text(PRELUDE)
    script = tmp_path / "main.py"
    script.write_text(SPAWN)
    done = subprocess.run(
        [sys.executable, script, path, tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{tmp_path}"},
    )
    assert done.returncode == 0, done.stderr


def test_threads_share_one_network(path):
    network = Network(registry.find(path), threads=1)
    expected = Network(registry.find(path), threads=1).run(pixels(path))["embedding"]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: network.run(pixels(path))["embedding"], range(40)))
    assert all(np.array_equal(result, expected) for result in results)


PRIVATE = (
    """
import sys
import sys as _sys

def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        raise PermissionError(f"{event} {arguments}")

_sys.addaudithook(refuse)
"""
    + PRELUDE
    + """
answer(Network(registry.find(sys.argv[1]), threads=2))
"""
)


def test_nothing_is_written_and_no_socket_is_opened(path, tmp_path):
    """ONNX Runtime from 1.29 on writes a device id into the cache folder unless telemetry is off."""
    folders = {
        name: tmp_path / name
        for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR")
    }
    for folder in folders.values():
        folder.mkdir()
    done = run(PRIVATE, str(path), env={name: str(folder) for name, folder in folders.items()})
    assert done.returncode == 0, done.stderr
    assert [file for folder in folders.values() for file in folder.rglob("*")] == []
