"""The losses: ArcFace, and distillation of embeddings, of maps and at the classification layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.kernels import pointwise


def cosines(embeddings: Tensor, centres: Tensor) -> Tensor:
    """Float32 `(n, people)` of embeddings `(n, d)` and centres `(people, d)`, under autocast as well.

    In bf16 cosines near one are one, where the angle's gradient is infinite.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        return F.linear(F.normalize(embeddings.float()), F.normalize(centres.float()))


class ArcFace(nn.Module):
    """Additive angular margin (Deng et al. 2019): cross entropy of `s cos(theta + m at the label)`.

    Past `theta = pi - m`, where the cosine would rise again, it goes on linearly.
    """

    def __init__(self, embedding: int, people: int, scale: float = 64.0, margin: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, embedding) * 0.01)
        self.scale, self.margin = scale, margin

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Float32 `(n, people)`: cosine of each embedding with each person's centre."""
        return cosines(embeddings, self.weight)

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Scaled cosines with the margin at the label; labels int64 `(n,)`, negative for unknown."""
        cosines = self.cosines(embeddings)
        known = labels >= 0
        at = cosines[known, labels[known]].clamp(-1 + 1e-6, 1 - 1e-6)
        angle = at.acos() + self.margin
        eased = torch.where(angle <= math.pi, angle.cos(), at - math.sin(math.pi - self.margin) * self.margin)
        cosines = cosines.index_put((known.nonzero()[:, 0], labels[known]), eased)
        return self.scale * cosines

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Apply the module to `embeddings`."""
        known = labels >= 0
        if not bool(known.any()):
            return embeddings.sum() * 0.0
        return F.cross_entropy(self.logits(embeddings, labels)[known], labels[known])


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cosine of embeddings `(n, d)`, a number."""
    return F.cosine_similarity(student, teacher).mean()


def template(student: Tensor, teacher: Tensor, weight: float = 100.0) -> Tensor:
    """Template distillation (the paper): mean squared error of unit-norm embeddings, times 100."""
    return weight * F.mse_loss(F.normalize(student), F.normalize(teacher))


class Hints(nn.Module):
    """Feature-level distillation: student maps, through learned 1x1 layers, regress teacher's.

    Each loss is the fraction of the teacher's variance that is left, one at the start: the
    teacher's channels come normalised (`normalize`).
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in zip(student, teacher, strict=True))
        for index, channels in enumerate(teacher):
            self.register_buffer(f"mean{index}", torch.zeros(1, channels, 1, 1))
            self.register_buffer(f"deviation{index}", torch.ones(1, channels, 1, 1))

    def calibrate(self, teacher: Sequence[Tensor]) -> None:
        """Take mean and deviation of each channel from a sample of the teacher's maps.

        The deviation is clamped from below: some channels are constant.
        """
        for index, t in enumerate(teacher):
            deviation = t.std(dim=(0, 2, 3), keepdim=True)
            floor = 0.05 * deviation.median()
            getattr(self, f"mean{index}").copy_(t.mean(dim=(0, 2, 3), keepdim=True))
            getattr(self, f"deviation{index}").copy_(deviation.clamp_min(floor))

    def normalized(self, teacher: Sequence[Tensor]) -> list[Tensor]:
        """The teacher's maps with mean zero and deviation one in each channel."""
        return [
            (t - getattr(self, f"mean{index}")) / getattr(self, f"deviation{index}")
            for index, t in enumerate(teacher)
        ]

    def against(self, student: Sequence[Tensor], targets: Sequence[Tensor]) -> list[Tensor]:
        """One loss a hint, against maps of the teacher that are normalised already."""
        linears = [linear for linear in self.maps if isinstance(linear, nn.Conv2d)]
        pairs = zip(linears, student, targets, strict=True)
        return [F.mse_loss(pointwise(linear, s).float(), target) for linear, s, target in pairs]

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[Tensor]:
        """One loss a hint; maps `(n, c, h, w)`, teacher and student of the same height and width."""
        return self.against(student, self.normalized(teacher))


def classification(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Hinton's distillation: KL of softened class distributions, times temperature squared.

    Logits float32 `(n, people)`; the gradient's size does not depend on the temperature.
    """
    return temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )


def angular(student: Tensor, teacher: Tensor) -> Tensor:
    """Feature-level distillation matched to ArcFace: mean squared angle, in radians.

    ArcFace's margin lives in the angle, so the angle is what the student should inherit.
    """
    s, t = F.normalize(student), F.normalize(teacher)
    # 2 asin(|s - t| / 2) is the angle, and unlike acos it keeps its precision near zero.
    half = 0.5 * (s - t).square().sum(dim=1).clamp_min(1e-12).sqrt()
    return (2 * half.clamp_max(1 - 1e-6).asin()).square().mean()
