"""`python -m export optimize`: the exact rewriting alone, for any ONNX graph, verified."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.rewrite import FOR_ONNX_RUNTIME, rewrite
from export.source import onnx_session, read_onnx, run_onnx
from export.verify import latencies
from pocketface.atomic import replacing
from pocketface.errors import InputError, ModelError

_TOLERANCE = 1e-4
_ROUNDS = 20


def optimize(graph: Path, output: Path) -> list[str]:
    """Rewrite `graph` to `output`; lines that say what was done.

    Raises:
        ModelError: the file is no ONNX graph, it does not run, or the rewritten one gives something else.
        InputError: `output` cannot be written.
    """
    if not output.parent.is_dir():
        raise InputError(f"{output}: its folder does not exist")
    before = read_onnx(graph)
    after, reports = rewrite(before, FOR_ONNX_RUNTIME)
    lines = []
    for report in reports:
        lines.append(f"{report.rule}: {report.applied} rewritten")
        lines += [f"    {count} left: {reason}" for reason, count in sorted(report.reasons.items())]
    pictures = _noise(before, graph)
    runs = [_runner(model, graph) for model in (before, after)]
    outputs = zip(*(run(pictures[0]) for run in runs), strict=True)
    # Unlike `max`, NumPy's gives NaN where one of them is NaN.
    worst = float(np.max([0.0, *(_difference(a, b) for a, b in outputs)]))
    if not worst <= _TOLERANCE:
        raise ModelError(f"{graph}: the rewritten graph differs by {worst:.1e} of the output; not written")
    old, new = latencies(runs, pictures, _ROUNDS)
    with replacing(output) as temporary:
        onnx.save(after, temporary)
    nodes = f"{len(before.graph.node)} nodes to {len(after.graph.node)}"
    lines.append(f"{output}: {nodes}, largest difference {worst:.1e} of the output's largest value")
    lines.append(f"{old:.2f} ms to {new:.2f} ms on one thread: {old / new:.2f}x")
    return lines


def _noise(model: onnx.ModelProto, path: Path) -> NDArray[np.float32]:
    """Smooth noise of the input's shape, open sizes taken as 1 (batch) and 128; `(4, c, h, w)`."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    dims = [dim.dim_value for value in inputs for dim in value.type.tensor_type.shape.dim]
    if len(inputs) != 1 or len(dims) != 4:
        raise InputError(f"{path}: optimize verifies graphs with one input of four axes")
    channels, height, width = dims[1] or 3, dims[2] or 128, dims[3] or 128
    random = np.random.default_rng(0)
    coarse = random.uniform(-1, 1, (4, channels, -(-height // 8), -(-width // 8)))
    noise = np.repeat(np.repeat(coarse, 8, 2), 8, 3)[:, :, :height, :width]
    return (noise + random.normal(0, 0.1, noise.shape)).astype(np.float32)


def _runner(model: onnx.ModelProto, path: Path) -> Callable[[NDArray[np.float32]], list[NDArray[Any]]]:
    session = onnx_session(model)
    return lambda picture: run_onnx(session, picture, path)


def _difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    if expected.shape != found.shape:
        return math.inf
    if expected.size == 0:
        return 0.0
    before, after = expected.astype(np.float64), found.astype(np.float64)  # truth values and integers too
    scale = max(float(np.abs(before).max()), 1e-30)
    return float(np.abs(before - after).max()) / scale
