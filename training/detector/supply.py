"""What a step takes: scenes of one size and the teacher's maps of them, made beside the step or in turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing import get_all_start_methods

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pocketface.errors import InputError
from training.detector.losses import Batch
from training.detector.scenes import Maker, Scene
from training.detector.teaching import Inner

SIZES = ((160, 18), (224, 10), (320, 5))
"""Side of a batch's scenes in pixels, and how many: about equal work; half as many in its first quarter."""

Taught = tuple[Batch, list[Tensor]]
"""A batch, and the teacher's maps of it, none without a teacher."""


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


class Supply(IterableDataset[Taught]):
    """Batches without end, and the maps that `inner` has of them, if there is one."""

    def __init__(self, maker: Maker, inner: Inner | None, seed: int, small_for: float) -> None:
        """Batches are half as large for the next `small_for` seconds."""
        self.maker, self.inner, self.seed, self.small_for = maker, inner, seed, small_for

    def __iter__(self) -> Iterator[Taught]:
        worker = get_worker_info()
        if worker:  # each of them draws scenes of its own
            self.maker.rng = np.random.default_rng((self.seed, worker.id))
        sizes = np.random.default_rng((self.seed, worker.id if worker else 0, 1))
        end = time.monotonic() + self.small_for
        while True:
            size, count = SIZES[int(sizes.integers(len(SIZES)))]
            if time.monotonic() < end:
                count = max(count // 2, 3)
            batch = batch_of([self.maker.scene(size) for _ in range(count)])
            yield batch, self.inner(batch.images) if self.inner else []


def loader(supply: Supply, workers: int) -> DataLoader[Taught]:
    """With `workers` processes that make batches ahead; with none each is made when it is asked for.

    Raises InputError where processes do not fork: pictures and graphs in memory are not sent to others.
    """
    if not workers:
        return DataLoader(supply, batch_size=None)
    if "fork" not in get_all_start_methods():
        raise InputError("--workers is for systems whose processes fork, such as Linux")
    return DataLoader(
        supply, batch_size=None, num_workers=workers, prefetch_factor=4, multiprocessing_context="fork"
    )
