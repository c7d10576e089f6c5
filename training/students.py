"""A recipe's network, from random weights, and what it takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.networks import (
    iresnet,
    load_genotype,
    pocketnet,
    rectified,
    resnet18,
    resnet56,
)
from training.recipes import Recipe


def build_student(recipe: Recipe) -> nn.Module:
    """The recipe's network with random weights of its seed."""
    torch.manual_seed(recipe.seed)
    network: nn.Module
    if recipe.network == "rectified":
        network = rectified(recipe.variant, load_genotype(recipe.genotype))
    elif recipe.network == "pocketnet":
        network = pocketnet(recipe.variant, load_genotype(recipe.genotype))
    elif recipe.network.startswith("iresnet"):
        network = iresnet(int(recipe.network.removeprefix("iresnet")))
    else:
        network = {"resnet18": resnet18, "resnet56": resnet56}[recipe.network]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = recipe.bn_momentum
    # Channels last is a third faster on a CPU, and what tensor cores want.
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def to_input(crops: NDArray[np.uint8]) -> Tensor:
    """Uint8 `(n, 112, 112, 3)` to the networks' float32 `(n, 3, 112, 112)`, channels last."""
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    return x.sub_(127.5).div_(127.5)


def embedder(network: nn.Module) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What gives a network's embeddings `(n, d)`, not normalised, of uint8 `(n, 112, 112, 3)`, RGB."""
    device = next(network.parameters()).device

    @torch.inference_mode()
    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = network(to_input(crops).to(device)).cpu().numpy()
        return result

    return embed
