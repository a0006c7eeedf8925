"""Fused kernels written out as their parts, so that each part rounds, and is moved, by itself.

Only kernels whose inner cancellation cannot be had by moving their inputs (1 + erf(x) near -1, exp(log p) - 1 near
p = 1), that leave something out, or that decide: how far they are from their parts is part of the floor. (torch
carries such decompositions for its compiler; importing them takes seconds.) Signatures are ATen's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    e = torch.exp(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def _softmax_backward_data(dy: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    product = dy * y
    return product - y * product.sum(dim, keepdim=True)


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _log_softmax_backward_data(dy: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    return dy - torch.exp(y) * dy.sum(dim, keepdim=True)


def logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    dims = tuple(dim)
    top = x.amax(dims, keepdim=True)
    top = torch.where(top.isinf(), torch.zeros_like(top), top)
    total = torch.exp(x - top).sum(dims, keepdim=True).log() + top
    return total if keepdim else total.squeeze(dims)


def native_layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = tuple(range(x.ndim - len(shape), x.ndim))
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    rstd = torch.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)
    y = centred * rstd
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return y, mean, rstd


def native_layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    shape: Sequence[int],
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    dims = tuple(range(x.ndim - len(shape), x.ndim))
    rows = tuple(range(x.ndim - len(shape)))
    normed = (x - mean) * rstd
    g = dy if weight is None else dy * weight
    dx = rstd * (g - g.mean(dims, keepdim=True) - normed * (g * normed).mean(dims, keepdim=True))
    dweight = (dy * normed).sum(rows) if rows else dy * normed
    dbias = dy.sum(rows) if rows else dy.clone()
    return dx if mask[0] else None, dweight if mask[1] else None, dbias if mask[2] else None


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(_inner(x)))
    return x * (0.5 * (1 + torch.erf(x * math.sqrt(0.5))))


def gelu_backward(dy: Tensor, x: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        t = torch.tanh(_inner(x))
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)
    density = torch.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return dy * (0.5 * (1 + torch.erf(x * math.sqrt(0.5))) + x * density)


def _inner(x: Tensor) -> Tensor:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)


def silu_backward(dy: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return dy * (s * (1 + x * (1 - s)))


def sigmoid_backward(dy: Tensor, y: Tensor) -> Tensor:
    return dy * ((1 - y) * y)


def tanh_backward(dy: Tensor, y: Tensor) -> Tensor:
    return dy * (1 - y * y)


def reduced(x: Tensor, reduction: int) -> Tensor:
    """ATen's reduction of a loss: 0 none, 1 its mean, 2 its sum."""
    return (x, x.mean(), x.sum())[reduction] if reduction else x


def binary_cross_entropy(p: Tensor, y: Tensor, weight: Tensor | None = None, reduction: int = 1) -> Tensor:
    """Without ATen's end of the logarithms at -100, and for y a rounding beyond [0, 1], too."""
    loss = (y - 1) * torch.log1p(-p) - y * torch.log(p)
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_backward(
    dy: Tensor, p: Tensor, y: Tensor, weight: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """Without ATen's least p (1 - p) of 1e-12, below which its slope is another: an error of its own, not of a user."""
    dp = dy * (p - y) / ((1 - p) * p)
    dp = dp if weight is None else dp * weight
    return dp / p.numel() if reduction == 1 else dp


def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """Without ATen's threshold, beyond which it leaves out exp(-20): that is an error of its own, not of a user."""
    return torch.logaddexp(x * beta, torch.zeros((), dtype=x.dtype)) / beta


def softplus_backward(dy: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    return dy * torch.sigmoid(x * beta)


def hardsigmoid_backward(dy: Tensor, x: Tensor) -> Tensor:
    """With 1/6 in the dtype of x; ATen rounds it to float32 first."""
    return torch.where((x > -3) & (x < 3), dy * (1 / 6), torch.zeros_like(dy))


# Slopes with a jump: written with a comparison, which is a decision that the noise replays. At a kink any slope
# would pass for rounding otherwise.


def threshold_backward(dy: Tensor, x: Tensor, threshold: float) -> Tensor:
    return torch.where(x <= threshold, torch.zeros_like(dy), dy)


def leaky_relu_backward(dy: Tensor, x: Tensor, slope: float, self_is_result: bool) -> Tensor:
    return torch.where(x > 0, dy, dy * slope)


def hardtanh_backward(dy: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    return torch.where((x <= low) | (x >= high), torch.zeros_like(dy), dy)


def softshrink_backward(dy: Tensor, x: Tensor, threshold: float) -> Tensor:
    return torch.where((x >= -threshold) & (x <= threshold), torch.zeros_like(dy), dy)


def sgn(x: Tensor) -> Tensor:
    if x.is_complex():
        return x / x.abs().masked_fill(x == 0, 1)
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


PARTS: dict[str, Callable[..., Any]] = {
    part.__name__: part
    for part in (
        _softmax,
        _softmax_backward_data,
        _log_softmax,
        _log_softmax_backward_data,
        logsumexp,
        native_layer_norm,
        native_layer_norm_backward,
        gelu,
        gelu_backward,
        silu_backward,
        sigmoid_backward,
        tanh_backward,
        binary_cross_entropy,
        binary_cross_entropy_backward,
        softplus,
        softplus_backward,
        hardsigmoid_backward,
        threshold_backward,
        leaky_relu_backward,
        hardtanh_backward,
        softshrink_backward,
        sgn,
    )
}
