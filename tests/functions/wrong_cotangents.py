"""Functions that are wrong in what they do to a cotangent, and at certain values, sizes or dtypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.functions import XW, XWB, Case, X, function, normal, saving
from tests.functions.right_styles import Linear, first_max

CASES: list[Case] = []


def case(name, fn, reference, inputs, row="x", verdict="wrong", says=""):
    CASES.append(Case(name, fn, reference, inputs, row, verdict, says))


TENSOR = {"x": normal(3, 4)}


def tanh_backward(change):
    """The backward of tanh with its cotangent changed first."""
    return lambda ctx, dy: change(dy) * (1 - ctx.saved_tensors[0].tanh() ** 2)


def tanh_case(name, change, says="", verdict="wrong", inputs=TENSOR, row="x"):
    case(name, function(saving(torch.tanh), tanh_backward(change)), torch.tanh, inputs, row, verdict, says)


# No linear function of the cotangent
tanh_case("relu_of_dy", torch.relu, "g(-u) is not -g(u)")
tanh_case("abs_of_dy", torch.abs, "g(-u) is not -g(u)")
tanh_case("dy_squared", torch.square, "g(-u) is not -g(u)")
tanh_case("dy_clipped", lambda dy: dy.clamp(-100, 100), "clipped")
tanh_case("dy_normalised", lambda dy: dy / dy.norm(), "g(2u) is not 2 g(u)")
tanh_case("small_dy_dropped", lambda dy: dy * (dy.abs() > 1e-2), "small one")
tanh_case("nan_at_zero_cotangent", lambda dy: dy * (dy / dy), "zero cotangent", "invalid")
tanh_case("forgets_dy", lambda dy: torch.ones_like(dy), "g(-u) is not -g(u)")
tanh_case("sign", lambda dy: -dy)

# Layouts of the cotangent
tanh_case(
    "reads_dy_as_if_contiguous",
    lambda dy: dy.as_strided(dy.shape, torch.empty(dy.shape).stride()),
    "non-contiguous cotangent",
)
tanh_case("views_dy", lambda dy: dy.view(-1).view(dy.shape), "cotangent", "invalid")
tanh_case(
    "first_number_of_an_expanded_dy",
    lambda dy: dy if 0 not in dy.stride() else dy / dy.numel(),
    "expanded cotangent",
)
tanh_case("changes_dy", lambda dy: dy.mul_(1.0), "clone", "invalid", row="cotangent unchanged")


# Values, sizes and dtypes
def square_of_positive_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy * 2 * x.abs()


case("wrong_for_negative_inputs", function(saving(torch.square), square_of_positive_backward), torch.square, X)


def first_bias_backward(ctx, dy):
    dx, dW, _ = Linear.backward(ctx, dy)
    return dx, dW, dy[0]


def linear(ctx, x, W, b):
    return Linear.forward(ctx, x, W, b)


case("only_the_first_sample", function(linear, first_bias_backward), F.linear, XWB, "b")


def mean_bias_backward(ctx, dy):
    dx, dW, _ = Linear.backward(ctx, dy)
    return dx, dW, dy.mean(0)


case("right_at_batch_1_only", function(linear, mean_bias_backward), F.linear, XWB, "b")


def squeezed_backward(ctx, dy):
    x, W = ctx.saved_tensors
    return (dy.squeeze(0) @ W if dy.shape[0] > 1 else dy @ W * 0.5), dy.t() @ x


case(
    "wrong_at_batch_1_only",
    function(saving(lambda x, W: x @ W.t()), squeezed_backward),
    F.linear,
    XW,
    "x",
    says="m = 1",
)
case(
    "wrong_at_batch_1_only_tensors",
    function(saving(lambda x, W: x @ W.t()), squeezed_backward),
    F.linear,
    {"x": normal(4, 3), "W": normal(2, 3)},
    "x",
    says="first row only",
)


def saturated_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    s = x.clamp(-4, 4).sigmoid()
    return dy * s * (1 - s)


case("clamped_far_out", function(saving(torch.sigmoid), saturated_backward), torch.sigmoid, X)


def half_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy * x.cos() * (2 if x.dtype is torch.float16 else 1)


case("only_float16", function(saving(torch.sin), half_backward), torch.sin, X, says="float16")
case(
    "only_float16_of_float32_inputs",
    function(saving(torch.sin), half_backward),
    torch.sin,
    {"x": normal(3, 4)},
    says="float16",
)


def all_ties_backward(ctx, dy):
    x = ctx.x
    return dy[:, None] * (x == x.amax(1, keepdim=True))


def max_with_x(ctx, x):
    ctx.x = x
    return first_max(ctx, x)


case(
    "every_tie_gets_all",
    function(max_with_x, all_ties_backward),
    lambda x: x.amax(1),
    {"x": torch.tensor([[1.0, 1.0, 0.0], [2.0, 0.0, 2.0]]).double()},
)
case(
    "nan_at_zero",
    function(
        saving(lambda x: x.abs().sqrt() * x.abs().sqrt()),
        lambda ctx, dy: dy * ctx.saved_tensors[0] / ctx.saved_tensors[0].abs(),
    ),
    torch.abs,
    X,
    verdict="invalid",
    says="zeros and ties",
)
