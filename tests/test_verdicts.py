"""Each verdict has planted examples: what is wrong is blamed, what follows from it is not, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compare import Report, binary, check_derivation, positive, real
from tests.spread import spread

INPUTS = {
    "x": real("m", "d"),
    "W2": real("h", "d"),
    "b2": real("h"),
    "W3": real("k", "h"),
    "b3": real("k"),
    "y": binary("m", "k"),
}


def forward(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    z3 = a2 @ W3.T + b3
    J = (torch.logaddexp(z3, torch.zeros_like(z3)) - y * z3).sum() / len(x)
    return J, {"z2": z2, "a2": a2, "z3": z3}


def right(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
    dz3 = (torch.sigmoid(z3) - y) / len(x)
    da2 = dz3 @ W3
    dz2 = da2 * a2 * (1 - a2)
    return {
        "z3": dz3,
        "W3": dz3.T @ a2,
        "b3": dz3.sum(0),
        "a2": da2,
        "z2": dz2,
        "W2": dz2.T @ x,
        "b2": dz2.sum(0),
    }


def check(backward: Callable[..., Any], **options: Any) -> Report:
    """At the plain condition only."""
    return check_derivation(forward, backward, INPUTS, seconds=0, **options)


def verdicts(report: Report) -> dict[str, str]:
    return {row.name: row.verdict for row in report.rows}


def altered(**changes: Callable[[Tensor], Any]) -> Callable[..., dict[str, Any]]:
    """The right derivation, but what it returns for some names is changed; the deltas downstream stay right."""

    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Any]:
        gradients: dict[str, Any] = right(x, W3, y, a2, z3)
        return gradients | {name: change(gradients[name]) for name, change in changes.items()}

    return backward


# right


def test_right() -> None:
    report = check(right)
    assert set(verdicts(report).values()) == {"right"}
    assert report.ok
    assert report.first_wrong is None
    assert str(report).startswith("RIGHT")


def test_rows_come_nearest_to_J_first() -> None:
    names = [row.name for row in check(right).rows]
    assert names.index("z3") < names.index("a2") < names.index("z2") < names.index("W2")


@pytest.mark.parametrize("subset", [("W2",), ("z3",), ("b2", "W3"), ("a2", "b3")], ids="+".join)
def test_any_subset_of_the_quantities(subset: tuple[str, ...]) -> None:
    def backward(**values: Tensor) -> dict[str, Tensor]:
        gradients = right(**{name: values[name] for name in ("x", "W3", "y", "a2", "z3")})
        return {name: gradients[name] for name in subset}

    assert verdicts(check(backward)) == dict.fromkeys(subset, "right")


@pytest.mark.parametrize("as_array", [np.asarray, lambda t: np.asfortranarray(t), lambda t: t.numpy()[...]])
def test_numpy_arrays(as_array: Callable[[Tensor], Any]) -> None:
    def backward(**values: Tensor) -> dict[str, Any]:
        gradients = right(**{name: values[name] for name in ("x", "W3", "y", "a2", "z3")})
        return {name: as_array(gradient) for name, gradient in gradients.items()}

    assert check(backward).ok


def test_numpy_mathematics() -> None:
    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Any]:
        x_, W3_, y_, a2_, z3_ = (t.numpy() for t in (x, W3, y, a2, z3))
        dz3 = (1 / (1 + np.exp(-z3_)) - y_) / len(x_)
        dz2 = np.dot(dz3, W3_) * a2_ * (1 - a2_)
        return {"z3": dz3, "W3": np.dot(dz3.T, a2_), "z2": dz2, "W2": np.dot(dz2.T, x_), "b2": np.sum(dz2, axis=0)}

    assert set(verdicts(check(backward)).values()) == {"right"}


# rescaled


def batch_mean_in_the_parameters(forgotten: str = "") -> Callable[..., dict[str, Tensor]]:
    """dZ = A - Y with 1/m in dW and db; the 1/m of one of them may be forgotten."""

    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
        m = len(x)
        dz3 = torch.sigmoid(z3) - y
        dz2 = (dz3 @ W3) * a2 * (1 - a2)
        gradients = {
            "z3": dz3,
            "W3": dz3.T @ a2 / m,
            "b3": dz3.sum(0) / m,
            "z2": dz2,
            "W2": dz2.T @ x / m,
            "b2": dz2.sum(0) / m,
        }
        if forgotten:
            gradients[forgotten] = gradients[forgotten] * m
        return gradients

    return backward


def test_a_factor_that_is_undone_later() -> None:
    report = check(batch_mean_in_the_parameters())
    assert verdicts(report) == {
        "z3": "rescaled",
        "W3": "right",
        "b3": "right",
        "z2": "rescaled",
        "W2": "right",
        "b2": "right",
    }
    assert report.ok
    assert report.first_wrong is None


@pytest.mark.parametrize("forgotten", ["W3", "b3", "W2", "b2"])
def test_the_factor_forgotten_in_one_parameter_blames_it_alone(forgotten: str) -> None:
    report = check(batch_mean_in_the_parameters(forgotten))
    found = verdicts(report)
    assert found.pop(forgotten) == "wrong"
    assert set(found.values()) == {"right", "rescaled"}
    assert report.first_wrong is not None
    assert report.first_wrong.name == forgotten


def test_a_factor_that_is_never_undone_is_wrong() -> None:
    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
        dz3 = torch.sigmoid(z3) - y
        return {"z3": dz3, "W3": dz3.T @ a2, "b3": dz3.sum(0)}

    assert verdicts(check(backward)) == {"z3": "wrong", "W3": "inherited", "b3": "inherited"}


# subgradient


def kinked(x: Tensor, W: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    z = x @ W.T
    a = torch.relu(z)
    return (a * torch.arange(1.0, 1 + a.shape[1])).sum(), {"z": z, "a": a}


AT_THE_KINK = {
    "x": torch.tensor([[1.0, -1.0], [0.5, 0.0], [2.0, 1.0]], dtype=torch.float64),
    "W": torch.tensor([[1.0, 1.0], [0.3, -0.2]], dtype=torch.float64),
}


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_every_valid_choice_at_a_kink(slope: float) -> None:
    def backward(x: Tensor, z: Tensor, a: Tensor) -> dict[str, Tensor]:
        da = torch.arange(1.0, 1 + a.shape[1]).expand_as(a)
        dz = da * ((z > 0) + slope * (z == 0))
        return {"a": da, "z": dz, "W": dz.T @ x}

    report = check_derivation(kinked, backward, AT_THE_KINK, seconds=0)
    assert verdicts(report)["z"] == ("subgradient" if slope else "right")
    assert report.ok


@pytest.mark.parametrize("slope", [-0.5, 1.5, 30.0])
def test_what_no_choice_at_a_kink_explains_is_wrong(slope: float) -> None:
    def backward(z: Tensor, a: Tensor) -> dict[str, Tensor]:
        da = torch.arange(1.0, 1 + a.shape[1]).expand_as(a)
        return {"z": da * ((z > 0) + slope * (z == 0))}

    assert verdicts(check_derivation(kinked, backward, AT_THE_KINK, seconds=0)) == {"z": "wrong"}


POOLED = {"x": torch.tensor([[2.0, 2.0, 1.0, 5.0, 5.0, 5.0], [0.5, 1.0, 1.0, 0.0, -1.0, 0.0]], dtype=torch.float64)}


def pooled(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    y = x.unfold(1, 3, 3).amax(-1)
    return (y * y).sum(), {"y": y}


@pytest.mark.parametrize("shares", ["evenly", "the last", "the whole each"])
def test_entries_that_tie_for_a_maximum_share_one_gradient(shares: str) -> None:
    def backward(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        tied = (x.unfold(1, 3, 3) == y[..., None]).double()
        if shares == "evenly":
            tied /= tied.sum(-1, keepdim=True)
        elif shares == "the last":
            tied *= tied.flip(-1).cumsum(-1).flip(-1) == 1
        return {"y": 2 * y, "x": (2 * y[..., None] * tied).flatten(1)}

    report = check_derivation(pooled, backward, POOLED, seconds=0)
    expected = {"evenly": "right", "the last": "subgradient", "the whole each": "wrong"}
    assert verdicts(report) == {"y": "right", "x": expected[shares]}


@pytest.mark.parametrize(("share", "verdict"), [(0.3, "subgradient"), (None, "wrong")])
def test_what_ties_in_two_quantities_is_shared_between_them(share: float | None, verdict: str) -> None:
    def larger(a: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = torch.maximum(a, b)
        return (y * y).sum(), {"y": y}

    def backward(a: Tensor, b: Tensor, y: Tensor) -> dict[str, Tensor]:
        tie = (a == b).double()
        of_a, of_b = (1.0, 1.0) if share is None else (share, 1 - share)
        return {"y": 2 * y, "a": 2 * y * ((a > b) + of_a * tie), "b": 2 * y * ((b > a) + of_b * tie)}

    inputs = {"a": torch.tensor([1.0, 2.0, 0.5]).double(), "b": torch.tensor([1.0, -1.0, 0.5]).double()}
    report = check_derivation(larger, backward, inputs, seconds=0)
    assert verdicts(report) == {"y": "right", "a": verdict, "b": verdict}


def test_a_choice_at_a_kink_beside_a_mistake_stays_a_choice() -> None:
    def backward(x: Tensor, W: Tensor, z: Tensor, a: Tensor) -> dict[str, Tensor]:
        da = torch.arange(1.0, 1 + a.shape[1]).expand_as(a)
        dz = da * (z >= 0)
        return {"a": da, "x": dz @ W, "W": 2 * dz.T @ x}

    report = check_derivation(kinked, backward, AT_THE_KINK, seconds=0)
    assert verdicts(report) == {"a": "right", "x": "subgradient", "W": "wrong"}


# complex numbers


@pytest.mark.parametrize("conjugate", [True, False])
def test_complex_quantities(conjugate: bool) -> None:
    def forward(z: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        s = z * w
        return torch.fft.fft(s).abs().square().sum(), {"s": s}

    def backward(w: Tensor, z: Tensor, s: Tensor) -> dict[str, Tensor]:
        ds = 2 * len(s) * s
        return {"s": ds, "w": ds * z.conj(), "z": ds * (w.conj() if conjugate else w)}

    drawn = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(4, dtype=torch.complex64, generator=drawn) for name in ("z", "w")}
    report = check_derivation(forward, backward, inputs, seconds=0)
    assert verdicts(report) == {"s": "right", "w": "right", "z": "right" if conjugate else "wrong"}
    assert max(row.max_rel for row in report.rows if row.ok) < 1e-14  # in double precision, whatever was given


# wrong and inherited

MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": lambda g: -g,
    "factor": lambda g: 1.01 * g,
    "a tenth of a millionth": lambda g: g * (1 + 1e-7),
    "zero": torch.zeros_like,
    "constant": lambda g: g + 1e-3,
    "one entry": lambda g: g + 1e-6 * (torch.arange(g.numel()) == 1).reshape(g.shape),
}


MULTIPLES = ("sign", "factor")


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["z3", "W3", "b3", "a2", "z2", "W2", "b2"])
def test_wrong(mistake: str, name: str) -> None:
    """What is returned is wrong, what comes after is computed from the right delta: only this row is red."""
    report = check(altered(**{name: MISTAKES[mistake]}))
    if mistake in MULTIPLES and name in ("z3", "z2"):
        assert report[name].verdict == "rescaled", "a constant factor that later steps do without"
        assert report.ok
        return
    assert report[name].verdict == "wrong"
    assert report.first_wrong is not None
    assert report.first_wrong.name == name
    red = {row.name for row in report.rows if row.verdict in ("wrong", "invalid")}
    steps_after = {"z3": {"W3", "b3", "a2"}, "a2": {"z2"}, "z2": {"W2", "b2"}}.get(name, set())
    # a step after it does not follow from the delta that is returned: it repairs it, which is wrong locally
    assert all(report[row].verdict == "cancels" for row in steps_after), verdicts(report)
    assert red == {name}


def chained(*wrong: str) -> Callable[..., dict[str, Tensor]]:
    """The right derivation, with mistakes in some steps that later steps inherit."""

    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
        dz3 = (torch.sigmoid(z3) - y) / len(x)
        dz3 = -dz3 if "z3" in wrong else dz3
        da2 = dz3 @ W3
        da2 = da2 * 2 if "a2" in wrong else da2
        dz2 = da2 * a2 if "z2" in wrong else da2 * a2 * (1 - a2)
        dW2 = (dz2 + 1).T @ x if "W2" in wrong else dz2.T @ x
        dW3 = (dz3 * dz3).T @ a2 if "W3" in wrong else dz3.T @ a2
        return {"z3": dz3, "W3": dW3, "b3": dz3.sum(0), "a2": da2, "z2": dz2, "W2": dW2, "b2": dz2.sum(0)}

    return backward


FOLLOWS = {"z3": {"W3", "b3", "a2", "z2", "W2", "b2"}, "a2": {"z2", "W2", "b2"}, "z2": {"W2", "b2"}}


@pytest.mark.parametrize(
    "wrong",
    [
        ("z3",),
        ("a2",),
        ("z2",),
        ("W2",),
        ("z3", "z2"),
        ("z3", "W2"),
        ("a2", "W2"),
        ("W3", "z2"),
        ("z2", "W2"),
        ("z3", "a2", "z2", "W2", "W3"),
    ],
    ids="+".join,
)
def test_every_wrong_step_is_red_and_nothing_downstream_is_blamed(wrong: tuple[str, ...]) -> None:
    report = check(chained(*wrong))
    after = set().union(*(FOLLOWS.get(name, set()) for name in wrong)) - set(wrong)
    expected = {
        row.name: "wrong" if row.name in wrong else "inherited" if row.name in after else "right" for row in report.rows
    }
    assert verdicts(report) == expected
    assert report.first_wrong is not None
    assert report.first_wrong.name == wrong[0] if wrong[0] != "W3" else report.first_wrong.name in wrong


def test_a_missing_delta_passes_autograds_on() -> None:
    """Without dz2, W2 and b2 are judged given autograd's."""

    def backward(**values: Tensor) -> dict[str, Tensor]:
        gradients = chained("W2")(**{name: values[name] for name in ("x", "W3", "y", "a2", "z3")})
        return {name: gradients[name] for name in ("z3", "W2", "b2")}

    assert verdicts(check(backward)) == {"z3": "right", "W2": "wrong", "b2": "right"}


