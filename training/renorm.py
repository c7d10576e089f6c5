"""Batch renormalisation of what a batch has one value of for each face.

After the global convolution a batch of 16 has 16 values a channel, and their mean and deviation are noise:
the embedding that a run sees is far from the one that the network will give. Batch renormalisation gives
training what is used, the running statistics, and gradients through the batch's (Ioffe, "Batch
renormalization: towards reducing minibatch dependence in batch-normalized models", NeurIPS 2017), here
without the paper's limits, for a part that begins with trained weights has statistics to begin with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layout import Layout


class BatchRenorm(nn.BatchNorm2d):
    """A batch norm whose output in training is that of its running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`, float32 `(n, c, h, w)`; in training the running statistics follow the batch's."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        with torch.no_grad():
            variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
            deviation = torch.sqrt(self.running_var + self.eps)
            scale = torch.sqrt(variance + self.eps) / deviation
            shift = (mean - self.running_mean) / deviation
        own = F.batch_norm(
            x, self.running_mean, self.running_var, None, None, True, self.momentum or 0.0, self.eps
        )
        renormalised = own * scale[:, None, None] + shift[:, None, None]
        return renormalised * self.weight[:, None, None] + self.bias[:, None, None]


def renormalise(network: Layout) -> None:
    """Make the batch norms after the global convolution renormalise; names and values stay."""
    for index in range(network.map_at, len(network.tail)):
        norm = network.tail[index]
        if isinstance(norm, nn.BatchNorm2d):
            renorm = BatchRenorm(norm.num_features, norm.eps, norm.momentum)
            renorm.load_state_dict(norm.state_dict())
            network.tail[index] = renorm
