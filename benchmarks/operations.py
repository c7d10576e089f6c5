"""What each candidate operation of the search costs on this machine: a table for `training.search`.

    python -m benchmarks.operations --out operations.json [--rectified] [--arm FOLDER]

Every operation is exported alone (batch norms folded, PReLU in its exact ReLU form, a rectified
operation with the ReLU that its node ends in), eight of it in one graph so that entering and leaving
the runtime and its layout counts little, and runs on ONNX Runtime with one thread, all graphs
interleaved in one process. The cost is an eighth of the median CPU time of the thread, in milliseconds.
With `--arm` it is an eighth of the instructions on an emulated Cortex-A72 (`benchmarks.arm` makes FOLDER).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.arm.board import Board, count_instructions
from benchmarks.shell import one_line
from pocketface.atomic import check_target
from pocketface.engines import get
from pocketface.errors import PocketfaceError

with one_line():
    import onnx
    import torch
    from torch import Tensor, nn
    from tqdm import tqdm

    from export.rewrite import FOR_ONNX_RUNTIME, rewrite
    from training.networks.operations import operation as prelu_operation
    from training.networks.rectified import operation as rectified_operation
    from training.search.latency import key, places
    from training.search.supernet import CANDIDATES

COPIES = 8


class _Copies(nn.Module):
    """One after the other where the size stays, side by side where it halves."""

    def __init__(self, name: str, channels: int, stride: int, rectified: bool) -> None:
        super().__init__()
        make = rectified_operation if rectified else prelu_operation
        self.copies = nn.ModuleList(make(name, channels, stride) for _ in range(COPIES))
        self.activation: nn.Module = nn.ReLU() if rectified else nn.Identity()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return torch.cat([self.activation(copy(x)) for copy in self.copies], 1)
        for copy in self.copies:
            x = self.activation(copy(x))
        return x


def graph(name: str, channels: int, size: int, stride: int, rectified: bool) -> bytes:
    """Copies of one operation as an ONNX graph, float32 `(1, channels, size, size)` in."""
    module = _Copies(name, channels, stride, rectified)
    for layer in module.modules():
        if isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, -0.5, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "operation.onnx"
        torch.onnx.export(
            module.eval(),
            (torch.zeros(1, channels, size, size),),
            str(file),
            input_names=["x"],
            output_names=["y"],
            dynamo=False,
        )
        model, _ = rewrite(onnx.load(str(file)), FOR_ONNX_RUNTIME)
    return bytes(model.SerializeToString())


def graphs(channels: int, cells: int, rectified: bool) -> dict[str, bytes]:
    """Each operation wherever a network of so many channels and cells has one, by the table's key."""
    wanted: dict[str, tuple[str, int, int, int]] = {}
    for place in places(channels, cells):
        spots = [(place.size, 1)]
        if place.reduction:
            spots = [(place.size, 2), (place.size // 2, 1)]
        for size, stride in spots:
            for name in CANDIDATES[1:]:
                if name != "skip" or stride == 2:
                    spot = (name, place.channels, size, stride)
                    wanted[key(*spot)] = spot
    return {k: graph(*spot, rectified) for k, spot in tqdm(wanted.items(), desc="export", disable=None)}


def milliseconds(models: dict[str, bytes], runs: int) -> dict[str, float]:
    """Median CPU time of one copy in each graph, on one thread of this machine."""
    engine = get("onnxruntime")
    sessions = {k: engine.load(model, threads=1) for k, model in models.items()}
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {k: [] for k in models}
    feeds = {}
    for k in models:
        _, c, size, _ = k.split("/")
        feeds[k] = {"x": rng.random((1, int(c), int(size), int(size)), dtype=np.float32)}
    for _ in tqdm(range(runs), desc="measure", disable=None):
        for k, session in sessions.items():
            session.run(feeds[k])
            start = time.thread_time()
            session.run(feeds[k])
            times[k].append(1e3 * (time.thread_time() - start))
    return {k: round(statistics.median(v) / COPIES, 5) for k, v in times.items()}


def instructions(models: dict[str, bytes], board: Board) -> dict[str, float]:
    """Millions of instructions of one copy in each graph, on the emulated board."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.onnx" for index in range(len(models))]
        for path, model in zip(paths, models.values(), strict=True):
            path.write_bytes(model)
        counts = count_instructions(board, "graphs", [str(path) for path in paths])
    return {k: round(count / 1e6 / COPIES, 5) for k, (count, _) in zip(models, counts, strict=True)}


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operations", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--rectified", action="store_true", help="the int8-friendly operations")
    parser.add_argument("--channels", type=int, default=16, help="channels of the first cells' nodes")
    parser.add_argument("--cells", type=int, default=18, help="cells, three of which reduce")
    parser.add_argument("--runs", type=int, default=50, help="timed runs of each operation")
    parser.add_argument("--arm", type=Path, help="folder of benchmarks.arm: count on its Cortex-A72")
    a = parser.parse_args(arguments)
    kind = "rectified" if a.rectified else "PReLU"
    try:
        check_target(a.out)
        models = graphs(a.channels, a.cells, a.rectified)
        costs = (
            instructions(models, Board(a.arm.resolve(), "cortex-a72"))
            if a.arm
            else milliseconds(models, a.runs)
        )
    except PocketfaceError as error:
        print(f"benchmarks.operations: {error}", file=sys.stderr)
        return 2
    table = {
        "target": f"ONNX Runtime, one thread{', Cortex-A72' if a.arm else ''}, {kind} operations",
        "unit": "million instructions" if a.arm else "ms",
        "costs": costs,
    }
    a.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
