"""The rules that turn numbers into verdicts, each at its edge: what decides is given, no derivation is run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from compare.check.constants import BLIND, THRESHOLD
from compare.check.evaluation import Comparison, Evaluation
from compare.check.suspicion import JUMP
from compare.check.verdict import Judgement, Match, judge, match

EXPECTED = torch.tensor([1.0, 2.0, -2.0, 0.0], dtype=torch.float64)  # of RMS value 1.5
FLOOR = torch.full((4,), 2.0**-40, dtype=torch.float64)
ALLOWED = THRESHOLD * 2.0**-40  # the same numbers in binary and exact, so that an edge can be met exactly
NAN, INF = math.nan, math.inf


def off(*errors: float) -> Tensor:
    """`EXPECTED` and these errors in its first entries."""
    return EXPECTED + torch.tensor([*errors, *[0.0] * (4 - len(errors))], dtype=torch.float64)


def compared(*given: Tensor, **changes: Any) -> Comparison:
    """A comparison of what each call gave, both of whose expectations are `EXPECTED` unless changed."""
    fields: dict[str, Any] = {"local": EXPECTED, "chained": EXPECTED, "local_floor": FLOOR, "chained_floor": FLOOR}
    return Comparison(given, dtype=torch.float64, **{**fields, **changes})


def judged(comparison: Comparison, upstream: str = "right") -> Judgement:
    """The judgement on z2, below z3 whose verdict is `upstream`."""
    above = {
        "right": compared(EXPECTED),
        "wrong": compared(off(1.0)),
        "imprecise": compared(off(1.0), coherence=0.0),
        "rescaled": compared(EXPECTED, scale=2.0),
        "undecided": compared(EXPECTED + 1e-3, local_floor=FLOOR + 1.0, chained_floor=FLOOR + 1.0),
    }[upstream]
    found = judge(Evaluation(["z3", "z2"], comparisons={"z3": above, "z2": comparison}))
    assert found["z3"].verdict == upstream
    return found["z2"]


MATCHES: dict[str, tuple[tuple[Tensor, ...], Tensor, Tensor, bool, bool]] = {
    "the same": ((EXPECTED,), EXPECTED, FLOOR, True, True),
    "nothing": ((EXPECTED[:0],), EXPECTED[:0], FLOOR[:0], True, True),
    "off by as much as is allowed": ((off(0, 0, 0, ALLOWED),), EXPECTED, FLOOR, True, True),
    "off by a little more": ((off(0, 0, 0, ALLOWED * (1 + 1e-9)),), EXPECTED, FLOOR, False, True),
    "in the second call alone": ((EXPECTED, off(1.0)), EXPECTED, FLOOR, False, True),
    "in the first call alone": ((off(1.0), EXPECTED), EXPECTED, FLOOR, False, True),
    "NaN is equal to nothing": ((off(NAN),), EXPECTED, FLOOR, False, True),
    "infinity is equal to nothing": ((off(INF),), EXPECTED, FLOOR, False, True),
    "where nothing finite is expected, nothing is compared": ((off(9.0),), off(INF), FLOOR, True, True),
    "nor where the floor is infinite": ((off(9.0),), EXPECTED, FLOOR + torch.tensor([INF, 0, 0, 0]), True, True),
    "nor in an entry of NaN": ((EXPECTED,), off(NAN, NAN, NAN, NAN), FLOOR, True, False),
}


@pytest.mark.parametrize("case", MATCHES)
def test_match(case: str) -> None:
    given, expected, floor, ok, decided = MATCHES[case]
    found = match(given, expected, floor)
    assert (found.ok, found.decided) == (ok, decided)
    assert found.excess.shape == expected.shape
    assert not found.excess.isnan().any()


def test_an_excess_is_counted_in_allowances() -> None:
    found = match((off(3 * ALLOWED, 0, ALLOWED / 2), off(0, -5 * ALLOWED)), EXPECTED, FLOOR)
    assert found.excess.tolist() == [3.0, 5.0, 0.5, 0.0]


@pytest.mark.parametrize(("share", "decided"), [(1.0, True), (1.0 + 1e-9, False)])
def test_an_entry_is_blind_where_rounding_could_hide_a_thousandth_of_the_size(share: float, decided: bool) -> None:
    expected = torch.full((4,), 2.0, dtype=torch.float64)
    floor = torch.full((4,), BLIND * 2.0 / THRESHOLD * share, dtype=torch.float64)
    assert match((expected + 1e-9,), expected, floor) == Match(True, decided, pytest.approx(0.0, abs=1e-3))
    assert match((expected,), expected, floor).decided  # agreeing to the last digit is no luck


def test_the_size_of_what_is_expected_is_that_of_its_finite_entries() -> None:
    floor = torch.full((4,), 1e-5, dtype=torch.float64)
    found = match((off(INF, 1e-7, 1e-7, 1e-7),), off(INF), floor)
    assert found.ok
    assert found.decided  # 12 * 1e-5 is well below a thousandth of sqrt(8/3)


TINY = 1e-9  # beyond what rounding explains here, and a formula's
CASES: dict[str, tuple[Callable[[], Comparison], str, str]] = {
    "right": (lambda: compared(EXPECTED), "right", "right"),
    "right below a wrong one": (lambda: compared(EXPECTED), "wrong", "right"),
    "wrong": (lambda: compared(off(TINY)), "right", "wrong"),
    "wrong below a wrong one": (lambda: compared(off(TINY), chained=off(1.0)), "wrong", "wrong"),
    "inherited": (lambda: compared(EXPECTED, chained=off(1.0)), "wrong", "inherited"),
    "inherited from an imprecise one": (lambda: compared(EXPECTED, chained=off(1.0)), "imprecise", "inherited"),
    "nothing to inherit": (lambda: compared(EXPECTED, chained=off(1.0)), "right", "right"),
    "nor from a constant": (lambda: compared(EXPECTED, chained=off(1.0)), "rescaled", "right"),
    "nor from an undecided one": (lambda: compared(EXPECTED, chained=off(1.0)), "undecided", "right"),
    "undecided": (lambda: compared(EXPECTED + TINY, local_floor=FLOOR + 1.0), "right", "undecided"),
    "a constant that is undone": (lambda: compared(EXPECTED, scale=3.0), "right", "rescaled"),
    "a constant below a wrong one": (lambda: compared(EXPECTED, chained=off(1.0), scale=3.0), "wrong", "rescaled"),
    "undecided before a constant": (
        lambda: compared(EXPECTED + TINY, local_floor=FLOOR + 1.0, scale=3.0),
        "right",
        "undecided",
    ),
    "differences of J side with it": (lambda: compared(off(TINY), witness="given"), "right", "right"),
    "differences of J side with autograd": (lambda: compared(off(TINY), witness="autograd"), "right", "wrong"),
    "a witness for an error that moves": (
        lambda: compared(off(TINY), witness="given", coherence=0.1),
        "right",
        "right",
    ),
    "as rounding moves": (lambda: compared(off(TINY), coherence=0.499), "right", "imprecise"),
    "as a formula stands": (lambda: compared(off(TINY), coherence=0.5), "right", "wrong"),
    "cancels": (lambda: compared(EXPECTED, local=off(1.0)), "wrong", "cancels"),
    "cancels blindly": (
        lambda: compared(EXPECTED + TINY, local=off(1.0), chained_floor=FLOOR + 1.0),
        "wrong",
        "wrong",
    ),
    "cancels at a constant": (lambda: compared(EXPECTED, local=off(1.0), scale=2.0), "wrong", "wrong"),
    "a choice at a kink": (lambda: compared(off(0.5), hull=(EXPECTED, off(1.0))), "right", "subgradient"),
    "a choice before a witness": (
        lambda: compared(off(0.5), hull=(EXPECTED, off(1.0)), witness="given"),
        "right",
        "subgradient",
    ),
    "beyond the choices": (lambda: compared(off(1.5), hull=(EXPECTED, off(1.0))), "right", "wrong"),
    "below the choices": (lambda: compared(off(-0.5), hull=(EXPECTED, off(1.0))), "right", "wrong"),
    "one of two calls beyond": (lambda: compared(off(0.5), off(1.5), hull=(EXPECTED, off(1.0))), "right", "wrong"),
    "one of two entries beyond": (
        lambda: compared(off(0.5, 0.5), hull=(EXPECTED, off(1.0))),
        "right",
        "wrong",
    ),
    "a choice beside an entry that is off by as much as is allowed": (
        lambda: compared(off(0.5, ALLOWED), hull=(EXPECTED, off(1.0))),
        "right",
        "subgradient",
    ),
    "a choice beside an entry that is off by little more": (
        lambda: compared(off(0.5, 1.5 * ALLOWED), hull=(EXPECTED, off(1.0))),
        "right",
        "wrong",
    ),
    "where nothing jumps": (
        lambda: compared(off(JUMP), hull=(EXPECTED, off(JUMP * 1.5 * 0.999))),
        "right",
        "wrong",
    ),
    "where it hardly jumps": (
        lambda: compared(off(JUMP), hull=(EXPECTED, off(JUMP * 1.5 * 1.001))),
        "right",
        "subgradient",
    ),
    "a jump from autograd's own answer": (
        lambda: compared(off(0.5), hull=(off(0.5), off(0.5))),
        "right",
        "subgradient",
    ),
    "a jump down from autograd's own answer": (
        lambda: compared(off(-0.5), hull=(off(-0.5), off(-0.5))),
        "right",
        "subgradient",
    ),
    "within the slack of the largest": (
        lambda: compared(off(1.0 + 3e-6), hull=(EXPECTED, off(1.0))),
        "right",
        "subgradient",
    ),
    "beyond the slack of the largest": (
        lambda: compared(off(1.0 + 4e-6), hull=(EXPECTED, off(1.0))),
        "right",
        "wrong",
    ),
    "within the slack of the least": (
        lambda: compared(off(0, 0, -3e-6), hull=(EXPECTED, off(0, 0, 1.0))),
        "right",
        "subgradient",
    ),
    "beyond the slack of the least": (
        lambda: compared(off(0, 0, -4e-6), hull=(EXPECTED, off(0, 0, 1.0))),
        "right",
        "wrong",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_verdict(case: str) -> None:
    comparison, upstream, verdict = CASES[case]
    assert judged(comparison(), upstream).verdict == verdict


def test_what_cannot_be_compared_is_invalid_or_inherited() -> None:
    evaluation = Evaluation(
        ["z3", "z2", "z1", "W1"],
        comparisons={"W1": compared(EXPECTED, chained=off(1.0)), "z3": compared(EXPECTED)},
        invalid={"z2": "no tensor", "extra": "no such name"},
        spoilt={"z1": "not finite because z2 is not"},
    )
    found = judge(evaluation)
    assert list(found) == ["z3", "z2", "z1", "W1", "extra"]
    assert [j.verdict for j in found.values()] == ["right", "invalid", "inherited", "inherited", "invalid"]
    assert found["z2"].explanation == "no tensor"
    assert found["extra"].explanation == "no such name"
    assert (found["z1"].explanation, found["z1"].max_rel) == ("not finite because z2 is not", INF)


def test_a_backward_that_gives_nothing_is_told_first_and_quantities_that_are_not_given_are_left_out() -> None:
    evaluation = Evaluation(["z3", "z2"], comparisons={"z2": compared(EXPECTED)}, invalid={"backward": "raises"})
    assert list(judge(evaluation)) == ["backward", "z2"]


def test_the_entry_that_is_furthest_off() -> None:
    floor = FLOOR * torch.tensor([1.0, 1.0, 64.0, 1.0], dtype=torch.float64)
    found = judged(compared(off(0, 2.0**-30, 2.0**-28), off(0, 2.0**-31), local_floor=floor))
    assert found.worst_index == (2,)  # the entry at 1 is off by more floors, which are measured and differ
    assert (found.expected, found.got) == (-2.0, -2.0 + 2.0**-28)
    assert found.max_rel == pytest.approx(2.0**-28 / 1.5)
    assert found.max_ulp == 2.0**-28 / 2.0**-51
    assert found.floors == pytest.approx(2.0**-30 / 2.0**-40)


def test_the_call_that_is_furthest_off_there() -> None:
    assert judged(compared(off(0.0, 0.25), off(0.0, 1.0))).got == 3.0
    assert judged(compared(off(0.0, 1.0), off(0.0, 0.25))).got == 3.0
    assert judged(compared(off(0.0, 0.25), off(1.0))).got == 2.0
    assert judged(compared(off(0.0, 0.25), off(0.0, -1.0))).got == 1.0


def test_an_inherited_error_is_that_of_the_whole_way() -> None:
    found = judged(compared(EXPECTED, chained=off(0, 1.0)), "wrong")
    assert (found.worst_index, found.expected, found.got) == ((1,), 3.0, 2.0)
    assert found.max_rel == pytest.approx(1.0 / math.sqrt((1 + 9 + 4) / 4))


def test_beside_zeros_an_error_is_infinite_and_agreeing_is_none() -> None:
    zeros = torch.zeros(4, dtype=torch.float64)
    idle = judged(compared(zeros, local=zeros, chained=zeros))
    assert (idle.verdict, idle.max_rel, idle.idle) == ("right", 0.0, True)
    assert judged(compared(off(), local=zeros, chained=zeros)).max_rel == INF
    almost = judged(compared(off(2.0**-45) - EXPECTED, local=zeros, chained=zeros))
    assert (almost.verdict, almost.idle, almost.max_rel) == ("right", False, INF)  # something was computed
    assert not judged(compared(zeros, local=zeros + 1e-13, chained=zeros)).idle
    assert not judged(compared(zeros, local=off(2.0**-45) - EXPECTED, chained=zeros)).idle
    assert not judged(compared(zeros, local=off(), chained=zeros)).idle


def test_nothing_is_idle_and_has_no_error() -> None:
    none = EXPECTED[:0]
    fields = {"local": none, "chained": none, "local_floor": none, "chained_floor": none}
    assert judged(compared(none, **fields)) == Judgement("right", idle=True)
    assert judged(compared(none, scale=2.0, **fields)) == Judgement("rescaled")


def test_right_is_told_where_it_stands_even_if_it_is_only_rounding() -> None:
    found = judged(compared(off(0, 0, ALLOWED / 4)))
    assert (found.verdict, found.worst_index, found.explanation) == ("right", (2,), "")
    floor = FLOOR * torch.tensor([1.0, 16.0, 1.0, 1.0], dtype=torch.float64)
    assert judged(compared(off(0, ALLOWED, ALLOWED / 4), local_floor=floor)).worst_index == (2,)  # in floors, as ever
    blind = judged(compared(off(0, 1e-3), local_floor=FLOOR * INF))
    assert (blind.verdict, blind.worst_index) == ("undecided", (1,))


def test_nan_is_an_infinite_error() -> None:
    found = judged(compared(off(0, NAN)))
    assert (found.verdict, found.worst_index, found.max_rel, found.floors) == ("wrong", (1,), INF, INF)


EXPLAINED: dict[str, tuple[Callable[[], Comparison], str]] = {
    "only in a later call": (lambda: compared(EXPECTED, off(1.0)), "state"),
    "in both calls": (lambda: compared(off(1.0), off(1.0)), ""),
    "in the first call alone": (lambda: compared(off(1.0), EXPECTED), ""),
    "as rounding moves": (lambda: compared(EXPECTED, off(1.0), coherence=0.0), "fewer digits"),
    "differences of J side with it": (lambda: compared(off(1.0), witness="given"), "autograd's own derivative"),
    "right, and seen by differences": (lambda: compared(EXPECTED, witness="autograd"), ""),
    "a choice in a later call": (lambda: compared(EXPECTED, off(0.5), hull=(EXPECTED, off(1.0))), ""),
}


@pytest.mark.parametrize("case", EXPLAINED)
def test_explanation(case: str) -> None:
    comparison, words = EXPLAINED[case]
    explanation = judged(comparison()).explanation
    assert words in explanation
    assert bool(words) == bool(explanation)


def test_cancels_in_a_later_call_is_state_too() -> None:
    found = judged(compared(EXPECTED, off(1.0), chained=off(1.0), local=EXPECTED), "wrong")
    assert (found.verdict, found.explanation[:4]) == ("wrong", "only")


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e300])
def test_a_relative_error_neither_overflows_nor_underflows(size: float) -> None:
    found = judged(
        compared(1.5 * EXPECTED * size, local=EXPECTED * size, chained=EXPECTED * size, local_floor=FLOOR * size)
    )
    assert found.max_rel == pytest.approx(1.0 / 1.5)


def test_the_size_is_the_root_of_the_mean_square() -> None:
    one = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert judged(compared(one * 2, local=one, chained=one)).max_rel == 2.0


def test_complex_gradients_are_told_by_their_real_part() -> None:
    values = torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex128)
    floor = torch.full((2,), 1e-15, dtype=torch.float64)
    found = judge(
        Evaluation(["z"], comparisons={"z": Comparison((values + 1j,), values, values, floor, floor, torch.complex128)})
    )["z"]
    assert (found.verdict, found.expected, found.got) == ("wrong", 1.0, 1.0)
    assert found.max_rel == pytest.approx(1 / math.sqrt(15))
