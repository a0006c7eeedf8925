"""check_function decides every case of tests/functions, and catches what the tools that people use let pass."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from compare import GradientMismatch, Report, check_function
from compare.check import real
from compare.check.custom import bounded
from tests.functions import (
    NORMAL,
    XW,
    X,
    function,
    normal,
    right_formulas,
    right_layers,
    right_styles,
    saving,
    wrong_cotangents,
    wrong_formulas,
    wrong_memory,
)
from tests.spread import spread

RIGHT = [case for module in (right_styles, right_formulas, right_layers) for case in module.CASES]
WRONG = [case for module in (wrong_cotangents, wrong_formulas, wrong_memory) for case in module.CASES]
BY_NAME = {case.name: case for case in WRONG}


@pytest.mark.parametrize("case", spread(RIGHT, 6), ids=lambda case: case.name)
def test_a_right_function_passes(case):
    report = check_function(case.fn, case.reference, case.inputs)
    assert report.ok, str(report)
    assert not any(tried.status == "failed" for tried in report.conditions)


@pytest.mark.parametrize("case", spread(WRONG, 5), ids=lambda case: case.name)
def test_a_wrong_function_is_told_where_and_why(case):
    row = caught(case.name)[case.row]
    assert row.verdict == case.verdict, str(caught(case.name))
    assert case.says in f"{row.condition} {row.explanation}", str(caught(case.name))


def test_there_are_enough_cases():
    assert len(RIGHT) >= 25
    assert len(WRONG) >= 25
    assert len(BY_NAME) == len(WRONG)


# --- each blind spot of FACTS.md: the tool named there passes it, and it is caught here


@pytest.fixture(autouse=True)
def _same_numbers_whichever_tests_ran_before():
    NORMAL.manual_seed(0)


def double(*shape: int) -> torch.Tensor:
    return normal(*shape, dtype=torch.float64).requires_grad_()


@functools.cache
def caught(name: str) -> Report:
    """The report on a wrong case, which must not be ok."""
    case = BY_NAME[name]
    report = check_function(case.fn, case.reference, case.inputs)
    assert not report.ok
    return report


@pytest.mark.parametrize("name", ["relu_of_dy", "abs_of_dy"])
def test_gradcheck_seeds_no_negative_cotangent(name):
    x = double(3, 2)
    assert gradcheck(BY_NAME[name].fn, (x,))
    assert gradcheck(BY_NAME[name].fn, (x,), fast_mode=True)
    assert "g(-u) is not -g(u)" in caught(name)["x"].explanation


def test_gradcheck_in_slow_mode_passes_the_square_of_the_cotangent():
    assert gradcheck(BY_NAME["dy_squared"].fn, (double(3, 2),))
    caught("dy_squared")


def test_gradcheck_in_fast_mode_misses_one_wrong_entry_of_a_million():
    big, x = normal(1000, 1000, dtype=torch.float64), double(1000)

    def times_big(x):
        return x @ big.t()

    def off(size):
        def backward(ctx, dy):
            dx = dy @ big
            dx[3] += size * dy[5]
            return dx

        return backward

    assert gradcheck(function(lambda ctx, x: times_big(x), off(1.0)), (x,), fast_mode=True)
    of_the_gradient = 1000**0.5  # its root mean square: sums of a thousand products of two normal numbers
    for size in (1.0, 1e-12 * of_the_gradient):
        row = check_function(function(lambda ctx, x: times_big(x), off(size)), times_big, {"x": x}, seconds=0)["x"]
        assert (row.verdict, row.worst_index) == ("wrong", (3,))


def test_a_cotangent_of_ones_hides_a_wrong_normalisation():
    case = BY_NAME["hidden_by_ones"]
    x = double(4, 7)
    (own,) = torch.autograd.grad(case.fn(x).sum(), x)
    (theirs,) = torch.autograd.grad(case.reference(x).sum(), x)
    assert torch.allclose(own, theirs, atol=1e-12)
    assert caught("hidden_by_ones")["x"].condition == "plain (m=2), float64"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("reads_dy_as_if_contiguous", "non-contiguous cotangent"),
        ("only_with_a_layer_before", "a layer before it"),
        ("only_an_overlapping_view", "share memory"),
        ("right_at_batch_1_only", ""),
    ],
)
def test_gradcheck_at_contiguous_leaves_of_one_row(name, says):
    """Wrong only for a non-contiguous cotangent, a layer before, an overlapping view, or more than one row."""
    case = BY_NAME[name]
    inputs = [double(1, 3), double(2, 3), double(2)] if case.row == "b" else [double(1, 3)]
    assert gradcheck(case.fn, tuple(inputs))
    row = caught(name)[case.row]
    assert says in f"{row.condition} {row.explanation}"


def test_gradcheck_fails_a_right_function_in_float32_and_at_a_kink():
    fn = function(saving(torch.relu), lambda ctx, dy: dy * (ctx.saved_tensors[0] > 0))
    at_zero = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert not gradcheck(fn, (at_zero,), raise_exception=False)
    assert check_function(fn, torch.relu, {"x": at_zero}).ok
    cube = function(saving(lambda x: x**3), lambda ctx, dy: dy * 3 * ctx.saved_tensors[0] ** 2)
    x = normal(3, 2).requires_grad_()
    with pytest.warns(UserWarning, match="double precision"):
        assert not gradcheck(cube, (x,), raise_exception=False)
    assert check_function(cube, lambda x: x**3, {"x": x}).ok


def test_a_float16_difference_quotient_is_zero_where_the_check_is_right():
    x = torch.ones(3, dtype=torch.float16)
    assert (((x + 1e-4) ** 2 - x**2) / 1e-4 == 0).all()
    fn = function(saving(torch.square), lambda ctx, dy: 2 * ctx.saved_tensors[0] * dy)
    assert check_function(fn, torch.square, {"x": x}).ok


def test_of_two_float32_results_that_differ_float64_says_which_is_right():
    """The log of a softmax, stable and not: each is within rtol of nothing but the truth."""
    x = torch.tensor([[0.0, 12.0, -90.0]])
    stable = function(saving(lambda x: x.log_softmax(1)), lambda ctx, dy: log_softmax_backward(ctx, dy))
    textbook = function(saving(lambda x: (x.exp() / x.exp().sum(1, keepdim=True)).log()), log_softmax_backward)
    assert check_function(stable, lambda x: x.log_softmax(1), {"x": x}).ok
    assert not check_function(textbook, lambda x: x.log_softmax(1), {"x": x})["output"].ok


def log_softmax_backward(ctx, dy):
    return dy - ctx.saved_tensors[0].softmax(1) * dy.sum(1, keepdim=True)


def test_a_flipped_sign_passes_tolerances_as_loose_as_some_libraries_use():
    fn = function(saving(torch.sin), lambda ctx, dy: -dy * ctx.saved_tensors[0].cos())
    x = normal(3, 4).requires_grad_()
    (own,) = torch.autograd.grad((fn(x) * 0.3).sum(), x)
    (theirs,) = torch.autograd.grad((x.sin() * 0.3).sum(), x)
    torch.testing.assert_close(own, theirs, rtol=50, atol=1.0)
    assert check_function(fn, torch.sin, {"x": x})["x"].verdict == "wrong"


# --- what a report says


def test_a_mismatch_is_raised_only_on_request():
    report = caught("sign")
    with pytest.raises(GradientMismatch, match="WRONG: x is wrong"):
        report.raise_if_wrong()


def test_a_small_failing_case_is_shown():
    report = caught("wrong_for_negative_inputs")
    assert "cotangent = " in report.example
    assert "gradient of x should be" in report.example


def test_every_usage_is_a_condition_of_its_own():
    report = check_function(right_styles.Linear.apply, F.linear, {**XW, "b": real("k")})
    names = " ".join(tried.name for tried in report.conditions)
    for usage in (
        "negated cotangent",
        "sum of two cotangents",
        "zero cotangent",
        "non-contiguous cotangent",
        "stride 0",
        "transposed",
        "every other place",
        "only x needs a gradient",
        "only W, b need gradients",
        "no gradient needed",
        "two forwards before the backward",
        "retain_graph",
        "a layer before it",
        "a layer after it",
        "an input used twice",
        "accumulated into .grad",
        "overlapping inputs",
        "expanded inputs",
        "m = 1",
        "inputs unchanged",
        "cotangent unchanged",
        "no hidden alias",
        "double backward",
        "bfloat16",
        "float16",
    ):
        assert usage in names


def test_double_backward_that_is_refused_is_a_note_and_one_that_is_right_a_row():
    refused = check_function(
        right_styles.LayerNorm.apply, right_styles.layer_norm, {"x": real(3, 4), "w": real(4), "b": real(4)}
    )
    assert refused.ok
    assert any("double backward is refused" in note for note in refused.notes)
    assert check_function(right_styles.Exp.apply, torch.exp, X)["double backward"].verdict == "right"


def test_the_spread_of_atomic_additions_is_measured_and_shown():
    orders = np.random.default_rng(0)

    def any_order(x):
        return x[torch.from_numpy(orders.permutation(len(x)))].cumsum(0)[-1]

    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        return dy @ W, any_order(dy[:, :, None] * x[:, None, :])

    fn = function(saving(lambda x, W: x @ W.t()), backward, once=True)
    report = check_function(fn, F.linear, {"x": normal(300, 3), "W": normal(2, 3)})
    assert report.ok, str(report)
    assert any("run to run" in note for note in report.notes)


def test_a_dtype_that_is_not_taken_is_a_note_and_what_can_be_told_is_said():
    case = next(case for case in RIGHT if case.name == "only_float32")
    notes = " ".join(check_function(case.fn, case.reference, case.inputs).notes)
    assert "fn does not run in float64: forward raised TypeError: this kernel takes float32 only" in notes
    assert "formulas are judged in float32" in notes


def test_a_dtype_that_was_asked_for_must_be_taken():
    fn = right_formulas.only_float32
    made = function(fn, right_formulas.matmul_backward)
    report = check_function(made, F.linear, {"x": normal(3, 2).half(), "W": normal(4, 2).half()})
    assert report["x"].verdict == "invalid"
    assert "this kernel takes float32 only" in report["x"].explanation


def test_inputs_of_several_dtypes_are_tried_as_given():
    def mixed(x, W):
        return x @ W.to(x.dtype).t()

    def backward(ctx, dy):
        x, W = ctx.saved_tensors
        return dy @ W.to(dy), (dy.t() @ x).to(W)

    report = check_function(function(saving(mixed), backward), mixed, {"x": normal(4, 3), "W": normal(2, 3).half()})
    assert report.ok, str(report)
    assert any("dtypes as given" in tried.name for tried in report.conditions)


def test_a_layout_that_the_forward_refuses_is_listed():
    def picky(ctx, x):
        if not x.is_contiguous():
            raise ValueError("x must be contiguous")
        ctx.save_for_backward(x)
        return x * x

    fn = function(picky, lambda ctx, dy: 2 * ctx.saved_tensors[0] * dy)
    report = check_function(fn, torch.square, {"x": normal(3, 4)})
    assert report.ok
    assert any("does not take this layout" in tried.status for tried in report.conditions)


def test_a_condition_that_the_reference_rejects_too_is_not_applicable():
    def several_rows(x):
        if len(x) < 2:
            raise ValueError("more than one row is needed")
        return x - x.mean(0)

    fn = function(saving(several_rows), lambda ctx, dy: dy - dy.mean(0))
    report = check_function(fn, several_rows, X)
    assert report.ok
    assert any("not applicable" in tried.status for tried in report.conditions)


def test_time_is_bounded_and_what_was_not_tried_is_listed():
    def slow(x):
        time.sleep(0.02)
        return x.sin()

    fn = function(saving(slow), lambda ctx, dy: dy * ctx.saved_tensors[0].cos())
    report = check_function(fn, torch.sin, X, seconds=1.0)
    assert report.seconds < 10
    assert any(tried.status == "not tried: out of time" for tried in report.conditions)
    assert "stopped after" in report.stopped


def test_the_float64_reference_stays_within_the_memory_allowed():
    def outer(x):
        return (x[:, :, None] * x[:, None, :]).sum(2)

    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * x.sum(1, keepdim=True) + (dy * x).sum(1, keepdim=True)

    x = {"x": normal(64, 40)}
    assert bounded.estimated_bytes(outer, x) > 3 * 8 * 64 * 40 * 40
    report = check_function(function(saving(outer), backward), outer, x, max_bytes=1 << 20)
    assert report.ok, str(report)
    assert any("of 64 rows" in note for note in report.notes)
    with pytest.raises(ValueError, match="give smaller inputs or a higher limit"):
        check_function(function(saving(outer), backward), outer, x, max_bytes=1000)


# --- what cannot be used


@pytest.mark.parametrize(
    ("fn", "reference", "inputs", "says"),
    [
        (torch.sin, torch.sin, {"x": torch.arange(3)}, "no floating tensor"),
        (torch.sin, lambda x: x.detach().sin(), X, "no differentiable output"),
        (torch.sin, lambda x: x.sin() + torch.rand(()), X, "another value in a second call"),
        (torch.sin, lambda x: x @ torch.ones(5, 5), X, "reference does not run in float64"),
        (lambda x: (x, x), torch.sin, X, "returns 2 outputs and reference 1"),
        (lambda x: x, torch.add, {"a": normal(2), "b": normal(2)}, "does not take what reference takes"),
        (torch.sin, torch.sin, {}, "no floating tensor"),
        (torch.sin, torch.sin, {"x": torch.zeros(0, 4)}, "no entry"),
    ],
)
def test_unusable_arguments_are_told_in_one_line(fn, reference, inputs, says):
    with pytest.raises(ValueError, match=says) as error:
        check_function(fn, reference, inputs)
    assert "\n" not in str(error.value)


def test_nothing_is_left_changed():
    x = normal(3, 4).requires_grad_()
    before, state = x.detach().clone(), torch.get_rng_state()
    check_function(right_styles.Exp.apply, torch.exp, {"x": x})
    assert torch.equal(x, before)
    assert x.grad is None
    assert x._version == 0
    assert torch.get_default_dtype() is torch.float32
    assert torch.equal(torch.get_rng_state(), state)


def test_the_page_on_custom_functions_runs(tmp_path, monkeypatch):
    """The code blocks of docs/check-function.md, one after the other."""
    page = Path(__file__).parent.parent / "docs" / "check-function.md"
    code = "\n".join(block.partition("```")[0] for block in page.read_text().split("```python\n")[1:])
    scope: dict[str, object] = {}
    exec(compile(code, os.fspath(page), "exec"), scope)
    for name, thing in list(scope.items()):
        if name.startswith("test_") and callable(thing):
            thing()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    x = normal(4, 3).cuda()
    fn = right_styles.Exp.apply
    assert check_function(fn, torch.exp, {"x": x}).ok
    case = BY_NAME["sign"]
    assert check_function(case.fn, case.reference, {"x": x})["x"].verdict == "wrong"
