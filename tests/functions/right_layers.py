"""Functions that are right, with long sums, cancellation, ties or linear algebra in them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from compare.check import binary, positive, real
from tests.functions import Case, X, function, normal, saving

CASES: list[Case] = []


def case(name, forward, backward, inputs, reference=None):
    CASES.append(Case(name, function(saving(forward), backward), reference or forward, inputs))


def conv_backward(ctx, dy):
    x, W = ctx.saved_tensors
    columns = F.unfold(x, W.shape[2:])
    d = dy.flatten(2)
    dW = torch.einsum("nol,nkl->ok", d, columns).reshape(W.shape)
    dx = F.fold(torch.einsum("ok,nol->nkl", W.flatten(1), d), x.shape[2:], W.shape[2:])
    return dx, dW


case("convolution", lambda x, W: F.conv2d(x, W), conv_backward, {"x": real("n", "c", 6, 5), "W": real("o", "c", 3, 2)})


def cosine_backward(ctx, dy):
    a, b = ctx.saved_tensors
    na, nb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    c, d = (a * b).sum(1, keepdim=True) / (na * nb), dy[:, None]
    return d * (b / (na * nb) - c * a / na**2), d * (a / (na * nb) - c * b / nb**2)


def cosine(a, b):
    return F.cosine_similarity(a, b)


case("cosine", cosine, cosine_backward, {"a": real("m", "d"), "b": real("m", "d")})


def solve_backward(ctx, dy):
    A, b = ctx.saved_tensors
    db = torch.linalg.solve(A.mT, dy)
    return -db @ torch.linalg.solve(A, b).mT, db


case("solve", torch.linalg.solve, solve_backward, {"A": normal(4, 4) + 3 * torch.eye(4), "b": normal(4, 2)})


def chunked_product_backward(ctx, dy):
    x, W = ctx.saved_tensors
    dW = torch.zeros_like(W)
    for start in range(0, len(x), 7):
        dW = dW + x[start : start + 7].t() @ dy[start : start + 7]
    return dy @ W.t(), dW


case("long_sum_in_chunks", torch.matmul, chunked_product_backward, {"x": normal(499, 3), "W": normal(3, 2)})


def batch_norm(x, w, b):
    return F.batch_norm(x, None, None, w, b, True)


def batch_norm_backward(ctx, dy):
    x, w, _ = ctx.saved_tensors
    r = (x.var(0, unbiased=False) + 1e-5).rsqrt()
    xhat = (x - x.mean(0)) * r
    dx = w * r * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))
    return dx, (dy * xhat).sum(0), dy.sum(0)


case("batch_norm", batch_norm, batch_norm_backward, {"x": real("m", "d"), "w": real("d"), "b": real("d")})


def plain_layer_norm(x, w, b):
    return F.layer_norm(x, x.shape[1:], w, b)


def plain_layer_norm_backward(ctx, dy):
    x, w, _ = ctx.saved_tensors
    r = (x.var(1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
    xhat, g = (x - x.mean(1, keepdim=True)) * r, dy * w
    dx = r * (g - g.mean(1, keepdim=True) - xhat * (g * xhat).mean(1, keepdim=True))
    return dx, (dy * xhat).sum(0), dy.sum(0)


LARGE_MEAN = {"x": normal(4, 8) + 100, "w": normal(8), "b": normal(8)}
case("layer_norm_of_a_large_mean", plain_layer_norm, plain_layer_norm_backward, LARGE_MEAN)


def rotated(x, angle):
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def rotated_backward(ctx, dy):
    return rotated(dy, -ctx.saved_tensors[1]), None


ANGLES = {"x": normal(5, 8), "angle": normal(5, 4)}
case("rotary", rotated, rotated_backward, ANGLES, lambda x, angle: rotated(x, angle.detach()))
case("same_dy_for_both", torch.add, lambda ctx, dy: (dy, dy), {"a": real("m", "d"), "b": real("m", "d")})


def maximum_backward(ctx, dy):
    a, b = ctx.saved_tensors
    return dy * (a >= b), dy * (a < b)


case("maximum_to_the_first", torch.maximum, maximum_backward, {"a": real("m", "d"), "b": real("m", "d")})


def pool_backward(ctx, dy):
    _, places = F.max_pool2d(ctx.saved_tensors[0], 2, return_indices=True)
    return F.max_unpool2d(dy, places, 2)


case("max_pool", lambda x: F.max_pool2d(x, 2), pool_backward, {"x": normal(2, 3, 4, 6)})


def cumulative_product_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return (dy * x.cumprod(1)).flip(1).cumsum(1).flip(1) / x


case("cumulative_product", lambda x: x.cumprod(1), cumulative_product_backward, {"x": positive("m", "d")})


def log_loss_backward(ctx, dy):
    z, y = ctx.saved_tensors
    return dy * (z.sigmoid() - y) / z.numel(), None


case(
    "log_loss",
    F.binary_cross_entropy_with_logits,
    log_loss_backward,
    {"z": real("m", "k"), "y": binary("m", "k")},
    lambda z, y: F.binary_cross_entropy_with_logits(z, y.detach()),
)
case("norm", lambda x: x.norm(), lambda ctx, dy: dy * ctx.saved_tensors[0] / ctx.saved_tensors[0].norm(), X)
