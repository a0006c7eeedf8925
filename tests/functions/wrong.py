"""Functions that are wrong, most of them modelled on mistakes that were really made and reported."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from compare.check import index, positive, real
from tests.functions import XW, XWB, Case, X, function, saving
from tests.functions.right import (
    LayerNorm,
    Linear,
    attention,
    attention_backward,
    first_max,
    layer_norm,
    matmul_backward,
    rms_norm,
    sin_cos,
    softmax_backward,
)

CASES: list[Case] = []


def case(name, fn, reference, inputs, row="x", verdict="wrong", says=""):
    CASES.append(Case(name, fn, reference, inputs, row, verdict, says))


def tanh_backward(change):
    """The backward of tanh with its cotangent changed first."""
    return lambda ctx, dy: change(dy) * (1 - ctx.saved_tensors[0].tanh() ** 2)


def tanh_case(name, change, says="", verdict="wrong", inputs=X, row="x"):
    case(name, function(saving(torch.tanh), tanh_backward(change)), torch.tanh, inputs, row, verdict, says)


# --- no linear function of the cotangent
tanh_case("relu_of_dy", torch.relu, "g(-u) is not -g(u)")
tanh_case("abs_of_dy", torch.abs, "g(-u) is not -g(u)")
tanh_case("dy_squared", torch.square, "g(-u) is not -g(u)")
tanh_case("dy_clipped", lambda dy: dy.clamp(-100, 100), "clipped")
tanh_case("dy_normalised", lambda dy: dy / dy.norm(), "g(2u) is not 2 g(u)")
tanh_case("small_dy_dropped", lambda dy: dy * (dy.abs() > 1e-2), "small one")
tanh_case("nan_at_zero_cotangent", lambda dy: dy * (dy / dy), "zero cotangent", "invalid")
tanh_case("forgets_dy", lambda dy: torch.ones_like(dy), "g(-u) is not -g(u)")
tanh_case("sign", lambda dy: -dy)

# --- layouts of the cotangent
tanh_case(
    "reads_dy_as_if_contiguous",
    lambda dy: dy.as_strided(dy.shape, torch.empty(dy.shape).stride()),
    "non-contiguous cotangent",
    inputs={"x": torch.randn(3, 4)},
)
tanh_case("views_dy", lambda dy: dy.view(-1).view(dy.shape), "cotangent", "invalid")
tanh_case(
    "first_number_of_an_expanded_dy",
    lambda dy: dy if 0 not in dy.stride() else dy / dy.numel(),
    "expanded cotangent",
    inputs={"x": torch.randn(3, 4)},
)
tanh_case("changes_dy", lambda dy: dy.mul_(1.0), "clone", "invalid", row="cotangent unchanged")


# --- values, sizes and dtypes
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
    {"x": torch.randn(4, 3), "W": torch.randn(2, 3)},
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
    {"x": torch.randn(3, 4)},
    says="float16",
)


def one_entry_backward(ctx, dy):
    x, W = ctx.saved_tensors
    dx = dy @ W
    dx[:, 3] += 1e-6 * dy[:, 5]
    return dx, dy.t() @ x


BIG = {"x": torch.randn(1, 1000, dtype=torch.float64), "W": torch.randn(1000, 1000, dtype=torch.float64)}
case("one_entry_of_a_million", function(saving(lambda x, W: x @ W.t()), one_entry_backward), F.linear, BIG)


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

# --- formulas
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
    {n: torch.randn(2, 4, 3) for n in "qkv"},
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

# --- several inputs and outputs


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

# --- state, graphs and memory
CALLS: list[torch.Tensor] = []


def keeping(ctx, x):
    CALLS[:] = [x]
    return x * x


case(
    "state_in_the_module",
    function(keeping, lambda ctx, dy: 2 * CALLS[0] * dy, once=True),
    torch.square,
    X,
    says="two forwards",
)


class Counter:
    """A backward that is right once."""

    def __init__(self):
        self.calls = 0

    def backward(self, ctx, dy):
        self.calls += 1
        return tanh_backward(lambda dy: dy)(ctx, dy) * (1 if self.calls % 2 else 1.5)


class Stale:
    """A second call on the same numbers adds to what the first left behind."""

    def __init__(self):
        self.kept = None

    def backward(self, ctx, dy):
        dx = tanh_backward(lambda dy: dy)(ctx, dy)
        if self.kept is not None and self.kept.shape == dx.shape and self.kept.dtype == dx.dtype:
            dx = dx + self.kept
        self.kept = dx.detach()
        return dx


case("every_second_call", function(saving(torch.tanh), Counter().backward), torch.tanh, X, says="later call")
case("accumulates_over_calls", function(saving(torch.tanh), Stale().backward), torch.tanh, X)
case(
    "random",
    function(
        saving(torch.tanh), lambda ctx, dy: dy * (1 - ctx.saved_tensors[0].tanh() ** 2) * (1 + 0.01 * torch.randn(()))
    ),
    torch.tanh,
    X,
)


def freeing(ctx, x):
    ctx.x = [x]
    return x * x


case(
    "drops_what_it_saved",
    function(freeing, lambda ctx, dy: 2 * ctx.x.pop() * dy),
    torch.square,
    X,
    verdict="invalid",
    says="retain_graph",
)


def spoiling_backward(ctx, dy):
    ctx.scale = getattr(ctx, "scale", 1.0) * 2
    return dy * ctx.saved_tensors[0] * ctx.scale


case("changes_what_it_saved", function(saving(torch.square), spoiling_backward), torch.square, X, says="retain_graph")


class Leafy:
    """Sets .grad itself, which works for a leaf alone (and .backward())."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return x * x

    @staticmethod
    def backward(ctx, dy):
        return 2 * ctx.x.detach() * dy if ctx.x.is_leaf else None


