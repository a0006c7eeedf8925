"""Explanations: the cause, the line and the repair of each wrong step, and none of a right one."""

from __future__ import annotations

import ast
import hashlib
import html
import inspect
import json
import os
import re
import time
from pathlib import Path

import pytest
import torch

import compare
import manualbp as mbp
from compare.check.derivation import check_derivation
from compare.check.layer import check_layer
from compare.check.report import GradientMismatch
from compare.cli import main
from compare.explain import explain
from compare.explain.causes import CAUSES
from compare.explain.edits import EDITS
from compare.explain.explanation import explain_derivation
from compare.explain.layer import explain_layer
from compare.explain.page import page
from compare.explain.program import NotReadable, read
from compare.explain.service import explain_file
from tests.derivations import load, mlp_mistakes
from tests.derivations.mlp import NUMBERS, YES_NO, sigmoid_net, tanh_net

CASES = {case.name: case for case in load()}

# a planted mistake of each cause: (cause, part of the repair)
EXPLAINED = {
    "mlp_mistakes.no_slope_in_hidden_delta": ("missing_activation_derivative", "a2 * (1 - a2)"),
    "mlp_mistakes.relu_slope_for_a_leaky_one": ("wrong_activation_derivative", "torch.where(z2 > 0"),
    "mlp_mistakes.tanh_slope_of_z": ("derivative_at_wrong_place", "1 - a2 ** 2"),
    "mlp_layer_mistakes.softmax_slope_after_cross_entropy": ("extra_derivative", "- y) / len(x)"),
    "mlp_layer_mistakes.transposed_weight": ("missing_transpose", "d3 @ W3"),
    "forum_mistakes.elementwise_dw": ("elementwise_for_matmul", " @ "),
    "mlp_layer_mistakes.target_minus_output": ("sign", "torch.sigmoid(z3) - y"),
    "mlp_layer_mistakes.half_twice": ("wrong_factor", "d3"),
    "mlp_batch_mistakes.no_mean_at_all": ("missing_mean", "/ "),
    "forum_cost_mistakes.not_averaged_over_outputs": ("wrong_count", "numel()"),
    "mlp_batch_mistakes.mean_in_delta_and_in_weights": ("mean_twice", "W3"),
    "mlp_batch_mistakes.averaged_over_every_entry": ("wrong_count", "/ len("),
    "mlp_batch_mistakes.hidden_bias_not_reduced": ("bias_not_reduced", "d2.sum(0)"),
    "blocks_mistakes.softmax_sum_over_samples": ("wrong_axis", "1, keepdim=True"),
    "mlp_update_mistakes.no_penalty": ("missing_l2", "l2 * W3"),
    "mlp_update_mistakes.penalty_subtracted": ("wrong_l2", "+ l2 * W3"),
    "mlp_layer_mistakes.input_in_place_of_activation": ("wrong_layer", "a2"),
    "forum_mistakes.gradient_of_W2_for_W2": ("wrong_operand", "W2.T"),
    "mlp_update_mistakes.weight_updated_too_early": ("updated_weight", "(left out)"),
    "mlp_mistakes.mask_the_wrong_way": ("wrong_mask", "d2[z2 <"),
    "mlp_mistakes.leak_on_the_positive_side": ("swapped_branches", "torch.where(z2 > 0, da2, 0.1 * da2)"),
    "blocks_mistakes.softmax_like_a_sigmoid": ("diagonal_jacobian", ".sum(-1, keepdim=True)"),
    "blocks_mistakes.only_the_skip_path": ("missing_path", "'x': dh + "),
    "blocks_mistakes.mean_subtracted_as_in_layer_norm": ("path_twice", "dxhat - xhat"),
    "blocks_mistakes.encoder_path_overwritten": ("overwritten", "grads['W2'] += a2.T @ dz3"),
    "blocks_recurrent_mistakes.state_gradient_not_reset": ("stale_state", "torch.zeros_like"),
    "blocks_recurrent_mistakes.forget_gate_left_out": ("missing_factor", "dct * f"),
    "blocks_mistakes.epsilon_outside_the_root": ("wrong_epsilon", "torch.sqrt(var + 1e-05)"),
    "blocks_recurrent_mistakes.new_state_for_the_old_one": ("wrong_index", "h0"),
    "mlp_update_mistakes.bias_of_the_first_sample": ("some_samples", "d2.sum(0)"),
    "mlp_update_mistakes.gradient_clipped": ("clipped", "a2 * (1 - a2)"),
    "mlp_update_mistakes.error_rounded_to_float32": ("low_precision", "z3.numpy()"),
    "mlp_mistakes.bracket_in_the_wrong_place": ("order_of_operations", "(1 - a2 ** 2)"),
    "mlp_update_mistakes.bias_summed_in_the_delta": ("modified_in_place", "d2[0].clone()"),
    "mlp_update_mistakes.one_entry_wrong": ("special_case", "(left out)"),
}
FAST = list(EXPLAINED)[::3]


