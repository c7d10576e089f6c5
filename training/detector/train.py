"""The run: scenes in, weights out; a wall-clock budget, a checkpoint a minute, resumed after a kill."""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pocketface.errors import InputError
from training import kernels
from training.detector import quick
from training.detector.collection import Item, held_out, read_all
from training.detector.drills import Drills
from training.detector.graph import export
from training.detector.losses import Batch, losses, total
from training.detector.scenes import Maker, Scene
from training.detector.teaching import KINDS, Inner, hints, paired
from training.muon import Muon, is_matrix
from training.networks.detector import STRIDES, Detector
from training.yunet import YuNet

SIZES = ((160, 18), (224, 10), (320, 5))
"""Side of a batch's scenes in pixels, and how many: about equal work; half as many in its first quarter."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is made of; `minutes` is the whole budget, resumed parts counted in.

    `hints` weigh what is left of each of the teacher's maps, from the run's start to its end, geometrically.
    """

    minutes: float = 60
    muon: float = 0.015
    adam: float = 2e-3
    average: float = 0.998
    hints: tuple[float, float] = (0.3, 0.03)
    seed: int = 0


@dataclass(slots=True)
class State:
    """How far a run is."""

    steps: int = 0
    scenes: int = 0
    seconds: float = 0.0


def batch_of(scenes: list[Scene]) -> Batch:
    """Scenes of one size as tensors."""
    images = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2)
    owner = [np.full(len(scene.boxes), i, np.int64) for i, scene in enumerate(scenes)]
    return Batch(
        images.float().contiguous(memory_format=torch.channels_last),
        torch.from_numpy(np.concatenate(owner)),
        torch.from_numpy(np.concatenate([scene.boxes for scene in scenes])),
        torch.from_numpy(np.concatenate([scene.points for scene in scenes])),
        torch.from_numpy(np.concatenate([scene.sure for scene in scenes])),
        torch.from_numpy(np.concatenate([scene.clear for scene in scenes])),
    )


def usable(item: Item) -> bool:
    """Whether a picture is trained on: not held out, and not a portrait without a face found."""
    found = bool(len(item.faces)) or item.negative or item.name.startswith("street/")
    return found and not held_out(item.name)


