"""Whether a graph still computes what its source does, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.contract import Contract
from export.forms import to_inputs
from export.source import Outputs, onnx_session
from pocketface.cards import PRECISIONS

Runner = Callable[[NDArray[np.uint8]], Outputs]
"""One picture, uint8 `(h, w, 3)` RGB, to the outputs by name, maps in NCHW."""


@dataclass(frozen=True)
class Parity:
    """Cosines of a graph's outputs to the source's, over pictures; the worst output counts."""

    mean: float
    lowest: float


def runner(graph: bytes, format_: str, contract: Contract) -> Runner:
    """A graph on one thread, fed with pictures as its card says."""
    return _onnx_runner(graph, contract) if format_ == "onnx" else _tflite_runner(graph, contract)


def _onnx_runner(graph: bytes, contract: Contract) -> Runner:
    session = onnx_session(onnx.load_from_string(graph))
    entry = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    def run(picture: NDArray[np.uint8]) -> Outputs:
        results = session.run(None, {entry: to_inputs(picture[None], contract)})
        return dict(zip(names, results, strict=True))

    return run


def _tflite_runner(graph: bytes, contract: Contract) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=graph, num_threads=1)
    interpreter.allocate_tensors()
    signature = interpreter.get_signature_list()["serving_default"]
    entry = interpreter.get_input_details()[0]
    invoke = interpreter.get_signature_runner("serving_default")
    (name,) = signature["inputs"]

    def run(picture: NDArray[np.uint8]) -> Outputs:
        pixels = picture[None]
        if entry["dtype"] is not np.uint8:
            pixels = np.ascontiguousarray(to_inputs(pixels, contract).transpose(0, 2, 3, 1))
        results = invoke(**{name: pixels})
        return {
            key: value.transpose(0, 3, 1, 2) if value.ndim == 4 else value for key, value in results.items()
        }

    return run


def parity(run: Runner, truth: Outputs, pictures: NDArray[np.uint8]) -> Parity:
    """Cosine of each picture's outputs to the truth `(n, ...)`, each output taken as one vector."""
    rows = [run(picture) for picture in pictures]
    means, lowest = [], []
    for name, expected in truth.items():
        found = np.concatenate([row[name] for row in rows]).reshape(len(rows), -1).astype(np.float64)
        wanted = expected.reshape(len(rows), -1).astype(np.float64)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosines = (found * wanted).sum(1) / np.maximum(norms, 1e-30)
        means.append(cosines.mean())
        lowest.append(cosines.min())
    return Parity(float(min(means)), float(min(lowest)))


def latencies(
    runs: Sequence[Callable[[NDArray[Any]], object]], pictures: NDArray[Any], rounds: int
) -> list[float]:
    """Median CPU milliseconds of this thread for one picture, graphs taking turns.

    CPU time does not see other processes' turns, and taking turns lets all graphs meet the same
    state of the caches and the clock.
    """
    times: list[list[float]] = [[] for _ in runs]
    for index in range(rounds + 2):
        picture = pictures[index % len(pictures)]
        for run, measured in zip(runs, times, strict=True):
            begin = time.thread_time()
            run(picture)
            if index >= 2:
                measured.append(time.thread_time() - begin)
    return [1000 * float(np.median(measured)) for measured in times]


def fastest_of(forms: Sequence[tuple[str, float]]) -> int:
    """Index of the fastest form; a less exact one has to be a tenth faster than a more exact one.

    Args:
        forms: precision and milliseconds of each.
    """
    order = sorted(range(len(forms)), key=lambda i: PRECISIONS.index(forms[i][0]))
    best = order[0]
    for i in order[1:]:
        gain = 1.0 if forms[i][0] == forms[best][0] else 0.9
        if forms[i][1] < gain * forms[best][1]:
            best = i
    return best
