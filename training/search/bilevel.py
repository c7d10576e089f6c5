"""The bilevel step: architecture on one half of the faces, weights on the other.

    min_a  L_val(w*(a), a)   where   w*(a) = argmin_w L_train(w, a)

First order takes w* = w. Second order takes one step of the inner descent, w' = w - xi dL_train/dw,
and differentiates through it:

    dL_val(w', a)/da - xi d2L_train/(da dw) . dL_val(w', a)/dw'

whose second term is a finite difference of dL_train/da along v = dL_val/dw' (DARTS, equations 6 to 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Loss = Callable[[], Tensor]
"""Evaluates a scalar loss at the current parameters."""


def first_order(architecture: Sequence[nn.Parameter], validation: Loss) -> Tensor:
    """Set the architecture's gradients to dL_val/da; gives the loss."""
    loss = validation()
    for alpha, gradient in zip(architecture, torch.autograd.grad(loss, list(architecture)), strict=True):
        alpha.grad = gradient
    return loss.detach()


def second_order(
    architecture: Sequence[nn.Parameter],
    weights: Sequence[nn.Parameter],
    training: Loss,
    validation: Loss,
    rate: float,
    decay: float = 0.0,
) -> Tensor:
    """Set the architecture's gradients through one step of plain descent on the weights.

    Args:
        architecture: the parameters a.
        weights: the parameters w; unchanged when it returns.
        training: L_train.
        validation: L_val.
        rate: xi, the learning rate of the virtual step.
        decay: weight decay inside the virtual step.

    Returns:
        L_val at the virtual weights.
    """
    a, w = list(architecture), list(weights)
    kept = [p.detach().clone() for p in w]
    inner = torch.autograd.grad(training(), w, allow_unused=True)
    with torch.no_grad():
        for p, g in zip(w, inner, strict=True):
            p.sub_(rate * ((0 if g is None else g) + decay * p))
    loss = validation()
    outer = torch.autograd.grad(loss, a + w, allow_unused=True)
    direct, along = outer[: len(a)], outer[len(a) :]
    norm = torch.sqrt(sum((v.square().sum() for v in along if v is not None), loss.new_zeros(())))
    epsilon = 0.01 / max(float(norm), 1e-12)
    shifted = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for p, start, v in zip(w, kept, along, strict=True):
                p.copy_(start if v is None else start + sign * epsilon * v)
        shifted.append(torch.autograd.grad(training(), a, allow_unused=True))
    with torch.no_grad():
        for p, start in zip(w, kept, strict=True):
            p.copy_(start)
        for alpha, g, plus, minus in zip(a, direct, *shifted, strict=True):
            mixed = torch.zeros_like(alpha) if plus is None or minus is None else plus - minus
            alpha.grad = (torch.zeros_like(alpha) if g is None else g) - rate * mixed / (2 * epsilon)
    return loss.detach()
