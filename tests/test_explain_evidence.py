"""Where several repairs or names would do, the forward and the numbers decide: one planted mistake for each tie."""

from __future__ import annotations

import pytest
import torch

from compare import binary, index, real
from tests.told import told


def draws(**shapes):
    """Tensors that are given as they are: their sizes stay."""
    generator = torch.Generator().manual_seed(4)
    return {n: torch.randn(*shape, generator=generator, dtype=torch.float64) for n, shape in shapes.items()}


def mean_square(x, W, y):
    r = x @ W - y
    return (r**2).mean(), {"r": r}


def half_forgotten(r):
    return {"r": r / r.numel()}


def not_averaged(r):
    return {"r": 2 * r}


@pytest.mark.parametrize(
    ("backward", "cause", "repair"),
    [
        (half_forgotten, "wrong_factor", "r / r.numel() * 2"),  # 2 / 10 is 1 / len(r) as well
        (not_averaged, "missing_mean", "2 * r / r.numel()"),
    ],
)
def test_what_the_forward_divides_by(backward, cause, repair):
    inputs = draws(x=(5, 3), W=(3, 2), y=(5, 2))
    assert told(mean_square, backward, inputs) == ("r", cause, f"'r': {repair}")


def test_a_penalty_whose_constant_the_backward_does_not_know():
    def forward(x, W):
        z = x @ W
        return (z**2).sum() + 0.05 * (W**2).sum(), {"z": z}

    def backward(x, W, z):
        return {"z": 2 * z, "W": 2 * x.T @ z}

    def half(x, W, z):
        return {"z": 2 * z, "W": 2 * x.T @ z + 0.05 * W}

    inputs = {"x": real("m", "d"), "W": real("d", "k")}
    assert told(forward, backward, inputs) == ("W", "missing_l2", "'W': 2 * x.T @ z + 0.1 * W")
    assert told(forward, half, inputs)[:2] == ("W", "wrong_l2")


NORM = {"x": real("n", "d"), "c": real("n", "d")}


def layer_norm(x, c):
    s = (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    h = (x - x.mean(1, keepdim=True)) / s
    return (h * c).sum(), {"h": h}


def test_a_term_of_a_normalisation_that_is_left_out():
    def backward(x, c, h):
        s = (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return {"h": c, "x": (c - c.mean(1, keepdim=True)) / s}

    name, cause, repair = told(layer_norm, backward, NORM)
    assert (name, cause) == ("x", "missing_path")
    assert repair == "'x': (c - c.mean(1, keepdim=True) - h * (c * h).mean(-1, keepdim=True)) / s"


def test_a_power_too_many_is_no_slope():
    def backward(x, c, h):
        s = (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        d = c - c.mean(1, keepdim=True) - h * (c * h).mean(1, keepdim=True)
        return {"h": c, "x": d / s**2}

    assert told(layer_norm, backward, NORM) == ("x", "extra_derivative", "'x': d / s")


def test_a_gradient_that_stops_one_step_too_early():
    def forward(s, t):
        p = torch.softmax(s, 1)
        return -(t * torch.log(p)).sum(), {"p": p}

    def backward(s, t, p):
        return {"s": -t / p}

    name, cause, _ = told(forward, backward, {"s": real("n", "k"), "t": binary("n", "k")})
    assert (name, cause) == ("s", "missing_activation_derivative")


def two_layers(x, W, w):
    z = x @ W
    a = torch.tanh(z)
    o = a @ w
    e = torch.nn.functional.leaky_relu(o, 0.1)
    return (e**2).sum() + (a**3).sum(), {"z": z, "a": a, "o": o, "e": e}


LAYERS = {"x": real("n", "d"), "W": real("d", "h"), "w": real("h", "h")}


@pytest.mark.parametrize(
    ("slope", "cause"),
    [("value", "wrong_activation_derivative"), ("place", "derivative_at_wrong_place"), ("mask", "wrong_mask")],
)
def test_a_slope_by_what_stands_in_its_place(slope, cause):
    def value(W, w, z, a, o, e):
        return {"e": 2 * e, "o": 2 * e * torch.where(o > 0, 1.0, 0.1 * o)}

    def place(W, w, z, a, o, e):
        do = 2 * e * torch.where(o > 0, 1.0, 0.1)
        t = torch.tanh(a)
        return {"e": 2 * e, "o": do, "z": (do @ w.T + 3 * a**2) * (1 - t**2)}

    def mask(W, w, z, a, o, e):
        return {"e": 2 * e * (o > 0)}

    backward = {"value": value, "place": place, "mask": mask}[slope]
    assert told(two_layers, backward, LAYERS)[1] == cause


def test_an_entry_of_a_shape_is_a_count():
    def forward(z, t):
        return torch.nn.functional.cross_entropy(z, t), {}

    def backward(z, t):
        d = torch.softmax(z, 1) - torch.nn.functional.one_hot(t, z.shape[1])
        return {"z": d / z.shape[1]}

    inputs = {"z": real("n", "k"), "t": index("n", classes="k")}
    assert told(forward, backward, inputs)[:2] == ("z", "wrong_count")
