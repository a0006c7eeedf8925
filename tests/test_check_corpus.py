"""The check on the whole corpus: every right derivation passes, every wrong one is caught at its wrong step.

The default part tries every third right derivation at the plain condition only, and every third wrong one there
first, and some mutants; the slow part tries the others, and a share of them everywhere. MANUALBP_SHARE=1 makes that
every case, which takes an hour; benchmarks/check_corpus.py does the same in parts, beside other tools.
"""

from __future__ import annotations

import itertools
import os

import pytest

from compare.check import Report, check_derivation
from compare.check.collect import collect
from compare.check.conditions import conditions
from compare.check.derivation import Here
from tests.derivations import Case, load
from tests.mutants import mutants

CASES = load()
RIGHT = [case for case in CASES if case.kind != "wrong"]
WRONG = [case for case in CASES if case.kind == "wrong"]
SHARE = int(os.environ.get("MANUALBP_SHARE", "8"))  # one case of so many, for what takes seconds a case


def by_module(cases: list[Case]) -> list[list[Case]]:
    return [list(group) for _, group in itertools.groupby(cases, key=lambda case: case.name.partition(".")[0])]


def module_of(group: list[Case]) -> str:
    return group[0].name.partition(".")[0]


PARTS = 3
EACH_PART = pytest.mark.parametrize("part", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, PARTS))])


def check(case: Case, *, quickly: bool = False) -> Report:
    return check_derivation(case.forward, case.backward, case.inputs, seconds=0 if quickly else 60)


def red(report: Report) -> set[str]:
    """Steps that are told to be off themselves."""
    told = {row.name for row in report.rows if row.verdict in ("wrong", "invalid", "cancels", "imprecise")}
    return told - {"backward"}


def found_first(report: Report, case: Case) -> bool:
    """Whether the step nearest to J that is told to be off is one of the wrong ones."""
    return next((row.name for row in report.rows if row.name in red(report)), "") in case.steps


@EACH_PART
@pytest.mark.parametrize("group", by_module(RIGHT), ids=module_of)
def test_right_derivations_raise_no_alarm_where_it_is_plain(group: list[Case], part: int) -> None:
    alarms = [f"{case.name}: {report}" for case in group[part::PARTS] if not (report := check(case, quickly=True)).ok]
    assert not alarms, "\n".join(alarms)


def caught(case: Case) -> bool:
    """Whether some condition shows the mistake, the plain ones first."""
    here = Here(case.forward, case.backward, case.inputs)
    reports = (collect(here.evaluate, [condition]) for condition in conditions(case.inputs))
    return any(report.first_wrong is not None or red(report) for report in reports)


@EACH_PART
@pytest.mark.parametrize("group", by_module(WRONG), ids=module_of)
def test_wrong_derivations_are_caught(group: list[Case], part: int) -> None:
    assert not [case.name for case in group[part::PARTS] if not caught(case)]


def test_mutants_are_caught() -> None:
    assert not [case.name for case in mutants(1)[::4] if not caught(case)]


@pytest.mark.slow
def test_mutants_are_caught_at_their_step() -> None:
    chosen = mutants() if SHARE == 1 else mutants(1)
    reports = {case.name: (case, check(case)) for case in chosen}
    missed = [name for name, (_, report) in reports.items() if report.ok]
    # one that raises under some condition shows there before its step can be told
    blamed = {name: each for name, each in reports.items() if red(each[1])}
    off_first = [name for name, (case, report) in blamed.items() if not found_first(report, case)]
    print(f"{len(reports)} mutants: {len(missed)} missed, {len(reports) - len(blamed)} without a step,")
    print(f"blamed elsewhere: {off_first}")
    assert len(reports) >= (400 if SHARE == 1 else 50)
    assert not missed
    assert len(off_first) <= 0.01 * len(reports)
    assert len(blamed) >= 0.98 * len(reports)


@pytest.mark.slow
@pytest.mark.parametrize("group", by_module(RIGHT[::SHARE]), ids=module_of)
def test_right_derivations_raise_no_alarm_anywhere(group: list[Case]) -> None:
    alarms = [f"{case.name}: {report}" for case in group if not (report := check(case)).ok]
    assert not alarms, "\n".join(alarms)


@pytest.mark.slow
def test_the_wrong_step_is_the_one_that_is_blamed() -> None:
    twice = [case for case in WRONG if len(case.steps) == 2 and " + " in case.cause]
    once = [case for case in WRONG if case not in twice]
    reports = {case.name: (case, check(case)) for case in (*once[:: max(1, SHARE // 2)], *twice[:: max(1, SHARE // 4)])}
    off_first = [name for name, (case, report) in reports.items() if not found_first(report, case)]
    tried = [case for case in twice if case.name in reports]
    both = [case.name for case in tried if set(case.steps) <= red(reports[case.name][1])]
    exact = [name for name, (case, report) in reports.items() if red(report) == set(case.steps)]
    print(f"{len(reports)} wrong: first step exact in {len(reports) - len(off_first)}, all steps in {len(exact)};")
    print(f"both of two mistakes in {len(both)} of {len(tried)}; blamed elsewhere: {off_first}")
    assert all(not report.ok for _, report in reports.values())
    assert len(off_first) <= 0.01 * len(reports)
    assert len(both) >= 0.9 * len(tried)