# cancels


def test_two_mistakes_that_cancel() -> None:
    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
        dz3 = (torch.sigmoid(z3) - y) / len(x)
        da2 = dz3 @ W3 + 1
        dz2 = (da2 - 1) * a2 * (1 - a2)
        return {"z3": dz3, "a2": da2, "z2": dz2, "W2": dz2.T @ x}

    report = check(backward)
    assert verdicts(report) == {"z3": "right", "a2": "wrong", "z2": "cancels", "W2": "right"}
    assert not report.ok


# imprecise


def test_a_step_in_float32() -> None:
    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
        dz3 = ((torch.sigmoid(z3) - y) / len(x)).float().double()
        return {"z3": dz3, "W3": dz3.T @ a2, "b3": dz3.sum(0)}

    report = check(backward)
    assert verdicts(report) == {"z3": "imprecise", "W3": "inherited", "b3": "inherited"}
    assert "test_verdicts.py:" in report["z3"].line
    assert not report.ok
    assert report.first_wrong is None


def test_a_product_in_float32() -> None:
    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
        dz3 = (torch.sigmoid(z3) - y) / len(x)
        return {"z3": dz3, "W3": (dz3.float().T @ a2.float()).double(), "b3": dz3.sum(0)}

    assert verdicts(check(backward)) == {"z3": "right", "W3": "imprecise", "b3": "right"}


