"""Backwards of autograd.Function: what is told of each mistake, and what is left to the check."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import Function

import compare
from compare import check_function
from compare.check import positive, real
from compare.cli import main
from compare.explain.function import explain_checked, explain_function
from compare.explain.service import explain_file

X = {"x": real("m", "d")}


class Linear(Function):
    """Every gradient but the first is wrong; that of b in its shape."""

    @staticmethod
    def forward(ctx, x, W, b):
        ctx.save_for_backward(x, W)
        return x @ W.T + b

    @staticmethod
    def backward(ctx, g):
        x, W = ctx.saved_tensors
        return g @ W, g.T @ x * 2, g.sum(1)


class Swish(Function):
    @staticmethod
    def forward(ctx, x):
        s = torch.sigmoid(x)
        ctx.save_for_backward(x, s)
        return x * s

    @staticmethod
    def backward(ctx, dy):
        x, s = ctx.saved_tensors
        return dy * (s + x * s)


class Norm(Function):
    @staticmethod
    def forward(ctx, x, gamma, eps=1e-5):
        rstd = (x.var(-1, keepdim=True, unbiased=False) + eps).rsqrt()
        xhat = (x - x.mean(-1, keepdim=True)) * rstd
        ctx.save_for_backward(xhat, rstd, gamma)
        return xhat * gamma

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        xhat, rstd, gamma = ctx.saved_tensors
        gx = ggamma = None
        if ctx.needs_input_grad[0]:
            d = g * gamma
            gx = rstd * (d - d.mean(-1, keepdim=True))
        if ctx.needs_input_grad[1]:
            ggamma = (g * xhat).sum(0)
        return gx, ggamma


class Decay(Function):
    """The new style: the context is set up apart, and holds a number."""

    @staticmethod
    def forward(x, rate):
        return torch.exp(-rate * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.rate = inputs[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y * ctx.rate, None


class Root(Function):
    """Returns in two places."""

    @staticmethod
    def forward(ctx, x):
        y = torch.sqrt(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        if len(y) == 0:
            return g
        return 2 * g / y


class SinCos(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x), torch.cos(x)

    @staticmethod
    def backward(ctx, gs, gc):
        (x,) = ctx.saved_tensors
        return gs * torch.cos(x) + gc * torch.sin(x)


class Scatter(Function):
    """In place, with an index that has no gradient."""

    @staticmethod
    def forward(ctx, W, i):
        ctx.save_for_backward(i)
        ctx.shape = W.shape
        return W[i]

    @staticmethod
    def backward(ctx, g):
        (i,) = ctx.saved_tensors
        dW = g.new_zeros(ctx.shape)
        dW[i] = g
        return dW, None


class Squared(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.relu(g) * 2 * x


def norm(x, gamma):
    return F.layer_norm(x, x.shape[-1:]) * gamma


INDEX = torch.tensor([0, 2, 2, 1])
MISTAKES = {  # function, reference, inputs, row, cause, and what the repair holds
    "a factor": (
        Linear,
        lambda x, W, b: x @ W.T + b,
        {"x": real("m", "d"), "W": real("k", "d"), "b": real("k")},
        "W",
        "wrong_factor",
        "g.T @ x",
    ),
    "a slope": (Swish, lambda x: x * torch.sigmoid(x), X, "x", "wrong_activation_derivative", "sigmoid(x)"),
    "a term": (Norm, norm, {"x": real("m", "d"), "gamma": real("d")}, "x", "missing_path", "xhat * (d * xhat).mean("),
    "a number kept": (Decay, lambda x, rate: torch.exp(-rate * x), {**X, "rate": 0.7}, "x", "sign", "-(g * y"),
    "two returns": (Root, torch.sqrt, {"x": positive("m", "d")}, "x", "wrong_factor", "g / y"),
    "two outputs": (SinCos, lambda x: (torch.sin(x), torch.cos(x)), X, "x", "sign", "- gc * torch.sin(x)"),
    "in place": (
        Scatter,
        lambda W, i: W[i],
        {"W": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), "i": INDEX},
        "W",
        "overwritten",
        "accumulate=True",
    ),
}


def explained(cls, reference, inputs):
    report = check_function(cls.apply, reference, inputs, seconds=0.5)
    return explain_checked(report, cls.apply, reference, inputs, seconds=20.0)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_function_is_explained_and_repaired(mistake):
    cls, reference, inputs, name, cause, held = MISTAKES[mistake]
    row = explained(cls, reference, inputs)[name]
    assert (row.verdict in ("wrong", "invalid"), row.cause) == (True, cause)
    assert held in row.repair.partition("  ->  ")[2]
    assert row.repair.startswith("test_explain_function.py:")


def test_every_gradient_is_explained_by_itself_and_a_shape_by_its_axis():
    report = explained(*MISTAKES["a factor"][:3])
    assert [report[n].cause for n in ("x", "W", "b")] == ["", "wrong_factor", "wrong_axis"]


def test_what_the_check_says_itself_stays():
    report = explained(Squared, torch.square, X)
    assert report["x"].verdict == "wrong"
    assert report["x"].cause == ""
    assert "not linear in the cotangent" in report["x"].explanation


def test_what_the_backward_was_not_handed_is_not_used():
    """The output was not saved: a repair that reads it could not be made."""
    row = explained(Swish, lambda x: x * torch.sigmoid(x), X)["x"]
    assert "output" not in row.repair


def test_what_is_no_function_stays_as_it_is():
    report = check_function(lambda x: torch.tanh(x) * 2, torch.tanh, X, seconds=0.2)
    assert explain_checked(report, lambda x: torch.tanh(x) * 2, torch.tanh, X) == report


class Shifted(Function):
    """Changes its input, and keeps what no process can be sent."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        ctx.kept = {object()}
        x += 1
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, g):
        return -g


class Unreadable(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 3.0

    backward = staticmethod(lambda ctx, g: g)


@pytest.mark.parametrize(
    ("cls", "reference", "cause"),
    [(Shifted, lambda x: x + 1, "sign"), (Unreadable, lambda x: 3 * x, "wrong_factor")],
    ids=["in place", "a lambda"],
)
def test_odd_functions_are_told_from_what_can_be_seen(cls, reference, cause):
    assert explained(cls, reference, X)["x"].cause == cause


def test_one_call_checks_and_explains():
    assert compare.explain_function is explain_function
    cls, reference, inputs, name, cause, _ = MISTAKES["a number kept"]
    report = explain_function(cls.apply, reference, inputs, check_seconds=0.2)
    assert report[name].cause == cause
    with pytest.raises(compare.GradientMismatch, match="wrong way round"):
        report.raise_if_wrong()


FILE = """
import torch
from torch.autograd import Function
from compare import real

class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * 2 * x ** 2

def reference(x):
    return x ** 3

inputs = {"x": real("m", "d")}
"""


def test_a_function_in_a_file_is_explained(tmp_path):
    file = tmp_path / "cube.py"
    file.write_text(FILE)
    inside: dict = {}
    exec(FILE, inside)
    report = check_function(inside["Cube"].apply, inside["reference"], inside["inputs"], seconds=0.2)
    row = explain_file(report, file, seconds=10.0)["x"]
    assert row.cause == "wrong_factor"
    assert row.repair == "cube.py:15  'x': g * 2 * x ** 2  ->  'x': g * 3 * x ** 2"


def test_the_class_that_a_file_imports_is_none_that_it_defines(tmp_path, capsys):
    file = tmp_path / "cube.py"
    file.write_text(FILE)
    assert main(["check", str(file), "--seconds", "1"]) == 1
    assert "Repair: cube.py:15" in capsys.readouterr().out
