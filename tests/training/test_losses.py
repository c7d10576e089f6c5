from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training import losses


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_arcface_is_the_formula() -> None:
    torch.manual_seed(0)
    head = losses.ArcFace(8, 5)
    x, y = torch.randn(4, 8), torch.tensor([0, 3, 3, 1])
    cosines = unit(x.numpy().astype(float)) @ unit(head.weight.detach().numpy().astype(float)).T
    logits = 64 * cosines
    for row, label in enumerate(y.tolist()):
        logits[row, label] = 64 * math.cos(math.acos(cosines[row, label]) + 0.5)
    expected = np.mean(
        [np.log(np.exp(row - row[label]).sum()) for row, label in zip(logits, y.tolist(), strict=True)]
    )
    assert float(head(x, y).detach()) == pytest.approx(expected, rel=1e-4)


def test_arcface_leaves_unknown_people_out() -> None:
    head = losses.ArcFace(8, 5)
    x = torch.randn(3, 8)
    alone = head(x[:1], torch.tensor([2]))
    torch.testing.assert_close(head(x, torch.tensor([2, -1, -1])), alone)
    assert float(head(x, torch.tensor([-1, -1, -1]))) == 0


def test_arcface_under_autocast_has_finite_gradients_where_an_embedding_meets_its_centre() -> None:
    torch.manual_seed(0)
    head = losses.ArcFace(128, 8)
    x = (head.weight.detach()[:4] * 5 + torch.randn(4, 128) * 1e-4).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert head.cosines(x).dtype == torch.float32
        loss = head(x, torch.arange(4))
    loss.backward()
    assert bool(torch.isfinite(x.grad).all())
    assert float(loss.detach()) == pytest.approx(float(head(x, torch.arange(4)).detach()), rel=1e-5)


def test_template_counts_every_number() -> None:
    s, t = torch.randn(3, 4), torch.randn(3, 4)
    expected = 100 * np.mean((unit(s.numpy()) - unit(t.numpy())) ** 2)
    assert float(losses.template(s, t)) == pytest.approx(expected, rel=1e-4)


def test_angular_is_the_squared_angle() -> None:
    s, t = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    expected = ((math.pi / 2) ** 2 + (math.pi / 4) ** 2) / 2
    assert float(losses.angular(s, t)) == pytest.approx(expected, rel=1e-4)


def test_classification_is_kl_and_zero_for_equals() -> None:
    s, t = torch.randn(2, 5), torch.randn(2, 5)
    p, q = (torch.softmax(v / 4, 1).numpy().astype(float) for v in (t, s))
    expected = 16 * (p * np.log(p / q)).sum() / 2
    assert float(losses.classification(s, t)) == pytest.approx(expected, rel=1e-4)
    assert float(losses.classification(t, t)) == pytest.approx(0, abs=1e-6)


def test_hints_start_near_one_and_a_constant_channel_does_no_harm() -> None:
    torch.manual_seed(0)
    hints = losses.Hints([4], [8])
    teacher = torch.randn(6, 8, 3, 3) * 5 + 2
    teacher[:, 0] = 1.0
    hints.calibrate([teacher])
    with torch.no_grad():
        for p in hints.parameters():
            p.zero_()
    (loss,) = hints([torch.randn(6, 4, 3, 3)], [teacher])
    assert float(loss.detach()) == pytest.approx(7 / 8, rel=0.02)
