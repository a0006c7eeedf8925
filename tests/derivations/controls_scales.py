"""Huge and tiny numbers, saturated units and differences of nearly equal numbers, all in float64."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.derivations import control
from tests.derivations.controls_nets import classes, logistic, normal, regression

SHAPES = {"x": (5, 3), "W2": (4, 3), "b2": (4,), "W3": (2, 4), "b3": (2,)}


def scaled(**factors: float):
    """Normal inputs for a net, each times its factor; y is real."""

    def draw(seed):
        values = normal(seed, **SHAPES, y=(5, 2))
        return {name: value * factors.get(name, 1.0) for name, value in values.items()}

    return draw


def targets(kind, **factors: float):
    """As `scaled`, with binary or one-hot targets."""

    def draw(seed):
        values = scaled(**factors)(seed)
        labels = values["y"].argmax(1)
        values["y"] = (values["y"] > 0).double() if kind == "binary" else torch.eye(2, dtype=torch.float64)[labels]
        return values

    return draw


def half_square_backward(x, y, a2, W2, W3, z3):
    d3 = (z3 - y) / len(x)
    d2 = torch.einsum("mk,kh,mh->mh", d3, W3, (1 - a2) * (1 + a2))
    return {
        "z3": d3,
        "W3": torch.einsum("mk,mh->kh", d3, a2),
        "b3": d3.flip(0).sum(0),
        "z2": d2,
        "W2": (x.T @ d2).T,
        "b2": d2.flip(0).sum(0),
        "x": d2 @ W2,
    }


for _power in (-150, -100, -30, -10, 10, 30, 100, 150):
    _s = 10.0**_power
    control(regression, scaled(y=_s, W3=_s, b3=_s), name=f"output_1e{_power}")(half_square_backward)
for _power in (-140, -30, -8, 8, 30, 140):
    _s = 10.0**_power
    control(regression, scaled(x=_s, W2=1 / _s), name=f"input_1e{_power}_weights_inverse")(half_square_backward)
for _power in (-100, -20, -8):
    control(regression, scaled(W2=10.0**_power, b2=10.0**_power), name=f"hidden_1e{_power}")(half_square_backward)
control(regression, scaled(b3=1e8, y=1e8), name="targets_far_from_zero")(half_square_backward)
control(regression, scaled(b2=0.0, b3=0.0), name="zero_biases")(half_square_backward)


def log_loss_backward(x, y, a2, W3, z3):
    d3 = torch.where(y > 0.5, -torch.sigmoid(-z3), torch.sigmoid(z3)) / len(x)
    d2 = (d3 @ W3) * torch.sigmoid(torch.logit(a2)) * (1 - a2)
    return {"z3": d3, "W3": (a2.T @ d3).T, "b3": d3.T.sum(1), "z2": d2, "W2": torch.tensordot(d2, x, ([0], [0]))}


def a_minus_y(x, y, a2, W3, z3):
    d3 = (1 / (1 + torch.exp(-z3)) - y) / x.shape[0]
    d2 = d3 @ W3 * (a2 - a2**2)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "z2": d2, "W2": d2.T @ x, "b2": d2.sum(0)}


for _scale in (10.0, 40.0, 1000.0):
    control(logistic, targets("binary", W3=_scale, b3=_scale), name=f"log_loss_logits_{_scale:g}")(a_minus_y)
control(logistic, targets("binary", W2=3.0), name="hidden_units_near_saturation")(log_loss_backward)


def softmax_minus_y(x, y, a2, W3, z3):
    e = np.exp((z3 - z3.max(dim=1, keepdim=True).values).numpy())
    d3 = (e / e.sum(1, keepdims=True) - y.numpy()) / len(e)
    return {"z3": d3, "W3": d3.T @ a2.numpy(), "b3": d3.sum(0), "a2": d3 @ W3.numpy()}


for _shift in (-1e4, 1e4, 1e8):

    def _shifted(x, y, W2, b2, W3, b3, shift=_shift):
        return classes(x, y, W2, b2, W3, b3 + shift)

    control(_shifted, targets("one_hot"), name=f"softmax_shifted_by_{_shift:g}")(softmax_minus_y)
for _scale in (1e-8, 30.0):
    control(classes, targets("one_hot", W3=_scale), name=f"softmax_scaled_{_scale:g}")(softmax_minus_y)


def textbook(x, y, W2, b2, W3, b3):
    """The log-loss as the books print it: autograd divides by 0 where a is 0 or 1 in floating point."""
    a2 = torch.tanh(x @ W2.T + b2)
    z3 = a2 @ W3.T + b3
    a3 = torch.sigmoid(z3)
    J = -(y * torch.log(a3) + (1 - y) * torch.log(1 - a3)).sum() / len(x)
    return J, {"a2": a2, "z3": z3}


def at_logit(logit: float):
    """Three samples, labelled 1, 0, 1, whose output logits all lie close to this one."""

    def draw(seed):
        return {
            **normal(seed, x=(3, 3), W2=(4, 3), b2=(4,)),
            "W3": 1e-3 * normal(seed + 1, W3=(1, 4))["W3"],
            "b3": torch.tensor([logit], dtype=torch.float64),
            "y": torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64),
        }

    return draw


def textbook_backward(x, y, a2, W3, z3):
    d3 = (torch.sigmoid(z3) - y) / len(x)
    return {"z3": d3, "W3": d3.T @ a2, "b3": d3.sum(0), "a2": d3 @ W3}


control(textbook, targets("binary"), name="textbook_log_loss")(textbook_backward)
for _logit in (-40.0, -6.0, 6.0, 15.0, 30.0, 40.0, -800.0):
    control(textbook, at_logit(_logit), name=f"textbook_log_loss_at_{_logit:g}")(textbook_backward)


def stable_textbook(x, y, W2, b2, W3, b3):
    """`textbook` by softplus, for those who must know the right answer where it is saturated."""
    a2 = torch.tanh(x @ W2.T + b2)
    z3 = a2 @ W3.T + b3
    return (F.softplus(z3) - y * z3).sum() / len(x), {"a2": a2, "z3": z3}


def log_one_plus(z, c):
    """log(1 + z) at tiny z, written with log1p; expm1 undoes it."""
    u = torch.log1p(z)
    v = torch.expm1(2 * u)
    return (c * v).sum(), {"u": u, "v": v}


for _power in (-20, -8, -2):

    @control(
        log_one_plus,
        lambda seed, s=10.0**_power: {"z": s * normal(seed, z=(9,))["z"].abs(), "c": normal(seed, c=(9,))["c"]},
        name=f"log1p_expm1_1e{_power}",
    )
    def _log1p_expm1(z, c, u):
        return {"z": 2 * c * (1 + z), "u": 2 * c * torch.exp(2 * u), "c": z * (2 + z)}


def nearly_equal(x, y, c):
    d = x - y
    return (c * d * d).sum(), {"d": d}


def nearly_equal_inputs(seed):
    v = normal(seed, x=(6, 4), noise=(6, 4), c=(6, 4))
    return {"x": 1e6 + v["x"], "y": 1e6 + v["x"] + 1e-6 * v["noise"], "c": v["c"]}


@control(nearly_equal, nearly_equal_inputs)
def difference_of_nearly_equal_numbers(x, y, c, d):
    return {"d": 2 * c * d, "x": 2 * c * (x - y), "y": 2 * c * (y - x), "c": (x - y) ** 2}


def spread(x):
    u = x - x.mean(0)
    var = (u * u).mean(0)
    return torch.log(var).sum(), {"var": var}


def far_from_zero(offset):
    return lambda seed: {"x": offset + normal(seed, x=(50, 3))["x"]}


for _offset in (0.0, 1e3, 1e6):

    @control(spread, far_from_zero(_offset), name=f"variance_two_passes_at_{_offset:g}")
    def _two_passes(x, var):
        u = x - x.mean(0)
        u = u - u.mean(0)
        return {"var": 1 / var, "x": 2 * u / u.square().sum(0)}


@control(spread, far_from_zero(3.0))
def variance_one_pass(x):
    m = len(x)
    total, squares = x.sum(0), (x * x).sum(0)
    return {"x": 2 * (x - total / m) / (squares - total * total / m)}


@control(spread, far_from_zero(100.0))
def variance_by_welford(x):
    mean, squares = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    for n, row in enumerate(x, start=1):
        before = row - mean
        mean = mean + before / n
        squares = squares + before * (row - mean)
    return {"var": len(x) / squares, "x": 2 * (x - mean) / squares}


def hypotenuse(x, y, c):
    r = torch.hypot(x, y)
    return (c * r).sum(), {"r": r}


for _power in (-160, 160):

    @control(
        hypotenuse,
        lambda seed, s=10.0**_power: {
            k: v * (1.0 if k == "c" else s) for k, v in normal(seed, x=(7,), y=(7,), c=(7,)).items()
        },
        name=f"hypotenuse_1e{_power}",
    )
    def _hypotenuse(x, y, c):
        """Scaled by the larger leg, so that no square over- or underflows."""
        top = torch.maximum(x.abs(), y.abs())
        u, v = x / top, y / top
        r = torch.sqrt(u * u + v * v)
        return {"x": c * u / r, "y": c * v / r, "r": c}


def mixed_columns(seed):
    """Columns of x from 1e-12 to 1e12, as in data that nobody standardised."""
    values = normal(seed, x=(6, 5), W=(3, 5), b=(3,), c=(6, 3))
    units = 10.0 ** torch.tensor([-12.0, -6.0, 0.0, 6.0, 12.0], dtype=torch.float64)
    return {**values, "x": values["x"] * units, "W": values["W"] / units}


def squashed(x, W, b, c):
    a = torch.tanh(x @ W.T + b)
    return (c * a).sum(), {"a": a}


@control(squashed, mixed_columns)
def columns_of_different_units(x, c, W, a):
    dz = c * (1 - a.square())
    return {
        "W": torch.stack([(dz * x[:, j, None]).sum(0) for j in range(x.shape[1])], 1),
        "x": dz @ W,
        "b": dz.sum(0),
    }


def log_sum(z, c):
    s = torch.logsumexp(z, 1)
    return (c * s).sum(), {"s": s}


@control(log_sum, lambda seed: {"z": 700 * normal(seed, z=(4, 6))["z"], "c": normal(seed, c=(4,))["c"]})
def logsumexp_beyond_the_range_of_exp(z, c, s):
    return {"s": c, "z": c[:, None] * torch.exp(z - s[:, None])}


def log_sigmoid(z, c):
    return (c * F.logsigmoid(z)).sum(), {}


@control(log_sigmoid, lambda seed: {"z": 300 * normal(seed, z=(20,))["z"], "c": normal(seed, c=(20,))["c"]})
def logsigmoid_from_minus_300_to_300(z, c):
    return {"z": c * torch.sigmoid(-z)}
