"""The statistics of batch norms, taken anew from training faces.

A mean of weights, over a run's last steps or over several parts, has other statistics than the mean of
theirs: what the weights differ in evens out, and variances that were counted with it make every batch norm
divide by too much (Izmailov et al., "Averaging weights leads to wider optima", UAI 2018, section 3.2). No
weight changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from training.augment import views
from training.recipes.embedders import NEAR
from training.shards import Face
from training.students import to_input

FACES = 2048
"""How many faces the statistics rest on, at most."""

BATCH = 32
"""Faces in a batch, as in the last steps of a run."""


def renew(network: nn.Module, faces: Sequence[Face]) -> None:
    """Take the running means and variances of all batch norms anew, and turn to evaluation.

    They rest on whole batches; with fewer faces than one they stay as they are.
    """
    if len(faces) >= BATCH:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        update_bn(_batches(faces), network)
    network.eval()


def _batches(faces: Sequence[Face]) -> Iterator[Tensor]:
    """Views, cut as in a run and not spoiled, of at most `FACES` faces, the same ones each time."""
    rng = np.random.default_rng(17)
    chosen = rng.permutation(len(faces))[:FACES]
    for start in range(0, len(chosen) - BATCH + 1, BATCH):
        part = [faces[index] for index in chosen[start : start + BATCH]]
        yield to_input(np.stack([views(face.decode(), rng, NEAR)[1] for face in part]))
