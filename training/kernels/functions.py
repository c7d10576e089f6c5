"""Parts of a network's training step as one pass over memory each way, on channels last."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.kernels.compiled import kernel, pointer, pointers
from training.networks.operations import Pool

SINGLE, BOTH, RAW = 0, 1, 2


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mode: int,
        rectified: bool,
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
        kernel("node_forward", a)(
            ctypes.c_int(mode),
            ctypes.c_int(rectified),
            pointer(a),
            pointer(b),
            pointer(out),
            ctypes.c_long(n * h * w),
            ctypes.c_long(c),
            pointers(affine),
            pointers(running),
            pointer(saved),
            ctypes.c_float(norms[0].momentum or 0.0),
            ctypes.c_float(norms[0].eps),
        )
        ctx.mode, ctx.rectified = mode, rectified
        ctx.save_for_backward(a, b, out if rectified else None, saved, *affine)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        a, b, out, saved, *affine = ctx.saved_tensors
        gradient = _nhwc(gradient)
        n, c, h, w = a.shape
        da = torch.empty_like(a)
        db = torch.empty_like(b) if b is not None else None
        daffine = [torch.empty_like(t) for t in affine]
        kernel("node_backward", a)(
            ctypes.c_int(ctx.mode),
            ctypes.c_int(ctx.rectified),
            pointer(gradient),
            pointer(out),
            pointer(a),
            pointer(b),
            pointer(da),
            pointer(db),
            ctypes.c_long(n * h * w),
            ctypes.c_long(c),
            pointers(affine),
            pointer(saved),
            pointers(daffine),
        )
        return None, None, None, da, db, *daffine


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        x = _nhwc(x)
        n, c, h, w = x.shape
        out = torch.empty_like(x)
        sizes = ctypes.c_long(n * h * w), ctypes.c_long(c)
        kernel("prelu_forward", x)(pointer(x), pointer(out), pointer(slope), *sizes)
        ctx.save_for_backward(x, slope)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        gradient = _nhwc(gradient)
        n, c, h, w = x.shape
        dx, dslope = torch.empty_like(x), torch.empty_like(slope)
        operands = [pointer(t) for t in (gradient, x, dx, slope, dslope)]
        kernel("prelu_backward", x)(*operands, ctypes.c_long(n * h * w), ctypes.c_long(c))
        return dx, dslope


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
        kernel("depthwise_weight_gradient", x)(
            ctypes.c_int(k),
            ctypes.c_int(ctx.stride),
            pointer(x),
            pointer(gradient),
            pointer(dweight),
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
        kernel("pool_forward", x)(pointer(x), pointer(out), pointer(taps), *sizes)
        ctx.save_for_backward(taps)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (taps,) = ctx.saved_tensors
        gradient = _nhwc(gradient)
        n, c, h, w = ctx.shape
        dx = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last)
        sizes = [ctypes.c_long(v) for v in (n, h, w, c)]
        kernel("pool_backward", gradient)(pointer(gradient), pointer(taps), pointer(dx), *sizes)
        return dx


def node(
    norms: tuple[nn.BatchNorm2d, ...], a: Tensor, b: Tensor | None = None, *, rectified: bool = True
) -> Tensor:
    """`relu(norms[0](a) + norms[1](b))`; with one norm, `b` is added as it is, or is missing.

    Without `rectified` there is no ReLU.
    """
    mode = BOTH if len(norms) == 2 else SINGLE if b is None else RAW
    affine = [t for bn in norms for t in (bn.weight, bn.bias)]
    result: Tensor = _Node.apply(mode, rectified, norms, a, b, *affine)  # type: ignore[no-untyped-call]
    return result


def prelu(activation: nn.Module, x: Tensor) -> Tensor:
    """A PReLU with a slope for each channel, of `x`, channels last; the slopes' gradient is float32."""
    assert isinstance(activation, nn.PReLU)
    return _PReLU.apply(x, activation.weight)  # type: ignore[no-any-return, no-untyped-call]


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
