"""What check_derivation makes of unusual and bad forwards, backwards and inputs, and what it leaves behind."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compare
from compare import GradientMismatch, Report, binary, check_derivation, constant, index, positive, real
from compare.check.constants import PROBES
from compare.check.report import NOT_NEEDED
from tests.test_verdicts import INPUTS, batch_mean_in_the_parameters, chained, check, forward, right, verdicts

LINEAR = {"x": real("m", "d"), "w": real("d")}
SLOW = 120.0  # seconds: every condition is tried, however busy the machine


def linear(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    p = x @ w
    return (p * p).sum(), {"p": p}


def linear_backward(x: Tensor, p: Tensor) -> dict[str, Tensor]:
    return {"p": 2 * p, "w": x.T @ (2 * p)}


# The report


def test_report_of_a_wrong_derivation() -> None:
    report = check_derivation(forward, chained("z2"), INPUTS)
    assert not report.ok
    assert report.subject == "derivation"
    first = report.first_wrong
    assert first is not None
    assert first.name == "z2"
    assert report["z2"] == first
    assert first.line.startswith("test_verdicts.py:")
    assert first.got != first.expected
    assert len(first.worst_index) == 2
    assert first.condition in [tried.name for tried in report.conditions]
    text = str(report)
    assert text.startswith("WRONG: the step that computes z2 is wrong\n")
    assert f"computed in {first.line}" in text
    assert "smallest case found" in text
    with pytest.raises(KeyError, match="W9; the report has rows for z3"):
        report["W9"]


def test_raise_if_wrong() -> None:
    check(right).raise_if_wrong()
    report = check(chained("z2"))
    with pytest.raises(GradientMismatch) as caught:
        report.raise_if_wrong()
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report is report
    assert str(caught.value) == str(report)


@pytest.mark.parametrize("wrong", [(), ("z2",), ("z3", "W2", "W3")], ids="+".join)
def test_the_text_fits_80_columns(wrong: tuple[str, ...]) -> None:
    report = check_derivation(forward, chained(*wrong), INPUTS)
    assert max(map(len, str(report).splitlines())) <= 80


def test_the_text_of_an_invalid_answer_fits_80_columns() -> None:
    def backward(x: Tensor, W3: Tensor, y: Tensor, a2: Tensor, z3: Tensor) -> dict[str, Any]:
        gradients: dict[str, Any] = right(x, W3, y, a2, z3)
        return gradients | {"W2": gradients["W2"].T, "W3": None, "b2": gradients["b2"].long(), "nonsense": x}

    assert max(map(len, str(check(backward)).splitlines())) <= 80


def test_the_smallest_example_shows_the_mistake() -> None:
    """Its numbers are those of the smallest sizes; yours and true differ visibly."""
    report = check_derivation(forward, chained("z2"), INPUTS)
    lines = report.example.splitlines()
    assert lines[0] == "smallest case found (m=1, d=1, h=1, k=1):"
    (a2,) = [line for line in lines if line.startswith("  a2 = ")]
    (yours,) = [line.rpartition("yours ")[2] for line in lines if "dJ/dz2: yours" in line]
    (true,) = [line.rpartition("true  ")[2] for line in lines if " true " in line]
    activation, got, expected = (float(text.strip("[] ")) for text in (a2.partition("= ")[2], yours, true))
    assert got * (1 - activation) == pytest.approx(expected, rel=1e-2), "the factor (1 - a2) is what was left out"


def test_a_right_derivation_has_no_example() -> None:
    assert check(right).example == ""


def test_an_empty_report_is_not_ok() -> None:
    assert not Report(()).ok
    assert str(Report(())).startswith("NOTHING WAS CHECKED")


def test_every_condition_is_listed() -> None:
    report = check_derivation(forward, right, INPUTS, seconds=SLOW)
    assert {tried.status for tried in report.conditions} == {"ok"}
    names = [tried.name for tried in report.conditions]
    assert names[0].startswith("plain")
    assert len(names) == len(set(names))
    for part in ("m = 1", "h = 1", "saturated", "zeros and ties", "repeated rows", "strided"):
        assert any(part in name for name in names), part


def test_after_four_conditions_that_failed_no_other_is_tried() -> None:
    report = check_derivation(forward, chained("z2"), INPUTS, seconds=SLOW)
    statuses = [tried.status for tried in report.conditions]
    assert statuses == ["failed"] * 4 + [NOT_NEEDED] * (len(statuses) - 4)
    assert "4 of 16 conditions tried" in str(report)


def test_a_second_mistake_that_only_large_values_show_is_found_before_it_is_enough() -> None:
    def capped(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        a = x.clamp(0, 6)
        s = torch.sin(a)
        return s.sum(), {"a": a, "s": s}

    def backward(x: Tensor, a: Tensor) -> dict[str, Tensor]:
        da = torch.cos(a) * 2
        return {"a": da, "x": da * (x > 0)}

    report = check_derivation(capped, backward, {"x": real("m", "d")}, seconds=SLOW)
    assert verdicts(report) == {"a": "wrong", "x": "wrong"}


@pytest.mark.parametrize("block", [4, 8, 32])
@pytest.mark.parametrize("inputs", [LINEAR, {"x": real("m", 2), "w": real(2)}])
def test_code_in_blocks_meets_a_second_block(block: int, inputs: dict[str, Any]) -> None:
    def backward(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return linear_backward(x, p) | {"w": linear_backward(x[:block], p[:block])["w"]}

    report = check_derivation(linear, backward, inputs, seconds=SLOW)
    assert report["w"].verdict == "wrong"


def test_a_condition_costs_three_runs_and_the_probes() -> None:
    """Two plain runs, one that records decisions, one more call of the backward, and the runs under noise."""
    calls = {"forward": 0, "backward": 0}

    def counted(**inputs: Tensor) -> Any:
        calls["forward"] += 1
        return forward(**inputs)

    def backward(**values: Tensor) -> dict[str, Tensor]:
        calls["backward"] += 1
        return right(**{name: values[name] for name in ("x", "W3", "y", "a2", "z3")})

    report = check_derivation(counted, backward, INPUTS, seconds=0)
    assert report.ok
    assert [tried.status for tried in report.conditions].count("ok") == 1
    assert calls["forward"] == 3 + PROBES
    assert calls["backward"] == 3 + PROBES


def test_out_of_time_is_said() -> None:
    report = check(right)
    assert "not tried: out of time" in {tried.status for tried in report.conditions}
    assert "stopped after 0 s" in str(report)


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = check(chained("z2"), seed=3), check(chained("z2"), seed=3)
    assert first.rows == second.rows
    assert first.example == second.example


def test_the_public_name() -> None:
    assert compare.check_derivation is check_derivation


# Forwards


def one_line_error(forward: Callable[..., Any], inputs: Any = None, backward: Any = None) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the caller looks at the text)
        check_derivation(forward, backward or linear_backward, inputs or LINEAR, seconds=0)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_a_forward_that_is_not_deterministic() -> None:
    calls = iter(range(1000))

    def drifting(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        J, named = linear(x, w)
        return J + 1e-3 * next(calls), named

    assert "deterministic" in one_line_error(drifting)


BAD_FORWARDS: dict[str, tuple[Callable[..., Any], str]] = {
    "J alone": (lambda x, w: linear(x, w)[0], r"return J, {}"),
    "three results": (lambda x, w: (*linear(x, w), 0), "a tuple of 3"),
    "J a vector": (lambda x, w: (x @ w, {}), "scalar"),
    "J a number": (lambda x, w: (linear(x, w)[0].item(), {}), "scalar"),
    "J of integers": (lambda x, w: (linear(x, w)[0].long(), {}), "scalar"),
    "J detached": (lambda x, w: (linear(x, w)[0].detach(), {}), "depends on no floating input"),
    "through NumPy": (
        lambda x, w: (torch.from_numpy(np.asarray((x.detach().numpy() @ w.detach().numpy()).sum())), {}),
        "plain torch",
    ),
    "a list of intermediates": (lambda x, w: (linear(x, w)[0], [x]), "must return"),
    "an intermediate that is a number": (lambda x, w: (linear(x, w)[0], {"m": len(x)}), "'m' is no tensor"),
    "a name that is a number": (lambda x, w: (linear(x, w)[0], {1: x @ w}), "strings"),
    "a name that hides an input": (lambda x, w: (linear(x, w)[0], {"x": x * 2}), "two names"),
    "one that raises": (lambda x, w: linear(x, w.reshape(7, 5, 3)), "RuntimeError"),
    "other names": (lambda a, b: linear(a, b), "TypeError"),
}


@pytest.mark.parametrize("kind", BAD_FORWARDS)
def test_a_forward_that_cannot_be_checked_is_a_one_line_error(kind: str) -> None:
    bad, message = BAD_FORWARDS[kind]
    assert message in one_line_error(bad)


def test_names_inside_vmap() -> None:
    def mapped(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        named: dict[str, Tensor] = {}

        def one(row: Tensor) -> Tensor:
            named["p"] = row @ w
            return named["p"] ** 2

        return torch.vmap(one)(x).sum(), named

    assert "vmap" in one_line_error(mapped)


def test_a_forward_may_use_vmap() -> None:
    def mapped(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p = torch.vmap(lambda row: row @ w)(x)
        return (p * p).sum(), {"p": p}

    assert check_derivation(mapped, linear_backward, LINEAR, seconds=0).ok


def test_a_detached_intermediate_has_no_gradient() -> None:
    def stopped(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p = x @ w
        return (p * p.detach()).sum(), {"p": p, "target": p.detach()}

    def backward(x: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"p": target, "w": x.T @ target}

    assert check_derivation(stopped, backward, LINEAR, seconds=0).ok

    def with_it(x: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"p": target, "target": target}

    report = check_derivation(stopped, with_it, LINEAR, seconds=0)
    assert verdicts(report) == {"p": "right", "target": "invalid"}
    assert "detached" in report["target"].explanation


@pytest.mark.parametrize("wrong", [False, True])
def test_names_that_share_a_tensor(wrong: bool) -> None:
    def shared(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p = x @ w
        return (p * p).sum(), {"p": p, "output": p}

    def backward(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        dp = (3 if wrong else 2) * p
        return {"p": dp, "output": dp, "w": x.T @ dp}

    expected = ("wrong", "inherited") if wrong else ("right", "right")
    report = check_derivation(shared, backward, LINEAR, seconds=0)
    assert verdicts(report) == {"p": expected[0], "output": expected[0], "w": expected[1]}


def test_a_tensor_changed_in_place_after_it_was_named() -> None:
    def in_place(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        z = x @ w
        named = {"z": z}
        z.relu_()
        return (z * z).sum(), named

    def backward(x: Tensor, z: Tensor) -> dict[str, Tensor]:
        return {"z": 2 * z, "w": x.T @ (2 * z * (z > 0))}

    report = check_derivation(in_place, backward, LINEAR, seconds=0)
    assert report.ok
    assert any("'z' is changed in place" in note for note in report.notes)
    assert "note: 'z' is changed in place" in str(report)


def test_seeded_dropout_inside_the_forward() -> None:
    def dropped(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(7)
        mask = (torch.rand(x.shape) < 0.5).to(x.dtype) * 2
        p = (x * mask) @ w
        return (p * p).sum(), {"p": p, "mask": mask}

    def backward(x: Tensor, mask: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"p": 2 * p, "w": (x * mask).T @ (2 * p)}

    assert set(verdicts(check_derivation(dropped, backward, LINEAR, seconds=0)).values()) == {"right"}

    def without_the_mask(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"p": 2 * p, "w": x.T @ (2 * p)}

    assert check_derivation(dropped, without_the_mask, LINEAR, seconds=0)["w"].verdict == "wrong"


def test_an_intermediate_that_J_does_not_need() -> None:
    def spare(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        J, named = linear(x, w)
        return J, named | {"spare": x.sum()}

    assert check_derivation(spare, linear_backward, LINEAR, seconds=0).ok


def test_class_weights_that_torch_refuses_to_differentiate() -> None:
    def weighted(z: Tensor, y: Tensor, c: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return nn.functional.cross_entropy(z, y, weight=c, reduction="sum"), {}

    def backward(z: Tensor, y: Tensor, c: Tensor) -> dict[str, Tensor]:
        return {"z": c[y][:, None] * (torch.softmax(z, 1) - nn.functional.one_hot(y, z.shape[1]))}

    inputs = {"z": real("m", "k"), "y": index("m", classes="k"), "c": positive("k")}
    assert check_derivation(weighted, backward, inputs, seconds=0).ok


# Inputs


def test_integer_inputs() -> None:
    def lookup(table: Tensor, rows: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        e = table[rows]
        return (e * e).sum() * step, {"e": e}

    def backward(table: Tensor, rows: Tensor, e: Tensor, step: int) -> dict[str, Any]:
        de = 2 * e * step
        return {"e": de, "table": torch.zeros_like(table).index_add(0, rows, de), "rows": None}

    inputs = {"table": real("v", "d"), "rows": index("n", classes="v"), "step": constant(3)}
    report = check_derivation(lookup, backward, inputs, seconds=0)
    assert verdicts(report) == {"e": "right", "table": "right"}, "None for an integer tensor is what it should be"

    def with_a_gradient(rows: Tensor, e: Tensor) -> dict[str, Tensor]:
        return {"e": 6 * e, "rows": torch.ones_like(rows, dtype=e.dtype)}

    report = check_derivation(lookup, with_a_gradient, inputs, seconds=0)
    assert report["rows"].verdict == "invalid"
    assert "integer" in report["rows"].explanation


@pytest.mark.parametrize("shape", [(0, 3), (4, 0)])
def test_empty_tensors(shape: tuple[int, int]) -> None:
    inputs = {"x": torch.zeros(shape), "w": torch.zeros(shape[1])}
    report = check_derivation(linear, linear_backward, inputs, seconds=0)
    assert verdicts(report) == {"p": "undecided", "w": "undecided"}, "nothing was compared"
    assert "give other inputs" in report["w"].explanation


def test_inputs_at_which_every_gradient_is_zero_decide_nothing() -> None:
    def backward(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {name: 7 * gradient for name, gradient in linear_backward(x, p).items()}

    inputs = {"x": torch.zeros(4, 3), "w": torch.zeros(3)}
    assert check_derivation(linear, linear_backward, inputs).ok == check_derivation(linear, backward, inputs).ok


def test_a_gradient_that_is_zero_everywhere_is_a_note() -> None:
    def apart(x: Tensor, q: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (x * x).sum() + 0 * q.sum(), {}

    def backward(x: Tensor, q: Tensor) -> dict[str, Tensor]:
        return {"x": 2 * x, "q": torch.zeros_like(q)}

    report = check_derivation(apart, backward, {"x": real("m"), "q": real("m")}, seconds=SLOW)
    assert report.ok
    assert any(note.startswith("q: 0 in every entry") for note in report.notes)


def test_scalars() -> None:
    def product(a: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        c = a * b
        return torch.sin(c), {"c": c}

    def backward(a: Tensor, b: Tensor, c: Tensor) -> dict[str, Any]:
        dc = torch.cos(c)
        return {"c": dc.numpy()[()], "a": dc * b, "b": (dc * a).item()}

    inputs = {"a": torch.tensor(0.7, dtype=torch.float64), "b": torch.tensor(1.3, dtype=torch.float64)}
    report = check_derivation(product, backward, inputs)
    assert set(verdicts(report).values()) == {"right"}
    assert max(map(len, str(report).splitlines())) <= 80


def test_float32_tensors_are_checked_in_float64_and_judged_in_float32() -> None:
    seen: list[torch.dtype] = []

    def backward(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        seen.append(x.dtype)
        return linear_backward(x, p)

    generator = torch.Generator().manual_seed(0)
    inputs = {"x": torch.randn(5, 3, generator=generator), "w": torch.randn(3, generator=generator)}
    assert check_derivation(linear, backward, inputs).ok
    assert set(seen) == {torch.float64, torch.float32}
    assert seen[0] == torch.float64

    def slightly_off(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"w": x.T @ (2 * p) * (1 + 1e-9)}

    assert check_derivation(linear, slightly_off, inputs)["w"].verdict == "wrong", "invisible in float32"


def test_a_function_from_a_seed() -> None:
    seeds: list[int] = []

    def draw(seed: int) -> dict[str, Tensor]:
        seeds.append(seed)
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.randn(s, generator=generator) for name, s in {"x": (5, 3), "w": (3,)}.items()}

    assert check_derivation(linear, linear_backward, draw).ok
    assert len(set(seeds)) >= 3


def test_inputs_are_never_changed() -> None:
    def spoiling(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        p = x @ w
        J = (p * p).sum()
        with torch.no_grad():
            w.zero_()
        return J, {}

    x, w = torch.ones(3, 2), torch.ones(2)
    with pytest.raises((ValueError, RuntimeError)):
        check_derivation(spoiling, lambda x, w: {"w": 2 * x.T @ (x @ w)}, {"x": x, "w": w})
    assert bool((w == 1).all())
    check_derivation(linear, lambda x, p: {"w": x.mul_(0).T @ p}, {"x": x, "w": w})
    assert bool((x == 1).all())
    assert not x.requires_grad


def test_expanded_and_strided_inputs() -> None:
    x = torch.arange(6.0).reshape(2, 3).T
    w = torch.ones(1).expand(2)
    assert check_derivation(linear, linear_backward, {"x": x, "w": w}).ok


def test_a_layout_that_the_backward_does_not_take_is_a_note() -> None:
    def by_view(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"w": (x.view(-1).view(x.shape) * (2 * p)[:, None]).sum(0)}

    report = check_derivation(linear, by_view, LINEAR, seconds=SLOW)
    assert report.ok
    assert any("strided inputs" in note for note in report.notes)


def test_wrong_for_a_strided_input_only() -> None:
    def by_memory(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        flat = torch.as_strided(x, (x.numel(),), (1,)).reshape(x.shape)
        return {"w": flat.T @ (2 * p)}

    report = check_derivation(linear, by_memory, LINEAR, seconds=SLOW)
    assert report["w"].verdict == "wrong"
    assert report["w"].condition.startswith("strided")


def test_wrong_for_more_than_one_sample_only() -> None:
    def first_sample(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"w": 2 * p[0] * x[0]}

    report = check_derivation(linear, first_sample, {"x": torch.ones(1, 3), "w": torch.ones(3)})
    assert report.ok, "at one sample it is right, and only tensors of one sample were given"
    assert not check_derivation(linear, first_sample, LINEAR).ok


# Backwards

RETURNS: dict[str, tuple[Any, str]] = {
    "None": (None, "returned nothing"),
    "a tuple": ((torch.ones(2),), "returned tuple"),
    "a tensor": (torch.ones(2), "returned Tensor"),
    "nothing in it": ({}, "no gradient at all"),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_a_backward_that_returns_no_gradients(kind: str) -> None:
    answer, message = RETURNS[kind]
    report = check_derivation(linear, lambda x: answer, LINEAR, seconds=0)
    assert verdicts(report) == {"backward": "invalid"}
    assert message in report["backward"].explanation
    assert str(report).startswith("WRONG: the backward is invalid\n")
    assert not report.ok
    assert report.first_wrong == report["backward"]


def test_a_backward_that_raises() -> None:
    def failing(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"w": x @ p[:-1].reshape(-1, 1, 1) @ x}

    report = check_derivation(linear, failing, LINEAR, seconds=0)
    assert report["backward"].verdict == "invalid"
    explanation = report["backward"].explanation
    line = failing.__code__.co_firstlineno + 1
    assert explanation.startswith("raised RuntimeError: ")
    assert explanation.endswith(f"(test_check_derivation.py:{line})")
    assert "\n" not in explanation


def test_a_backward_that_raises_for_some_sizes_only() -> None:
    def fragile(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        if len(x) == 1:
            raise ZeroDivisionError("one sample has no variance")
        return linear_backward(x, p)

    report = check_derivation(linear, fragile, LINEAR, seconds=SLOW)
    assert report["backward"].verdict == "invalid"
    assert report["backward"].condition.startswith("m = 1")
    assert report["w"].verdict == "right"


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda x, q: {"w": q}, "asks for 'q'"),
        (lambda *everything: {"w": everything[0]}, "by name"),
        (lambda x, /: {"w": x}, "by name"),
    ],
)
def test_parameters_that_cannot_be_handed_over(backward: Callable[..., Any], message: str) -> None:
    report = check_derivation(linear, backward, LINEAR, seconds=0)
    assert verdicts(report) == {"backward": "invalid"}
    assert message in report["backward"].explanation


def test_defaults_and_keyword_arguments() -> None:
    def with_default(x: Tensor, p: Tensor, factor: float = 2.0) -> dict[str, Tensor]:
        return {"w": x.T @ (factor * p)}

    def with_keywords(**values: Tensor) -> dict[str, Tensor]:
        assert set(values) == {"x", "w", "p"}
        return {"w": values["x"].T @ (2 * values["p"])}

    for backward in (with_default, with_keywords):
        assert check_derivation(linear, backward, LINEAR, seconds=0).ok


def test_values_are_detached() -> None:
    def backward(x: Tensor, w: Tensor, p: Tensor) -> dict[str, Tensor]:
        assert not any(t.requires_grad for t in (x, w, p))
        assert not torch.is_grad_enabled()
        return linear_backward(x, p)

    assert check_derivation(linear, backward, LINEAR, seconds=0).ok


def test_a_backward_that_changes_its_arguments() -> None:
    def in_place(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        dp = p.mul_(2)
        dw = x.T @ dp
        x.zero_()
        return {"p": dp, "w": dw}

    report = check_derivation(linear, in_place, LINEAR, seconds=0)
    assert report.ok
    assert [name for name in ("p", "x") if any(f"argument '{name}' in place" in note for note in report.notes)]
    assert set(verdicts(report).values()) == {"right"}


def test_a_quantity_changed_before_its_last_use() -> None:
    def in_place(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        p *= 2
        dw = x.T @ p
        p *= 2
        return {"p": p, "w": dw}

    report = check_derivation(linear, in_place, LINEAR, seconds=0)
    assert report["p"].verdict in ("wrong", "rescaled")
    assert report.notes


def test_a_backward_that_returns_its_arguments_or_one_tensor_twice() -> None:
    def half(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = x + 0.0
        return 0.5 * (y * y).sum(), {"y": y}

    def aliasing(x: Tensor) -> dict[str, Tensor]:
        return {"x": x, "y": x}

    assert check_derivation(half, aliasing, {"x": real("n")}, seconds=0).ok

    def views(x: Tensor) -> dict[str, Tensor]:
        both = torch.stack([x, x])
        both[1] *= 3
        return {"x": both[0], "y": both[0].expand_as(x)}

    assert check_derivation(half, views, {"x": real("n")}, seconds=0).ok


def test_a_backward_that_prints(capsys: pytest.CaptureFixture[str]) -> None:
    def talking(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        print("p is", p)
        return linear_backward(x, p)

    assert check_derivation(linear, talking, LINEAR, seconds=0).ok
    assert "p is" in capsys.readouterr().out


def test_state_left_from_an_earlier_call() -> None:
    totals: dict[str, Tensor] = {}

    def accumulating(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        dw = linear_backward(x, p)["w"]
        before = totals.get("w")
        totals["w"] = dw if before is None or before.shape != dw.shape else before + dw
        return {"p": 2 * p, "w": totals["w"]}

    report = check_derivation(linear, accumulating, LINEAR, seconds=0)
    assert verdicts(report) == {"p": "right", "w": "wrong"}
    assert "earlier" in report["w"].explanation


def test_random_numbers_in_a_backward_are_no_rounding() -> None:
    def noisy(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"p": 2 * p, "w": x.T @ (2 * p) * (1 + 1e-3 * torch.rand(()))}

    assert not check_derivation(linear, noisy, LINEAR, seconds=0).ok


@pytest.mark.parametrize("form", [dict, "dict call", "item assignment", "update"], ids=str)
def test_the_source_line_of_a_wrong_step(form: Any) -> None:
    def literal(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        dp = 3 * p
        return {"p": dp, "w": x.T @ dp}

    def call(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        dp = 3 * p
        return dict(p=dp, w=x.T @ dp)  # noqa: C408

    def assigned(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        gradients = {}
        gradients["p"] = 3 * p
        gradients["w"] = x.T @ gradients["p"]
        return gradients

    def updated(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        gradients: dict[str, Tensor] = {}
        gradients.update(p=3 * p)
        gradients["w"] = x.T @ gradients["p"]
        return gradients

    chosen, offset = {
        dict: (literal, 1),
        "dict call": (call, 1),
        "item assignment": (assigned, 2),
        "update": (updated, 2),
    }[form]
    report = check_derivation(linear, chosen, LINEAR, seconds=0)
    assert verdicts(report) == {"p": "wrong", "w": "inherited"}
    assert report["p"].line == f"test_check_derivation.py:{chosen.__code__.co_firstlineno + offset}"


# What a check leaves behind


def test_random_state_is_restored() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random())
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)

    def shuffling(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        torch.rand(10), np.random.rand(10), random.random()
        return linear_backward(x, p)

    check_derivation(linear, shuffling, LINEAR)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected


def test_buffers_of_the_callers_modules_are_restored() -> None:
    norm = nn.BatchNorm1d(3, dtype=torch.float64)
    before = {name: value.clone() for name, value in norm.state_dict().items()}

    def normalised(x: Tensor, w: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return linear(norm(x), w)

    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check_derivation(normalised, lambda p: {"p": 2 * p}, {"x": x, "w": torch.ones(3)})
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_dtype_is_restored(dtype: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        check_derivation(linear, linear_backward, LINEAR, dtype=torch.float32, seconds=0)
        check_derivation(linear, lambda x: {"w": 1 / 0}, LINEAR, seconds=0)
        with pytest.raises(ValueError, match="scalar"):
            check_derivation(lambda x, w: (x, {}), linear_backward, LINEAR, seconds=0)
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


def test_code_that_makes_its_own_tensors_computes_in_float64() -> None:
    def own_zeros(x: Tensor, p: Tensor) -> dict[str, Tensor]:
        dw = torch.zeros(x.shape[1])
        for row, each in zip(x, p, strict=True):
            dw += 2 * each * row
        return {"w": dw}

    assert check_derivation(linear, own_zeros, LINEAR, seconds=0)["w"].verdict == "right"


def test_grad_mode_is_restored() -> None:
    with torch.no_grad():
        assert check_derivation(linear, linear_backward, LINEAR, seconds=0).ok
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_a_convention_is_found_once_and_kept() -> None:
    """dZ = A - Y and 1/m in dW: also where m is 1, and where every unit is saturated."""
    report = check_derivation(forward, batch_mean_in_the_parameters(), INPUTS, seconds=SLOW)
    assert report.ok
    assert verdicts(report)["W2"] == "right"


def test_the_smallest_example_keeps_to_the_convention() -> None:
    report = check_derivation(forward, batch_mean_in_the_parameters("b2"), INPUTS)
    assert report.example.startswith("smallest case found (m=2, ")
    assert "dJ/db2: yours" in report.example


# Careless arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": None}, "inputs must be .* got NoneType"),
        ({"inputs": [torch.ones(2)]}, "inputs must be .* got list"),
        ({"inputs": {1: torch.ones(2)}}, "names are strings, got 1"),
        ({"inputs": {"x": np.ones((2, 3)), "w": np.ones(3)}}, "'x' is a NumPy array.*torch.as_tensor"),
        ({"inputs": {"x": real(2.5, 3), "w": real(3)}}, "2.5 is no dimension"),  # type: ignore[arg-type]
        ({"inputs": {"x": real(-1, 3), "w": real(3)}}, "dimension -1 is negative"),
        ({"inputs": lambda seed, more: LINEAR}, "inputs: TypeError"),
        ({"inputs": lambda seed: 1 / 0}, "inputs: ZeroDivisionError"),
        ({"inputs": lambda seed: [1]}, "must return .* got list"),
        ({"inputs": lambda seed: LINEAR}, "returns specifications"),
        ({"forward": None}, "forward must be a function, got NoneType"),
        ({"backward": {}}, "backward must be a function, got dict"),
        ({"dtype": torch.int64}, "dtype must be a floating torch.dtype"),
        ({"dtype": "float32"}, "dtype must be a floating torch.dtype"),
        ({"seconds": "3"}, "seconds must be a number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": 2**70}, "seed must be a whole number"),
        ({"forward": lambda x, w: exit(3)}, "SystemExit"),
    ],
)
def test_careless_arguments_are_a_one_line_error(arguments: dict[str, Any], message: str) -> None:
    given = {"forward": linear, "backward": linear_backward, "inputs": LINEAR} | arguments
    with pytest.raises(ValueError, match=message) as caught:
        check_derivation(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda g: g.to_sparse(), r"sparse_coo tensor; return it .to_dense\(\)"),
        (lambda g: g.numpy().astype(np.longdouble), "which torch does not know; return float64"),
        (lambda g: g.numpy().astype(">f8"), "which torch does not know; return float64"),
    ],
)
def test_a_gradient_in_a_form_that_cannot_be_compared(made: Callable[[Tensor], Any], reason: str) -> None:
    report = check_derivation(linear, lambda x, p: {"w": made(x.T @ (2 * p))}, LINEAR, seconds=0)
    assert report["w"].verdict == "invalid"
    assert re.search(reason, report["w"].explanation)


def test_a_backward_that_ends_the_program() -> None:
    report = check_derivation(linear, lambda x: exit(3), LINEAR, seconds=0)
    assert report["backward"].explanation.startswith("raised SystemExit: 3")


def test_inside_inference_mode() -> None:
    with torch.inference_mode():
        assert check_derivation(linear, linear_backward, LINEAR, seconds=0).ok
        assert check_derivation(linear, linear_backward, {"x": torch.randn(4, 3), "w": torch.randn(3)}).ok
        assert torch.is_inference_mode_enabled()


# Fewer digits


def in_float32(x: Tensor, z: Tensor, y: Tensor) -> dict[str, Tensor]:
    dz = ((torch.sigmoid(z.float()) - y.float()) / len(x)).double()
    return {"z": dz, "w": x.T @ dz}


def log_loss(x: Tensor, w: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    z = x @ w
    return (nn.functional.softplus(z) - y * z).sum() / len(x), {"z": z}


def test_a_step_in_float32_is_imprecise_where_units_saturate_too() -> None:
    """sigmoid(20) is 1 in float32: that error moves with no input, and looks like a formula's."""
    report = check_derivation(log_loss, in_float32, {"x": real("m", "d"), "w": real("d"), "y": binary("m")})
    assert verdicts(report) == {"z": "imprecise", "w": "inherited"}
    assert "z is imprecise" in str(report).splitlines()[0]


