"""Two threads, half a batch each, up to the last cell: on two cores half as fast again.

The tail sees the whole batch: its batch norms have one value a picture.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from training import kernels
from training.networks.layout import Layout


class Halves:
    """A network beside a copy that has the same parameters, and batch statistics of its own."""

    def __init__(self, network: Layout, after: Sequence[int]) -> None:
        self.networks = network, copy.deepcopy(network, {id(p): p for p in network.parameters()})
        self.after = after
        self.params = [p for k, p in network.named_parameters() if not k.startswith("tail.")]
        self.threads = ThreadPoolExecutor(2)
        self.graphs: list[list[Tensor]] = []
        self.joined: list[Tensor] = []

    def trunk(self, x: Tensor) -> list[Tensor]:
        """The cells' outputs for the hints and the last cell's, of the whole batch, as leaves."""
        self.networks[1].train(self.networks[0].training)
        self.graphs = list(
            self.threads.map(
                lambda network, part: kernels.trunk(network, part, self.after),
                self.networks,
                x.tensor_split(2),
            )
        )
        pairs = zip(*self.graphs, strict=True)
        self.joined = [torch.cat([a.detach(), b.detach()]).requires_grad_() for a, b in pairs]
        return self.joined

    def backward(self) -> None:
        """From the gradients of the leaves to those of the parameters."""
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self.joined]
        parts = zip(*(gradient.tensor_split(2) for gradient in gradients), strict=True)
        ours, theirs = self.threads.map(
            lambda outputs, part: torch.autograd.grad(outputs, self.params, part), self.graphs, parts
        )
        for parameter, a, b in zip(self.params, ours, theirs, strict=True):
            parameter.grad = a + b
        self.graphs, self.joined = [], []
