"""Backwards that are hard to read or hostile: told from numbers or unknown, never wrong, in time, files unchanged."""

from __future__ import annotations

import ast
import functools
import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from compare.check.derivation import check_derivation
from compare.explain import explain
from compare.explain.around import Around
from compare.explain.program import NotReadable, read
from compare.explain.service import explain_file
from compare.explain.syntax import places
from compare.explain.trial import Trial
from tests.derivations.mlp import NUMBERS, tanh_net

RIGHT = {"z3", "W3", "a2", "b3", "W2", "b2"}  # that these backwards get right, given what they were handed


def gradients(x, y, W3, a2, z3):
    """z2 lacks the slope."""
    d3 = (z3 - y) / len(x)
    d2 = d3 @ W3
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x}


def bare(function):
    def inner(**values):
        return function(**{name: values[name] for name in ("x", "y", "W3", "a2", "z3")})

    return inner


def wrapped(function):
    @functools.wraps(function)
    def inner(x, y, W3, a2, z3):
        return function(x, y, W3, a2, z3)

    return inner


def made(source, name="backward", **inside):
    inside |= {"torch": torch, "np": np}
    exec(source, inside)
    return inside[name]


class Network:
    scale = 1.0

    def backward(self, x, y, W3, a2, z3):
        d3 = self.scale * (z3 - y) / len(x)
        d2 = d3 @ W3
        return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x}


class Callable:
    def __call__(self, x, y, W3, a2, z3):
        return gradients(x, y, W3, a2, z3)


def comprehended(x, y, W3, a2, z3):
    deltas = dict(zip(("z3", "z2"), [(z3 - y) / len(x), (z3 - y) / len(x) @ W3], strict=True))
    return deltas | {name: deltas[z].T @ a for name, z, a in (("W3", "z3", a2), ("W2", "z2", x))}


def with_walrus(x, y, W3, a2, z3):
    return {"z3": (d3 := (z3 - y) / len(x)), "W3": d3.T @ a2, "z2": (d2 := d3 @ W3), "W2": d2.T @ x}


def in_numpy(x, y, W3, a2, z3):
    x, y, W3, a2, z3 = (np.asarray(t) for t in (x, y, W3, a2, z3))
    d3 = (z3 - y) / len(x)
    d2 = d3 @ W3
    return {"z3": d3, "W3": d3.T @ a2, "z2": d2, "W2": d2.T @ x}


def with_while(x, y, W3, a2, z3):
    n = 0
    while n < 3:
        n += 1
    return gradients(x, y, W3, a2, z3)


def waiting(x, y, W3, a2, z3):
    while len(x):
        x = x[1:]
    return gradients(x, y, W3, a2, z3)


def with_try(x, y, W3, a2, z3):
    try:
        return gradients(x, y, W3, a2, z3)
    except ValueError:
        return {}


def recursive(x, y, W3, a2, z3, deep=3):
    return recursive(x, y, W3, a2, z3, deep - 1) if deep else gradients(x, y, W3, a2, z3)


def unicode_names(x, y, W3, a2, z3):
    δ3 = (z3 - y) / len(x)
    δ2 = δ3 @ W3
    return {"z3": δ3, "W3": δ3.T @ a2, "z2": δ2, "W2": δ2.T @ x}


LINES = "\n".join(f"    t{i} = torch.tanh(z3) * {i}" for i in range(1500))
LONG = f"def backward(x, y, W3, a2, z3):\n{LINES}\n    return gradients(x, y, W3, a2, z3)"

STRANGE = {
    "bare decorator": bare(gradients),
    "decorator with wraps": wrapped(gradients),
    "partial": functools.partial(gradients),
    "method": Network().backward,
    "callable object": Callable(),
    "lambda": lambda x, y, W3, a2, z3: gradients(x, y, W3, a2, z3),
    "comprehensions": comprehended,
    "walrus": with_walrus,
    "numpy": in_numpy,
    "while": with_while,
    "try": with_try,
    "recursion": recursive,
    "unicode": unicode_names,
    "exec": made(
        "def backward(x, y, W3, a2, z3):\n    return gradients(x, y, W3, a2, z3)",
        gradients=gradients,
    ),
    "thousands of lines": made(LONG, gradients=gradients),
}


@pytest.mark.parametrize("name", STRANGE)
def test_the_mistake_is_named_however_it_is_written(name):
    backward = STRANGE[name]
    report = check_derivation(tanh_net, backward, NUMBERS, seconds=0.1)
    started = time.monotonic()
    explained = explain(report, tanh_net, backward, NUMBERS, seconds=8.0)
    assert time.monotonic() - started < 30  # the child's start included, on a busy machine
    row = explained["z2"]
    assert row.verdict == "wrong"
    assert row.cause == "missing_activation_derivative"
    assert all(r.cause == "" for r in explained.rows if r.name in RIGHT)


