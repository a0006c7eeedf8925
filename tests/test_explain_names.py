"""The name of a mistake follows from what its repair means: one planted mistake for each principle."""

from __future__ import annotations

import functools

import pytest
import torch

from compare import constant, real
from compare.explain.numbers import rounded_to
from compare.explain.reach import Reach
from tests.told import told

XC = {"x": real("n", "d"), "c": real("n", "d")}


def scaled(x, s, c):
    y = s * torch.tanh(x)
    return (y * y * c).sum(), {"y": y}


def test_a_product_that_still_holds_its_own_factor_is_another_quantity():
    def backward(x, s, c, y):
        dy = 2 * y * c
        return {"y": dy, "s": (dy * y).sum()}

    assert told(scaled, backward, XC | {"s": real()}) == ("s", "wrong_operand", "'s': (dy * y).sum() / s")


def centred(x, c):
    y = x - x.mean(0)
    return (y * c).sum(), {"y": y}


def test_one_less_than_a_size_is_a_count():
    def backward(x, c):
        m = len(x)
        return {"y": c, "x": c - c.sum(0) / (m - 1)}

    assert told(centred, backward, XC)[1] == "wrong_count"


def test_an_exception_is_named_by_what_sets_it_apart():
    def backward(x, c, first=True):
        mean = c.mean(1, keepdim=True) if first else c.mean(0)
        return {"y": c, "x": c - mean}

    assert told(centred, backward, XC)[:2] == ("x", "wrong_axis")


def test_an_exception_whose_value_lacks_a_part_of_the_slope():
    def forward(z, c):
        a = torch.sigmoid(z)
        return (a * a * c).sum(), {"a": a}

    def backward(z, c, a, plain=True):
        da = 2 * a * c
        return {"a": da, "z": da * (a if plain else a * (1 - a))}

    z = {"z": real("n", "d"), "c": real("n", "d")}
    assert told(forward, backward, z) == ("z", "missing_activation_derivative", "'z': da * (a * (1 - a))")


def test_a_power_that_is_lost_is_a_factor_not_a_bracket():
    def forward(x, c):
        return (x * (x.square().mean(1, keepdim=True) + 1e-6) ** -0.5 * c).sum(), {}

    def backward(x, c):
        r = (x.square().mean(1, keepdim=True) + 1e-6) ** -0.5
        return {"x": r * c - x * r * r * (c * x).mean(1, keepdim=True)}

    assert told(forward, backward, XC)[:2] == ("x", "missing_factor")


def norm_backward(d, x):
    r = (x.square().mean(1, keepdim=True) + 1e-6) ** -0.5
    return r * d - x * r**3 * (d * x).mean(1, keepdim=True)


def test_what_goes_round_a_function_does_not_go_through_it():
    def forward(x, c):
        n = x * (x.square().mean(1, keepdim=True) + 1e-6) ** -0.5
        return (n * c).sum() + (3 * c * x).sum(), {"n": n}

    def backward(x, c):
        skip = 3 * c
        return {"n": c, "x": norm_backward(c + skip, x)}

    wanted = ("x", "order_of_operations", "'x': norm_backward(c, x) + skip")
    assert told(forward, backward, XC) == wanted


def test_a_shift_is_a_position_and_no_axis():
    def forward(x, c):
        y = torch.roll(x, 1, 0)
        return (y * y * c).sum(), {"y": y}

    def backward(x, c, y):
        return {"y": 2 * y * c, "x": torch.roll(2 * y * c, 1, 0)}

    assert told(forward, backward, XC)[:2] == ("x", "wrong_index")


def test_a_total_that_is_no_longer_one_is_a_factor():
    def forward(x, c):
        return (c * (torch.logsumexp(x, 1, keepdim=True) - x)).sum(), {}

    def backward(x, c):
        return {"x": torch.softmax(x, 1) - c}

    assert told(forward, backward, XC)[1:] == (
        "missing_factor",
        "'x': torch.softmax(x, 1) * c.sum(-1, keepdim=True) - c",
    )


