"""Functions with a wrong formula, wrong with several inputs and outputs, or imprecise."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from compare.check import index, positive, real
from tests.functions import XW, Case, X, function, normal, saving
from tests.functions.right_formulas import attention, attention_backward, matmul_backward
from tests.functions.right_styles import LayerNorm, layer_norm, rms_norm, sin_cos, softmax_backward
from tests.functions.wrong_cotangents import tanh_backward

CASES: list[Case] = []


def case(name, fn, reference, inputs, row="x", verdict="wrong", says=""):
    CASES.append(Case(name, fn, reference, inputs, row, verdict, says))


case(
    "layer_norm_without_its_projection",
    function(
        LayerNorm.forward,
        lambda ctx, dy: (
            ctx.saved_tensors[1] * dy * ctx.saved_tensors[2],
            (dy * ctx.saved_tensors[0]).sum(0),
            dy.sum(0),
        ),
        once=True,
    ),
    layer_norm,
    {"x": real("m", 7), "w": real(7), "b": real(7)},
)


def no_projection_backward(ctx, dy):
    """Subtracts the mean of dy, which suffices for a cotangent of ones."""
    (x,) = ctx.saved_tensors
    return (x.var(1, unbiased=False, keepdim=True) + 1e-5).rsqrt() * (dy - dy.mean(1, keepdim=True))


def normalised(x):
    return F.layer_norm(x, x.shape[1:], eps=1e-5)


case("hidden_by_ones", function(saving(normalised), no_projection_backward), normalised, {"x": real("m", 7)})


def no_eps_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    r = x.square().mean(1, keepdim=True).rsqrt()
    return r * dy - x * r.pow(3) * (x * dy).mean(1, keepdim=True)


case("forgets_eps", function(saving(rms_norm), no_eps_backward), rms_norm, X)


def no_sum_softmax_backward(ctx, dy):
    p = ctx.saved_tensors[0].softmax(1)
    return p * dy * (1 - p)


case(
    "softmax_as_if_diagonal",
    function(saving(lambda x: x.softmax(1)), no_sum_softmax_backward),
    lambda x: x.softmax(1),
    X,
)


def missing_scale_backward(ctx, dy):
    dq, dk, dv = attention_backward(ctx, dy)
    return dq, dk * 3**0.5, dv


case(
    "attention_forgets_the_scale_for_k",
    function(saving(attention), missing_scale_backward),
    attention,
    {n: normal(2, 4, 3) for n in "qkv"},
    "k",
)


def assigned_backward(ctx, dy):
    i, W = ctx.saved_tensors
    dW = torch.zeros_like(W)
    dW[i] = dy
    return None, dW


case(
    "repeated_index_overwrites",
    function(saving(lambda i, W: W[i]), assigned_backward),
    lambda i, W: W[i],
    {"i": index("m", classes="v"), "W": real("v", "d")},
    "W",
)
case(
    "output_is_off",
    function(saving(lambda x: torch.tanh(x) + 1e-9), tanh_backward(lambda dy: dy)),
    torch.tanh,
    X,
    "output",
)
case(
    "output_of_another_shape",
    function(saving(lambda x: torch.tanh(x)[None]), lambda ctx, dy: dy[0]),
    torch.tanh,
    X,
    "output",
    "invalid",
    "shape",
)
case(
    "nothing_for_w",
    function(saving(lambda x, W: x @ W.t()), lambda ctx, dy: (dy @ ctx.saved_tensors[1], None)),
    F.linear,
    XW,
    "W",
    says="zero or None",
)
case("detached", lambda x: torch.tanh(x).detach(), torch.tanh, X, "output", "invalid", "no gradient")
case(
    "gradient_of_another_shape",
    function(saving(lambda x: x.sum(1)), lambda ctx, dy: dy),
    lambda x: x.sum(1),
    {"x": real(3, 4)},
    verdict="invalid",
    says="raised RuntimeError",
)


# Several inputs and outputs
def swapped_needs_backward(ctx, dy):
    x, W = ctx.saved_tensors
    if all(ctx.needs_input_grad):
        return dy @ W, dy.t() @ x
    return (dy @ W if ctx.needs_input_grad[0] else None), (dy.t() @ x * 0.5 if ctx.needs_input_grad[1] else None)


case(
    "wrong_if_only_w_needs_it",
    function(saving(lambda x, W: x @ W.t()), swapped_needs_backward),
    F.linear,
    XW,
    "W",
    says="only W needs a gradient",
)


def unmaterialised(ctx, x):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x)
    return x.sin(), x.cos()


def expects_both_backward(ctx, ds, dc):
    (x,) = ctx.saved_tensors
    return ds * x.cos() - dc * x.sin()


case(
    "undefined_gradient",
    function(unmaterialised, expects_both_backward),
    sin_cos,
    X,
    verdict="invalid",
    says="only output 0 used",
)
case(
    "forgets_the_second_output",
    function(saving(sin_cos), lambda ctx, ds, dc: ds * ctx.saved_tensors[0].cos()),
    sin_cos,
    X,
)


def either_backward(ctx, ds, dc):
    (x,) = ctx.saved_tensors
    return -dc * x.sin() if not bool(ds.any()) else ds * x.cos() - dc * x.sin() if bool(dc.any()) else ds * x.sin()


case("wrong_if_one_output_is_unused", function(saving(sin_cos), either_backward), sin_cos, X, says="only output 0 used")


# Precision
case(
    "float32_inside",
    function(saving(torch.tanh), lambda ctx, dy: (dy.float() * (1 - ctx.saved_tensors[0].float().tanh() ** 2)).to(dy)),
    torch.tanh,
    X,
    verdict="imprecise",
)


def cancelling_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy * ((1 + x).square() - 1 - x.square()) / x * 0.5


case(
    "cancellation",
    function(saving(lambda x: x * 1), cancelling_backward, once=True),
    lambda x: x * 1,
    {"x": positive("m", "d", low=1e-3, high=1e-2)},
    verdict="imprecise",
)


def coarse_softmax_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    if x.dtype is torch.float32:
        half = torch.bfloat16
        p = x.softmax(1)
        return p * (dy - (p.to(half) * dy.to(half)).sum(1, keepdim=True).to(x))
    return softmax_backward(ctx, dy)


case(
    "bfloat16_accumulator_in_float32",
    function(saving(lambda x: x.softmax(1)), coarse_softmax_backward, once=True),
    lambda x: x.softmax(1),
    {"x": normal(6, 50)},
    verdict="imprecise",
    says="float32",
)
case(
    "overflows_in_float16",
    function(saving(lambda x: x * 1), lambda ctx, dy: dy * (ctx.saved_tensors[0].exp() / ctx.saved_tensors[0].exp())),
    lambda x: x * 1,
    {"x": real("m", "d", low=11.5, high=20.0)},
    verdict="invalid",
    says="float16",
)
case(
    "raises_in_backward",
    function(saving(torch.tanh), lambda ctx, dy: dy @ dy),
    torch.tanh,
    {"x": normal(3, 4)},
    verdict="invalid",
    says="raised RuntimeError",
)


def wrong_if_needed(ctx, x, W):
    ctx.save_for_backward(x, W)
    return x @ W.t() if any(ctx.needs_input_grad) else x @ W.t() * 0.5


case(
    "forward_differs_under_no_grad",
    function(wrong_if_needed, matmul_backward),
    F.linear,
    XW,
    "output",
    says="no gradient",
)
