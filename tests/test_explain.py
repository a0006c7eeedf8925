"""Explanations: the cause, the line and the repair of each wrong step, and none of a right one."""

from __future__ import annotations

import hashlib
import inspect
import time
from pathlib import Path

import pytest
import torch

from compare.check.derivation import check_derivation
from compare.explain import explain
from compare.explain.causes import CAUSES, page
from compare.explain.edits import EDITS
from compare.explain.program import NotReadable, read
from compare.explain.service import explain_file
from tests.derivations import load, mlp_mistakes
from tests.derivations.mlp import NUMBERS, YES_NO, sigmoid_net, tanh_net

CASES = {case.name: case for case in load()}

# name of a case: (cause, part of the repair)
EXPLAINED = {
    "mlp_mistakes.no_slope_in_hidden_delta": ("missing_activation_derivative", "a2 * (1 - a2)"),
    "mlp_mistakes.slope_of_the_slope": ("derivative_at_wrong_place", "sigmoid_prime(z2)"),
    "mlp_mistakes.output_at_least_zero": ("wrong_mask", "a2 > 0"),
    "mlp_mistakes.mask_the_wrong_way": ("wrong_mask", "d2[z2 <"),
    "mlp_mistakes.leak_on_the_positive_side": ("swapped_branches", "torch.where(z2 > 0, da2, 0.1 * da2)"),
    "mlp_layer_mistakes.target_minus_output": ("sign", "torch.sigmoid(z3) - y"),
    "mlp_layer_mistakes.transposed_weight": ("missing_transpose", "d3 @ W3"),
    "mlp_batch_mistakes.no_mean_at_all": ("missing_mean", "/ len("),
    "mlp_batch_mistakes.hidden_bias_not_reduced": ("bias_not_reduced", "d2.sum(0)"),
    "mlp_batch_mistakes.averaged_over_every_entry": ("wrong_count", "/ len("),
    "mlp_update_mistakes.no_penalty": ("missing_l2", "l2 * W3"),
    "mlp_update_mistakes.penalty_subtracted": ("wrong_l2", "+ l2 * W3"),
    "mlp_update_mistakes.weight_updated_too_early": ("updated_weight", "W3 = W3 - lr * dW3"),
    "mlp_update_mistakes.gradient_clipped": ("clipped", "a2 * (1 - a2)"),
    "blocks_mistakes.skip_path_forgotten": ("missing_path", "dh"),
    "forum_mistakes.gradient_of_W2_for_W2": ("wrong_operand", "W2.T"),
}


def explained(case, seconds=6.0):
    report = check_derivation(case.forward, case.backward, case.inputs, seconds=0.5)
    return explain(report, case.forward, case.backward, case.inputs, seconds=seconds)


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_mistake_is_named_and_mended(name):
    cause, repair = EXPLAINED[name]
    row = explained(CASES[name]).first_wrong
    assert row.cause == cause
    assert repair in row.repair
    assert row.line
    assert row.line in row.repair


def test_two_mistakes_are_explained_one_by_one():
    rows = {row.name: row for row in explained(CASES["double_mistakes.sign_and_bias"]).rows}
    assert (rows["z3"].cause, rows["b2"].cause) == ("sign", "bias_not_reduced")
    assert rows["W2"].cause == ""


def test_the_same_mistake_in_every_layer_has_one_cause():
    rows = {row.name: row for row in explained(CASES["mlp_layer_mistakes.no_slope_in_any_layer"]).rows}
    assert rows["z3"].cause == rows["z2"].cause == "missing_activation_derivative"
    assert rows["z3"].line != rows["z2"].line


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.kind == "correct"][:6], ids=lambda c: c.name)
def test_a_right_derivation_gets_no_explanation(case):
    report = check_derivation(case.forward, case.backward, case.inputs, seconds=0.3)
    assert explain(report, case.forward, case.backward, case.inputs) is report


def make(source):
    """A backward whose source cannot be read."""
    inside = {"torch": torch}
    exec(source, inside)
    return inside["backward"]


WITHOUT_SOURCE = {
    "sign": "d3 = (y - torch.sigmoid(z3)) / len(x)",
    "missing_mean": "d3 = torch.sigmoid(z3) - y",
    "wrong_factor": "d3 = 2 * (torch.sigmoid(z3) - y) / len(x)",
    "extra_derivative": "d3 = (torch.sigmoid(z3) - y) * torch.sigmoid(z3) * (1 - torch.sigmoid(z3)) / len(x)",
}


@pytest.mark.parametrize("cause", WITHOUT_SOURCE)
def test_numbers_tell_where_there_is_no_source(cause):
    backward = make(f"def backward(x, y, z3):\n    {WITHOUT_SOURCE[cause]}\n    return {{'z3': d3}}")
    report = check_derivation(sigmoid_net, backward, YES_NO, seconds=0.5)
    row = explain(report, sigmoid_net, backward, YES_NO).first_wrong
    assert (row.cause, row.repair) == (cause, "")
    assert row.explanation.startswith("dJ/dz3: ")


