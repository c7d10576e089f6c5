"""The run: scenes in, weights out; a wall-clock budget, a checkpoint a minute, resumed after a kill."""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pocketface.errors import InputError
from training import kernels
from training.detector import quick
from training.detector.collection import Item, held_out, read_all
from training.detector.drills import Drills
from training.detector.graph import export
from training.detector.labels import FACE
from training.detector.losses import Batch, losses, total
from training.detector.repeats import unseen
from training.detector.scenes import Maker
from training.detector.supply import Supply, batch_of, loader
from training.detector.teaching import KINDS, Inner, hints, paired
from training.muon import Muon, is_matrix
from training.networks.detector import STRIDES, Block, Detector, Entry
from training.resume import cut, read_state, restoring
from training.yunet import YuNet


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is made of; `minutes` is the whole budget, resumed parts counted in.

    `rate` multiplies both learning rates, below 1 for a run that begins with good weights. `hints` weigh what
    is left of each of the teacher's maps, from the run's start to its end, geometrically.
    """

    minutes: float = 60
    muon: float = 0.015
    adam: float = 2e-3
    rate: float = 1.0
    average: float = 0.998
    hints: tuple[float, float] = (0.3, 0.03)
    seed: int = 0
    bf16: bool = False


@dataclass(slots=True)
class State:
    """How far a run is."""

    steps: int = 0
    scenes: int = 0
    seconds: float = 0.0


def usable(item: Item) -> bool:
    """Whether a picture is trained on: not held out, and not a portrait without a face found."""
    found = bool(len(item.faces)) or item.negative or item.name.startswith("street/")
    return found and not held_out(item.name)


class Run:
    """One training run in a folder: `state.pt`, `curve.csv`, `facedet.pth`, `facedet.onnx`."""

    def __init__(self, folder: Path, recipe: Recipe, inner: Inner | None = None) -> None:
        """With the teacher's `inner` maps the student's learn to give them.

        Raises InputError where the recipe wants bfloat16 and there is no g++ for its kernels.
        """
        self.folder, self.recipe, self.state = folder, recipe, State()
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.network = Detector().train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network)
        self.inner, self.hints = inner, hints() if inner else None
        self.quick = kernels.available()
        if recipe.bf16 and not self.quick:
            raise InputError("--bf16 is for a CPU with g++")
        self.values = torch.bfloat16 if recipe.bf16 else torch.float32
        learnt = [*self.network.parameters(), *(self.hints.parameters() if self.hints else ())]
        matrices = [p for p in learnt if is_matrix(p)]
        known = {id(p) for p in matrices}
        others = [p for p in learnt if id(p) not in known]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=recipe.muon, bf16=recipe.bf16),
            torch.optim.AdamW(others, lr=recipe.adam, betas=(0.9, 0.98), weight_decay=1e-4),
        ]
        self.rates = [recipe.rate * recipe.muon, recipe.rate * recipe.adam]
        if (folder / "state.pt").is_file():
            self._restore()

    def _restore(self) -> None:
        path = self.folder / "state.pt"
        kept = read_state(path)
        if bool(kept.get("hints")) != bool(self.hints):
            how = "without --teacher: leave it out" if self.hints else "with --teacher: give it again"
            raise InputError(f"{self.folder}: begun {how}")
        with restoring(path):
            self.state = State(**kept["state"])
            self.network.load_state_dict(kept["network"])
            self.average.load_state_dict(kept["average"])
            if self.hints:
                self.hints.load_state_dict(kept["hints"])
            for optimizer, stored in zip(self.optimizers, kept["optimizers"], strict=True):
                optimizer.load_state_dict(stored)

    def start(self, weights: Path) -> None:
        """Begin with weights of an earlier run; blocks and patches that it did not have begin without effect.

        A block is relu(x + norm(...)) and what enters it is a ReLU's output, so a zero norm passes it on.
        Raises InputError where anything else is missing, or the file holds what the detector has not.
        """
        own = self.network.state_dict()
        known = completed(read_state(weights), own)
        shapes = [{key: getattr(value, "shape", None) for key, value in s.items()} for s in (known, own)]
        if shapes[0] != shapes[1]:
            raise InputError(f"{weights}: not weights of this detector, whole blocks apart")
        self.network.load_state_dict(known)
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

    def step(self, batch: Batch, maps: Sequence[Tensor] = ()) -> dict[str, float]:
        """One update; the terms of the loss. A run with a teacher learns its `maps` of the batch too."""
        done = min(self.state.seconds / (60 * self.recipe.minutes), 1.0)
        factor = 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, (self.state.steps + 1) / 100)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.zero_grad()
        if self.quick:
            features = quick.features(self.network, batch.images.to(self.values))
            outputs = quick.answers(self.network, features)
        else:
            features = self.network.features(batch.images)
            outputs = self.network.answers(features)
        terms = losses(outputs, batch)
        cost = total(terms)
        if self.hints:
            left = torch.stack(self.hints(paired(features), list(maps)))
            start, end = self.recipe.hints
            cost = cost + start * (end / start) ** done * left.sum()
            kinds = left.detach()[1:].reshape(-1, len(STRIDES)).mean(1)
            terms |= dict(zip(KINDS, (left.detach()[0], *kinds), strict=True))
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

    def train(self, maker: Maker, workers: int = 0, save_every: float = 60) -> None:
        """Run until the budget is spent; `workers` processes make scenes beside the step."""
        cut(self.folder / "curve.csv", "steps", self.state.steps)
        if not self.state.steps:
            self.calibrate(maker)
        small_for = 15 * self.recipe.minutes - self.state.seconds
        supply = Supply(maker, self.inner, self.recipe.seed + self.state.steps, small_for)
        last = saved = time.monotonic()
        sums: dict[str, float] = {}
        summed = 0
        for batch, maps in loader(supply, workers):
            if self.state.seconds >= 60 * self.recipe.minutes:
                break
            terms = self.step(batch, maps)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            summed += 1
            now = time.monotonic()
            self.state.seconds += now - last
            last = now
            if self.state.steps % 50 == 0:
                self._log({name: value / summed for name, value in sums.items()})
                sums, summed = {}, 0
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


def completed(known: dict[str, Tensor], model: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the branches of a later `model` that they lack, silenced by a norm of zero.

    A branch is what is added to something else: a block that sums, a patch.
    """
    made = dict(known)
    for name, block in Detector().named_modules():
        if isinstance(block, Entry):
            branch, norm = f"{name}.patch.", f"{name}.patch.1."
        elif isinstance(block, Block) and block.sums:
            branch, norm = f"{name}.", f"{name}.pointwise.1."
        else:
            continue
        if not any(str(key).startswith(branch) for key in known):
            silent = (f"{norm}weight", f"{norm}bias")
            made |= {
                key: torch.zeros_like(value) if key in silent else value
                for key, value in model.items()
                if str(key).startswith(branch)
            }
    return made


def load(weights: Path) -> Detector:
    """The detector with weights from a state dict; InputError where the file holds no such weights."""
    network = Detector()
    try:
        network.load_state_dict(read_state(weights))
    except RuntimeError as error:
        raise InputError(f"not weights of this detector: {weights}") from error
    return network.eval()


def train(
    scenes: Path,
    out: Path,
    recipe: Recipe,
    teacher: YuNet | None = None,
    inner: Inner | None = None,
    start: Path | None = None,
    drills: Drills | None = None,
    workers: int = 0,
) -> State:
    """Train on the packs in `scenes`; weights, graph, curve and state lie in `out`.

    A new run begins with random weights or with those of `start`; one that exists goes on.
    """
    torch.set_num_threads(1)
    items = [item for item in unseen(read_all(scenes)) if usable(item)]
    if not any((item.faces.scores >= FACE).any() for item in items):
        raise InputError(f"{scenes}: no pictures with faces to train on")
    run = Run(out, recipe, inner)
    if start and not run.state.steps:
        run.start(start)
    run.train(Maker(items, recipe.seed + run.state.steps, teacher, drills), workers)
    return run.state