def test_a_small_error_of_the_formula_in_float32_code_is_wrong() -> None:
    def backward(x: Tensor, z: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {name: g * (1 + 1e-4) for name, g in in_float32(x, z, y).items()}

    report = check_derivation(log_loss, backward, {"x": real("m", "d"), "w": real("d"), "y": binary("m")})
    assert report["z"].verdict == "wrong"


@pytest.mark.parametrize("n", [6, 8, 9, 10])
def test_pivots_that_tie_leave_a_right_solution_decided(n: int) -> None:
    """The recorded pivots of an ill-conditioned matrix do not fit the factors of one that was moved by rounding."""
    i = torch.arange(n, dtype=torch.float64)
    given = {"A": 1 / (i[:, None] + i + 1), "b": torch.linspace(-1, 1, n, dtype=torch.float64)}

    def forward(A: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        s = torch.linalg.solve(A, b)
        return s.square().sum(), {"s": s}

    def backward(A: Tensor, s: Tensor, **_: Tensor) -> dict[str, Tensor]:
        db = torch.linalg.inv(A).T @ (2 * s)
        return {"s": 2 * s, "b": db, "A": -torch.outer(db, s)}

    report = check_derivation(forward, backward, given, seconds=0)
    assert {row.verdict for row in report.rows} == {"right"}
