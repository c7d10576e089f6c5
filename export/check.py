"""Measure a folder of graphs against the ordinary export in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.contract import Contract
from export.forms import to_inputs
from export.source import onnx_function, read_onnx
from export.verify import latencies, parity, runner
from pocketface.cards import ModelCard
from pocketface.errors import InputError
from pocketface.registry import SUFFIXES, Model, from_file


@dataclass(frozen=True)
class Row:
    """One graph of the table; `relative` is how many times faster than the reference."""

    file: str
    precision: str
    bytes: int
    cosine_mean: float
    cosine_lowest: float
    milliseconds: float
    relative: float

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


def check(folder: Path, pictures: dict[str, NDArray[np.uint8]], rounds: int = 30) -> list[Row]:
    """Parity, size and speed of every graph with a card, each against its network's reference.

    The reference is `NAME.plain.onnx`, or `NAME.fp32.onnx` where the ordinary export is not kept.

    Args:
        folder: what `python -m export CHECKPOINT --out` wrote.
        pictures: uint8 `(n, h, w, 3)` for each task, "embed" and "detect".
        rounds: of the timing.

    Raises:
        InputError: there are no graphs, or none to compare with.
        ModelError: a graph or card is damaged.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix in SUFFIXES)
    models = [from_file(path) for path in paths]
    if not models:
        raise InputError(f"{folder}: no graphs")
    networks: dict[str, list[Model]] = {}
    for model in models:
        networks.setdefault(model.card.name.removesuffix("-plain"), []).append(model)
    rows = [_network(folder, name, group, pictures, rounds) for name, group in networks.items()]
    return [row for network in rows for row in network]


def _network(
    folder: Path, name: str, models: list[Model], pictures: dict[str, NDArray[np.uint8]], rounds: int
) -> list[Row]:
    candidates = [folder / f"{name}.plain.onnx", folder / f"{name}.fp32.onnx"]
    reference = next((path for path in candidates if path.is_file()), None)
    if reference is None:
        raise InputError(f"{folder}: neither {candidates[0].name} nor {candidates[1].name} to compare with")
    models.sort(key=lambda model: model.path != reference)
    shown = pictures[models[0].card.task]
    truth = onnx_function(read_onnx(reference), reference)(to_inputs(shown, _contract(models[0].card)))
    runs = [runner(model.read(), model.card.format, _contract(model.card)) for model in models]
    times = latencies(runs, shown, rounds)
    rows = []
    for model, run, milliseconds in zip(models, runs, times, strict=True):
        same = parity(run, truth, shown)
        rows.append(
            Row(
                model.path.name,
                model.card.precision,
                model.card.size,
                round(same.mean, 6),
                round(same.lowest, 6),
                round(milliseconds, 2),
                round(times[0] / milliseconds, 2),
            )
        )
    return rows


def _contract(card: ModelCard) -> Contract:
    """What feeding the graph needs; a graph that takes uint8 is fed pixels as they are."""
    return Contract(task=card.task, mean=card.input.mean[0], scale=card.input.scale[0])
