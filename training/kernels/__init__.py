"""PocketNet's training step with kernels of our own, for a CPU with a C++ compiler.

`stages` is the network's own `stages`, on the network's own parameters, rectified or the paper's,
faster on one thread; values and gradients agree to float32's precision. Of bfloat16 pictures every
value up to the last cell's is bfloat16, half as much memory to pass over, and a CPU that multiplies
them is faster again; parameters, statistics, their gradients and the tail stay float32.
"""

from training.kernels.compiled import available
from training.kernels.functions import convolve, depthwise, node, pointwise, pool, prelu
from training.kernels.steps import run_cell, run_tail, stages, trunk

__all__ = [
    "available",
    "convolve",
    "depthwise",
    "node",
    "pointwise",
    "pool",
    "prelu",
    "run_cell",
    "run_tail",
    "stages",
    "trunk",
]
