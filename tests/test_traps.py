"""Blind spots of other checks, and traps of this one: each fools the tool that it is known from, and not this check."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compare import check_derivation, check_function, real
from compare.check.constants import THRESHOLD
from compare.check.noise import measure
from tests.test_verdicts import INPUTS, forward, right, verdicts


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def as_function(forward: Callable[..., Tensor], backward: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """y = forward(x) with backward(x, dy), as an autograd.Function: what gradcheck takes."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Tensor:
            return backward(*ctx.saved_tensors, dy)

    return Function.apply  # type: ignore[no-any-return]


# Cotangents


@pytest.mark.parametrize(
    ("spoil", "modes"),
    [
        (torch.relu, (False, True)),
        (torch.abs, (False, True)),
        (torch.square, (False,)),
    ],
    ids=["relu(dy)", "abs(dy)", "dy**2"],
)
def test_a_backward_that_is_right_for_non_negative_cotangents(
    spoil: Callable[[Tensor], Tensor], modes: tuple[bool, ...]
) -> None:
    """gradcheck seeds no negative cotangents; a derivation is checked with the signed deltas that really arrive."""
    tanh = as_function(torch.tanh, lambda x, dy: spoil(dy) * (1 - torch.tanh(x) ** 2))
    for fast in modes:
        assert torch.autograd.gradcheck(tanh, draw(4, 3).requires_grad_(), fast_mode=fast)

    def layer(x: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        a = torch.tanh(x)
        return (a * c).sum(), {"a": a}

    def backward(a: Tensor, c: Tensor) -> dict[str, Tensor]:
        return {"a": c, "x": spoil(c) * (1 - a * a)}

    report = check_derivation(layer, backward, {"x": real("m", "d"), "c": real("m", "d")}, seconds=0)
    assert verdicts(report) == {"a": "right", "x": "wrong"}


def test_a_cotangent_of_ones_hides_a_normalisation() -> None:
    """The sum of normalised values has no gradient: half of the formula can be missing."""

    def normalised(x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()

    def wrong(x: Tensor, dy: Tensor) -> Tensor:
        rstd = 1 / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return rstd * (dy - dy.mean(1, keepdim=True))  # the path through the variance is forgotten

    x = draw(4, 6)
    leaf = x.clone().requires_grad_()
    (true,) = torch.autograd.grad(normalised(leaf).sum(), leaf)
    torch.testing.assert_close(wrong(x, torch.ones_like(x)), true)

    def layer(x: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (normalised(x) * c).sum(), {}

    report = check_derivation(
        layer, lambda x, c: {"x": wrong(x, c)}, {"x": real("m", "d"), "c": real("m", "d")}, seconds=0
    )
    assert verdicts(report) == {"x": "wrong"}


# Tolerances


def test_one_wrong_entry_of_a_large_jacobian_passes_gradchecks_fast_mode() -> None:
    """Its tolerance grows with the Jacobian; one entry that is off by a whole unit is lost in a million."""
    n = 1000
    W = draw(n, n) / n**0.5
    off = W.clone()
    off[3, 5] += 1.0
    product = as_function(lambda x: x @ W.T, lambda x, dy: dy @ off)
    x = draw(1, n, seed=1)
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(product, x.clone().requires_grad_(), fast_mode=True)

    def layer(x: Tensor, W: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return ((x @ W.T) * c).sum(), {}

    inputs = {"x": x, "W": W, "c": draw(1, n, seed=2)}
    assert check_derivation(layer, lambda c, W: {"x": c @ W}, inputs, seconds=0).ok
    assert verdicts(check_derivation(layer, lambda c: {"x": c @ off}, inputs, seconds=0)) == {"x": "wrong"}


@pytest.mark.parametrize("n", [350, pytest.param(1000, marks=pytest.mark.slow)])
def test_one_entry_of_a_million_that_every_common_tolerance_lets_pass(n: int) -> None:
    size = 1e-11
    x, dz = draw(32, n), draw(32, n, seed=1)

    def layer(x: Tensor, W: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return ((x @ W.T) * c).sum(), {}

    def chunked(x: Tensor, c: Tensor) -> dict[str, Tensor]:
        parts = [c[k::7].T @ x[k::7] for k in range(7)]
        return {"W": torch.stack(parts).sum(0)}

    def off(x: Tensor, c: Tensor) -> dict[str, Tensor]:
        W = c.T @ x
        W[345, n // 3] += size * W.square().mean().sqrt()
        return {"W": W}

    inputs = {"x": x, "W": torch.zeros(n, n, dtype=torch.float64), "c": dz}
    torch.testing.assert_close(off(x, dz)["W"], chunked(x, dz)["W"])
    assert torch.allclose(off(x, dz)["W"], chunked(x, dz)["W"], rtol=1e-9)
    assert check_derivation(layer, chunked, inputs, seconds=0).ok
    report = check_derivation(layer, off, inputs, seconds=0)
    assert verdicts(report) == {"W": "wrong"}
    assert report["W"].worst_index == (345, n // 3)


def test_a_flipped_sign_passes_an_absolute_tolerance_of_one() -> None:
    def layer(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.sigmoid(x @ w).mean(), {}

    def flipped(x: Tensor, w: Tensor) -> dict[str, Tensor]:
        a = torch.sigmoid(x @ w)
        return {"w": -(a * (1 - a)) @ x / len(x)}

    x, w = draw(50, 4), draw(4, seed=1)
    leaf = w.clone().requires_grad_()
    (true,) = torch.autograd.grad(layer(x, leaf)[0], leaf)
    torch.testing.assert_close(flipped(x, w)["w"], true, atol=1.0, rtol=0)
    assert verdicts(check_derivation(layer, flipped, {"x": x, "w": w}, seconds=0)) == {"w": "wrong"}


# False alarms of others


def test_a_right_derivation_fails_gradcheck_in_float32() -> None:
    sigmoid = as_function(torch.sigmoid, lambda x, dy: dy * torch.sigmoid(x) * (1 - torch.sigmoid(x)))
    x = draw(4, 3, dtype=torch.float32)
    with pytest.warns(UserWarning, match="double precision"):
        assert not torch.autograd.gradcheck(sigmoid, x.clone().requires_grad_(), raise_exception=False)

    def layer(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.sigmoid(x).sum(), {}

    assert check_derivation(layer, lambda x: {"x": torch.sigmoid(x) * (1 - torch.sigmoid(x))}, {"x": x}).ok


def test_a_right_derivation_fails_differences_at_a_kink() -> None:
    relu = as_function(torch.relu, lambda x, dy: dy * (x > 0))
    x = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    assert not torch.autograd.gradcheck(relu, x.clone().requires_grad_(), raise_exception=False)

    def layer(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.relu(x).sum(), {}

    report = check_derivation(layer, lambda x: {"x": (x > 0).to(x.dtype)}, {"x": x})
    assert verdicts(report) == {"x": "right"}


def test_differences_in_float16_are_plain_zero() -> None:
    def layer(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.tanh(x).sum(), {}

    x = torch.full((3,), 1.0, dtype=torch.float16)
    assert float((torch.tanh(x + 1e-4) - torch.tanh(x - 1e-4)).abs().max()) == 0
    assert check_derivation(layer, lambda x: {"x": 1 - torch.tanh(x) ** 2}, {"x": x}).ok
    assert not check_derivation(layer, lambda x: {"x": 1 - torch.tanh(x)}, {"x": x}).ok


def test_the_relative_error_of_a_tiny_gradient_is_all_differences() -> None:
    """CS231n's rule fails a right gradient whose entries are small beside J."""

    def layer(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (1e6 + 1e-3 * torch.sin(x)).sum(), {}

    x = draw(4)
    right_ = 1e-3 * torch.cos(x)
    numeric = torch.stack([(layer(x + h)[0] - layer(x - h)[0]) / 2e-5 for h in 1e-5 * torch.eye(4).double()])
    assert float(((right_ - numeric).abs() / torch.maximum(right_.abs(), numeric.abs())).max()) > 1e-5
    assert check_derivation(layer, lambda x: {"x": 1e-3 * torch.cos(x)}, {"x": x}).ok


def test_only_float64_can_say_which_of_two_float32_gradients_is_right() -> None:
    """Two formulas for the derivative of log cosh z: in float32 they differ by a third, and one is exact."""

    def layer(z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (z + nn.functional.softplus(-2 * z)).sum(), {}

    def careless(z: Tensor) -> dict[str, Tensor]:
        return {"z": 1 - 2 / (1 + torch.exp(2 * z))}

    def careful(z: Tensor) -> dict[str, Tensor]:
        return {"z": torch.tanh(z)}

    z = torch.tensor([1e-7, -3e-7, 2e-7, 5e-8])
    assert not torch.allclose(careless(z)["z"], careful(z)["z"], rtol=0.1, atol=0)
    # autograd goes through 1 - 2 sigma(-2 z), and loses the same digits: neither formula may be blamed beside it
    assert check_derivation(layer, careful, {"z": z}).ok

    def stable(z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.log(torch.cosh(z)).sum(), {}

    assert check_derivation(stable, careful, {"z": z}).ok
    assert verdicts(check_derivation(stable, careless, {"z": z})) == {"z": "imprecise"}


# The reference may be the one that fails


@pytest.mark.parametrize("logit", [40.0, -800.0])
def test_autograds_nan_is_not_blamed_on_a_minus_y(logit: float) -> None:
    def textbook(z: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        a = 1 / (1 + torch.exp(-z))
        return -(y * torch.log(a) + (1 - y) * torch.log(1 - a)).sum(), {}

    z = torch.tensor([logit, 0.3, -1.2], dtype=torch.float64)
    y = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    leaf = z.clone().requires_grad_()
    assert bool(torch.autograd.grad(textbook(leaf, y)[0], leaf)[0].isnan().any())
    report = check_derivation(textbook, lambda z, y: {"z": torch.sigmoid(z) - y}, {"z": z, "y": y})
    assert report["z"].verdict in ("right", "undecided")
    assert report.first_wrong is None
    off = check_derivation(textbook, lambda z, y: {"z": y - torch.sigmoid(z)}, {"z": z, "y": y})
    assert off["z"].verdict == "wrong"


# Hooks


def test_a_delta_that_is_not_finite_poisons_nothing() -> None:
    """The row says so; what can be judged apart from it still is."""

    def with_nan(**values: Tensor) -> dict[str, Tensor]:
        gradients = right(**{name: values[name] for name in ("x", "W3", "y", "a2", "z3")})
        gradients["z2"] = gradients["z2"] * float("nan")
        return gradients

    found = verdicts(check_derivation(forward, with_nan, INPUTS, seconds=0))
    assert found["z2"] == "invalid"
    assert {found[name] for name in ("z3", "W3", "b3", "a2", "W2", "b2")} == {"right"}


# The noise


def test_saturated_units_are_no_alarm() -> None:
    """An ulp on the inputs alone explains far too little where a (1 - a) is nearly all rounding."""
    z = torch.tensor([[36.0, -36.0, 20.0, -20.0, 37.0]], dtype=torch.float64)

    def layer(z: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        a = torch.sigmoid(z)
        return (a * c).sum(), {"a": a}

    def by_exp(z: Tensor, c: Tensor) -> dict[str, Tensor]:
        return {"a": c, "z": c * torch.sigmoid(z) * torch.sigmoid(-z)}

    def by_a(a: Tensor, c: Tensor) -> dict[str, Tensor]:
        return {"a": c, "z": c * a * (1 - a)}

    inputs = {"z": z, "c": draw(1, 5)}
    for backward in (by_exp, by_a):
        assert check_derivation(layer, backward, inputs).ok

    def off(z: Tensor, c: Tensor) -> dict[str, Tensor]:
        return {"z": c * torch.sigmoid(z)}

    assert not check_derivation(layer, off, inputs).ok


@pytest.mark.parametrize("chunks", [1, 7, 64])
def test_a_long_reduction_in_any_order_is_no_alarm(chunks: int) -> None:
    x, dz = draw(20_000, 3), draw(20_000, 2, seed=1)

    def layer(x: Tensor, W: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return ((x @ W.T) * c).sum(), {}

    def backward(x: Tensor, c: Tensor) -> dict[str, Tensor]:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
        parts = [(c[rows].T @ x[rows]) for rows in order.chunk(chunks)]
        return {"W": torch.stack(parts).sum(0)}

    inputs = {"x": x, "W": draw(2, 3, seed=2), "c": dz}
    assert check_derivation(layer, backward, inputs, seconds=0).ok


def test_inputs_moved_alone_explain_too_little() -> None:
    """The trap is real: with noise on the inputs only, a right (1 - a) is many floors off."""
    z = torch.tensor([36.0, 35.0, 34.0], dtype=torch.float64)
    exact = torch.sigmoid(z) * torch.sigmoid(-z)
    a = torch.sigmoid(z)
    rounded = a * (1 - a)
    generator = torch.Generator().manual_seed(0)
    moved = [z * (1 + 2.2e-16 * torch.randn(3, generator=generator, dtype=torch.float64)) for _ in range(5)]
    floor = torch.stack([(torch.sigmoid(m) * torch.sigmoid(-m) - exact).abs() for m in moved]).amax(0)
    assert float(((rounded - exact).abs() / floor).max()) > 1000

    def slope(jitter: Callable[[Any], Any]) -> dict[str, Tensor]:
        each = torch.sigmoid(jitter(z))
        return {"slope": each * (1 - each)}

    assert bool(((rounded - exact).abs() <= THRESHOLD * measure(slope).floors["slope"]).all())


def test_an_entry_that_no_run_moved_is_no_mistake() -> None:
    """A floor of each entry's own spread alone calls a right gradient, added up in another order, wrong."""
    x, dz = draw(32, 300), draw(32, 300, seed=1)

    def plain(jitter: Callable[[Any], Any]) -> Tensor:
        return jitter(dz).T @ jitter(x)

    chunked = torch.stack([dz[k::7].T @ x[k::7] for k in range(7)]).sum(0)
    generator = torch.Generator().manual_seed(0)
    exact = plain(lambda value: value)

    def ulp(value: Tensor) -> Tensor:
        return value * (1 + 2.2e-16 * (torch.rand(value.shape, generator=generator, dtype=value.dtype) * 2 - 1).round())

    own = torch.stack([(ulp(plain(ulp)) - exact).abs() for _ in range(3)]).amax(0)
    off = (chunked - exact).abs()
    assert bool((off > THRESHOLD * own).any())
    floor = measure(lambda jitter: {"W": plain(jitter)}).floors["W"]
    assert bool((off <= THRESHOLD * floor).all())


def test_precision_judged_entry_by_entry_blames_a_valid_order() -> None:
    """Beside autograd's own float32 error an entry may look hundreds of times worse; in RMS the slice does not."""
    x, dz = draw(64, 60, dtype=torch.float32), draw(64, 60, seed=1, dtype=torch.float32)
    exact = dz.double().T @ x.double()
    twin = ((dz.T @ x).double() - exact).abs()
    chunked = (torch.stack([dz[k::7].T @ x[k::7] for k in range(7)]).sum(0).double() - exact).abs()
    assert float((chunked / twin.clamp(min=1e-12)).max()) > 100
    assert float(chunked.square().mean().sqrt() / twin.square().mean().sqrt()) < 4

    def layer(x: Tensor, W: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return ((x @ W.T) * c).sum(), {}

    def backward(x: Tensor, c: Tensor) -> dict[str, Tensor]:
        return {"W": torch.stack([c[k::7].T @ x[k::7] for k in range(7)]).sum(0)}

    inputs = {"x": x, "W": torch.zeros(60, 60), "c": dz}
    assert verdicts(check_derivation(layer, backward, inputs, seconds=0)) == {"W": "right"}


def ill_conditioned(seed: int) -> dict[str, Tensor]:
    """A system whose matrix has a condition of 1e11."""
    n = 6
    Q = torch.linalg.qr(draw(n, n, seed=seed))[0]
    A = Q @ torch.diag(torch.logspace(0, -11, n, dtype=torch.float64)) @ Q.T
    return {"A": (A + A.T) / 2, "b": draw(n)}


def test_ill_conditioned_algebra_in_another_order_is_no_alarm() -> None:
    """Of a matrix of condition 1e11 two right orders share five digits: NumPy's default tolerance fails one."""
    A, b = ill_conditioned(seed=1).values()

    def layer(A: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.linalg.solve(A, b).square().sum(), {}

    def by_inverse(A: Tensor, b: Tensor) -> dict[str, Tensor]:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(A))
        v = inverse.T @ (2 * (inverse @ b))
        return {"b": v, "A": -torch.outer(v, inverse @ b)}

    leaf = A.clone().requires_grad_()
    (true,) = torch.autograd.grad(layer(leaf, b)[0], leaf)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        np.testing.assert_allclose(by_inverse(A, b)["A"], true)
    assert check_derivation(layer, by_inverse, {"A": A, "b": b}, seconds=0).ok

    def without_its_sign(A: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"A": -by_inverse(A, b)["A"]}

    assert not check_derivation(layer, without_its_sign, {"A": A, "b": b}, seconds=0).ok


class Solve(torch.autograd.Function):
    """x = A^-1 b."""

    sign = -1.0

    @staticmethod
    def forward(ctx: Any, A: Tensor, b: Tensor) -> Tensor:
        x = torch.linalg.solve(A, b)
        ctx.save_for_backward(A, x)
        return x

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor, Tensor]:
        A, x = ctx.saved_tensors
        db = torch.linalg.solve(A.T, dx)
        return Solve.sign * torch.outer(db, x), db


@pytest.mark.parametrize(("clipped", "ok"), [(False, True), (True, False)])
def test_a_slope_of_zero_confirms_nobody(clipped: bool, ok: bool) -> None:
    """A straight-through estimator is no derivative of J, whose own is zero: one wrong gradient is nearer to it."""

    def forward(x: Tensor, w: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        z = x * w
        b = z + (torch.sign(z) - z).detach()
        return ((b - y) ** 2).sum(), {"z": z, "b": b}

    def backward(x: Tensor, b: Tensor, y: Tensor) -> dict[str, Tensor]:
        db = 2 * (b - y)
        dz = db.clamp(-1, 1) if clipped else db
        return {"b": db, "z": dz, "w": (dz * x).sum(0)}

    report = check_derivation(forward, backward, {"x": draw(5, 3), "w": draw(3, seed=1), "y": draw(5, 3, seed=2)})
    assert report.ok is ok, str(report)


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize(("sign", "ok"), [(-1.0, True), (1.0, False)])
def test_a_steep_slope_is_no_kink(seed: int, sign: float, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A billionth further the least eigenvalue, and the gradient with it, has the other sign: no valid choice of it."""
    monkeypatch.setattr(Solve, "sign", sign)
    assert check_function(Solve.apply, torch.linalg.solve, ill_conditioned(seed), seconds=0).ok == ok


# Every line of the list that this project keeps of them, and the test that holds it
HELD = {
    "gradcheck: no negative cotangents": "test_traps::test_a_backward_that_is_right_for_non_negative_cotangents",
    "the same of a Function": "test_check_function::test_gradcheck_seeds_no_negative_cotangent",
    "gradcheck slow: dy ** 2": "test_check_function::test_gradcheck_in_slow_mode_passes_the_square_of_the_cotangent",
    "gradcheck fast: one entry": "test_traps::test_one_wrong_entry_of_a_large_jacobian_passes_gradchecks_fast_mode",
    "the same in fast mode": "test_check_function::test_gradcheck_in_fast_mode_misses_one_wrong_entry_of_a_million",
    "a cotangent of ones": "test_traps::test_a_cotangent_of_ones_hides_a_normalisation",
    "not contiguous, a layer before, batch > 1, a view": (
        "test_check_function::test_gradcheck_at_contiguous_leaves_of_one_row"
    ),
    "right, fails in float32": "test_traps::test_a_right_derivation_fails_gradcheck_in_float32",
    "right, fails at a kink": "test_traps::test_a_right_derivation_fails_differences_at_a_kink",
    "differences in float16": "test_traps::test_differences_in_float16_are_plain_zero",
    "two float32 results": "test_traps::test_only_float64_can_say_which_of_two_float32_gradients_is_right",
    "atol 1": "test_traps::test_a_flipped_sign_passes_an_absolute_tolerance_of_one",
    "rtol 50": "test_check_function::test_a_flipped_sign_passes_tolerances_as_loose_as_some_libraries_use",
    "one entry of a million": "test_traps::test_one_entry_of_a_million_that_every_common_tolerance_lets_pass",
    "two mistakes, two red rows": "test_verdicts::test_every_wrong_step_is_red_and_nothing_downstream_is_blamed",
    "two names on one tensor": "test_hooks::test_names_that_share_a_tensor_share_its_hook",
    "a view that J does not use": "test_hooks::test_a_view_that_J_does_not_use_gets_no_gradient",
    "a NaN delta": "test_traps::test_a_delta_that_is_not_finite_poisons_nothing",
    "a name before relu_": "test_hooks::test_a_name_taken_before_an_operation_in_place_means_the_value_after_it",
    "integer tensors": "test_check_derivation::test_integer_inputs",
    "vmap": "test_check_derivation::test_names_inside_vmap",
    "1/m in dW": "test_verdicts::test_a_factor_that_is_undone_later",
    "fused kernels": "test_noise::test_cancellation_inside_a_fused_kernel_is_seen",
    "ill-conditioned algebra": "test_traps::test_ill_conditioned_algebra_in_another_order_is_no_alarm",
    "long reductions": "test_traps::test_a_long_reduction_in_any_order_is_no_alarm",
    "noise on inputs alone": "test_traps::test_inputs_moved_alone_explain_too_little",
    "copies break aliasing": "test_noise::test_what_a_mode_that_returns_copies_does",
    "the global generator": "test_noise::test_the_noise_draws_nothing_from_the_global_generators",
    "a seeded dropout": "test_noise::test_a_seeded_dropout_is_the_same_in_every_run",
    "ties of max-pool": "test_noise::test_max_pool_ties",
    "casts to integers": "test_noise::test_discrete_decisions_are_those_of_the_plain_run",
    "zero by luck": "test_traps::test_an_entry_that_no_run_moved_is_no_mistake",
    "entry by entry": "test_traps::test_precision_judged_entry_by_entry_blames_a_valid_order",
    "the textbook cost": "test_traps::test_autograds_nan_is_not_blamed_on_a_minus_y",
    "torch.zeros(4, 3)": "test_check_derivation::test_code_that_makes_its_own_tensors_computes_in_float64",
}


@pytest.mark.parametrize("trap", HELD)
def test_every_trap_is_held_by_a_test(trap: str) -> None:
    file, _, name = HELD[trap].partition("::")
    source = (Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", source, re.MULTILINE)
