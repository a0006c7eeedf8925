"""Wrong derivations by small edits of the right ones, one edit each. Judged apart from the check: see test_corpus.

The edits are those that a hand makes: another operator, a sign, a transpose, a sum or factor left out, another axis,
number, name or comparison. An edit that changes no gradient beyond rounding, or that does not run, is no mutant.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import linecache
import random
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from compare.check.inputs import Spec
from tests.derivations import Case, load
from tests.test_corpus import draw, judge

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.Lt,
    ast.Lt: ast.Gt,
    ast.GtE: ast.Lt,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
}
REDUCTIONS = {"sum": "mean", "mean": "sum"}
FUNCTIONS = {"sigmoid": "tanh", "tanh": "sigmoid", "exp": "expm1", "softmax": "log_softmax", "cos": "sin", "sin": "cos"}
DRAWS = ((0, 1.0, False), (1, 0.7, True), (2, 3.0, False))  # seed, scale of real inputs, a single sample
TOLERANCE = 1e-7

Edit = tuple[str, Callable[[ast.AST], None]]  # what it is, and how to make it in the very node


def edits(function: ast.FunctionDef) -> Iterator[tuple[int, Edit]]:
    """Every edit, with the number of its node in the order of `ast.walk`."""
    loaded = sorted({n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)})
    returned = [n for n in ast.walk(function) if isinstance(n, ast.Dict)]
    keys = {id(key) for each in returned for key in each.keys}
    for number, node in enumerate(ast.walk(function)):
        if id(node) not in keys:
            for edit in _at(node, loaded):
                yield number, edit


def _at(node: ast.AST, names: list[str]) -> Iterator[Edit]:
    if isinstance(node, ast.BinOp):
        for new in OPERATORS.get(type(node.op), ()):
            yield f"{type(new()).__name__} for {type(node.op).__name__}", _setting(op=new())
        if isinstance(node.op, ast.Mult | ast.Div | ast.Add | ast.Sub):
            yield "the right operand left out", _becoming(node.left)
        if isinstance(node.op, ast.Mult | ast.Add):
            yield "the left operand left out", _becoming(node.right)
        if isinstance(node.op, ast.Sub | ast.MatMult):
            yield "operands exchanged", _setting(left=node.right, right=node.left)
        if isinstance(node.op, ast.Mult | ast.MatMult):
            yield "a sign", _becoming(ast.UnaryOp(ast.USub(), copy.deepcopy(node)))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "no sign", _becoming(node.operand)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield "no transpose", _becoming(node.value)
    elif isinstance(node, ast.Attribute) and node.attr in REDUCTIONS:
        yield f"{REDUCTIONS[node.attr]} for {node.attr}", _setting(attr=REDUCTIONS[node.attr])
    elif isinstance(node, ast.Attribute) and node.attr in FUNCTIONS:
        yield f"{FUNCTIONS[node.attr]} for {node.attr}", _setting(attr=FUNCTIONS[node.attr])
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for new in {0: (1,), 1: (0, 2), 2: (1, 3), 0.5: (1.0,)}.get(node.value, (node.value + 1,)):
            yield f"{new} for {node.value}", _setting(value=new)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield "another comparison", _setting(ops=[COMPARISONS[type(node.ops[0])]()])
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        alike = [name for name in names if name != node.id and name[:1].isalpha() and len(name) < 6]
        for name in alike:
            yield f"{name} for {node.id}", _setting(id=name)


def _setting(**fields: Any) -> Callable[[ast.AST], None]:
    def edit(node: ast.AST) -> None:
        for name, value in fields.items():
            setattr(node, name, copy.deepcopy(value))

    return edit


def _becoming(other: ast.AST) -> Callable[[ast.AST], None]:
    """Make the node another one, in its place."""
    kept = copy.deepcopy(other)

    def edit(node: ast.AST) -> None:
        node.__class__ = kept.__class__
        node.__dict__.clear()
        node.__dict__.update(kept.__dict__)

    return edit


def mutants_of(case: Case, wanted: int, seed: int = 0) -> list[Case]:
    """Up to `wanted` mutants of a right derivation; none where its source cannot be executed by itself."""
    function = inspect.unwrap(case.backward)
    code = getattr(function, "__code__", None)
    if code is None or code.co_freevars or {"empty", "empty_like"} & set(code.co_names):
        return []  # what is left unwritten holds whatever was in memory
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source).body[0]
    except (OSError, SyntaxError, IndentationError):
        return []
    if not isinstance(tree, ast.FunctionDef):
        return []
    tree.decorator_list = []
    possible = list(edits(tree))
    random.Random(f"{seed} {case.name}").shuffle(possible)
    found: list[Case] = []
    for number, (what, edit) in possible[: 12 * wanted]:
        if len(found) == wanted:
            break
        mutated = copy.deepcopy(tree)
        edit(list(ast.walk(mutated))[number])
        mutant = _made(case, mutated, function.__globals__, f"{what}, {number}")
        if mutant is not None:
            found.append(mutant)
    return found


def _made(case: Case, tree: ast.FunctionDef, scope: dict[str, Any], what: str) -> Case | None:
    file, inside = f"<{case.name}: {what}>", dict[str, Any]()
    try:
        source = ast.unparse(ast.fix_missing_locations(ast.Module([tree], []))) + "\n"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for inspect.getsource
        exec(compile(source, file, "exec"), scope, inside)
    except (SyntaxError, ValueError):
        return None
    backward = inside[tree.name]
    mutant = Case(f"{case.name}: {what}", "wrong", case.forward, backward, case.inputs, options=case.options)
    specs = not callable(case.inputs) and any(isinstance(value, Spec) for value in case.inputs.values())
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    steps: set[str] = set()
    ends: set[str] = set()
    torch.set_warn_always(True)
    try:
        for k, scale, one_sample in DRAWS if specs else DRAWS[:1]:
            values = draw(case.inputs, k, scale, one_sample=one_sample)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                whole, own, given, _ = judge(mutant, values, TOLERANCE)
            if given != judge(case, values, TOLERANCE)[2]:
                return None
            ends |= whole
            steps |= own
    except Exception:  # an edit that does not run, or that torch warns of, is no mutant, whatever it raises
        return None
    finally:
        torch.set_default_dtype(before)
        torch.set_warn_always(False)
    if not ends or not steps:
        return None
    return Case(mutant.name, "wrong", case.forward, backward, case.inputs, tuple(sorted(steps)), options=case.options)


@functools.cache
def mutants(each: int = 7) -> tuple[Case, ...]:
    """Up to `each` mutants of every right derivation of the corpus without a convention of its own."""
    sources = [case for case in load() if case.kind == "correct" and not case.options]
    return tuple(mutant for case in sources for mutant in mutants_of(case, each))
