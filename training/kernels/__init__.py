"""The rectified network's training step with kernels of our own, for a CPU with a C++ compiler.

`stages` is the network's own `stages`, on the network's own parameters, a sixth faster on one
thread; values and gradients agree to float32's precision. Of bfloat16 pictures every value up to the
last cell's is bfloat16, half as much memory to pass over, and a CPU that multiplies them is faster
again; parameters, statistics, their gradients and the tail stay float32.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.operations import Pool
from training.networks.rectified import Linear, RectifiedCell, RectifiedPocketNet, Separable

# The parts of -ffast-math that serve: linked with the whole, a library flushes the process's subnormals.
FAST_MATH = (
    "-fassociative-math",
    "-fno-math-errno",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-freciprocal-math",
)
FLAGS = ("-O3", "-march=native", *FAST_MATH, "-shared", "-fPIC")
SINGLE, BOTH, RAW = 0, 1, 2


@functools.cache
def _library() -> ctypes.CDLL:
    source = Path(__file__).with_name("kernels.cpp")
    digest = hashlib.sha256(source.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pocketface-training"
    library = cache / f"kernels-{digest}.so"
    if not library.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            built = Path(folder) / "kernels.so"
            subprocess.run(["g++", *FLAGS, "-o", str(built), str(source)], check=True)
            os.replace(built, library)
    return ctypes.CDLL(str(library))


def available() -> bool:
    """Whether a compiler for the kernels is here."""
    return shutil.which("g++") is not None and Path("/proc/cpuinfo").is_file()


def _kernel(name: str, x: Tensor) -> Any:
    """The kernel for values of the type of `x`."""
    return getattr(_library(), name + ("_bf16" if x.dtype is torch.bfloat16 else ""))


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mode: int,
        norms: tuple[nn.BatchNorm2d, ...],
        a: Tensor,
        b: Tensor | None,
        *affine: Tensor,
    ) -> Tensor:
        a = _nhwc(a)
        b = _nhwc(b) if b is not None else None
        n, c, h, w = a.shape
        out = torch.empty_like(a)
        saved = a.new_empty(2 * len(norms) * c, dtype=torch.float32)
        running = [t for bn in norms for t in (bn.running_mean, bn.running_var) if t is not None]
        _kernel("node_forward", a)(
            ctypes.c_int(mode),
            _pointer(a),
            _pointer(b),
            _pointer(out),
            ctypes.c_long(n * h * w),
            ctypes.c_long(c),
            _pointers(affine),
            _pointers(running),
            _pointer(saved),
            ctypes.c_float(norms[0].momentum or 0.0),
            ctypes.c_float(norms[0].eps),
        )
        ctx.mode = mode
        ctx.save_for_backward(a, b, out, saved, *affine)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        a, b, out, saved, *affine = ctx.saved_tensors
        gradient = _nhwc(gradient)
        n, c, h, w = a.shape
        da = torch.empty_like(a)
        db = torch.empty_like(b) if b is not None else None
        daffine = [torch.empty_like(t) for t in affine]
        _kernel("node_backward", a)(
            ctypes.c_int(ctx.mode),
            _pointer(gradient),
            _pointer(out),
            _pointer(a),
            _pointer(b),
            _pointer(da),
            _pointer(db),
            ctypes.c_long(n * h * w),
            ctypes.c_long(c),
            _pointers(affine),
            _pointer(saved),
            _pointers(daffine),
        )
        return None, None, da, db, *daffine


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        x = _nhwc(x)
        ctx.stride = stride
        ctx.save_for_backward(x, weight)
        padding, groups = weight.shape[2] // 2, len(weight)
        return F.conv2d(x, weight.to(x.dtype), stride=stride, padding=padding, groups=groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, kept = ctx.saved_tensors
        gradient = _nhwc(gradient)
        n, c, h, w = x.shape
        weight = kept.to(x.dtype)
        k = weight.shape[2]
        spread = gradient
        if ctx.stride > 1:  # zeros between: oneDNN's own gradient of a stride is slow in bfloat16
            spread = torch.zeros_like(x)
            spread[:, :, :: ctx.stride, :: ctx.stride] = gradient
        # The input's gradient is a forward convolution with the turned kernel.
        dx = F.conv2d(spread, weight.flip(2, 3), padding=k // 2, groups=c)
        dweight = kept.new_empty(k, k, c)
        _kernel("depthwise_weight_gradient", x)(
            ctypes.c_int(k),
            ctypes.c_int(ctx.stride),
            _pointer(x),
            _pointer(gradient),
            _pointer(dweight),
            *(ctypes.c_long(v) for v in (n, h, w, c)),
        )
        return dx, dweight.permute(2, 0, 1)[:, None], None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = _nhwc(x)
        n, c, h, w = ctx.shape = x.shape
        out = _nhwc(x.new_empty(n, c, (h + 1) // 2, (w + 1) // 2))
        taps = torch.empty_like(out, dtype=torch.int32)
        sizes = [ctypes.c_long(v) for v in (n, h, w, c)]
        _kernel("pool_forward", x)(_pointer(x), _pointer(out), _pointer(taps), *sizes)
        ctx.save_for_backward(taps)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (taps,) = ctx.saved_tensors
        gradient = _nhwc(gradient)
        n, c, h, w = ctx.shape
        dx = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last)
        sizes = [ctypes.c_long(v) for v in (n, h, w, c)]
        _kernel("pool_backward", gradient)(_pointer(gradient), _pointer(taps), _pointer(dx), *sizes)
        return dx


def node(norms: tuple[nn.BatchNorm2d, ...], a: Tensor, b: Tensor | None = None) -> Tensor:
    """`relu(norms[0](a) + norms[1](b))`; with one norm, `b` is added as it is, or is missing."""
    mode = BOTH if len(norms) == 2 else SINGLE if b is None else RAW
    affine = [t for bn in norms for t in (bn.weight, bn.bias)]
    result: Tensor = _Node.apply(mode, norms, a, b, *affine)  # type: ignore[no-untyped-call]
    return result


def depthwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A depthwise convolution without bias of `x`, channels last, its weights' gradient ours."""
    stride = convolution.stride[0]
    return _Depthwise.apply(x, convolution.weight, stride)  # type: ignore[no-any-return, no-untyped-call]


