"""iResNet (Deng et al., ArcFace, 2019), the paper's teachers: BN, Conv, BN, PReLU, Conv, BN."""

from __future__ import annotations

from torch import Tensor, nn

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class Block(nn.Module):
    """`(n, c_in, h, w)` to `(n, c_out, h / stride, w / stride)`."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.Conv2d(c_in, c_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.PReLU(c_out),
            nn.Conv2d(c_out, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut: nn.Module = (
            nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
            if stride != 1 or c_in != c_out
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


class IResNet(nn.Module):
    """Float32 `(n, 3, 112, 112)`, RGB, `(x / 255 - 0.5) / 0.5`, to float32 `(n, embedding)`."""

    def __init__(self, depths: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        c_in = 64
        for depth, c_out in zip(depths, (64, 128, 256, 512), strict=True):
            for index in range(depth):
                blocks.append(Block(c_in, c_out, 2 if index == 0 else 1))
                c_in = c_out
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, embedding),
            nn.BatchNorm1d(embedding),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return self.head(self.blocks(self.stem(x)))  # type: ignore[no-any-return]


def iresnet(layers: int, embedding: int = 128) -> IResNet:
    """An iResNet of 18, 34, 50 or 100 layers, with random weights."""
    return IResNet(DEPTHS[layers], embedding)
