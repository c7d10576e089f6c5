"""Cold start: a new process until its first embedding, and the memory it takes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from pocketface.errors import PocketfaceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pocketface.registry import Model

# Run by a fresh interpreter: what it prints was measured inside, the caller measures around it.
_CHILD = """
import json, sys, time
start = time.perf_counter()
from pocketface import FaceRecognizer
from pocketface.errors import NoFaceError
detector, embedder, photo = sys.argv[1:]
recognizer = FaceRecognizer(detector, embedder)
imported = time.perf_counter()
try:
    recognizer.embed(photo)
except NoFaceError:
    import numpy
    recognizer.embed_aligned(numpy.zeros((1, 112, 112, 3), numpy.uint8) + 99)
done = time.perf_counter()
try:
    import resource
    # KiB on Linux, bytes on macOS
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
except ImportError:
    peak = None
times = {"import_ms": (imported - start) * 1e3, "first_result_ms": (done - start) * 1e3}
print(json.dumps({**times, "peak_mb": peak}))
"""


def start(detector: Model, embedder: Model, photo: Path, *, times: int = 3) -> dict[str, Any]:
    """Medians over some new processes; files are in the system's cache after the first.

    Args:
        detector: model that finds faces.
        embedder: model that describes them.
        photo: a picture file.
        times: processes.

    Returns:
        `process_ms` (start to exit), `import_ms`, `first_result_ms` (both since the interpreter
        runs), `peak_mb` (resident memory; None where the system does not say).

    Raises:
        PocketfaceError: the process failed.
    """
    return run_child(
        [sys.executable, "-c", _CHILD, str(detector.path), str(embedder.path), str(photo)], times=times
    )


def run_child(
    command: list[str], *, times: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Run a command that prints a JSON object of numbers; gives the median of each, and `process_ms`."""
    runs = []
    for _ in range(times):
        began = clock()
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        elapsed = (clock() - began) * 1e3
        if child.returncode != 0:
            last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
            raise PocketfaceError(f"cold start failed: {last}")
        runs.append({**json.loads(child.stdout), "process_ms": elapsed})
    return {
        key: None if runs[0][key] is None else statistics.median(run[key] for run in runs) for key in runs[0]
    }