@pytest.mark.parametrize(
    ("cause", "step"),
    [
        ("missing_activation_derivative", "z2"),
        ("missing_transpose", "W3"),
        ("bias_not_reduced", "b3"),
        ("derivative_at_wrong_place", "z2"),
    ],
)
def test_numbers_tell_of_matrices(cause, step):
    right = {"z3": "d3", "W3": "d3.T @ a2", "b3": "d3.sum(0)", "z2": "(d3 @ W3) * (1 - a2 ** 2)"}
    wrong = {
        "missing_activation_derivative": "d3 @ W3",
        "missing_transpose": "a2.T @ d3",
        "bias_not_reduced": "d3",
        "derivative_at_wrong_place": "(d3 @ W3) * (1 - z2 ** 2)",
    }[cause]
    entries = ", ".join(f"{n!r}: {wrong if n == step else e}" for n, e in right.items())
    backward = make(f"def backward(x, y, W3, z2, a2, z3):\n    d3 = (z3 - y) / len(x)\n    return {{{entries}}}")
    report = check_derivation(tanh_net, backward, NUMBERS, seconds=0.5)
    assert explain(report, tanh_net, backward, NUMBERS)[step].cause == cause


def test_a_hopeless_step_is_unknown_with_evidence():
    backward = make("def backward(z3):\n    return {'z3': torch.sin(7 * z3).abs() + 0.3}")
    report = check_derivation(sigmoid_net, backward, YES_NO, seconds=0.5)
    row = explain(report, sigmoid_net, backward, YES_NO).first_wrong
    assert row.cause == "unknown"
    assert "cosine" in row.explanation


def leaves_a_mark(x, y, z3):
    Path("/nonexistent").touch()
    return {"z3": (y - torch.sigmoid(z3)) / len(x)}


def never_ends(x, y, z3):
    while True:
        x = x + 1
    return {"z3": z3}


def calls_a_method(x, y, z3):
    torch.save(x, "x.pt")
    return {"z3": z3}


def asks_for_a_module(x, y, z3):
    import os

    os.remove("x")
    return {"z3": z3}


@pytest.mark.parametrize("backward", [leaves_a_mark, never_ends, calls_a_method, asks_for_a_module])
def test_source_with_side_effects_is_never_edited(backward):
    with pytest.raises(NotReadable):
        read(backward)


def test_a_lambda_is_explained_from_numbers():
    backward = lambda x, y, z3: {"z3": (y - torch.sigmoid(z3)) / len(x)}  # noqa: E731
    report = check_derivation(sigmoid_net, backward, YES_NO, seconds=0.5)
    assert explain(report, sigmoid_net, backward, YES_NO).first_wrong.cause == "sign"


def mit_umlauten(x, y, z3):
    größe = len(x)
    δ3 = (y - torch.sigmoid(z3)) / größe
    return {"z3": δ3}


def test_unicode_names_and_unchanged_files():
    file = Path(inspect.getsourcefile(mit_umlauten))
    before = hashlib.sha256(file.read_bytes()).digest()
    report = check_derivation(sigmoid_net, mit_umlauten, YES_NO, seconds=0.5)
    row = explain(report, sigmoid_net, mit_umlauten, YES_NO).first_wrong
    assert row.cause == "sign"
    assert "δ3" in row.repair
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_thousands_of_lines_end_in_time():
    body = "\n".join(f"    t{i} = torch.tanh(z3) * {i}" for i in range(3000))
    backward = make(f"def backward(x, y, z3):\n{body}\n    return {{'z3': (y - torch.sigmoid(z3)) / len(x)}}")
    report = check_derivation(sigmoid_net, backward, YES_NO, seconds=0.1)
    started = time.monotonic()
    assert explain(report, sigmoid_net, backward, YES_NO, seconds=2.0).first_wrong.cause == "sign"
    assert time.monotonic() - started < 20


FILE = """
import torch
from compare.check.inputs import binary, real


inputs = {"x": real("m", "d"), "w": real("d"), "y": binary("m")}

def forward(x, w, y):
    z = x @ w
    J = -(y * torch.nn.functional.logsigmoid(z) + (1 - y) * torch.nn.functional.logsigmoid(-z)).sum() / len(x)
    return J, {"z": z}

def backward(x, y, z):
    dz = (y - torch.sigmoid(z)) / len(x)
    return {"z": dz, "w": dz @ x}
"""


def test_a_file_is_explained_in_a_child(tmp_path):
    file = tmp_path / "hw3.py"
    file.write_text(FILE)
    inside = {}
    exec(FILE, inside)
    report = check_derivation(inside["forward"], inside["backward"], inside["inputs"], seconds=0.3)
    row = explain_file(report, file).first_wrong
    assert row.cause == "sign"
    number = FILE.splitlines().index("    dz = (y - torch.sigmoid(z)) / len(x)") + 1
    assert row.repair.startswith(f"hw3.py:{number}  dz = (y - torch.sigmoid(z)) / len(x)  ->  ")
    assert file.read_text() == FILE
    assert set(inside["inputs"]) == {"x", "w", "y"}


def test_every_cause_has_an_entry():
    lines = mlp_mistakes.__doc__.partition("Options")[0].splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("    ")}
    assert listed | {"unknown"} == set(CAUSES)
    assert {edit.cause for edit in EDITS} <= set(CAUSES)
    assert all(all(vars(cause).values()) for cause in CAUSES.values())


def test_the_page_of_causes_is_the_table():
    assert (Path(__file__).parent.parent / "docs" / "causes.md").read_text(encoding="utf-8") == page()


def test_the_table_of_edits_is_closed_under_its_inverses():
    names = [edit.name for edit in EDITS]
    assert len(set(names)) == len(names)
    assert {edit.inverse for edit in EDITS} <= set(names)
