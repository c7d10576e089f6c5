"""Command line of the search."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from pocketface.errors import PocketfaceError
from training.arguments import count, minutes
from training.networks.layout import VARIANTS
from training.search.blocks import Blocks, taught_halves, teacher_of_all_cells
from training.search.faces import halves
from training.search.latency import CostTable
from training.search.run import Batches, Search, Settings, search
from training.search.supernet import Architecture, SuperNet
from training.teachers import OFFICIAL, Teacher


def parser() -> argparse.ArgumentParser:
    """The arguments of `python -m training.search`."""
    d = Settings()
    p = argparse.ArgumentParser(
        prog="python -m training.search",
        description="Search a cell for face recognition. Resumes where --out holds a state. "
        "Defaults are the paper's; training/search/README.md has the commands for a CPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--faces", type=Path, nargs="+", required=True, help="folders of shards and manifest.csv")
    p.add_argument("--out", type=Path, required=True, help="folder for genotypes, drawings, curves and state")
    p.add_argument("--minutes", type=minutes, help="stop after so long; the same command goes on")
    p.add_argument("--teacher", type=Path, help="ONNX graph of training.teachers whose embeddings to match, "
                   "in place of the paper's softmax over people")  # fmt: skip
    p.add_argument("--blocks", type=Path, metavar="MODELS", help="search cells of S-128, each alone between "
                   "maps of the authors' PocketNetS-128, whose weights are in this folder")  # fmt: skip
    p.add_argument("--rectify", action="store_true", help="search the rectified, int8-friendly operations")
    p.add_argument("--second-order", action="store_true", help="differentiate through a step of the weights")
    p.add_argument("--latency", type=Path, help="table of costs from python -m benchmarks.operations")
    p.add_argument("--latency-weight", type=float, default=d.latency_weight, help="of the relative cost")
    p.add_argument("--target", choices=sorted(VARIANTS), default=d.target, help="size whose cost counts")
    p.add_argument("--skips", type=int, default=d.skips, help="skips that a cell keeps at the most")
    p.add_argument("--channels", type=count, default=16, help="channels of the first cells' nodes")
    p.add_argument("--cells", type=int, default=8, help="cells, three of which reduce")
    p.add_argument("--size", type=int, default=112, help="side of the faces in pixels, a multiple of 16")
    p.add_argument("--batch", type=count, default=d.batch, help="faces in a batch")
    p.add_argument("--muon", action="store_true", help="weights by Muon: far fewer samples than SGD")
    p.add_argument("--weights-rate", type=float, default=d.weights_rate, help="learning rate of the weights")
    p.add_argument("--architecture-rate", type=float, default=d.architecture_rate, help="Adam's rate")
    p.add_argument("--architecture-decay", type=float, default=d.architecture_decay, help="its weight decay")
    p.add_argument("--warm-up", type=int, default=d.warm_up, help="faces before the architecture moves")
    p.add_argument("--samples", type=count, default=d.samples, help="faces the weights see in all")
    p.add_argument("--every", type=count, default=d.every, help="faces between two genotypes")
    p.add_argument("--limit", type=count, help="use so many faces only")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where the network is")
    p.add_argument("--threads", type=count, default=torch.get_num_threads(), help="threads of the CPU")
    p.add_argument("--seed", type=int, default=d.seed, help="of weights and batches")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run a search; 0 when it ran, 2 with one line on bad input."""
    a = parser().parse_args(arguments)
    torch.set_num_threads(a.threads)
    try:
        if a.size % 16 or a.size < 32:
            raise ValueError(f"--size {a.size}: expected a multiple of 16, at least 32")
        if a.cells < 4:
            raise ValueError(f"--cells {a.cells}: expected at least 4, for three of them reduce")
        if a.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: PyTorch sees no GPU here")
        if a.blocks and a.teacher:
            raise ValueError("--blocks has its own teacher: leave --teacher out")
        if a.latency_weight and a.latency is None:
            raise ValueError("--latency-weight needs --latency, a table of costs")
        table = CostTable.read(a.latency) if a.latency else None
        torch.manual_seed(a.seed)
        network: Architecture
        pair: tuple[Batches, Batches]
        if a.blocks:
            shows = teacher_of_all_cells(a.blocks, a.out / "teacher.onnx")
            pair = taught_halves(a.faces, a.seed, shows, a.limit)
            network = Blocks(rectify=a.rectify)
            network.calibrate(pair[0].batch(64, np.random.default_rng(a.seed)))
        else:
            teacher = Teacher(OFFICIAL, a.teacher) if a.teacher else None
            first, second, classes = halves(a.faces, a.size, a.seed, teacher, a.limit)
            pair = first, second
            network = SuperNet(a.channels, a.cells, 128, a.size, classes=classes, rectify=a.rectify)
        settings = Settings(
            second_order=a.second_order, batch=a.batch, weights_rate=a.weights_rate, sgd=not a.muon,
            architecture_rate=a.architecture_rate, architecture_decay=a.architecture_decay,
            warm_up=a.warm_up, samples=a.samples, every=a.every, latency_weight=a.latency_weight,
            target=a.target, skips=a.skips, seed=a.seed,
        )  # fmt: skip
        search(Search(settings, pair, network, table, a.device), a.out, a.minutes)
    except (PocketfaceError, ValueError, OSError) as error:
        print(f"training.search: {error}", file=sys.stderr)
        return 2
    print((a.out / "genotype.json").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    sys.exit(main())