def explained(case, seconds=6.0):
    report = check_derivation(case.forward, case.backward, case.inputs, seconds=0.5)
    return explain(report, case.forward, case.backward, case.inputs, seconds=seconds)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in EXPLAINED]
)
def test_the_mistake_is_named_and_mended(name):
    cause, repair = EXPLAINED[name]
    report = explained(CASES[name], seconds=20.0)
    row = report.first_wrong or next(row for row in report.rows if not row.ok)
    assert row.cause == cause
    assert repair in row.repair.partition("  ->  ")[2]
    assert row.line
    assert row.line in row.repair


def test_two_mistakes_are_explained_one_by_one():
    rows = {row.name: row for row in explained(CASES["double_mistakes.sign_and_bias"]).rows}
    assert (rows["z3"].cause, rows["b2"].cause) == ("sign", "bias_not_reduced")
    assert rows["W2"].cause == ""


def test_a_mistake_is_named_although_its_step_keeps_a_factor_besides():
    def forward(x, W1, W2, y):
        z1 = x @ W1
        a1 = torch.tanh(z1)
        z2 = a1 @ W2
        J = torch.nn.functional.cross_entropy(z2, y)
        return J, {"z1": z1, "a1": a1, "z2": z2}

    def backward(x, W2, y, z1, a1, z2):
        dz2 = torch.softmax(z2, 1)
        dz2[range(len(x)), y] -= 1  # 1/m is put off,
        dW2 = a1.T @ dz2 / len(x)  # made up for here
        da1 = dz2 @ W2.T
        dz1 = da1 * (1 - z1**2)  # and forgotten here
        return {"z2": dz2, "W2": dW2, "a1": da1, "z1": dz1, "W1": x.T @ dz1}

    m = {"x": compare.real("m", "d"), "W1": compare.real("d", "h"), "W2": compare.real("h", "k")}
    inputs = {**m, "y": compare.index("m", classes="k")}
    report = explain_derivation(forward, backward, inputs)
    row = report.first_wrong
    assert row is not None
    assert (row.name, row.cause) == ("z1", "derivative_at_wrong_place")
    assert row.repair.endswith("->  dz1 = da1 * (1 - a1 ** 2)")
    assert row.explanation.endswith("the factor that a1 carries is not undone after it.")


def test_the_same_mistake_in_every_layer_is_told_once_with_all_its_lines():
    rows = {row.name: row for row in explained(CASES["mlp_layer_mistakes.no_slope_in_any_layer"]).rows}
    assert rows["z3"].cause == rows["z2"].cause == "missing_activation_derivative"
    assert rows["z3"].line != rows["z2"].line
    assert [line.split()[0] for line in rows["z3"].repair.splitlines()] == [rows["z3"].line, rows["z2"].line]
    assert rows["z3"].explanation.endswith("The same in z2.")
    assert (rows["z2"].explanation, rows["z2"].repair) == ("the same mistake as in z3", "")


def test_exchanged_gradients_are_told_as_such():
    rows = explained(CASES["forum_block_mistakes.gamma_and_beta_exchanged"]).rows
    assert {row.cause for row in rows if row.name in ("gamma", "beta")} == {"wrong_operand"}
    assert "exchanged" in next(row for row in rows if row.name == "beta").explanation


def test_one_call_checks_explains_and_fails_a_test():
    case = CASES["mlp_layer_mistakes.target_minus_output"]
    report = explain_derivation(case.forward, case.backward, case.inputs, check_seconds=0.1)
    with pytest.raises(GradientMismatch, match="sign: the sign is the wrong way round") as caught:
        report.raise_if_wrong()
    assert report.first_wrong.repair in str(caught.value)
    assert compare.explain_derivation is explain_derivation


def test_explanations_speak_portuguese():
    case = CASES["mlp_layer_mistakes.target_minus_output"]
    report = explain_derivation(case.forward, case.backward, case.inputs, check_seconds=0.1, language="pt")
    assert report.first_wrong.explanation == f"o sinal está trocado. {CAUSES['sign'].frase}"


class Straight(mbp.Sigmoid):
    """A layer whose backward lets everything through."""

    def backward(self, params, cache, dy):
        return dy * 1.0, {}


def test_a_layer_of_the_user_is_explained_from_its_numbers():
    net = mbp.Sequential([mbp.Linear(5, 4), Straight(), mbp.Linear(4, 1)])
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    report = check_layer(net, x, loss=mbp.LogLoss())
    row = explain_layer(report, net, x, loss=mbp.LogLoss()).first_wrong
    assert (row.name, row.cause) == ("z2", "missing_activation_derivative")


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
    assert row.explanation.endswith("its source was not searched: its source cannot be read")


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