case(
    "only_with_a_layer_before",
    function(Leafy.forward, Leafy.backward, once=True),
    torch.square,
    X,
    says="a layer before it",
)


def strided_gradient_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    dx = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype)
    flat = (2 * x * dy).reshape(-1)
    for k, place in enumerate(torch.cartesian_prod(*(torch.arange(n) for n in x.shape)).reshape(-1, x.ndim).tolist()):
        dx[tuple(place)] = flat[k]
    return dx


case(
    "overlapping_view",
    function(saving(torch.square), strided_gradient_backward, once=True),
    torch.square,
    {"x": torch.randn(3, 4)},
    says="overlapping inputs",
)


def flat_forward(x):
    return x.as_strided(x.shape, torch.empty(x.shape).stride()) ** 2


case(
    "reads_x_as_if_contiguous",
    function(saving(flat_forward), lambda ctx, dy: 2 * ctx.saved_tensors[0] * dy),
    torch.square,
    {"x": torch.randn(3, 4)},
    "output",
    "wrong",
    "not contiguous",
)


class Buffer:
    """One buffer for every result of a shape and dtype."""

    def __init__(self):
        self.kept = {}

    def __call__(self, value):
        kept = self.kept.setdefault((value.shape, value.dtype), torch.empty_like(value))
        return kept.copy_(value)


GRADIENTS, OUTPUTS = Buffer(), Buffer()
case(
    "one_buffer_for_gradients",
    function(saving(torch.square), lambda ctx, dy: GRADIENTS(2 * ctx.saved_tensors[0] * dy), once=True),
    torch.square,
    X,
    "results kept",
    "invalid",
    "second backward overwrites",
)
case(
    "one_buffer_for_outputs",
    function(saving(lambda x: OUTPUTS(x * x).data), lambda ctx, dy: 2 * ctx.saved_tensors[0] * dy),
    torch.square,
    X,
    "results kept",
    "invalid",
    "overwrites the output",
)


def halves_in_place(ctx, x):
    ctx.save_for_backward(x.clone())
    return x.mul_(0.5) ** 2 * 4


case(
    "changes_its_input",
    function(halves_in_place, lambda ctx, dy: 2 * ctx.saved_tensors[0] * dy, once=True),
    torch.square,
    X,
    "inputs unchanged",
    "invalid",
    "mark_dirty",
)


def spoils_input_backward(ctx, dy):
    dx = 2 * ctx.x * dy
    ctx.x.data.zero_()
    return dx


def keeps_input(ctx, x):
    ctx.x = x
    return x * x


case(
    "backward_changes_its_input",
    function(keeps_input, spoils_input_backward, once=True),
    torch.square,
    X,
    "inputs unchanged",
    "invalid",
    "in place",
)
case(
    "hidden_alias",
    function(lambda ctx, x: x.data, lambda ctx, dy: dy),
    lambda x: x * 1,
    X,
    "no hidden alias",
    "invalid",
    "shares its memory",
)


def saved_intermediate(ctx, x):
    y = x.exp()
    ctx.save_for_backward(y)
    return y * y


case(
    "double_backward",
    function(saved_intermediate, lambda ctx, dy: 2 * dy * ctx.saved_tensors[0] ** 2),
    lambda x: (2 * x).exp(),
    X,
    "double backward",
    "wrong",
    "once_differentiable",
)
case(
    "double_backward_of_a_kernel",
    function(saving(torch.square), lambda ctx, dy: (2 * ctx.saved_tensors[0] * dy).detach()),
    torch.square,
    X,
    "double backward",
    "wrong",
    "once_differentiable",
)

# --- precision
case(
    "float32_inside",
    function(saving(torch.tanh), lambda ctx, dy: (dy.float() * (1 - ctx.saved_tensors[0].float().tanh() ** 2)).to(dy)),
    torch.tanh,
    X,
    verdict="imprecise",
)


def log_sigmoid_of_textbook(x):
    return torch.log(torch.sigmoid(x))


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
    {"x": torch.randn(6, 50)},
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
    {"x": torch.randn(3, 4)},
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
