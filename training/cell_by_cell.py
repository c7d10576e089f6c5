"""The first thousands of samples, cell by cell: every cell of the student learns at once, each alone.

A code `relu(A t + b)` of each teacher cell's output `t` stands in for the student's output. Student
cell i gets the codes of the two cells before it and learns its own code and, through a linear map,
`t`; the tail learns the embedding from the last code. Each is a shallow problem, the codes learn
with the cells, and joined the network begins where many more samples end to end would have led.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import kernels, losses
from training.batches import Batches
from training.networks import RectifiedPocketNet
from training.networks.rectified import RectifiedCell
from training.paired import PairedTeacher
from training.resume import read_state, restoring, same_settings
from training.shards import Face
from training.teachers import Teacher, TeacherSpec, build
from training.trainer import CHECKPOINT_SECONDS, Trainer, begun_with, make_optimisers, settings
from training.whitening import Whitened

PULL = 0.3
"""Weight of the distance that pulls a code to the student's output."""


def exposing_all(spec: TeacherSpec, channels: Sequence[int]) -> TeacherSpec:
    """The teacher with the output of each cell; `channels` of the cells, in order."""
    return replace(
        spec,
        name=f"{spec.name}-cells",
        hints=tuple(range(len(channels))),
        hint_channels=(*channels, spec.hint_channels[-1]),
    )


class CellByCell(nn.Module):
    """The student between codes of its teacher; `widths` are channels of the cells and the last map."""

    def __init__(self, network: RectifiedPocketNet, widths: Sequence[int], cosine_weight: float) -> None:
        super().__init__()
        self.network, self.cosine_weight = network, cosine_weight
        codes = [nn.Conv2d(width, width, 1) for width in widths[:-1]]
        for code in codes:
            nn.init.orthogonal_(code.weight)
        self.codes = nn.ModuleList(codes)
        self.hints = losses.Hints(widths, widths)

    def forward(
        self, x: Tensor, maps: Sequence[Tensor], embedding: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a number, and its terms; `maps` are the teacher's, all cells and the last."""
        targets = self.hints.normalized(maps)
        codes = [F.relu(code(t)) for code, t in zip(self.codes, targets, strict=False)]
        quick = x.device.type == "cpu" and kernels.available()
        stem = self.network.stem(x)
        older, newer, outputs = stem, stem, []
        total = x.new_zeros(())
        for cell, code in zip(self.network.cells, codes, strict=True):
            assert isinstance(cell, RectifiedCell)
            output = kernels.run_cell(cell, older, newer) if quick else cell(older, newer)
            outputs.append(output)
            spread = code.detach().var().clamp_min(1e-4)
            apart = F.mse_loss(output, code.detach()) + PULL * F.mse_loss(code, output.detach())
            total = total + apart / spread
            older, newer = newer, code
        final, student = kernels.run_tail(self.network, newer)
        missing = self.hints.against([*outputs, final], targets)
        similarity = losses.cosine(student, embedding)
        total = total + sum(missing) + self.cosine_weight * (1 - similarity)
        terms = {f"hint{index}": value.detach() for index, value in enumerate(missing)}
        return total, {**terms, "cosine": similarity.detach()}


class Beginning:
    """The state of the phase, kept in `cells.pt` of the run's folder until it has ended."""

    def __init__(self, trainer: Trainer, batches: Batches, widths: Sequence[int]) -> None:
        assert isinstance(trainer.network, RectifiedPocketNet)
        self.trainer, self.batches = trainer, batches
        self.model = CellByCell(trainer.network, widths, trainer.recipe.losses.cosine).to(trainer.device)
        self.optimisers = make_optimisers(trainer.recipe.optimiser, list(self.model.parameters()))
        self.samples = 0
        if self.checkpoint.is_file():
            state = read_state(self.checkpoint)
            same_settings(self.checkpoint, begun_with(state), settings(trainer.recipe))
            with restoring(self.checkpoint):
                self.model.load_state_dict(state["model"])
                for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                    optimiser.load_state_dict(saved)
                self.samples = state["samples"]
        else:
            self.model.hints.calibrate([m.to(trainer.device) for m in batches.make(0, 64).maps])

    @property
    def checkpoint(self) -> Path:
        """The file that a killed phase goes on from."""
        return self.trainer.out / "cells.pt"

    def save(self) -> None:
        """Write the checkpoint: to a temporary file, then renamed."""
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "recipe": settings(self.trainer.recipe),
                "model": self.model.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                "samples": self.samples,
            },
            temporary,
        )
        os.replace(temporary, self.checkpoint)

    def run(self, seconds: float) -> Iterator[dict[str, float]]:
        """Steps until the phase or `seconds` are over; joins the cells at its end. Rows of a log."""
        began = saved = time.monotonic()
        self.model.train()
        for batch in self.batches.stream(self.samples, 0):
            batch = batch.to(self.trainer.device)
            total, terms = self.model(batch.images, batch.maps, batch.embeddings)
            for optimiser in self.optimisers:
                optimiser.zero_grad()
            total.backward()
            for optimiser in self.optimisers:
                optimiser.step()
            self.samples += len(batch.images)
            now = time.monotonic()
            yield {"samples": self.samples, **{name: float(value) for name, value in terms.items()}}
            if self.samples >= self.trainer.recipe.cell_by_cell:
                self._join()
                return
            over = now - began >= seconds
            if over or now - saved >= CHECKPOINT_SECONDS:
                self.save()
                saved = now
            if over:
                return

    def _join(self) -> None:
        """Hand network, linear maps and counts to the trainer, whose run goes on end to end."""
        trainer = self.trainer
        taken = [*trainer.recipe.student_hints, len(self.model.codes)]
        for index, number in enumerate(taken):
            trainer.hints.maps[index].load_state_dict(self.model.hints.maps[number].state_dict())
            for name in ("mean", "deviation"):
                source = getattr(self.model.hints, f"{name}{number}")
                getattr(trainer.hints, f"{name}{index}").copy_(source)
        trainer.average = {k: v.detach().clone() for k, v in trainer.network.state_dict().items()}
        trainer.samples = self.samples
        trainer.save()
        self.checkpoint.unlink(missing_ok=True)


def begin(
    trainer: Trainer, faces: Sequence[Face], spec: TeacherSpec, models: Path, seconds: float
) -> Iterator[dict[str, float]]:
    """The phase of a trainer that has not begun; one row of its log every 25 steps."""
    network = trainer.network
    assert isinstance(network, RectifiedPocketNet)
    with torch.no_grad():
        outputs = network.eval().stages(
            torch.zeros(1, 3, 112, 112, device=trainer.device), range(len(network.cells))
        )
    widths = [output.shape[1] for output in outputs[:-2]]
    everything = exposing_all(spec, widths)
    graph = trainer.out.parent / f"teacher-{everything.name}.onnx"
    if not graph.is_file():
        build(everything, models, graph)
    taught = trainer.batches.teacher
    assert isinstance(taught, (Teacher, PairedTeacher, Whitened))
    teacher = taught.over(Teacher(everything, graph))
    beginning = Beginning(trainer, Batches(trainer.recipe, faces, teacher), everything.hint_channels)
    for step, row in enumerate(beginning.run(seconds)):
        if step % 25 == 0:
            yield row
