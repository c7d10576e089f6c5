"""The thesis's networks (TU Darmstadt, 2020): CIFAR-style ResNet-56 student, ResNet-18 teacher.

Post-activation residual blocks (He et al. 2016). The thesis gives the depths and that the student
is about twelve times smaller than the teacher; stem and head here are our choice.
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, rectified after the sum."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut: nn.Module = (
            nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
            if stride != 1 or c_in != c_out
            else nn.Identity()
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.relu(self.body(x) + self.shortcut(x))  # type: ignore[no-any-return]


def _stages(depths: tuple[int, ...], widths: tuple[int, ...], c_in: int) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for index in range(depth):
            blocks.append(BasicBlock(c_in, width, 2 if index == 0 and stage else 1))
            c_in = width
    return nn.Sequential(*blocks)


class CifarResNet(nn.Module):
    """16, 32, 64 channels at 56, 28, 14 pixels; global average; `(n, 3, 112, 112)` to `(n, d)`."""

    def __init__(self, depth: int, embedding: int) -> None:
        super().__init__()
        if (depth - 2) % 6:
            raise ValueError(f"expected a depth of 6 n + 2, got {depth}")
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = _stages(((depth - 2) // 6,) * 3, (16, 32, 64), 16)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, embedding, bias=False),
            nn.BatchNorm1d(embedding),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.head(self.blocks(self.stem(x)))  # type: ignore[no-any-return]


class FaceResNet(nn.Module):
    """64 to 512 channels at 56 to 7 pixels; global average; `(n, 3, 112, 112)` to `(n, d)`."""

    def __init__(self, depths: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.blocks = _stages(depths, (64, 128, 256, 512), 64)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(512, embedding, bias=False),
            nn.BatchNorm1d(embedding),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.head(self.blocks(self.stem(x)))  # type: ignore[no-any-return]


def resnet56(embedding: int = 128) -> CifarResNet:
    """The thesis's student."""
    return CifarResNet(56, embedding)


def resnet18(embedding: int = 128) -> FaceResNet:
    """The thesis's teacher."""
    return FaceResNet((2, 2, 2, 2), embedding)
