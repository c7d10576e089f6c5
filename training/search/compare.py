"""Genotypes at equal training: `python -m training.search.compare pocketnet found.json ...`.

Each is trained from random weights by the same recipe for the same number of samples, measured on the
held-out people, exported, and timed with the others in turn, one thread; the table is Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from export.plain import write_plain
from export.rewrite import FOR_ONNX_RUNTIME, rewrite
from pocketface.engines import get
from pocketface.engines.protocol import Session
from pocketface.errors import InputError, PocketfaceError
from training.arguments import count
from training.batches import Batches
from training.networks.genotypes import load_genotype
from training.recipes import RECIPES
from training.release import comparable, evaluate
from training.shards import centre, read_faces
from training.students import build_student
from training.teachers import OFFICIAL, Teacher
from training.trainer import Trainer


@dataclass(frozen=True)
class Row:
    """What one genotype came to: accuracies are fractions, `time` is CPU milliseconds an embedding."""

    name: str
    cosine: float
    tar_at_1e2: float
    tar_at_1e3: float
    parameters: int
    multiply_adds: int
    time: float


def multiply_adds(network: nn.Module) -> int:
    """Multiply-adds of all convolutions for one 112x112 face."""
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += layer.weight[0].numel() * output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, 112, 112))
    for hook in hooks:
        hook.remove()
    return total


def compare(
    names: Sequence[str], faces: Sequence[Path], graph: Path, out: Path, recipe: str, samples: int, runs: int
) -> list[Row]:
    """Train, measure and time every genotype; goes on where `out` holds finished or begun runs."""
    teacher = Teacher(OFFICIAL, graph)
    training, held = (read_faces(faces, split) for split in ("train", "heldout"))
    if not comparable(held):
        raise InputError(f"{faces[0]}: no held-out pictures of people, which genotypes are compared on")
    sessions: list[Session] = []
    figures = []
    for name in names:
        load_genotype(name)
        run = replace(RECIPES[recipe], name=Path(name).stem, genotype=name, samples=samples, minutes=0)
        folder = out / run.name
        folder.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(Batches(run, training, teacher), folder)
        bar = tqdm(total=samples, initial=trainer.samples, desc=run.name, unit="face", disable=None)
        for _ in trainer.run(float("inf")):
            bar.update(trainer.samples - bar.n)
        bar.close()
        result = evaluate(run, folder, faces, teacher)
        network = build_student(run)
        network.load_state_dict(torch.load(folder / f"{run.name}.pth", weights_only=True))
        plain = folder / f"{run.name}.plain.onnx"
        write_plain(network.eval(), plain)
        fast, _ = rewrite(onnx.load(str(plain)), FOR_ONNX_RUNTIME)
        sessions.append(get("onnxruntime").load(fast.SerializeToString(), threads=1))
        tars = {point["fmr"]: point["tar"] for point in result["heldout"]["points"]}
        size = sum(p.numel() for p in network.parameters())
        cosine = result["heldout_cosine"]
        loose, strict = (tars.get(fmr, float("nan")) for fmr in (1e-2, 1e-3))  # nan: too few pairs
        figures.append((run.name, cosine, loose, strict, size, multiply_adds(network)))
    pictures = [centre(face) for face in held[:16]]
    times = timed(sessions, np.stack(pictures), runs)
    return [Row(*figure, t) for figure, t in zip(figures, times, strict=True)]


def timed(sessions: Sequence[Session], crops: NDArray[np.uint8], runs: int) -> list[float]:
    """Median CPU milliseconds of the thread an embedding, sessions taking turns on the same faces."""
    taken: list[list[float]] = [[] for _ in sessions]
    for turn in range(runs):
        x = (crops[turn % len(crops)][None].astype(np.float32) - 127.5) / 127.5
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        for session, times in zip(sessions, taken, strict=True):
            start = time.thread_time()
            session.run({session.inputs[0].name: x})
            times.append(1e3 * (time.thread_time() - start))
    return [statistics.median(times[2:]) for times in taken]


def table(rows: Sequence[Row]) -> str:
    """Markdown, one line a genotype."""
    lines = [
        "| genotype | held-out cosine | TAR at FMR 1e-2 | at 1e-3 | parameters | multiply-adds | CPU ms |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.cosine:.3f} | {r.tar_at_1e2:.1%} | {r.tar_at_1e3:.1%} | {r.parameters:,} "
        f"| {r.multiply_adds / 1e6:.1f} M | {r.time:.2f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Compare and print the table; 2 with one line on bad input."""
    p = argparse.ArgumentParser(
        prog="python -m training.search.compare", description="Train genotypes alike and compare them."
    )
    p.add_argument("genotypes", nargs="+", help="names or JSON files")
    p.add_argument("--faces", type=Path, nargs="+", required=True, help="folders of shards")
    p.add_argument("--teacher", type=Path, required=True, help="ONNX graph that training.teachers made")
    p.add_argument("--out", type=Path, required=True, help="folder for runs and table.md")
    p.add_argument("--recipe", default="comparison", choices=sorted(RECIPES), help="how all are trained")
    p.add_argument("--samples", type=count, default=4000, help="faces each sees")
    p.add_argument("--runs", type=count, default=60, help="timed embeddings of each")
    p.add_argument("--threads", type=count, default=torch.get_num_threads())
    a = p.parse_args(arguments)
    torch.set_num_threads(a.threads)
    try:
        text = table(compare(a.genotypes, a.faces, a.teacher, a.out, a.recipe, a.samples, a.runs))
        (a.out / "table.md").write_text(text, encoding="utf-8")
    except (PocketfaceError, ValueError, OSError) as error:
        print(f"training.search.compare: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    sys.exit(main())
