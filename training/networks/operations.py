"""The operations of the paper's cells, with PReLU; submodule names are the authors' keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeparableUnit(nn.Module):
    """PReLU, depthwise kxk, pointwise 1x1, batch norm: `c_in` channels to `c_out`."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.PReLU(c_in),
            nn.Conv2d(c_in, c_in, kernel, stride, kernel // 2, groups=c_in, bias=False),
            nn.Conv2d(c_in, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.net(x)  # type: ignore[no-any-return]


class Pool(nn.Module):
    """3x3 pooling with padding 1, then batch norm."""

    def __init__(self, channels: int, stride: int, kind: str) -> None:
        super().__init__()
        self.pool: nn.Module
        if kind == "max_pool":
            self.pool = nn.MaxPool2d(3, stride, padding=1)
        else:
            self.pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.bn(self.pool(x))  # type: ignore[no-any-return]


class FactorizedReduction(nn.Module):
    """Half the size without losing a pixel's phase: two stride-2 paths, one shifted by a pixel."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        if c_out % 2:
            raise ValueError(f"expected an even number of output channels, got {c_out}")
        self.relu = nn.PReLU(c_in)
        self.conv11 = nn.Conv2d(c_in, c_in, 1, stride=2, groups=c_in, bias=False)
        self.conv12 = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.conv21 = nn.Conv2d(c_in, c_in, 1, stride=2, groups=c_in, bias=False)
        self.conv22 = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        x = self.relu(x)
        first = self.conv12(self.conv11(x))
        second = self.conv22(self.conv21(x[:, :, 1:, 1:]))
        return self.bn(torch.cat([first, second], dim=1))  # type: ignore[no-any-return]


def operation(name: str, channels: int, stride: int) -> nn.Module:
    """The operation of a genotype's edge, on `channels` channels."""
    if name == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)
    if name in ("max_pool", "avg_pool"):
        return Pool(channels, stride, name)
    return SeparableUnit(channels, channels, int(name[-1]), stride)
