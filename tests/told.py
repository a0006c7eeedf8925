"""What is told of a planted mistake."""

from __future__ import annotations

import torch

from compare import Report
from compare.check.derivation import check_derivation
from compare.explain import explain
from compare.explain.bench import Bench


def explained(forward, backward, inputs, *, checking=0.2, seconds=60.0) -> Report:
    """The explained report; edits run in this process, which is a test's own."""
    report = check_derivation(forward, backward, inputs, seconds=checking)
    before = torch.get_default_dtype()  # a bench computes in float64, for the process that it has to itself
    try:
        return explain(report, forward, backward, inputs, seconds=seconds, bench=Bench())
    finally:
        torch.set_default_dtype(before)


def told(forward, backward, inputs):
    """Name, cause and repair of the explained row nearest to J."""
    row = next(row for row in explained(forward, backward, inputs).rows if row.cause)
    return row.name, row.cause, row.repair.partition("  ->  ")[2]


def assert_told(mistake):
    """That a mistake is told: of (forward, backward, inputs) the step, its cause, and what the repair holds."""
    forward, backward, inputs, step, cause, held = mistake
    name, named, repair = told(forward, backward, inputs)
    assert (name, named) == (step, cause), (name, named, repair)
    assert held in repair
