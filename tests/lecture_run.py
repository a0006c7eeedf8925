"""The whole lecture, run once for all tests of a process, and what breaks one of its formulas."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from compare.lecture import experiments, formulas
from compare.lecture.runs import Runs
from compare.lecture.statement import Outcome
from compare.lecture.table import STATEMENTS, Judged

SHEETS = (formulas, experiments)


@functools.cache
def runs() -> Runs:
    """Training runs, done once: none of them depends on a formula of the lecture's sheets."""
    return Runs()


@functools.cache
def executed() -> dict[str, tuple[Outcome, set[str]]]:
    """Every statement's outcome, and the formulas that were called while it was judged."""
    called: set[str] = set()

    def recording(formula: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(formula)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            called.add(formula.__name__)
            return formula(*args, **kwargs)

        return recorded

    found = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for sheet in SHEETS:
            for name, formula in sheet_formulas(sheet).items():
                patch.setattr(sheet, name, recording(formula))
        for statement in STATEMENTS:
            called.clear()
            outcome = statement.run(runs())
            found[statement.name] = (outcome, set(called))
    torch.set_num_threads(threads)
    return found


def judged() -> list[Judged]:
    """The same, as it is shown."""
    return [Judged(statement, executed()[statement.name][0]) for statement in STATEMENTS]


def sheet_formulas(sheet: Any) -> dict[str, Callable[..., Any]]:
    """{name: formula} of one sheet."""
    return {name: f for name, f in vars(sheet).items() if inspect.isfunction(f) and f.__module__ == sheet.__name__}


def sheet_of(formula: Callable[..., Any]) -> Any:
    """The module that a formula stands in."""
    return next(sheet for sheet in SHEETS if formula.__module__ == sheet.__name__)


def broken(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The formula times 1.5."""

    @functools.wraps(formula)
    def wrong(*args: Any, **kwargs: Any) -> Any:
        return formula(*args, **kwargs) * 1.5

    return wrong
