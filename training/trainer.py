"""A run: batches, steps, checkpoints, an average of the weights.

A run can be killed at any time: it goes on from its last checkpoint, at most a minute old, with
the same pictures in the same order. Schedules follow the budget, so a run always ends at rate zero.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketface.errors import InputError
from training import kernels, losses
from training.batches import Batch, Batches
from training.halves import Halves
from training.muon import Muon, is_matrix
from training.networks import load_genotype
from training.networks.layout import Layout
from training.recipes import Recipe
from training.recipes.recipe import Optimiser
from training.renorm import renormalise
from training.resume import flat, read_state, restoring, same_settings
from training.students import build_student

CHECKPOINT_SECONDS = 50.0
AVERAGE_EVERY = 4


def settings(recipe: Recipe) -> dict[str, Any]:
    """What a run must keep when it goes on: all of its recipe but length and size of batches."""
    kept = asdict(recipe)
    for name in ("minutes", "samples", "batches"):
        del kept[name]
    return {**kept, "genotype": load_genotype(recipe.genotype).to_json()}


def begun_with(state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's settings; those that came to recipes later had their defaults, which leave them out."""
    kept = flat(state.get("recipe", {}))
    return flat(settings(Recipe(""))) | kept if kept else {}


def make_optimisers(
    how: Optimiser,
    params: Sequence[nn.Parameter],
    centres: Sequence[nn.Parameter] = (),
    bf16: bool = False,
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices among `params`, AdamW or SGD for the rest and for ArcFace's `centres`."""
    matrices = [p for p in params if is_matrix(p)] if how.muon else []
    chosen = {id(p) for p in matrices}
    rest = [p for p in (*params, *centres) if id(p) not in chosen]
    first: torch.optim.Optimizer = (
        torch.optim.SGD(rest, how.rate, 0.9, weight_decay=how.weight_decay)
        if how.kind == "sgd"
        else torch.optim.AdamW(rest, how.rate, (0.9, 0.98), weight_decay=how.weight_decay, foreach=True)
    )
    if not matrices:
        return [first]
    return [first, Muon(matrices, how.muon, weight_decay=how.weight_decay, wide=how.muon_wide, bf16=bf16)]


class Trainer:
    """The state of a run and its step; `out` holds its checkpoint."""

    def __init__(
        self,
        batches: Batches,
        out: Path,
        device: str = "cpu",
        halves: bool = False,
        start: Path | None = None,
        bf16: bool = False,
    ) -> None:
        """With `halves` two threads take half of each batch, see `training.halves`.

        With `bf16` a CPU's step is in bfloat16 where `training.kernels` is, and Muon's products are.

        A run without a checkpoint begins at the weights in `start`, or at random ones.

        Raises InputError where the faces do not serve the recipe, or the checkpoint is of another one.
        """
        recipe, teacher = batches.recipe, batches.teacher
        self.recipe, self.batches, self.out, self.device = recipe, batches, out, torch.device(device)
        out.mkdir(parents=True, exist_ok=True)
        self.network = build_student(recipe).to(self.device)
        if start:
            with restoring(start):
                self.network.load_state_dict(read_state(start))
        if recipe.renorm:
            if not isinstance(self.network, Layout):
                raise InputError(f"{recipe.name}: only PocketNets renormalise")
            renormalise(self.network)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.samples, self.steps, self.seconds = 0, 0, 0.0
        self.quick = self.device.type == "cpu" and kernels.available()
        self.values = torch.bfloat16 if bf16 else torch.float32
        self.halves: Halves | None = None
        if halves or bf16:
            if not self.quick or not isinstance(self.network, Layout):
                raise InputError("--halves and --bf16 are for PocketNet on a CPU with g++")
            self.halves = Halves(self.network, recipe.student_hints) if halves else None
        channels = self._student_channels() if teacher and recipe.losses.hints[0] else []
        self.hints = losses.Hints(
            channels, teacher.spec.hint_channels[-len(channels) :] if teacher and channels else []
        ).to(self.device)
        if recipe.losses.arcface and len(self.batches.label) < 2:
            raise InputError(
                f"{recipe.name} learns people apart: the faces' manifest.csv must name at least two in the "
                f"column identity, got {len(self.batches.label)} (python -m training.prepare --people)"
            )
        # More faces may come between two parts of a run; without labels nothing depends on them.
        self.people = len(self.batches.label) if recipe.losses.arcface else 1
        self.arcface = losses.ArcFace(128, self.people).to(self.device)
        centres = list(self.arcface.parameters()) if recipe.losses.arcface else []
        trained = [*self.network.parameters(), *self.hints.parameters()]
        self.optimisers = make_optimisers(recipe.optimiser, trained, centres, bf16)
        self.rates = [optimiser.param_groups[0]["lr"] for optimiser in self.optimisers]
        if self.checkpoint.is_file():
            self._load()
        elif channels:
            sample = self.batches.make(0, 256)
            self.hints.calibrate([t.to(self.device) for t in sample.maps])
        self.compute = torch.compile(self._losses) if self.device.type == "cuda" else self._losses

    @property
    def checkpoint(self) -> Path:
        """The file that a killed run goes on from."""
        return self.out / "checkpoint.pt"

    @property
    def progress(self) -> float:
        """Fraction of the budget that is spent, 0 to 1."""
        if self.recipe.minutes:
            return min(1.0, self.seconds / (60 * self.recipe.minutes))
        return min(1.0, self.samples / self.recipe.samples)

    def _student_channels(self) -> list[int]:
        with torch.no_grad():
            maps = self._stages(torch.zeros(2, 3, 112, 112, device=self.device))[:-1]
        return [m.shape[1] for m in maps]

    def _stages(self, x: Tensor) -> list[Tensor]:
        if self.quick and isinstance(self.network, Layout):
            x = x.to(self.values)
            if self.halves and torch.is_grad_enabled():
                *kept, last = self.halves.trunk(x)
                return [*kept, *kernels.run_tail(self.network, last)]
            return kernels.stages(self.network, x, self.recipe.student_hints)
        if not self.recipe.student_hints:
            return [self.network(x)]
        stages: list[Tensor] = self.network.stages(x, self.recipe.student_hints)  # type: ignore[operator]
        return stages

    def rate_factor(self) -> float:
        """What the learning rates are multiplied with now."""
        how = self.recipe.optimiser
        warm = min(1.0, (self.samples + 1) / how.warmup) if how.warmup else 1.0
        if how.drops:
            return float(warm * 0.1 ** sum(self.progress >= drop for drop in how.drops))
        if how.hold:
            return warm * min(1.0, (1 - self.progress) / (1 - how.hold))
        return warm * 0.5 * (1 + math.cos(math.pi * self.progress))

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        weights = self.recipe.losses
        *maps, embedding = self._stages(batch.images)
        embedding = embedding.float()  # under autocast it is bf16
        terms: dict[str, Tensor] = {}
        total = embedding.new_zeros(())
        if batch.maps:
            start, end = weights.hints
            weight = start * (end / start) ** self.progress
            for index, loss in enumerate(self.hints(maps, batch.maps)):
                terms[f"hint{index}"] = loss.detach()
                total = total + weight * loss
        if batch.embeddings.numel():
            similarity = losses.cosine(embedding, batch.embeddings)
            terms["cosine"] = similarity.detach()
            total = total + weights.cosine * (1 - similarity)
        if weights.template:
            total = total + losses.template(embedding, batch.embeddings, weights.template)
        if weights.angular:
            total = total + weights.angular * losses.angular(embedding, batch.embeddings)
        if weights.arcface:
            margin = self.arcface(embedding, batch.labels)
            terms["arcface"] = margin.detach()
            total = total + weights.arcface * margin
        if weights.classification:
            cosines = losses.cosines(batch.embeddings, batch.head)
            total = total + weights.classification * losses.classification(
                self.arcface.scale * self.arcface.cosines(embedding),
                self.arcface.scale * cosines,
                weights.temperature,
            )
        terms["loss"] = total.detach()
        return total, terms

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One update; returns the terms of the loss, before it."""
        self.network.train()
        batch = batch.to(self.device)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            total, terms = self.compute(batch)
        total.backward()  # type: ignore[no-untyped-call]
        if self.halves:
            self.halves.backward()
        factor = self.rate_factor()
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
        self.samples += len(batch.images)
        self.steps += 1
        if self.steps % AVERAGE_EVERY == 0:
            self._average()
        return terms

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(0.998, self.steps / (self.steps + 100)) ** AVERAGE_EVERY
        state = self.network.state_dict()
        floats = [k for k, v in state.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.average[k] for k in floats], [state[k] for k in floats], 1 - decay)

    def run(self, seconds: float, niceness: int = 0) -> Iterator[dict[str, float]]:
        """Steps until the budget or `seconds` are spent; yields a row of the log each step.

        The time of the first step is not counted, for on a GPU it compiles.
        """
        if self.progress >= 1:
            return
        began = saved = time.monotonic()
        last: float | None = None
        stage = self._stage()
        for batch in self.batches.stream(self.samples, niceness):
            terms = self.step(batch)
            now = time.monotonic()
            self.seconds += now - last if last else 0.0
            last = now
            self.batches.progress = self.progress
            yield {
                "samples": self.samples,
                "minutes": self.seconds / 60,
                "rate": self.rate_factor(),
                **{name: float(value) for name, value in terms.items()},
            }
            if self._stage() != stage:
                stage = self._stage()
                self._keep_stage(stage)
            done = self.progress >= 1 or now - began >= seconds
            if done or now - saved >= CHECKPOINT_SECONDS:
                self.save()
                saved = now
            if done:
                return

    def _stage(self) -> int:
        """How many stages have ended."""
        return int(self.progress * self.recipe.stages)

    def _keep_stage(self, number: int) -> None:
        """Write the averaged weights of a stage that has ended, for students of this network."""
        path = self.out / f"stage-{number:03d}.pth"
        temporary = path.with_suffix(".tmp")
        torch.save({**self.average, "arcface.weight": self.arcface.weight.detach()}, temporary)
        os.replace(temporary, path)

    def save(self) -> None:
        """Write the checkpoint: to a temporary file, then renamed."""
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "recipe": settings(self.recipe),
                "network": self.network.state_dict(),
                "average": self.average,
                "hints": self.hints.state_dict(),
                "arcface": self.arcface.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                "counts": (self.samples, self.steps, self.seconds),
                "rng": torch.get_rng_state(),
            },
            temporary,
        )
        os.replace(temporary, self.checkpoint)

    def _load(self) -> None:
        state = read_state(self.checkpoint)  # on the CPU, where AdamW counts its steps
        same_settings(self.checkpoint, begun_with(state), settings(self.recipe))
        with restoring(self.checkpoint):
            self.network.load_state_dict(state["network"])
            self.average = {k: v.to(self.device) for k, v in state["average"].items()}
            self.hints.load_state_dict(state["hints"])
            if self.recipe.losses.arcface:
                self.arcface.load_state_dict(state["arcface"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.samples, self.steps, self.seconds = state["counts"]
            torch.set_rng_state(state["rng"])
        self.batches.progress = self.progress