def test_a_result_in_float32() -> None:
    assert verdicts(check(altered(W2=lambda g: g.float())))["W2"] == "imprecise"


def test_numpy_in_float32() -> None:
    def backward(x: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Any]:
        z, t, a = (v.numpy().astype(np.float32) for v in (z3, y, a2))
        dz3 = (1 / (1 + np.exp(-z)) - t) / len(t)
        return {"z3": dz3, "W3": dz3.T @ a}

    report = check(backward)
    assert report["z3"].verdict == "imprecise"
    assert not report.ok
    assert not [row for row in report.rows if row.verdict == "wrong"]


def test_cancellation_in_the_users_dtype() -> None:
    """Right in float64, but in float32 (large - large) leaves no digits; autograd keeps them."""

    def variance(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        centred = x - x.mean()
        return (centred * centred).sum(), {}

    def careful(x: Tensor) -> dict[str, Tensor]:
        return {"x": 2 * (x - x.mean())}

    def careless(x: Tensor) -> dict[str, Tensor]:
        return {"x": 2 * ((x * 1000 + x) - 1000 * x - x.mean())}

    inputs = {"x": real("n")}
    assert check_derivation(variance, careful, inputs, dtype=torch.float32, seconds=0).ok
    assert check_derivation(variance, careless, inputs, dtype=torch.float64, seconds=0).ok
    report = check_derivation(variance, careless, inputs, dtype=torch.float32, seconds=0)
    assert verdicts(report) == {"x": "imprecise"}
    assert "float32" in report["x"].explanation
    assert "float32" in report["x"].condition


def test_the_dtype_of_given_tensors_is_the_one_whose_precision_is_judged() -> None:
    """exp overflows in float16 at 12, where a softmax that shifts by the largest does not."""

    def forward_(z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.logsumexp(z, 1).sum(), {}

    def unshifted(z: Tensor) -> dict[str, Tensor]:
        return {"z": z.exp() / z.exp().sum(1, keepdim=True)}

    z = torch.tensor([[1.0, 12.0, 3.0], [0.5, 11.5, 2.0]])
    assert check_derivation(forward_, unshifted, {"z": z}, seconds=0).ok
    report = check_derivation(forward_, unshifted, {"z": z.half()}, seconds=0)
    assert not report.ok, "not finite in float16"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_right_derivation_is_precise_enough_in_every_dtype(dtype: torch.dtype) -> None:
    assert set(verdicts(check(right, dtype=dtype)).values()) == {"right"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_factor_that_is_taken_out_later_costs_no_digits(dtype: torch.dtype) -> None:
    def backward(x: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Tensor]:
        dz3 = torch.sigmoid(z3) - y
        return {"z3": dz3, "W3": dz3.T @ a2 / len(x), "b3": dz3.mean(0)}

    assert verdicts(check(backward, dtype=dtype)) == {"z3": "rescaled", "W3": "right", "b3": "right"}


@pytest.mark.parametrize("seed", spread([0, 5, 6, 9], 4))
def test_a_factor_that_is_taken_out_later_where_autograd_fails(seed: int) -> None:
    """The textbook cost is NaN at saturated outputs: the factor is told by the entries beside them."""

    def forward(x: Tensor, y: Tensor, W2: Tensor, W3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        a2 = torch.tanh(x @ W2.T)
        z3 = a2 @ W3.T
        a3 = torch.sigmoid(z3)
        J = -(y * torch.log(a3) + (1 - y) * torch.log(1 - a3)).sum() / len(x)
        return J, {"a2": a2, "z3": z3, "a3": a3}

    def backward(x: Tensor, y: Tensor, W3: Tensor, a2: Tensor, a3: Tensor) -> dict[str, Tensor]:
        dz3 = a3 - y
        dz2 = dz3 @ W3 * (1 - a2**2)
        return {"z3": dz3, "W3": dz3.T @ a2 / len(x), "a2": dz3 @ W3, "W2": dz2.T @ x / len(x)}

    inputs = {"x": real("m", "d"), "y": binary("m", "k"), "W2": real("h", "d"), "W3": real("k", "h")}
    report = check_derivation(forward, backward, inputs, seconds=20.0, seed=seed)
    assert verdicts(report) == {"z3": "rescaled", "W3": "right", "a2": "rescaled", "W2": "right"}, str(report)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_torchs_log_loss_of_an_output(reduction: str) -> None:
    """Noise puts y and a beyond [0, 1], which the kernel refuses; at saturated outputs its slope is one of its own."""

    def forward(x: Tensor, y: Tensor, W: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        z = x @ W.T
        a = torch.sigmoid(z)
        return nn.functional.binary_cross_entropy(a, y, reduction=reduction), {"z": z, "a": a}

    def backward(x: Tensor, y: Tensor, a: Tensor, slope: bool = False) -> dict[str, Tensor]:
        dz = (a - y) * (a * (1 - a) if slope else 1) / (a.numel() if reduction == "mean" else 1)
        return {"z": dz, "W": dz.T @ x}

    inputs = {"x": real("m", "d"), "y": binary("m", "k"), "W": real("k", "d")}
    assert check_derivation(forward, backward, inputs, seconds=20.0).ok
    wrong = check_derivation(forward, lambda x, y, a: backward(x, y, a, slope=True), inputs, seconds=20.0)
    assert verdicts(wrong) == {"z": "wrong", "W": "inherited"}


@pytest.mark.parametrize(("off", "verdict"), [(0.0, "right"), (2e-6, "imprecise"), (-2e-6, "imprecise")])
def test_all_entries_off_together_in_the_users_dtype(off: float, verdict: str) -> None:
    """Far less than one entry's rounding in a sum of that length explains, and yet no rounding: all go one way."""

    def product(x: Tensor, c: Tensor, W: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return ((x @ W.T) * c).sum(), {}

    def backward(x: Tensor, c: Tensor) -> dict[str, Tensor]:
        W = c.T @ x
        return {"W": W if W.dtype == torch.float64 else W.double().mul(1 + off).to(W.dtype)}

    drawn = torch.Generator().manual_seed(0)
    inputs = {
        n: torch.randn(shape, generator=drawn) for n, shape in (("x", (64, 40)), ("c", (64, 30)), ("W", (30, 40)))
    }
    report = check_derivation(product, backward, inputs, seconds=0)
    assert verdicts(report) == {"W": verdict}
    if off:
        assert f"all entries are off by the factor {1 + off:.7g}" in report["W"].explanation


# undecided


def test_rounding_explains_everything() -> None:
    """Autograd adds 3e19 + 1 - 3e19: nothing is left of the one, and no answer can be told from another."""

    def cancelling(z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (1e20 / 3 * z).sum() + z.sum() - (1e20 / 3 * z).sum(), {}

    report = check_derivation(cancelling, lambda z: {"z": torch.ones_like(z)}, {"z": real("n")}, seconds=0)
    assert verdicts(report) == {"z": "undecided"}
    assert not report.ok
    assert report.first_wrong is None
    assert str(report).startswith("NOT RIGHT: z is undecided")


# invalid

INVALID: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "None": (lambda g: None, "missing"),
    "transposed": (lambda g: g.T, "has shape"),
    "a list": (lambda g: g.tolist(), "is no tensor"),
    "a string": (lambda g: "0", "is no tensor"),
    "True": (lambda g: True, "is no tensor"),
    "NaN": (lambda g: g * math_nan(), "is nan at [0, 0]"),
    "one infinity": (lambda g: g.index_fill(0, torch.tensor([1]), float("inf")), "is inf at [1, 0]"),
    "integers": (lambda g: g.long(), "has dtype int64"),
    "booleans": (lambda g: g > 0, "has dtype bool"),
    "complex numbers": (lambda g: g.to(torch.complex128), "has dtype complex128"),
    "NumPy integers": (lambda g: g.long().numpy(), "int64"),
    "NumPy objects": (lambda g: g.numpy().astype(object), "dtype object"),
    "the meta device": (lambda g: g.to("meta"), "is on meta"),
    "a gradient that requires gradients": (lambda g: g.clone().requires_grad_(), "made by autograd"),
}


def math_nan() -> float:
    return float("nan")


@pytest.mark.parametrize("answer", INVALID)
def test_invalid(answer: str) -> None:
    change, reason = INVALID[answer]
    report = check(altered(W2=change))
    assert report["W2"].verdict == "invalid"
    assert reason in report["W2"].explanation
    assert {row.verdict for row in report.rows if row.name != "W2"} == {"right"}
    assert report.first_wrong == report["W2"]


def test_an_unknown_name() -> None:
    report = check(lambda W3: {"W7": W3})
    assert report["W7"].verdict == "invalid"
    assert "there are: " in report["W7"].explanation
    assert "W2" in report["W7"].explanation


def test_a_quantity_that_is_not_on_the_path_to_J() -> None:
    def with_a_stray(x: Tensor, w: Tensor, stray: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (x @ w).square().sum(), {"unused": stray * x}

    inputs = {"x": real("m", "d"), "w": real("d"), "stray": real()}

    def backward(x: Tensor, w: Tensor) -> dict[str, Tensor]:
        return {"w": 2 * x.T @ (x @ w), "stray": torch.ones(()), "unused": torch.ones_like(x)}

    report = check_derivation(with_a_stray, backward, inputs, seconds=0)
    assert verdicts(report) == {"w": "right", "stray": "invalid", "unused": "invalid"}
    assert "path to J" in report["stray"].explanation

    def zeros(x: Tensor, w: Tensor) -> dict[str, Tensor]:
        return {"w": 2 * x.T @ (x @ w), "stray": torch.zeros(()), "unused": torch.zeros_like(x)}

    assert check_derivation(with_a_stray, zeros, inputs, seconds=0).ok, "its gradient is zero, as it says"


def by_grad(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    with torch.enable_grad():
        W2.requires_grad_()
        return {"W2": torch.autograd.grad(forward(x, W2, b2, W3, b3, y)[0], W2)[0]}


def by_backward(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    with torch.enable_grad():
        W2.requires_grad_()
        forward(x, W2, b2, W3, b3, y)[0].backward()
        return {"W2": W2.grad}


def by_autograd_backward(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    with torch.enable_grad():
        W2.requires_grad_()
        torch.autograd.backward(forward(x, W2, b2, W3, b3, y)[0])
        return {"W2": W2.grad}


def by_func_grad(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    return {"W2": torch.func.grad(lambda W: forward(x, W, b2, W3, b3, y)[0])(W2)}


def by_func_vjp(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    J, pull = torch.func.vjp(lambda W: forward(x, W, b2, W3, b3, y)[0], W2)
    return {"W2": pull(torch.ones_like(J))[0]}


def by_func_jacrev(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    return {"W2": torch.func.jacrev(lambda W: forward(x, W, b2, W3, b3, y)[0])(W2)}


def by_functional_jacobian(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    return {"W2": torch.autograd.functional.jacobian(lambda W: forward(x, W, b2, W3, b3, y)[0], W2)}


def by_forward_mode(x: Tensor, W2: Tensor, b2: Tensor, W3: Tensor, b3: Tensor, y: Tensor) -> Any:
    return {"W2": torch.func.jacfwd(lambda W: forward(x, W, b2, W3, b3, y)[0])(W2)}


@pytest.mark.parametrize(
    "backward",
    [
        by_grad,
        by_backward,
        by_autograd_backward,
        by_func_grad,
        by_func_vjp,
        by_func_jacrev,
        by_functional_jacobian,
        by_forward_mode,
    ],
)
def test_a_backward_that_asks_autograd(backward: Callable[..., Any]) -> None:
    report = check(backward)
    assert report["backward"].verdict == "invalid"
    assert "autograd" in report["backward"].explanation
    assert not report.ok


def test_autograd_is_as_before_after_a_check() -> None:
    before = (torch.autograd.grad, torch.Tensor.backward, torch.func.grad, torch.autograd.backward)
    check(by_grad)
    check(right)
    assert before == (torch.autograd.grad, torch.Tensor.backward, torch.func.grad, torch.autograd.backward)


def test_the_verdicts_are_those_of_a_strict_reference() -> None:
    """A positive control for this file: the same comparison, written out with autograd and a tight tolerance."""
    generator = torch.Generator().manual_seed(0)
    drawn: Mapping[str, Tensor] = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in {"x": (5, 4), "W2": (3, 4), "b2": (3,), "W3": (2, 3), "b3": (2,), "y": (5, 2)}.items()
    }
    leaves = {name: value.clone().requires_grad_() for name, value in drawn.items()}
    J, named = forward(**leaves)
    gradients = right(leaves["x"], leaves["W3"], leaves["y"], named["a2"], named["z3"])
    for name, gradient in gradients.items():
        true = torch.autograd.grad(J, {**leaves, **named}[name], retain_graph=True)[0]
        torch.testing.assert_close(gradient.detach(), true, rtol=1e-13, atol=1e-15)


def test_positive_inputs_stay_positive() -> None:
    def logarithm(s: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.log(s).sum(), {}

    assert check_derivation(logarithm, lambda s: {"s": 1 / s}, {"s": positive("n")}).ok
