"""Long backwards: the line where a derivation stops agreeing with the forward's graph is looked at first."""

from __future__ import annotations

import importlib.util
import itertools

import pytest
import torch

from compare import check_derivation
from compare.explain import explain

NUMBERS = itertools.count()
SIZES = {"X": (5, 2, 3), "h0": (2, 4), "V": (4, 2), "y": (2, 2)} | {
    f"{kind}{gate}": (3 if kind == "W" else 4, 4) for kind in "WU" for gate in "zrh"
}
BACKWARD = """
import torch


def backward(X, h0, Wz, Uz, Wr, Ur, Wh, Uh, V, y, H, Z, R, C):
    dWz, dUz, dWr, dUr, dWh, dUh = (torch.zeros_like(W) for W in (Wz, Uz, Wr, Ur, Wh, Uh))
    e = H[-1] @ V - y
    dV = H[-1].T @ e
    dh = e @ V.T
    for t in reversed(range(len(X))):
        hp = H[t - 1] if t > 0 else h0
        z, r, c = Z[t], R[t], C[t]
        dz = dh * (c - hp)
        dc = dh * z
        dhp = dh * (1 - z)
        dcpre = dc * (1 - c ** 2)
        dWh += X[t].T @ dcpre
        dUh += (r * hp).T @ dcpre
        drh = dcpre @ Uh.T
        dr = drh * hp
        dhp = dhp + drh * r
        dzpre = dz * z * (1 - z)
        dWz += X[t].T @ dzpre
        dUz += hp.T @ dzpre
        dhp = dhp + dzpre @ Uz.T
        drpre = dr * r * (1 - r)
        dWr += X[t].T @ drpre
        dUr += hp.T @ drpre
        dh = dhp + drpre @ Ur.T
    return {"V": dV, "Uh": dUh, "Wh": dWh, "Ur": dUr, "Wr": dWr, "Uz": dUz, "Wz": dWz, "h0": dh}
"""
MISTAKES = {  # what stands there, what is written instead, the cause, and whether the repair is that very line
    "a gate left out of a weight": ("(r * hp).T @ dcpre", "hp.T @ dcpre", {"missing_factor"}),
    "a path forgotten": ("dh = dhp + drpre @ Ur.T", "dh = dhp", {"missing_path"}),
    "a difference turned": ("dz = dh * (c - hp)", "dz = dh * (hp - c)", {"sign"}),
    "a gate left out of a path": ("dhp = dhp + drh * r", "dhp = dhp + drh", {"missing_factor"}),
    "another slope": ("dc * (1 - c ** 2)", "dc * (1 - c)", {"wrong_activation_derivative"}),
    "no transpose": ("dhp + dzpre @ Uz.T", "dhp + dzpre @ Uz", {"missing_transpose"}),
    "the state after the step": ("H[t - 1] if t > 0 else h0", "H[t]", {"wrong_index"}),
}


def inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(*shape, generator=generator, dtype=torch.float64) for n, shape in SIZES.items()}


def gated(X, h0, Wz, Uz, Wr, Ur, Wh, Uh, V, y):
    h, steps = h0, []
    for x in X:
        z, r = torch.sigmoid(x @ Wz + h @ Uz), torch.sigmoid(x @ Wr + h @ Ur)
        c = torch.tanh(x @ Wh + (r * h) @ Uh)
        h = (1 - z) * h + z * c
        steps.append((h, z, r, c))
    H, Z, R, C = (torch.stack(each) for each in zip(*steps, strict=True))
    return 0.5 * ((h @ V - y) ** 2).sum(), {"H": H, "Z": Z, "R": R, "C": C}


def written(source, folder):
    """The backward of a source, with a file to read it from."""
    path = folder / f"backward_{next(NUMBERS)}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.backward


def line_of(source, text):
    return 1 + next(k for k, line in enumerate(source.splitlines()) if text in line)


def test_the_derivation_itself_is_right(tmp_path):
    assert check_derivation(gated, written(BACKWARD, tmp_path), inputs).ok


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_long_loop_is_found_where_it_is(mistake, tmp_path):
    right, wrong, causes = MISTAKES[mistake]
    assert BACKWARD.count(right) == 1
    source = BACKWARD.replace(right, wrong)
    backward = written(source, tmp_path)
    report = check_derivation(gated, backward, inputs, seconds=1)
    first = explain(report, gated, backward, inputs, seconds=60).first_wrong
    assert first.cause in causes, str(first)
    assert int(first.line.partition(":")[2]) in (line_of(source, wrong), line_of(source, "hp = "))


def test_the_first_line_that_makes_no_gradient_is_told_where_no_edit_mends_it(tmp_path):
    source = BACKWARD.replace("dc * (1 - c ** 2)", "dc * torch.cos(3.7 * c + z) * r.exp()")
    backward = written(source, tmp_path)
    report = check_derivation(gated, backward, inputs, seconds=1)
    explained = explain(report, gated, backward, inputs, seconds=4)
    assert explained.first_wrong.cause == "unknown"
    hint = f":{line_of(source, 'dcpre = ')}  dcpre = dc * torch.cos(3.7 * c + z) * r.exp()"
    assert hint in explained.first_wrong.explanation
