"""What a step takes: the student's pictures and what the teacher sees in them, made in a thread."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketface.errors import InputError
from training.augment import views
from training.recipes import Recipe
from training.shards import Face
from training.students import to_input
from training.teachers import Teaches


@dataclass(frozen=True)
class Batch:
    """The student's input, the teacher's maps, embeddings and head, labels (-1 unknown)."""

    images: Tensor
    maps: list[Tensor]
    embeddings: Tensor
    labels: Tensor
    head: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device, the images channels last."""
        return Batch(
            self.images.to(device, memory_format=torch.channels_last, non_blocking=True),
            [m.to(device, non_blocking=True) for m in self.maps],
            self.embeddings.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.head.to(device, non_blocking=True),
        )


class Batches:
    """Batches from a sample's number on; which pictures a sample takes depends on nothing else."""

    def __init__(
        self,
        recipe: Recipe,
        faces: Sequence[Face],
        teacher: Teaches | None,
        targets: NDArray[np.float32] | None = None,
        cuts: NDArray[np.float32] | None = None,
    ) -> None:
        """`targets` `(faces, d)` stand for the teacher's embeddings of every view.

        `cuts` `(faces, 2, 3)` are where the SDK's detector found the faces.
        """
        if not faces:
            raise InputError("no faces to train on")
        self.recipe, self.teacher, self.targets, self.cuts = recipe, teacher, targets, cuts
        self.faces = faces[: recipe.faces] if recipe.faces else faces
        people = sorted({face.identity for face in self.faces if face.identity})
        self.label = {identity: index for index, identity in enumerate(people)}
        self.progress = 0.0
        self._order: tuple[int, np.ndarray[Any, Any]] = (-1, np.zeros(0, np.int64))

    def index(self, sample: int) -> int:
        """Which face a sample shows: each epoch is a permutation of its own."""
        epoch, index = divmod(sample, len(self.faces))
        if self._order[0] != epoch:
            rng = np.random.default_rng((self.recipe.seed, epoch))
            self._order = epoch, rng.permutation(len(self.faces))
        return int(self._order[1][index])

    def make(self, first: int, size: int) -> Batch:
        """The batch of `size` samples from `first`."""
        # Made ahead of the steps: by samples, progress is the batch's own, else a killed run would differ.
        samples = self.recipe.samples
        progress = min(1.0, first / samples) if samples else self.progress
        late = progress >= self.recipe.late_from
        how = self.recipe.late if late else self.recipe.augmentation
        clean, hard, labels = [], [], []
        indices = [self.index(sample) for sample in range(first, first + size)]
        for sample, index in zip(range(first, first + size), indices, strict=True):
            face = self.faces[index]
            rng = np.random.default_rng((self.recipe.seed, 1, sample))
            cut = self.cuts[index] if self.cuts is not None else None
            teacher_view, student_view = views(face.decode(), rng, how, cut)
            clean.append(teacher_view)
            hard.append(student_view)
            labels.append(self.label.get(face.identity, -1))
        maps: list[Tensor] = []
        embeddings = torch.zeros(size, 0)
        if self.targets is not None:
            embeddings = torch.from_numpy(self.targets[indices])
        elif self.teacher:
            self.teacher.select(progress)
            stacked = np.stack(clean)
            if self.recipe.losses.hints[0]:
                *maps, embeddings = (torch.from_numpy(t) for t in self.teacher(stacked))
            else:
                embeddings = torch.from_numpy(self.teacher.embed(stacked))
        head = self.teacher.head if self.teacher else torch.zeros(0)
        return Batch(to_input(np.stack(hard)), maps, embeddings, torch.tensor(labels), head)

    def stream(self, first: int, niceness: int) -> Iterator[Batch]:
        """Batches without end, made ahead in a thread of its own priority."""
        ahead: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=3)
        stop = threading.Event()

        def produce() -> None:
            sample = first
            try:
                with contextlib.suppress(OSError):  # a higher priority wants a right
                    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
                while not stop.is_set():
                    size = self.recipe.batch_at(sample)
                    ahead.put(self.make(sample, size))
                    sample += size
            except BaseException as error:
                ahead.put(error)

        thread = threading.Thread(target=produce, daemon=True)
        thread.start()
        try:
            while True:
                item = ahead.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    ahead.get(timeout=0.1)
