"""The lecture, executed: nothing of it is missing, every verdict is as it should be, and a broken formula shows."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compare.lecture import formulas, hidden_delta, table
from compare.lecture.runs import RunRefused, Runs
from compare.lecture.statement import Claim, Outcome, Statement, same
from compare.lecture.table import STATEMENTS
from tests.formula_mutants import mutants
from tests.lecture_run import SHEETS, broken, executed, runs, sheet_formulas, sheet_of

# The lecture's own contents, (name, formula): see the file.
CONTENTS = [
    tuple(line.partition(" ")[::2])
    for line in (Path(__file__).parent / "lecture_contents.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
# What a close reading finds wrong in print. All else is right.
SLIPS = {"eq-4", "eq-9", "eq-11", "eq-12", "eq-13", "after-11", "figure-1", "exercise-2"}

# Edits that change nothing: * for @ between a column and a row, or where one side is a single number, and what stands
# behind a product that does not exist.
SAME = {
    "weight_gradient": {"return delta * a_before.T"},
    "chain_of_figure_1": {
        "return dJ_da3 * da3_dz3 @ dz3_da2 @ da2_dz2 @ dz2_dW2",
        "return dJ_da3 @ da3_dz3 * dz3_da2 @ da2_dz2 @ dz2_dW2",
    },
    "eq_9_middle": {"return W3.T * d3 * s2 @ x.T", "return W3.T @ d3 * s2 * x.T"},
    "eq_9_last": {"return W3.T * s2 * (a3 - y) @ x.T", "return W3.T * s2 @ (a3 - y) * x.T"},
    "eq_12_printed": {"return (a3 - y) * (W3.T @ s2 * x.T)"},
    "eq_12": {"return (a3 - y) * W3.T * s2 * x.T"},
    "eq_13": {"return (a3 - y) * W3.T * s2 * x.T"},
    "eq_14": {"return W3.T * s2 @ (a3 - y) * x.T"},
}

pytestmark = pytest.mark.xdist_group("lecture")  # it is run once, not by each process

ALL_FORMULAS = [(statement, formula) for statement in STATEMENTS for formula in statement.formulas]
# Their rows are judged in a tenth of a second, so that breaking their formulas is no slow test.
QUICK = {"section-2.1", "eq-1", "eq-2", "eq-7", "eq-8", "eq-10", "figure-1", "after-11", "l2-cost", "exercise-4"}


def plain_tex(formula: str) -> str:
    """A formula without what only spaces it, and with one spelling of norms and of transposed layers."""
    for spelt, one in ((r"\left", ""), (r"\right", ""), ("||", r"\|"), ("]^T}", "]T}"), (" ", "")):
        formula = formula.replace(spelt, one)
    return formula.replace(r"_{i}", "_i")


def test_nothing_is_missing() -> None:
    """Every numbered equation, figure, section and exercise of the lecture has its row, in the lecture's order."""
    listed = list(dict.fromkeys(name for name, _ in CONTENTS))
    for kind, count in (("eq", 14), ("figure", 2), ("exercise", 4)):
        assert [name for name in listed if re.fullmatch(rf"{kind}-\d+", name)] == [
            f"{kind}-{n}" for n in sorted(range(1, count + 1), key=lambda n: listed.index(f"{kind}-{n}"))
        ]
    names = [statement.name for statement in STATEMENTS]
    assert set(names) == {*listed, "l2-gradient"}  # the step between cost and update, which the lecture does not print
    assert len(names) == len(set(names)) == len(table.BY_NAME)


@pytest.mark.parametrize(("name", "formula"), [(n, f) for n, f in CONTENTS if f])
def test_formulas_are_the_printed_ones(name: str, formula: str) -> None:
    """Every displayed formula of the lecture stands on the page as the lecture's text has it, under "as printed"."""
    statement = table.BY_NAME[name]
    shown = [plain_tex(tex) for tex in statement.tex] or [plain_tex(tex) for tex in statement.corrected]
    assert any(plain_tex(formula) in tex for tex in shown), shown


@pytest.mark.slow
@pytest.mark.parametrize("name", [statement.name for statement in STATEMENTS])
def test_verdict(name: str) -> None:
    outcome, _ = executed()[name]
    expected = "slip" if name in SLIPS else "right"
    assert outcome.verdict == expected, [c for c in outcome.claims if not c.as_expected]
    if expected == "slip":
        assert table.BY_NAME[name].corrected


@pytest.mark.parametrize("name", sorted(QUICK))
def test_quick_verdict(name: str) -> None:
    """The same of those that need no training run and no search."""
    assert table.BY_NAME[name].run(runs()).verdict == ("slip" if name in SLIPS else "right")