def test_every_cause_of_the_corpus_is_one_and_each_owns_a_planted_mistake():
    planted = {cause for case in CASES.values() if case.kind == "wrong" for cause in case.cause.split(" + ")}
    assert planted <= set(CAUSES)
    assert {cause for cause, _ in EXPLAINED.values()} == set(CAUSES) - {"unknown"}


def test_every_cause_that_the_code_names_is_one():
    """No edit, and no formula of numbers, names a cause that there is none of."""
    first = "missing wrong extra mean path some special low order modified stale updated swapped".split()
    looks_like = re.compile(rf"(?:{'|'.join(first)})_\w+")
    for file in (Path(__file__).parent.parent / "compare" / "explain").glob("*.py"):
        words = {n.value for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Constant)}
        named = {word for word in words if isinstance(word, str) and looks_like.fullmatch(word)}
        assert named <= set(CAUSES), file.name


def test_the_page_of_causes_is_the_table():
    assert (Path(__file__).parent.parent / "docs" / "causes.md").read_text(encoding="utf-8") == page()


def test_the_table_of_edits_is_closed_under_its_inverses():
    names = [edit.name for edit in EDITS]
    assert len(set(names)) == len(names)
    assert {edit.inverse for edit in EDITS} <= set(names)


@pytest.fixture
def hw3(tmp_path):
    file = tmp_path / "hw3.py"
    file.write_text(FILE)
    return str(file)


REPAIR = "hw3.py:14  dz = (y - torch.sigmoid(z)) / len(x)  ->  dz = (torch.sigmoid(z) - y) / len(x)"


@pytest.mark.parametrize("suffix", ["md", "html", "json"])
def test_the_command_shows_cause_and_repair_everywhere(hw3, tmp_path, capsys, monkeypatch, suffix):
    monkeypatch.setenv("COLUMNS", "200")
    written = tmp_path / f"report.{suffix}"
    assert main(["check", hw3, "--seconds", "0.1", "--report", str(written)]) == 1
    said = capsys.readouterr().out
    assert "Cause of z: sign: the sign is the wrong way round." in said
    assert f"Repair: {REPAIR}" in said
    text = written.read_text(encoding="utf-8")
    if suffix == "json":
        row = next(row for row in json.loads(text)["rows"] if row["name"] == "z")
        assert (row["cause"], row["repair"], row["line"]) == ("sign", REPAIR, "hw3.py:14")
    else:
        text = re.sub(r"\\(.)", r"\1", html.unescape(text))
        assert REPAIR in text


def test_the_command_explains_nothing_when_told_so(hw3, capsys):
    assert main(["check", hw3, "--seconds", "0.1", "--no-explain"]) == 1
    assert "Cause" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_sample_of_the_corpus_is_explained():
    """The whole: python benchmarks/explain_corpus.py; MANUALBP_EVERY=1 does it here."""
    wrong = [case for case in CASES.values() if case.kind == "wrong"][:: int(os.environ.get("MANUALBP_EVERY", "9"))]
    firsts = []
    for case in wrong:
        report = explained(case, seconds=10.0)
        firsts.append(report.first_wrong or next((row for row in report.rows if not row.ok), None))
    pairs = [(row, case.cause.split(" + ")) for row, case in zip(firsts, wrong, strict=True) if row is not None]
    assert len(pairs) == len(wrong)
    assert sum(row.cause in causes for row, causes in pairs) >= 0.8 * len(wrong)
    assert sum(row.cause not in ("unknown", "", *causes) for row, causes in pairs) <= 0.05 * len(wrong)
    assert sum(bool(row.repair) for row, _ in pairs) >= 0.7 * len(wrong)


def test_tensors_are_moved_so_that_no_repair_holds_by_chance():
    """As given, the first entry of w is 1 / m: dividing by m would do as well."""
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
    inputs = {"x": x, "w": torch.tensor([0.25, 0.8], dtype=torch.float64), "y": torch.tensor([1.0, 0, 1, 0])}

    def forward(x, w, y):
        z = x @ w
        return ((z - y) ** 2).sum() * w[0], {"z": z}

    def backward(x, w, y, z):
        return {"z": 2 * (z - y)}

    row = explain_derivation(forward, backward, inputs, check_seconds=0.1).first_wrong
    assert row.name == "z"
    assert row.cause != "missing_mean"


def test_given_tensors_are_explained_too():
    inputs = {"x": torch.randn(5, 3), "w": torch.randn(3), "y": torch.ones(5)}

    def forward(x, w, y):
        z = x @ w
        return ((z - y) ** 2).sum() / 2, {"z": z}

    def backward(x, w, y, z):
        return {"z": y - z, "w": (y - z) @ x}

    report = explain_derivation(forward, backward, inputs, check_seconds=0.1)
    assert (report.first_wrong.name, report.first_wrong.cause) == ("z", "sign")
