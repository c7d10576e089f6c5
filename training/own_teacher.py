"""A teacher trained here: embeddings, its ArcFace head, and the weights of each of its stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketface.errors import InputError
from training.recipes import Recipe
from training.resume import read_state, restoring
from training.students import build_student, embedder
from training.teachers import TeacherSpec


class OwnTeacher:
    """The network of another recipe, with the weights that its run left in `folder`.

    With `in_turn` the stage of the student's own progress teaches (multi-step distillation), else
    the last. Raises InputError where the run left none.
    """

    def __init__(self, recipe: Recipe, folder: Path, in_turn: bool, device: str = "cpu") -> None:
        self.spec = TeacherSpec(recipe.name, "", "as its pictures", (127.5,) * 3, (127.5,) * 3, (), ())
        self.stages = sorted(folder.glob("stage-*.pth"))
        if not self.stages:
            raise InputError(f"no stage-*.pth in {folder}: train {recipe.name} first")
        if not in_turn:
            self.stages = self.stages[-1:]
        self.device = torch.device(device)
        self.network = build_student(recipe).eval().to(self.device)
        self.weights = self.stages[0]
        self.current = -1
        self.head: Tensor = torch.zeros(0)
        self.select(0.0)

    @property
    def fingerprint(self) -> bytes:
        """What its embeddings depend on."""
        return self.weights.read_bytes()

    def select(self, progress: float) -> None:
        """Take the weights of the stage that ends at or after `progress`, 0 to 1."""
        index = min(int(progress * len(self.stages)), len(self.stages) - 1)
        if index != self.current:
            self.weights = self.stages[index]
            state = read_state(self.weights)
            with restoring(self.weights):
                self.head = state.pop("arcface.weight")
                self.network.load_state_dict(state)
            self.current = index

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings `(n, d)`, not normalised, of uint8 `(n, 112, 112, 3)`, RGB."""
        return embedder(self.network)(crops)

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The embeddings alone: it has no maps to teach."""
        return [self.embed(crops)]