def pool(operation: Pool, x: Tensor) -> Tensor:
    """The pooling of `operation` without its batch norm, of `x`, channels last; the maximum's is ours."""
    if not isinstance(operation.pool, nn.MaxPool2d) or operation.pool.stride != 2:
        return operation.pool(x)  # type: ignore[no-any-return]
    return _Pool.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def pointwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution of `x`, channels last, as one matrix product, in the type of `x`.

    On one thread PyTorch's own takes batches below 16 picture by picture, through copies.
    """
    bias = None if convolution.bias is None else convolution.bias.to(x.dtype)
    y = F.linear(x.permute(0, 2, 3, 1), convolution.weight[:, :, 0, 0].to(x.dtype), bias)
    return y.permute(0, 3, 1, 2)


def convolve(convolution: nn.Module, x: Tensor) -> Tensor:
    """A convolution without bias, in the type of `x`; its weights' gradient is float32."""
    assert isinstance(convolution, nn.Conv2d)
    return F.conv2d(x, convolution.weight.to(x.dtype), None, convolution.stride, convolution.padding)


def _linear(operation: nn.Module, x: Tensor) -> tuple[Tensor, nn.BatchNorm2d | None]:
    """An operation up to its batch norm, and that batch norm."""
    if isinstance(operation, Separable):
        return convolve(operation.pointwise, depthwise(operation.depthwise, x)), operation.bn
    if isinstance(operation, Linear):
        return convolve(operation.conv, x), operation.bn
    if isinstance(operation, Pool):
        return pool(operation, x), operation.bn
    return x, None


def run_cell(cell: RectifiedCell, older: Tensor, newer: Tensor) -> Tensor:
    """What `cell(older, newer)` gives in training mode."""
    states = [
        node((cell.preproc0.bn,), convolve(cell.preproc0.conv, older)),
        node((cell.preproc1.bn,), convolve(cell.preproc1.conv, newer)),
    ]
    for pair, sources in zip(cell.dag, cell.sources, strict=True):
        assert isinstance(pair, nn.ModuleList)
        (a, bn_a), (b, bn_b) = (
            _linear(operation, states[source]) for operation, source in zip(pair, sources, strict=True)
        )
        if bn_a is None:
            a, b, bn_a, bn_b = b, a, bn_b, bn_a
        if bn_a is None:
            states.append(torch.relu(a + b))
        else:
            states.append(node((bn_a,) if bn_b is None else (bn_a, bn_b), a, b))
    return torch.cat(states[2:], dim=1)


def trunk(network: RectifiedPocketNet, x: Tensor, after: Sequence[int]) -> list[Tensor]:
    """Outputs of the cells in `after`, and of the last cell."""
    stem_conv, stem_bn, _ = network.stem
    assert isinstance(stem_bn, nn.BatchNorm2d)
    older = newer = node((stem_bn,), convolve(stem_conv, x))
    kept: dict[int, Tensor] = {}
    for index, cell in enumerate(network.cells):
        assert isinstance(cell, RectifiedCell)
        older, newer = newer, run_cell(cell, older, newer)
        if index in after:
            kept[index] = newer
    return [*(kept[i] for i in after), newer]


def stages(network: RectifiedPocketNet, x: Tensor, after: Sequence[int]) -> list[Tensor]:
    """What `network.stages(x, after)` gives in training mode, faster."""
    *kept, last = trunk(network, x, after)
    return [*kept, *run_tail(network, last)]


def run_tail(network: RectifiedPocketNet, x: Tensor) -> tuple[Tensor, Tensor]:
    """From the last cell's output to the map before the global convolution, and the embedding."""
    final = network.tail[1](convolve(network.tail[0], x).float())
    global_convolution = network.tail[3]
    assert isinstance(global_convolution, nn.Conv2d)
    # PyTorch's gradient of the 7x7 depthwise weights costs as much as ten cells of the last stage.
    pooled = (torch.relu(final) * global_convolution.weight[:, 0]).sum(dim=(2, 3), keepdim=True)
    return final, network.tail[4:](pooled).flatten(1)
