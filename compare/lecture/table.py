"""All statements in the lecture's order, found by name, and run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compare.lecture import (
    backpropagation,
    chain_rule,
    exercise_4,
    exercises,
    factors,
    figure_1,
    guided,
    hidden_delta,
    output_error,
    overfitting,
    regularisation,
    shrinkage,
    symmetry,
    updates,
    weight_gradient,
)
from compare.lecture.runs import Runs
from compare.lecture.statement import Outcome, Statement

MODULES = (
    backpropagation,
    chain_rule,
    exercise_4,
    exercises,
    factors,
    figure_1,
    guided,
    hidden_delta,
    output_error,
    overfitting,
    regularisation,
    shrinkage,
    symmetry,
    updates,
    weight_gradient,
)
ORDER = (
    "section-2.1 eq-1 eq-2 eq-3 eq-4 eq-5 eq-6 eq-7 eq-8 figure-1 eq-9 eq-10 eq-11 after-11 eq-12 eq-13 eq-14 "
    "section-3 l2-cost l2-gradient l2-update section-4 figure-2 exercise-1 exercise-2 exercise-3 exercise-4"
).split()
BY_NAME: dict[str, Statement] = {statement.name: statement for module in MODULES for statement in module.STATEMENTS}
STATEMENTS: tuple[Statement, ...] = tuple(BY_NAME[name] for name in ORDER)


@dataclass(frozen=True)
class Judged:
    """A statement and what came of it."""

    statement: Statement
    outcome: Outcome


def find(name: str) -> Statement:
    """A statement by its name; equations also as `4` or `(4)`. Raises ValueError that names the nearest."""
    wanted = name.strip().strip("()").lower()
    wanted = f"eq-{wanted}" if wanted.isdigit() else wanted
    if wanted in BY_NAME:
        return BY_NAME[wanted]
    near = difflib.get_close_matches(wanted, ORDER, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"the lecture has no statement {name!r}{hint}; there are: {', '.join(ORDER)}")


def judge(statements: Iterable[Statement], runs: Runs) -> Iterator[Judged]:
    """Run them one after the other."""
    for statement in statements:
        yield Judged(statement, statement.run(runs))