@pytest.mark.slow
def test_formulas_are_apart() -> None:
    """A formula is called by its own statement, and by no other: what breaks it turns no other row red."""
    for statement in STATEMENTS:
        assert executed()[statement.name][1] == {formula.__name__ for formula in statement.formulas}, statement.name


def test_every_formula_belongs_to_a_statement() -> None:
    on_sheets = [name for sheet in SHEETS for name in sheet_formulas(sheet)]
    assert sorted(on_sheets) == sorted(formula.__name__ for _, formula in ALL_FORMULAS)


@pytest.mark.parametrize(
    ("statement", "formula"),
    [
        pytest.param(s, formula, id=f"{s.name}-{formula.__name__}", marks=[] if s.name in QUICK else [pytest.mark.slow])
        for s, formula in ALL_FORMULAS
    ],
)
def test_broken_formula(statement: Statement, formula: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_of(formula), formula.__name__, broken(formula))
    assert statement.run(runs()).verdict == "broken"


@pytest.mark.slow
@pytest.mark.parametrize("statement", STATEMENTS, ids=[statement.name for statement in STATEMENTS])
def test_no_other_row(statement: Statement, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all formulas broken but those of one row, this row stays as it is."""
    for _, formula in ALL_FORMULAS:
        if formula not in statement.formulas:
            monkeypatch.setattr(sheet_of(formula), formula.__name__, broken(formula))
    assert statement.run(runs()).verdict == ("slip" if statement.name in SLIPS else "right")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "formula"), ALL_FORMULAS, ids=[f"{s.name}-{formula.__name__}" for s, formula in ALL_FORMULAS]
)
def test_edited_formula(statement: Statement, formula: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One edit of its source turns the row red, but for those that change nothing."""
    survive = set()
    for text, mutant in mutants(formula):
        monkeypatch.setattr(sheet_of(formula), formula.__name__, functools.wraps(formula)(mutant))
        if statement.run(runs()).verdict != "broken":
            survive.add(text)
    assert survive == SAME.get(formula.__name__, set())


def test_a_formula_that_cannot_be_evaluated_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> Any:
        raise TypeError("no such product")

    monkeypatch.setattr(formulas, "weight_update", fails)
    outcome = table.find("eq-1").run(Runs())
    assert outcome.verdict == "broken"
    assert "no such product" in outcome.note.en


# ------------------------------------------------------------------------------------------------- single findings


def test_eq_4_has_a_counterexample_of_at_most_2_x_2_numbers() -> None:
    found = hidden_delta.smallest_counterexample()
    assert found is not None
    W, delta_next, printed, truth = found
    assert max(W.shape) <= 2
    assert printed.numel() != truth.numel() or not torch.equal(printed.flatten(), truth.flatten())
    corrected = formulas.hidden_delta(W, delta_next, torch.full((W.shape[1], 1), 0.25, dtype=torch.float64))
    assert torch.equal(corrected, truth)


@pytest.mark.slow
def test_eq_4_is_wrong_in_general_and_right_with_one_unit_above() -> None:
    holds = {claim.what.en: claim.holds for claim in executed()["eq-4"][0].claims}
    assert holds["as printed, one unit in layer l+1"]
    assert not holds["as printed, two units in layer l+1"]
    assert all(found for what, found in holds.items() if what.startswith("corrected"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eq-3", "eq-9", "eq-11", "eq-12", "eq-14", "l2-update"])
def test_is_proved(name: str) -> None:
    assert any(c.holds and "proved symbolically" in c.evidence.en for c in executed()[name][0].claims)


def test_a_verdict_needs_every_claim() -> None:
    right, slip = Claim(same("a"), True), Claim(same("b"), False, should=False)
    surprise = Claim(same("c"), True, should=False)
    assert Outcome((right,), same("")).verdict == "right"
    assert Outcome((right, slip), same("")).verdict == "slip"
    assert Outcome((right, slip, surprise), same("")).verdict == "broken"  # a slip that is none any more
    assert Outcome((), same("")).verdict == "broken"


def test_runs_are_kept_for_tensorboard(tmp_path: Path) -> None:
    kept = Runs(tmp_path)
    assert table.find("exercise-3").run(kept).verdict == "right"
    assert (tmp_path / "lecture-exercise-3" / "metrics.jsonl").is_file()
    with pytest.raises(RunRefused, match="exists already; replace it with --overwrite"):
        table.find("exercise-3").run(Runs(tmp_path))
