"""Functions that keep state, rely on the graph around them, or write where they must not; second derivatives."""

from __future__ import annotations

import torch

from tests.functions import Case, function, normal, saving
from tests.functions.wrong_cotangents import tanh_backward

CASES: list[Case] = []
X = {"x": normal(3, 4)}


def case(name, fn, reference, inputs, row="x", verdict="wrong", says=""):
    CASES.append(Case(name, fn, reference, inputs, row, verdict, says))


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
    X,
    says="share memory",
)


def overlapping_backward(ctx, dy):
    """Handles stride 0, but not windows that overlap."""
    (x,) = ctx.saved_tensors
    return 2 * x * dy if 0 in x.stride() or x.is_contiguous() else strided_gradient_backward(ctx, dy)


case(
    "only_an_overlapping_view",
    function(saving(torch.square), overlapping_backward, once=True),
    torch.square,
    X,
    says="overlapping inputs",
)


def flat_forward(x):
    return x.as_strided(x.shape, torch.empty(x.shape).stride()) ** 2


case(
    "reads_x_as_if_contiguous",
    function(saving(flat_forward), lambda ctx, dy: 2 * ctx.saved_tensors[0] * dy),
    torch.square,
    X,
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