def test_groups_and_their_size_exchanged_part_the_wrong_axis():
    def forward(x, c, groups):
        parts = x.reshape(len(x), groups, -1)
        y = (parts - parts.mean(-1, keepdim=True)).reshape(x.shape)
        return (y * c).sum(), {"y": y}

    def backward(x, c, groups):
        d = c.reshape(len(x), x.shape[1] // groups, -1)
        return {"y": c, "x": (d - d.mean(-1, keepdim=True)).reshape(x.shape)}

    inputs = {"x": real("n", "g*k"), "c": real("n", "g*k"), "groups": constant("g")}
    assert told(forward, backward, inputs)[:2] == ("x", "wrong_axis")


def test_sums_that_a_loop_does_not_begin_anew():
    def forward(x, c):
        y = x - x.mean(1, keepdim=True)
        return (y * c).sum(), {"y": y}

    def backward(x, c):
        dx = torch.zeros_like(x)
        total = 0.0
        for i in range(len(x)):
            total = total + c[i].mean()
            dx[i] = c[i] - total
        return {"y": c, "x": dx}

    assert told(forward, backward, XC) == ("x", "stale_state", "total = c[i].mean()")


def test_the_slope_of_another_function_where_the_forward_names_none():
    def forward(x, c):
        return (torch.nn.functional.mish(x) * c).sum(), {}

    def backward(x, c):
        s = torch.sigmoid(x)
        return {"x": c * s * (1 + x * (1 - s))}

    name, cause, repair = told(forward, backward, XC)
    assert (name, cause) == ("x", "wrong_activation_derivative")
    assert "softplus" in repair


def test_windows_without_their_stride():
    def forward(x, c, stride):
        y = x.unfold(0, 2, stride)
        return (y * c).sum(), {"y": y}

    def backward(x, c, stride):
        dx = torch.zeros_like(x)
        for i in range(len(c)):
            dx[i : i + 2] += c[i]
        return {"y": c, "x": dx}

    inputs = {"x": real("2*n"), "c": real("n", 2), "stride": constant(2)}
    name, cause, repair = told(forward, backward, inputs)
    assert (name, cause) == ("x", "wrong_index")
    assert repair == "dx[i * stride:i * stride + 2] += c[i]"


def test_a_gate_on_the_other_side_of_a_matrix_product():
    def forward(h, r, U, c):
        y = r * (h @ U)
        return (y * c).sum(), {"y": y}

    def backward(h, r, U, c):
        return {"y": c, "U": (r * h).T @ c}

    inputs = {"h": real("n", "d"), "r": real("n", "d"), "U": real("d", "d"), "c": real("n", "d")}
    assert told(forward, backward, inputs) == ("U", "order_of_operations", "'U': h.T @ (r * c)")


def test_what_is_added_up_in_half_precision():
    def forward(x, w):
        z = x @ w
        return (z * z).sum(), {"z": z}

    def backward(x, z):
        dw = torch.zeros(x.shape[1], dtype=torch.float16)
        for i in range(len(x)):
            dw += (2 * z[i] * x[i]).half()
        return {"z": 2 * z, "w": dw.to(x.dtype)}

    draws = torch.Generator().manual_seed(3)
    inputs = {"x": torch.randn(7, 3, generator=draws), "w": torch.randn(3, generator=draws)}
    assert told(forward, backward, inputs)[:2] == ("w", "low_precision")


def test_a_dtype_shows_in_the_digits():
    exact = torch.linspace(0.1, 1, 9, dtype=torch.float64) / 3
    assert [rounded_to(exact.to(d).double(), exact) for d in (torch.float16, torch.bfloat16, torch.float32)] == [
        *("float16", "bfloat16", "float32")
    ]
    assert rounded_to(exact * (1 + 1e-6), exact) is None
    assert rounded_to(exact.float().double() * 2, exact) is None


@pytest.mark.parametrize("averaged", [True, False], ids=["averaged", "summed"])
def test_a_plain_number_wins_over_a_size_that_is_equal_to_it(averaged):
    """W has two rows: 2 is len(W) as well."""
    draws = torch.Generator().manual_seed(5)
    inputs = {"x": torch.randn(5, 2, generator=draws), "W": torch.randn(2, 3, generator=draws)}

    def forward(x, W):
        z = x @ W
        return (z * z).mean() if averaged else (z * z).sum(), {"z": z}

    def backward(x, W, z):
        return {"z": z / z.numel()}

    def summed(x, W, z):
        return {"z": z}

    name, cause, repair = told(forward, backward if averaged else summed, inputs)
    assert (name, cause) == ("z", "wrong_factor")
    assert repair == ("'z': z / z.numel() * 2" if averaged else "'z': 2 * z")


@functools.cache
def space():
    draws = torch.Generator().manual_seed(1)
    z = torch.randn(4, 3, generator=draws, dtype=torch.float64)
    values = {"z": z, "a": torch.sigmoid(z), "x": torch.randn(4, 3, generator=draws, dtype=torch.float64)}
    return Reach(values, frozenset({"x"}), "z", frozenset(values))


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (lambda z, a, x: x, lambda z, a, x: -x, "sign"),
        (lambda z, a, x: x * a, lambda z, a, x: x * a * (1 - a), "missing_activation_derivative"),
        (lambda z, a, x: x * a * (1 - a), lambda z, a, x: x, "extra_derivative"),
        (lambda z, a, x: x.flip(0), lambda z, a, x: x, "wrong_index"),
        (lambda z, a, x: x * 1.001, lambda z, a, x: x, "wrong_epsilon"),
        (lambda z, a, x: z, lambda z, a, x: z * x, "missing_factor"),
    ],
)
def test_two_values_tell_the_mistake(old, new, cause):
    values = {n: space().tensors[n] for n in "zax"}
    assert space().effect(old(**values), new(**values)) == cause
