"""One search: alternate the two steps, write genotype, drawing and curves, resume after a kill."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.muon import Muon, is_matrix
from training.networks.layout import VARIANTS
from training.resume import cut, read_state, restoring, same_settings
from training.search.bilevel import first_order, second_order
from training.search.derive import derive
from training.search.draw import draw
from training.search.latency import CostTable, ExpectedCost, genotype_cost, places
from training.search.supernet import Architecture


@dataclass(frozen=True)
class Settings:
    """What a search does; defaults are the paper's where it states them.

    Attributes:
        second_order: differentiate through one step of the weights.
        batch: faces in a batch, of each half.
        weights_rate: learning rate of the weights at the start; falls to zero on a cosine.
        sgd: weights by SGD as in the paper, not by Muon.
        architecture_rate: Adam's rate for the architecture.
        architecture_decay: its weight decay, in the gradient: 1e-3 (DARTS) suits a softmax's loss and
            outweighs the smaller gradient of a distillation.
        warm_up: samples before the architecture moves.
        samples: faces that the weights see in all.
        every: samples between two genotypes ("epochs").
        latency_weight: weight of expected cost over the cost at the start, 0 for none.
        target: the size of network whose cost counts, a key of `VARIANTS`; not the one searched.
        skips: skips that a cell of the genotype keeps at the most.
    """

    second_order: bool = False
    batch: int = 128
    weights_rate: float = 0.1
    sgd: bool = True
    architecture_rate: float = 1.2e-3
    architecture_decay: float = 1e-3
    warm_up: int = 0
    samples: int = 500_000
    every: int = 10_000
    latency_weight: float = 0.0
    target: str = "s128"
    skips: int = 8
    seed: int = 1


class Batches(Protocol):
    """Half of the faces."""

    def batch(self, size: int, rng: np.random.Generator) -> Sequence[Tensor]:
        """A random batch of so many, as the network's `loss` takes it."""


