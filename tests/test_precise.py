"""J's derivatives in hundreds of digits: right where float64 fails, and silent where they cannot be had."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compare.check.hooks import trace
from compare.check.precise import precise_derivative, precise_gradient, precise_gradient_of
from tests.derivations import load
from tests.derivations.controls_nets import normal
from tests.derivations.controls_scales import at_logit, stable_textbook, textbook
from tests.test_corpus import draw

CASES = {case.name: case for case in load()}


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(found: Tensor | None, expected: Tensor) -> bool:
    return found is not None and torch.allclose(found, expected, rtol=1e-14, atol=5e-324)


def log_loss(z, y):
    a = torch.sigmoid(z)
    return -(y * torch.log(a) + (1 - y) * torch.log(1 - a)).sum(), {"a": a}


@pytest.mark.parametrize("logit", [1.0, -1.0, 40.0, -40.0, 800.0, -800.0])
def test_log_loss_is_a_minus_y(logit):
    z, y = tensor(logit, logit), tensor(0.0, 1.0)
    expected = torch.stack([torch.sigmoid(z[0]), -torch.sigmoid(-z[1])])
    assert close(precise_gradient(log_loss, {"z": z, "y": y}, "z"), expected)


def test_intermediate_of_log_loss():
    z = tensor(40.0, -40.0)
    inputs = {"z": z, "y": tensor(1.0, 0.0)}
    assert close(precise_gradient_of(log_loss, inputs, "a"), tensor(-(1 + torch.exp(-z[0]).item()), 1.0))
    wrong_side = precise_gradient_of(log_loss, {"z": z, "y": tensor(0.0, 1.0)}, "a")
    assert close(wrong_side, (1 + torch.exp(tensor(40.0, 40.0))) * tensor(1.0, -1.0))


def test_direction_of_any_size():
    z, y = tensor(40.0, 0.0), tensor(0.0, 1.0)
    for size in (1e-30, 3.0, 1e30):
        slope = precise_derivative(log_loss, {"z": z, "y": y}, "z", size * tensor(1.0, 1.0))
        assert slope == pytest.approx(0.5 * size, rel=1e-14)
    assert precise_derivative(log_loss, {"z": z, "y": y}, "z", tensor(0.0, 0.0)) == 0.0


def test_textbook_softmax_at_logits_of_1000():
    def forward(z, y):
        e = torch.exp(z)
        p = e / e.sum(1, keepdim=True)
        return -(y * torch.log(p)).sum(), {"p": p}

    z = torch.tensor([[1000.0, 999.0, 0.0], [-1000.0, 1.0, 1000.0]], dtype=torch.float64)
    y = torch.eye(3, dtype=torch.float64)[[1, 0]]
    assert not trace(forward, {"z": z, "y": y}).J.isfinite()
    assert close(precise_gradient(forward, {"z": z, "y": y}, "z"), torch.softmax(z, 1) - y)


@pytest.mark.parametrize("loss", [F.cross_entropy, lambda z, y: -F.log_softmax(z, 1).gather(1, y[:, None]).mean()])
def test_fused_softmax_at_logits_of_1000(loss):
    z = torch.tensor([[1000.0, 999.0, 0.0], [-1000.0, 1.0, 1000.0]], dtype=torch.float64)
    expected = (torch.softmax(z, 1) - torch.eye(3, dtype=torch.float64)[[1, 0]]) / 2
    assert close(precise_gradient(lambda z, y: (loss(z, y), {}), {"z": z, "y": torch.tensor([1, 0])}, "z"), expected)


def test_one_minus_sigmoid():
    z = tensor(40.0, 100.0, 700.0)
    found = precise_gradient(lambda z: ((1 - torch.sigmoid(z)).sum(), {}), {"z": z}, "z")
    assert close(found, -torch.sigmoid(-z) * torch.sigmoid(z))


def test_variance_by_cancellation():
    x = 1e9 + torch.arange(7, dtype=torch.float64) ** 2 / 4
    found = precise_gradient(lambda x: (x.square().mean() - x.mean() ** 2, {}), {"x": x}, "x")
    assert close(found, 2 * ((x - 1e9) - (x - 1e9).mean()) / 7)
    for of in (torch.var, torch.std):
        assert close(
            precise_gradient(lambda x, of=of: (of(x), {}), {"x": x - 1e9}, "x"),
            trace(lambda x, of=of: (of(x), {}), {"x": x - 1e9}).gradients({})["x"],
        )


@pytest.mark.parametrize("logit", [40.0, -40.0, -800.0])
def test_saturated_network_with_the_textbook_cost(logit):
    inputs = at_logit(logit)(0)
    expected = trace(stable_textbook, inputs).gradients({})
    for name in ("W3", "b3", "b2"):
        found = precise_gradient(textbook, inputs, name, seconds=30)
        scale = expected[name].abs().max()
        assert found is not None
        assert float((found - expected[name]).abs().max()) <= 1e-14 * float(scale), name
    y = inputs["y"]
    z3 = trace(textbook, inputs).intermediates["z3"].detach()
    signs = 1 - 2 * y
    delta = signs * torch.sigmoid(signs * z3) / len(y)  # a - y, without the cancellation
    assert close(precise_gradient_of(textbook, inputs, "z3", seconds=30), delta)


def test_zero_is_zero():
    inputs = {"x": tensor(-1.0, 0.0, 2.0)}
    assert precise_gradient(lambda x: ((x.relu() ** 3).sum(), {}), inputs, "x").tolist() == [0.0, 0.0, 12.0]
    assert precise_gradient(lambda x: (x.abs().sum(), {}), inputs, "x").tolist() == [-1.0, 0.0, 1.0]
    assert precise_gradient(lambda x: ((x**3).sum(), {}), inputs, "x").tolist() == [3.0, 0.0, 12.0]


def unknown_operation(z):
    return torch.lgamma(z).sum(), {}


def detached(z):
    return (z * z.detach()).sum(), {}


def detached_by_data(z):
    return (z * z.data).sum(), {}


def without_gradient(z):
    with torch.no_grad():
        scale = z * 2
    return (z * scale).sum(), {}


def number_leaves_torch(z):
    return z.sum() * z[0].item(), {}


def swallowed(z):
    try:
        return torch.lgamma(z).sum(), {}
    except Exception:
        return z.sum(), {}


def wrong_decision(z):
    return torch.relu(1 - torch.sigmoid(z + 40)).sum(), {}


def decision_on_nan(z):
    return torch.where(torch.isnan(z / (z - z)), z, 2 * z).sum(), {}


def absorbed_for_good(z):
    return torch.log(1 - 1 / (1 + torch.exp(-(z + 100000)))).sum(), {}


def infinite(z):
    return torch.log(z - z).sum(), {}


@pytest.mark.parametrize(
    "forward",
    [
        unknown_operation,
        detached,
        detached_by_data,
        without_gradient,
        number_leaves_torch,
        swallowed,
        wrong_decision,
        decision_on_nan,
        absorbed_for_good,
        infinite,
    ],
)
def test_none_rather_than_a_wrong_value(forward):
    assert precise_gradient(forward, {"z": tensor(1.5, 2.5)}, "z") is None


def test_intermediates_by_views_and_in_place():
    def forward(x, W):
        z = x @ W
        first, rest = z.split([1, 2], 1)
        h = torch.zeros_like(z)
        h[0] = first[0] * rest[0, 0]
        h[1] = h[0].clone() * z[1]
        t = z.clone()
        t.sigmoid_()
        return (h * t).sum() + rest.sum(), {"z": z, "h": h, "t": t, "rest": rest}

    inputs = normal(0, x=(2, 3), W=(3, 3))
    expected = trace(forward, inputs).gradients({})
    for name in ("h", "t", "z"):
        found = precise_gradient_of(forward, inputs, name)
        assert found is not None
        assert float((found - expected[name]).abs().max()) <= 1e-14 * float(expected[name].abs().max()), name
    # z itself is used after its part was named: a move of the part would reach J by that way too
    assert precise_gradient_of(forward, inputs, "rest") is None


def test_limits():
    big = {"z": torch.ones(200, 101, dtype=torch.float64)}
    assert precise_derivative(lambda z: (z.sum(), {}), big, "z", big["z"]) is None
    assert precise_gradient(lambda z: (z.sum(), {}), {"z": torch.ones(65, dtype=torch.float64)}, "z") is None
    slow = {"z": torch.linspace(1, 2, 9000, dtype=torch.float64)}
    start = time.monotonic()
    assert precise_derivative(lambda z: (z.erf().tanh().exp().sum(), {}), slow, "z", slow["z"], seconds=0.3) is None
    assert time.monotonic() - start < 30


def test_leaves_no_trace():
    state = torch.get_rng_state()
    inputs = {"z": tensor(1.0, 2.0, 3.0)}
    before = inputs["z"].clone()

    def forward(z):
        return (F.dropout(z, 0.5) * torch.randn(3, dtype=torch.float64)).sum(), {}

    found = precise_gradient(forward, inputs, "z")
    assert torch.equal(torch.get_rng_state(), state)
    assert close(found, trace(forward, inputs).gradients({})["z"])
    assert torch.equal(inputs["z"], before)


def test_mpmath_and_sympy_are_loaded_only_when_asked():
    code = """import sys, torch, compare.check.precise
