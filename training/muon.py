"""Muon (Jordan 2024): momentum, orthogonalised by five Newton-Schulz steps.

`torch.optim.Muon` takes matrices one at a time; a PocketNet has some 230 of them, most of them
tiny, so here all of a shape go through one batched product, and convolutions count as matrices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def is_matrix(weight: Tensor) -> bool:
    """Whether Muon serves: at least 16 rows and 16 columns; not depthwise, not a 3x3 stem."""
    if weight.dim() == 4 and max(weight.shape[2:]) > 2:
        return False
    return weight.dim() >= 2 and weight.shape[0] >= 16 and weight[0].numel() >= 16


def orthogonalize(matrices: Tensor, steps: int = 5, bf16: bool = False) -> Tensor:
    """Float32 `(b, rows, columns)` to about the nearest matrices with singular values of one.

    With `bf16` products are in bfloat16, as in the original, unless they are too small to gain by it.
    """
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    if bf16 and x.shape[1] >= 64:
        x = x.bfloat16()
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x if wide else x.mT).float()
    return result


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum whose update is orthogonalised.

    It is scaled by sqrt(max(1, rows / columns)), or by columns / rows where `wide`.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.015,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        wide: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.wide, self.bf16 = wide, bf16

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape[0], p[0].numel()].append(p)
            for (rows, columns), weights in by_shape.items():
                self._update(group, rows, columns, weights)

    def _update(self, group: dict[str, Any], rows: int, columns: int, weights: list[Tensor]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        directions = []
        for p in weights:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            velocity = state["momentum"].lerp_(p.grad, 1 - momentum)
            directions.append(p.grad.lerp(velocity, momentum).reshape(rows, columns))
        updates = orthogonalize(torch.stack(directions), bf16=self.bf16)
        scale = max(1.0, columns / rows if self.wide else rows / columns) ** 0.5
        for p, update in zip(weights, updates, strict=True):
            p.mul_(1 - lr * group["weight_decay"]).add_(update.reshape(p.shape), alpha=-lr * scale)