MARK = "marked-by-an-edit"


def writes(x, y, W3, a2, z3):
    np.savetxt(MARK, [1.0])
    return gradients(x, y, W3, a2, z3)


def writes_by_method(x, y, W3, a2, z3):
    z3.numpy().tofile(MARK)
    return gradients(x, y, W3, a2, z3)


def writes_by_name(x, y, W3, a2, z3):
    getattr(torch, "sa" + "ve")(x, MARK)
    return gradients(x, y, W3, a2, z3)


def writes_in_a_default(x, y, W3, a2, z3, nothing=open("/dev/null")):  # noqa: B008, SIM115
    return gradients(x, y, W3, a2, z3)


def climbs(x, y, W3, a2, z3):
    y = y if f"{x.__class__.__mro__}" else x
    return gradients(x, y, W3, a2, z3)


def changes_a_global(x, y, W3, a2, z3):
    global MARK
    MARK = "else"
    return gradients(x, y, W3, a2, z3)


def deletes(x, y, W3, a2, z3):
    d = x
    del d
    return gradients(x, y, W3, a2, z3)


def imports(x, y, W3, a2, z3):
    from os import remove

    remove(MARK)
    return gradients(x, y, W3, a2, z3)


IMPURE = [
    writes,
    writes_by_method,
    writes_by_name,
    writes_in_a_default,
    climbs,
    changes_a_global,
    deletes,
    imports,
    waiting,
    with_try,
    with_walrus,
    Network().backward,
    Callable(),
    functools.partial(gradients),
]


@pytest.mark.parametrize("backward", IMPURE, ids=lambda f: getattr(f, "__name__", type(f).__name__))
def test_what_may_have_side_effects_is_never_edited(backward):
    with pytest.raises(NotReadable):
        read(backward)


FOREVER = """
import torch
from compare import real

inputs = {"x": real("m", "d"), "w": real("d")}

def forward(x, w):
    z = x @ w
    return (z * z).sum(), {"z": z}

def backward(x, w, z):
    dz = z
    for i in range(len(x) ** 0):
        dz = dz + 0 * i
    return {"z": dz, "w": dz @ x}
"""


def test_edits_that_never_end_are_stopped_and_the_file_stays_as_it_is(tmp_path):
    """`** 0` becomes `** 9`, `* 9` ...: some edits of this loop run for ever."""
    file = tmp_path / "hw.py"
    file.write_text(FOREVER)
    before = hashlib.sha256(file.read_bytes()).digest()
    inside: dict = {}
    exec(FOREVER, inside)
    report = check_derivation(inside["forward"], inside["backward"], inside["inputs"], seconds=0.1)
    started = time.monotonic()
    row = explain_file(report, file, seconds=6.0)["z"]
    assert time.monotonic() - started < 30
    assert row.cause == "wrong_factor"
    assert hashlib.sha256(file.read_bytes()).digest() == before
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".pyc" and p.name != "__pycache__"] == ["hw.py"]


DIES = FOREVER.replace("dz = z\n", "dz = z\n    if MARK.exists():\n        import os; os._exit(3)\n").replace(
    "import torch\n", "import pathlib\nimport torch\nMARK = pathlib.Path(__file__).with_name('mark')\n"
)


def test_a_file_whose_child_dies_keeps_its_report_and_the_reader_is_told(tmp_path):
    file = tmp_path / "hw.py"
    file.write_text(DIES)
    inside: dict = {"__file__": str(file)}
    exec(DIES, inside)
    report = check_derivation(inside["forward"], inside["backward"], inside["inputs"], seconds=0.1)
    Path(tmp_path / "mark").touch()
    told = explain_file(report, file, seconds=3.0)
    assert told.rows == report.rows
    assert told.notes[:-1] == report.notes
    assert told.notes[-1].startswith("no causes were found: ")


def halved(z):
    dz = z * 2
    return {"z": dz}


def test_what_an_edit_would_be_is_given_up_where_that_takes_too_long():
    """The values of an edit are looked at before it is run; one that does not come is none."""
    trial = Trial(read(halved), {"z": torch.ones(3)})
    around = Around(trial, trial.snapshots(), "z", frozenset("z"), frozenset())
    place = next(places(trial.statements[0]))
    started = time.process_time()
    assert around.evaluated(ast.parse("[z for _ in range(10**9)]", mode="eval").body, place, 0, 0) is None
    assert torch.equal(around.evaluated(ast.parse("z + z", mode="eval").body, place, 0, 0), 2 * torch.ones(3))
    assert time.process_time() - started < 5