from compare import check_derivation
report = check_derivation(lambda x: ((x * x).sum(), {}), lambda x: {"x": 2 * x}, {"x": torch.ones(3)}, seconds=0)
assert report.ok and not {"mpmath", "sympy"} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True)


PLAIN = """blocks.residual blocks.tied_weights blocks.softmax_alone blocks.layer_norm blocks.batch_norm
    blocks.rms_norm blocks.dropout blocks.division_and_logarithm
    mlp.sigmoid_and_log_loss mlp.tanh_and_half_square mlp.relu_and_cross_entropy mlp.leaky_relu_and_log_loss
    mlp.silu_and_half_square mlp.softplus_and_log_loss mlp.gelu_and_cross_entropy mlp.elu_and_half_square""".split()


@pytest.mark.parametrize("name", PLAIN)
def test_agrees_with_autograd_in_plain_conditions(name):
    """Along one direction an input and intermediate; autograd's own rounding is the limit."""
    case = CASES[name]
    inputs = draw(case.inputs, 0)
    expected = trace(case.forward, inputs).gradients({})
    asked = 0
    for each, gradient in expected.items():
        if each in inputs:
            direction = torch.randn(gradient.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            slope = precise_derivative(case.forward, inputs, each, direction)
            scale = float((direction * gradient).abs().sum())
            assert slope is not None
            assert abs(slope - float((direction * gradient).sum())) <= 1e-14 * scale, each
            asked += 1
    assert asked
