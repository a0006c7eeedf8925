"""docs/lecture.md: from each statement of the lecture to the code that implements it and the test that holds it.

`python -m compare.lecture.map > docs/lecture.md` writes it anew; a test compares the file with this function's answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compare.lecture.table import STATEMENTS

ROOT = Path(__file__).parents[2]
TEST = "tests/test_lecture.py"

INTRODUCTION = """\
# The lecture, statement by statement

The lecture is "Aula 9 - Redes Neurais - Treinamento" by Raoni F. S. Teixeira. `manualbp lecture` runs all of it,
`manualbp lecture eq-4` one statement in full, `manualbp lecture --report lecture.html` writes a page; `--lang pt` says
it in Portuguese. `--runs runs` keeps the training runs, for `manualbp board`.

Each formula is one function, as printed or as it must read, and belongs to one statement. The function in the third
column holds it against autograd, torch's optimizer or sympy. In `{test}`,

- `test_verdict[NAME]`: the statement is right, or a slip that is confirmed and corrected;
- `test_formulas_are_the_printed_ones[NAME-...]`: what is shown as printed is what the lecture prints;
- `test_broken_formula[NAME-FORMULA]`: with that formula broken, this row turns red; `test_edited_formula` does so with
  every edit of its source, one sign, operator, transposition or number at a time;
- `test_formulas_are_apart`, `test_no_other_row[NAME]`: no other row depends on that formula; with all others broken,
  this row stays as it is.

This file is written by `python -m compare.lecture.map > docs/lecture.md`; a test fails where it is out of date.

| statement | formulas | judged by | test |
|---|---|---|---|
"""


def link(function: Callable[..., Any]) -> str:
    """A function with its file and line, as a link from the folder docs."""
    path = Path(inspect.getfile(function)).relative_to(ROOT).as_posix()
    line = inspect.getsourcelines(function)[1]
    return f"[`{function.__name__}`](../{path}#L{line}) {path.rpartition('/')[2]}:{line}"


def markdown() -> str:
    """The whole file."""
    rows = (
        f"| {statement.heading.en} | {'<br>'.join(map(link, statement.formulas))} "
        f"| {link(statement.judge)} | `test_verdict[{statement.name}]` |\n"
        for statement in STATEMENTS
    )
    return INTRODUCTION.format(test=TEST) + "".join(rows)


if __name__ == "__main__":
    print(markdown(), end="")
