from __future__ import annotations

import torch
from torch import nn

from training.muon import Muon, is_matrix, orthogonalize


def test_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 64), (2, 64, 16), (1, 32, 32)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
        assert float(values.min()) > 0.3
        assert float(values.max()) < 1.3


def test_directions_stay() -> None:
    u, _, v = torch.linalg.svd(torch.randn(16, 16))
    matrix = u @ torch.diag(torch.linspace(0.5, 1, 16)) @ v
    turned = u.T @ orthogonalize(matrix[None])[0] @ v.T
    assert float((turned - torch.diag(turned.diag())).abs().max()) < 1e-3


def test_which_weights_are_matrices() -> None:
    assert is_matrix(torch.zeros(16, 64, 1, 1))
    assert is_matrix(torch.zeros(32, 16, 2, 2))
    assert not is_matrix(torch.zeros(64, 1, 3, 3))
    assert not is_matrix(torch.zeros(64))
    assert not is_matrix(torch.zeros(64, 3, 3, 3))


def test_it_solves_a_regression() -> None:
    torch.manual_seed(0)
    layer, target = nn.Linear(16, 16, bias=False), torch.randn(16, 16) * 0.2
    x = torch.randn(256, 16)
    optimiser = Muon([layer.weight], lr=0.1, weight_decay=0)
    losses = []
    for step in range(100):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 100)
        loss = (layer(x) - x @ target.T).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.01 * losses[0]