class Run:
    """One training run in a folder: `state.pt`, `curve.csv`, `facedet.pth`, `facedet.onnx`."""

    def __init__(self, folder: Path, recipe: Recipe, inner: Inner | None = None) -> None:
        """With the teacher's `inner` maps the student's learn to give them."""
        self.folder, self.recipe, self.state = folder, recipe, State()
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.network = Detector().train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network)
        self.inner, self.hints = inner, hints() if inner else None
        self.quick = kernels.available()
        learnt = [*self.network.parameters(), *(self.hints.parameters() if self.hints else ())]
        matrices = [p for p in learnt if is_matrix(p)]
        known = {id(p) for p in matrices}
        others = [p for p in learnt if id(p) not in known]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=recipe.muon),
            torch.optim.AdamW(others, lr=recipe.adam, betas=(0.9, 0.98), weight_decay=1e-4),
        ]
        self.rates = [recipe.muon, recipe.adam]
        if (folder / "state.pt").is_file():
            self._restore()

    def _restore(self) -> None:
        kept = torch.load(self.folder / "state.pt", weights_only=True)
        if bool(kept.get("hints")) != bool(self.hints):
            how = "without --teacher: leave it out" if self.hints else "with --teacher: give it again"
            raise InputError(f"{self.folder}: begun {how}")
        self.state = State(**kept["state"])
        self.network.load_state_dict(kept["network"])
        self.average.load_state_dict(kept["average"])
        if self.hints:
            self.hints.load_state_dict(kept["hints"])
        for optimizer, stored in zip(self.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(stored)

    def start(self, weights: Path) -> None:
        """Begin with weights of an earlier run; blocks that it did not have begin as identities.

        A block is relu(x + norm(...)) and what enters it is a ReLU's output, so a zero norm passes it on.
        """
        known: dict[str, Tensor] = torch.load(weights, weights_only=True, map_location="cpu")
        missing = self.network.load_state_dict(known, strict=False).missing_keys
        for name, value in self.network.named_parameters():
            if name in missing and name.endswith("pointwise.1.weight"):
                nn.init.zeros_(value)
        self.average.load_state_dict(self.network.state_dict())

    def save(self) -> None:
        """Write everything a later run continues from, and the averaged weights."""
        partial = self.folder / "state.part"
        torch.save(
            {
                "state": asdict(self.state),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "hints": self.hints.state_dict() if self.hints else {},
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            },
            partial,
        )
        partial.rename(self.folder / "state.pt")
        weights = {name: value.contiguous() for name, value in self.average.state_dict().items()}
        partial = self.folder / "facedet.part"
        torch.save(weights, partial)
        partial.rename(self.folder / "facedet.pth")
        (self.folder / "run.json").write_text(json.dumps(asdict(self.state) | asdict(self.recipe), indent=1))

    def step(self, batch: Batch) -> dict[str, float]:
        """One update; the terms of the loss."""
        done = min(self.state.seconds / (60 * self.recipe.minutes), 1.0)
        factor = 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, (self.state.steps + 1) / 100)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.zero_grad()
        if self.quick:
            features = quick.features(self.network, batch.images)
            outputs = quick.answers(self.network, features)
        else:
            features = self.network.features(batch.images)
            outputs = self.network.answers(features)
        terms = losses(outputs, batch)
        cost = total(terms)
        if self.inner and self.hints:
            maps = self.inner(batch.images)
            left = torch.stack(self.hints(paired(features), maps))
            start, end = self.recipe.hints
            cost = cost + start * (end / start) ** done * left.sum()
            kinds = left.detach().reshape(-1, len(STRIDES)).mean(1)
            terms |= dict(zip(KINDS, kinds, strict=True))
        cost.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.state.steps += 1
        self.state.scenes += len(batch.images)
        self._follow()
        return {name: float(term.detach()) for name, term in terms.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.recipe.average, (1 + self.state.steps) / (10 + self.state.steps))
        mine = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(mine[name], 1 - keep)
            else:
                value.copy_(mine[name])

    def calibrate(self, maker: Maker) -> None:
        """Learn mean and deviation of the teacher's maps."""
        if self.inner and self.hints:
            self.hints.calibrate(self.inner(batch_of([maker.scene(224) for _ in range(100)]).images))

    def train(self, maker: Maker, save_every: float = 60) -> None:
        """Run until the budget is spent."""
        if not self.state.steps:
            self.calibrate(maker)
        sizes = np.random.default_rng(self.state.steps)
        last = saved = time.monotonic()
        sums: dict[str, float] = {}
        while self.state.seconds < 60 * self.recipe.minutes:
            size, count = SIZES[int(sizes.integers(len(SIZES)))]
            if self.state.seconds < 15 * self.recipe.minutes:
                count = max(count // 2, 3)
            terms = self.step(batch_of([maker.scene(size) for _ in range(count)]))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            now = time.monotonic()
            self.state.seconds += now - last
            last = now
            if self.state.steps % 50 == 0:
                self._log({name: value / 50 for name, value in sums.items()})
                sums = {}
            if now - saved > save_every:
                self.save()
                saved = time.monotonic()
        self.save()
        export(load(self.folder / "facedet.pth"), self.folder / "facedet.onnx")

    def _log(self, means: dict[str, float]) -> None:
        path = self.folder / "curve.csv"
        row = {"steps": self.state.steps, "scenes": self.state.scenes, "seconds": round(self.state.seconds)}
        row_text = {**{k: str(v) for k, v in row.items()}, **{k: f"{v:.5f}" for k, v in means.items()}}
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row_text)
            if fresh:
                writer.writeheader()
            writer.writerow(row_text)
        print(" ".join(f"{name} {value}" for name, value in row_text.items()), flush=True)


def load(weights: Path) -> Detector:
    """The detector with weights from a state dict."""
    network = Detector()
    state: dict[str, Tensor] = torch.load(weights, weights_only=True, map_location="cpu")
    network.load_state_dict(state)
    return network.eval()


def train(
    scenes: Path,
    out: Path,
    recipe: Recipe,
    teacher: YuNet | None = None,
    inner: Inner | None = None,
    start: Path | None = None,
    drills: Drills | None = None,
) -> State:
    """Train on the packs in `scenes`; weights, graph, curve and state lie in `out`.

    A new run begins with random weights or with those of `start`; one that exists goes on.
    """
    torch.set_num_threads(1)
    run = Run(out, recipe, inner)
    if start and not run.state.steps:
        run.start(start)
    items = [item for item in read_all(scenes) if usable(item)]
    run.train(Maker(items, recipe.seed + run.state.steps, teacher, drills))
    return run.state
