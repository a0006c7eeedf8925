"""What a pass is worth: planted mistakes are caught, and survivors are explained."""

from __future__ import annotations

import pytest
import torch

from compare.check.inputs import constant, real
from compare.explain.power import power
from tests.derivations import load

CASES = {case.name: case for case in load()}


def test_mistakes_planted_in_a_right_backward_are_caught():
    case = CASES["mlp.tanh_and_half_square"]
    result = power(case.forward, case.backward, case.inputs, mutants=8)
    assert len(result.mutants) == 8
    assert result.count("survived") == 0
    assert result.count("caught") >= 5
    assert all(mutant.why for mutant in result.mutants)
    assert str(result).startswith(f"{result.count('caught')} of ")


def scaled_forward(x, w, c):
    z = x * w
    return (z * c).sum(), {"z": z}


def scaled_backward(x, w, c):
    dz = torch.zeros_like(x) + c
    return {"z": dz, "w": (dz * x).sum(0)}


def test_edits_that_change_no_number_are_equivalent():
    inputs = {"x": real("m", "d"), "w": real("d"), "c": constant(2.0)}
    result = power(scaled_forward, scaled_backward, inputs, mutants=14, seconds=10)
    fates = {(mutant.old, mutant.new): mutant.fate for mutant in result.mutants}
    assert set(fates.values()) <= {"caught", "equivalent", "survived"}
    assert result.count("equivalent") >= 1


@pytest.mark.slow
def test_the_same_seed_plants_the_same_mistakes():
    case = CASES["mlp.tanh_and_half_square"]
    first, again = (power(case.forward, case.backward, case.inputs, mutants=2, seed=3) for _ in range(2))
    assert [m.new for m in first.mutants] == [m.new for m in again.mutants]


def test_a_backward_without_source_says_why():
    inside = {"torch": torch}
    exec("def backward(x, y, z3):\n    return {'z3': (z3 - y) / len(x)}", inside)
    case = CASES["mlp.tanh_and_half_square"]
    result = power(case.forward, inside["backward"], case.inputs)
    assert not result.mutants
    assert "source" in str(result)
