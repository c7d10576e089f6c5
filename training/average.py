"""`python -m training.average WEIGHTS WEIGHTS ... --out NAME.pth`: the mean of weights, and its figures.

Weights that one run left and that a later part began with lie in one valley, and their mean errs less than
either (Wortsman et al., "Model soups", ICML 2022). Only weights that go on from one another have a mean
that is worth anything: of two runs from random weights it is noise. With training faces the batch norms'
statistics are taken anew, of one file too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from pocketface.errors import InputError, PocketfaceError
from training.evaluation import embed_faces, verify
from training.morphs import photographed
from training.networks import VARIANTS, pocketnet, rectified
from training.release import comparable
from training.resume import read_state
from training.shards import read_faces
from training.statistics import renew
from training.students import embedder

FACES = "folder of shards, whose training faces give the statistics, held-out ones the figures; repeatable"


def mean(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of each tensor of numbers; of counts the last one's.

    Raises InputError where one is no file of weights, or of another network than the first.
    """
    return mean_of([read_state(path) for path in paths], paths)


def mean_of(states: Sequence[dict[str, Tensor]], paths: Sequence[Path]) -> dict[str, Tensor]:
    """As `mean`, of weights that were read from `paths`."""
    for path, state in zip(paths, states, strict=True):
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise InputError(f"{path}: not weights alone; give the .pth that a run leaves, no checkpoint")
        if _shapes(state) != _shapes(states[0]):
            raise InputError(f"{path}: of another network than {paths[0]}")
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if last.is_floating_point() else last
        for name, last in states[-1].items()
    }


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def network_of(state: dict[str, Tensor], path: Path) -> nn.Module:
    """The PocketNet that weights fit, rectified or the paper's, of any of the four sizes, with them.

    Raises InputError, which names `path`, where they fit none.
    """
    for build in (rectified, pocketnet):
        for variant in VARIANTS:
            with torch.device("meta"):  # shapes alone: random weights take longer than all the rest
                network = build(variant)
            if _shapes(network.state_dict()) == _shapes(state):
                network.load_state_dict(state, assign=True)
                return network.eval()
    raise InputError(f"{path}: weights of none of the four PocketNets, rectified or the paper's")


def run(arguments: Sequence[str] | None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m training.average", description=__doc__)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="where the mean goes; figures beside it")
    parser.add_argument("--faces", type=Path, action="append", help=FACES)
    options = parser.parse_args(arguments)
    missing = [path for path in options.weights if not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: no such file")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    state = mean(options.weights)
    network = network_of(state, options.weights[0])
    renew(network, photographed(read_faces(options.faces or [], "train")))
    part = options.out.with_suffix(".part")
    torch.save({name: value.contiguous() for name, value in network.state_dict().items()}, part)
    os.replace(part, options.out)
    faces = read_faces(options.faces or [], "heldout")
    known = [faces[index] for index in comparable(faces)]
    if not known:
        return
    found = asdict(verify(embed_faces(known, embedder(network)), [face.identity for face in known]))
    figures = {"mean_of": [f"{path.parent.name}/{path.name}" for path in options.weights], "heldout": found}
    options.out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for point in found["points"]:
        print(f"FMR {point['fmr']:g}: TAR {point['tar']:.4f} at {point['threshold']:.4f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Average and evaluate; 2 with one line on bad input."""
    try:
        run(arguments)
    except (PocketfaceError, OSError) as error:
        print(f"training.average: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