class Search:
    """The state of a search and its two steps."""

    def __init__(
        self,
        settings: Settings,
        halves: tuple[Batches, Batches],
        network: Architecture,
        table: CostTable | None,
        device: str = "cpu",
    ) -> None:
        self.settings, self.halves, self.table = settings, halves, table
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.rng = np.random.default_rng(settings.seed)
        weights = self.weights = network.weights()
        self.optimizers: list[torch.optim.Optimizer]
        if settings.sgd:
            self.optimizers = [
                torch.optim.SGD(weights, settings.weights_rate, momentum=0.9, weight_decay=3e-4)
            ]
        else:
            self.optimizers = [
                Muon([p for p in weights if is_matrix(p)], settings.weights_rate),
                torch.optim.AdamW(
                    [p for p in weights if not is_matrix(p)], settings.weights_rate / 8, betas=(0.9, 0.98)
                ),
            ]
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.architecture = torch.optim.Adam(
            self.network.architecture(),
            settings.architecture_rate,
            betas=(0.5, 0.999),
            weight_decay=settings.architecture_decay,
        )
        target = VARIANTS[settings.target]
        self.where = places(target.channels, target.cells)
        self.expected = ExpectedCost(table, self.where) if table else None
        self.cost_at_start = self._cost().item() if self.expected else 1.0
        self.samples = 0

    def _cost(self) -> Tensor:
        assert self.expected is not None
        return self.expected(self.network.alpha_normal, self.network.alpha_reduce)

    def _batch(self, half: int) -> list[Tensor]:
        batch = self.halves[half].batch(self.settings.batch, self.rng)
        return [tensor.to(self.device) for tensor in batch]

    def _validation(self, batch: Sequence[Tensor]) -> Tensor:
        loss = self.network.loss(batch)
        if self.expected and self.settings.latency_weight:
            loss = loss + self.settings.latency_weight * self._cost() / self.cost_at_start
        return loss

    def step(self) -> tuple[float, float]:
        """One step of the architecture and one of the weights; losses of validation and training."""
        s = self.settings
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.samples / s.samples)))
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = max(rate * fall, rate * 0.04)
        training = self._batch(0)
        held = float("nan")
        if self.samples >= s.warm_up:
            validation = self._batch(1)
            a = self.network.architecture()
            if s.second_order:
                rate = self.optimizers[0].param_groups[0]["lr"]
                held = second_order(
                    a,
                    self.weights,
                    lambda: self.network.loss(training),
                    lambda: self._validation(validation),
                    rate,
                    3e-4,
                ).item()
            else:
                held = first_order(a, lambda: self._validation(validation)).item()
            self.architecture.step()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.network.loss(training)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.architecture.zero_grad(set_to_none=True)
        self.samples += s.batch
        return held, loss.item()

    def kept(self) -> dict[str, Any]:
        """The settings that must be the same when a search goes on: all but its length and its reports."""
        return {k: v for k, v in asdict(self.settings).items() if k not in ("samples", "every")}

    def state(self) -> dict[str, Any]:
        """Everything that a search needs to go on."""
        return {
            "settings": self.kept(),
            "network": self.network.state_dict(),
            "optimizers": [o.state_dict() for o in (*self.optimizers, self.architecture)],
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "samples": self.samples,
            "cost_at_start": self.cost_at_start,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; the settings must be the same."""
        self.network.load_state_dict(state["network"])
        for o, saved in zip((*self.optimizers, self.architecture), state["optimizers"], strict=True):
            o.load_state_dict(saved)
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch_rng"])
        self.samples, self.cost_at_start = state["samples"], state["cost_at_start"]


FIELDS = ("samples", "seconds", "entropy", "training_loss", "validation_loss", "cost", "genotype")


def search(found: Search, out: Path, minutes: float | None) -> None:
    """Run to the end or for so many minutes; go on where `out` holds a state."""
    out.mkdir(parents=True, exist_ok=True)
    saved, log = out / "state.pt", out / "log.csv"
    if saved.is_file():
        state = read_state(saved)
        same_settings(saved, state.get("settings", {}), found.kept())
        with restoring(saved):
            found.restore(state)
    cut(log, "samples", found.samples)
    start = last = time.monotonic()
    total = found.settings.samples
    bar = tqdm(total=total, initial=found.samples, unit="face", disable=None, desc="search")
    recent: list[tuple[float, float]] = []
    if not log.is_file():
        _report(found, out, recent, 0.0)
    while found.samples < total and (minutes is None or time.monotonic() - start < 60 * minutes):
        before = found.samples
        recent.append(found.step())
        bar.update(found.samples - before)
        if found.samples // found.settings.every > before // found.settings.every or found.samples >= total:
            _report(found, out, recent, time.monotonic() - start)
            recent.clear()
            bar.set_postfix(entropy=f"{found.network.entropy():.3f}")
        if time.monotonic() - last > 60:
            _save(found, saved)
            last = time.monotonic()
    bar.close()
    _save(found, saved)


def _save(found: Search, path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save(found.state(), part)
    os.replace(part, path)


def _rows(log: Path) -> list[dict[str, str]]:
    if not log.is_file():
        return []
    with open(log, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _report(found: Search, out: Path, recent: list[tuple[float, float]], seconds: float) -> None:
    genotype = derive(found.network, found.settings.skips)
    held, training = np.array(recent).reshape(-1, 2).T
    held = held[~np.isnan(held)]
    row = {
        "samples": found.samples,
        "seconds": round(seconds, 1),
        "entropy": round(found.network.entropy(), 5),
        "training_loss": round(float(training.mean()), 5) if len(training) else "",
        "validation_loss": round(float(held.mean()), 5) if len(held) else "",
        "cost": round(genotype_cost(found.table, genotype, found.where), 4) if found.table else "",
        "genotype": " ".join(f"{o}@{i}" for o, i in (*genotype.normal, *genotype.reduce)),
    }
    log = out / "log.csv"
    fresh = not log.is_file()
    with open(log, "a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    stem = out / f"genotype-{found.samples:07d}"
    stem.with_suffix(".json").write_text(genotype.to_json(), encoding="utf-8")
    if not draw(genotype, stem.with_suffix(".png"), f"after {found.samples} faces"):
        print(f"training.search: {stem}.png is not drawn: install Graphviz for its dot", file=sys.stderr)
    (out / "genotype.json").write_text(genotype.to_json(), encoding="utf-8")
    plot(_rows(log), out / "curves.png")


def plot(rows: list[dict[str, str]], path: Path) -> None:
    """Entropy, losses and cost by samples, as a PNG."""
    from matplotlib.figure import Figure

    fields = [("entropy",), ("training_loss", "validation_loss"), ("cost",)]
    shown = [names for names in fields if any(row[name] for row in rows for name in names)]
    figure = Figure(figsize=(4 * len(shown), 3), layout="constrained")
    for axis, names in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        for name in names:
            points = [(int(row["samples"]), float(row[name])) for row in rows if row[name]]
            axis.plot(*zip(*points, strict=True), marker=".", label=name.replace("_", " "))
        axis.set_xlabel("faces seen")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
