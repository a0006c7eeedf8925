"""Which edits say nothing where they stand: they undo themselves, or belong to another entry of what is returned."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Collection, Sequence
from typing import Any

import torch

from compare.explain.named import tensor
from compare.explain.site import Proposal, Site, is_slope
from compare.explain.syntax import Place, base, constant, names
from compare.explain.trial import RESULT

STEPS = {"t", "time", "step", "tau"}  # what an index along time is called
VANISHING = 1e-13  # of what stood there: nothing but roundings


def position(place: Place) -> str:
    """What a mistake of arithmetic is where it picks entries: in the bounds of a loop, an index or a comparison."""
    for above, below in place.steps:
        if isinstance(above, ast.Call) and ast.unparse(above.func) == "range":
            return "some_samples"
        if isinstance(above, ast.If | ast.IfExp) and below is above.test:
            return ""
        if isinstance(above, ast.Compare):
            return "wrong_mask"
        if isinstance(above, ast.Subscript) and below is above.slice and not _compares(below):
            return "wrong_index"
    return ""


def layered(site: Site) -> bool:
    """Whether a place picks a layer's entry: of a list of arrays of several shapes, or of a dictionary."""
    picked = [a for a, below in site.place.steps if isinstance(a, ast.Subscript) and below is a.slice]
    picks = picked[-1] if picked else site.node
    held = site.evaluated(picks.value) if isinstance(picks, ast.Subscript) else None
    if not isinstance(held, dict | list | tuple) or names(picks.slice) & STEPS:
        return False
    if isinstance(held, dict) or len({getattr(entry, "shape", ()) for entry in held}) > 1:
        return True
    arrays = [value for entry in held if (value := tensor(entry)) is not None]
    inputs = [site.reach.tensors[n] for n in site.reach.inputs if n in site.reach.tensors]
    return bool(arrays) and all(any(torch.equal(value, own) for own in inputs) for value in arrays)


def _compares(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Compare) for inner in ast.walk(node))


def tested(place: Place) -> bool:
    """Whether a place stands in a comparison that a branch asks for: what is wrong there selects the wrong entries."""
    asked = any(isinstance(a, ast.If | ast.IfExp) and below is a.test for a, below in place.steps)
    return asked and any(isinstance(a, ast.Compare) for a in place.above)


def apart(place: Place) -> str:
    """What a mistake of arithmetic is where single entries are treated apart: `dW[0, -1] *= -1`."""
    for node in (*place.above, place.node):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
            inner = node.target.slice
            each = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if all(isinstance(constant(e), int) for e in each):
                return "special_case"
    return ""


def only_compared(statements: Sequence[ast.stmt], k: int) -> bool:
    """Whether what a statement assigns is nowhere read after it but in comparisons."""
    made = statements[k]
    if not isinstance(made, ast.Assign) or not isinstance(made.targets[0], ast.Name):
        return False
    after = [node for statement in statements[k + 1 :] for node in ast.walk(statement)]
    read = {id(n) for n in after if isinstance(n, ast.Name) and n.id == made.targets[0].id}
    within = {id(n) for each in after if isinstance(each, ast.Compare) for n in ast.walk(each)}
    return bool(read) and read <= within


def passed(place: Place, functions: Collection[str]) -> str:
    """What a number is that one of the program's own functions is given: what it does there decides its name."""
    call = next((a for a in reversed(place.above) if isinstance(a, ast.Call)), None)
    given = isinstance(place.parent, ast.Call | ast.keyword) and constant(place.node) is not None
    return "unknown" if given and call is not None and ast.unparse(call.func) in functions else ""


def cancels(place: Place, new: Any) -> bool:
    """Whether an edit makes `x - x`, `x / x` or `1 - (1 - x)`: zeros, ones and detours that nobody meant."""
    if isinstance(new, ast.expr) and undone(place, new):
        return True
    if is_slope(place.parent) and is_slope(new) and place.field == "right":
        return True
    nodes = [new]
    above = place.parent
    if isinstance(above, ast.BinOp) and isinstance(new, ast.expr) and place.field in ("left", "right"):
        both = {"left": above.left, "right": above.right} | {place.field: new}
        nodes.append(ast.BinOp(both["left"], above.op, both["right"]))
    return any(
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub | ast.Div)
        and not isinstance(node.left, ast.Constant)
        and type(node.left) is type(node.right)
        and (not isinstance(node.left, ast.Name) or node.left.id == getattr(node.right, "id", ""))
        and ast.dump(node.left) == ast.dump(node.right)
        for node in nodes
    )


def undone(place: Place, new: ast.expr) -> bool:
    """Whether a product multiplies by what it divides by as well, as `m * d / m`, and did not before."""
    top = place.node
    for above in reversed(place.above):
        if not (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult | ast.Div)):
            break
        top = above

    def both(other: ast.AST | None) -> set[str]:
        over: set[str] = set()
        under: set[str] = set()
        waiting: list[tuple[ast.AST, bool, bool]] = [(top, True, other is not None)]
        while waiting:
            each, up, old = waiting.pop()
            if old and other is not None and each is place.node:
                each, old = other, False  # which holds the old one, mostly: that is not replaced again
            if isinstance(each, ast.BinOp) and isinstance(each.op, ast.Mult | ast.Div):
                waiting += [(each.left, up, old), (each.right, up == isinstance(each.op, ast.Mult), old)]
            elif constant(each) is None:
                (over if up else under).add(ast.unparse(each))
        return over & under

    after = both(new)
    return bool(after) and bool(after - both(None))


def vanishes(site: Site, proposal: Proposal) -> bool:
    """Whether what is put in is zero by chance, or what holds it, as a mean of what adds up to zero is.

    That would be the place left out, not mended. Called with the edit in.
    """
    new = proposal.new
    if not isinstance(new, ast.expr) or isinstance(new, ast.Compare) or "zeros" in ast.unparse(new):
        return False
    if constant(new) == 0:
        return False
    largest = float(site.array.abs().max()) if site.array is not None and site.array.numel() else 0.0
    held = (ast.BinOp, ast.Call, ast.Attribute, ast.UnaryOp)
    holding = itertools.takewhile(lambda a: isinstance(a, held), reversed(site.place.above))
    for each in (new, *(above for above in holding if isinstance(above, ast.expr))):
        value = tensor(site.evaluated(each))
        if value is None or not value.numel():
            continue
        if float(value.abs().max()) <= VANISHING * largest:
            return True
        largest = max(largest, float(value.abs().max()))
    return False


def elsewhere(place: Place, statement: ast.stmt, target: str) -> bool:
    """Whether a place belongs to another entry of the returned dictionary."""
    for above, below in place.steps:
        if isinstance(above, ast.Dict) and below in above.values and returned(statement, target):
            key = above.keys[above.values.index(below)]
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                return key.value != target
        if isinstance(above, ast.Dict) and below in above.keys:
            return True
    return False


def returned(statement: ast.stmt, target: str) -> bool:
    """Whether a statement is a dictionary of gradients: what is returned, or one that has an entry for the target."""
    made = getattr(statement, "value", None)
    keys = made.keys if isinstance(made, ast.Dict) else []
    return _base_of(statement) == RESULT or any(isinstance(k, ast.Constant) and k.value == target for k in keys)


def returns_all(statement: ast.stmt) -> bool:
    """Whether a statement puts the returned dictionary together: an edit of one entry mends no other."""
    return isinstance(getattr(statement, "value", None), ast.Dict)


def _base_of(statement: ast.stmt) -> str:
    """The name that a statement assigns to, where it is one."""
    return base(statement.targets[0]) if isinstance(statement, ast.Assign) else ""
