"""Functions that are right, in as many styles as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from compare.check import index, real
from tests.functions import XWB, Case, X, function, normal, saving

CASES: list[Case] = []


def case(name, fn, reference, inputs):
    CASES.append(Case(name, fn, reference, inputs))


class Linear(torch.autograd.Function):
    """forward(ctx), needs_input_grad respected."""

    @staticmethod
    def forward(ctx, x, W, b):
        ctx.save_for_backward(x, W)
        return x @ W.t() + b

    @staticmethod
    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        dx = dy @ W if ctx.needs_input_grad[0] else None
        dW = dy.t() @ x if ctx.needs_input_grad[1] else None
        db = dy.sum(0) if ctx.needs_input_grad[2] else None
        return dx, dW, db


class Exp(torch.autograd.Function):
    """setup_context; saves its output."""

    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * y


case("linear", Linear.apply, lambda x, W, b: x @ W.t() + b, XWB)
case("linear_tensors", Linear.apply, F.linear, {"x": normal(4, 3), "W": normal(2, 3), "b": normal(2)})
case("exp_setup_context", Exp.apply, torch.exp, X)
case("exp_scalar", Exp.apply, torch.exp, {"x": torch.tensor(0.7, dtype=torch.float64)})
case(
    "exp_from_seed",
    Exp.apply,
    torch.exp,
    lambda seed: {"x": torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))},
)


def relu(ctx, x):
    ctx.save_for_backward(x)
    return x.clamp(min=0)


def relu_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy * (x > 0)


def relu_open_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy * (x >= 0)


case("relu", function(relu, relu_backward), torch.relu, X)
case("relu_one_at_zero", function(relu, relu_open_backward), torch.relu, X)
case("relu_at_zero", function(relu, relu_open_backward), torch.relu, {"x": torch.tensor([[0.0, 1.0, -1.0, 0.0]])})


def first_max(ctx, x):
    y, i = x.max(1)
    ctx.save_for_backward(i)
    ctx.shape = x.shape
    return y


def first_max_backward(ctx, dy):
    (i,) = ctx.saved_tensors
    return dy.new_zeros(ctx.shape).scatter(1, i[:, None], dy[:, None])


case("max_first_of_ties", function(first_max, first_max_backward), lambda x: x.amax(1), X)


def max_and_where(ctx, x):
    y, i = x.max(1)
    ctx.save_for_backward(i)
    ctx.mark_non_differentiable(i)
    ctx.shape = x.shape
    return y, i


case(
    "max_with_its_index",
    function(max_and_where, lambda ctx, dy, _: first_max_backward(ctx, dy)),
    lambda x: tuple(x.max(1)),
    X,
)


def softmax_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    p = x.softmax(1)
    return p * (dy - (p * dy).sum(1, keepdim=True))


case("softmax", function(saving(lambda x: x.softmax(1)), softmax_backward), lambda x: x.softmax(1), X)


def cross_entropy_backward(ctx, dy):
    z, t = ctx.saved_tensors
    return dy * (z.softmax(1) - F.one_hot(t, z.shape[1])) / len(t), None


case(
    "cross_entropy",
    function(saving(F.cross_entropy), cross_entropy_backward),
    F.cross_entropy,
    {"z": real("m", "c"), "t": index("m", classes="c")},
)


class LayerNorm(torch.autograd.Function):
    """Saves intermediates, so it can be differentiated once only."""

    @staticmethod
    def forward(ctx, x, w, b):
        xhat = x - x.mean(1, keepdim=True)
        r = (xhat.square().mean(1, keepdim=True) + 1e-5).rsqrt()
        xhat = xhat * r
        ctx.save_for_backward(xhat, r, w)
        return xhat * w + b

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        xhat, r, w = ctx.saved_tensors
        g = dy * w
        dx = r * (g - g.mean(1, keepdim=True) - xhat * (g * xhat).mean(1, keepdim=True))
        return dx, (dy * xhat).sum(0), dy.sum(0)


def layer_norm(x, w, b):
    return F.layer_norm(x, x.shape[1:], w, b, 1e-5)


case("layer_norm", LayerNorm.apply, layer_norm, {"x": real("m", 7), "w": real(7), "b": real(7)})


def rms_norm(x):
    return x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()


def rms_norm_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    r = (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
    return r * dy - x * r.pow(3) * (x * dy).mean(1, keepdim=True)


case("rms_norm", function(saving(rms_norm), rms_norm_backward), rms_norm, X)


def double_(ctx, x):
    ctx.mark_dirty(x)
    return x.mul_(2)


case("in_place_double", function(double_, lambda ctx, dy: 2 * dy), lambda x: 2 * x, X)


def relu_(ctx, x):
    ctx.mark_dirty(x)
    x.clamp_(min=0)
    ctx.save_for_backward(x)
    return x


case("in_place_relu", function(relu_, relu_backward), torch.relu, X)
case("returns_a_view", function(lambda ctx, x: x.t(), lambda ctx, dy: dy.t()), lambda x: x.t(), X)
case("identity", function(lambda ctx, x: x.view_as(x), lambda ctx, dy: dy), lambda x: x * 1, X)
case("contiguous_copy", function(lambda ctx, x: x.t().contiguous(), lambda ctx, dy: dy.t()), lambda x: x.t(), X)


def sin_cos_backward(ctx, ds, dc):
    (x,) = ctx.saved_tensors
    return ds * x.cos() - dc * x.sin()


def sin_cos(x):
    return x.sin(), x.cos()


case("sin_and_cos", function(saving(sin_cos), sin_cos_backward), sin_cos, X)


def sin_cos_unmaterialised(ctx, x):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x)
    return x.sin(), x.cos()


def sin_cos_none_backward(ctx, ds, dc):
    (x,) = ctx.saved_tensors
    dx = None
    if ds is not None:
        dx = ds * x.cos()
    if dc is not None:
        dx = -dc * x.sin() if dx is None else dx - dc * x.sin()
    return dx


case("undefined_gradients", function(sin_cos_unmaterialised, sin_cos_none_backward), sin_cos, X)
