"""Edits of loops: what they begin with, what each round makes anew, and which other entry a round adds to."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from compare.explain.site import Proposal, Site
from compare.explain.syntax import call, constant, parsed

INDICES = 6  # other indices of a loop that are looked at


def from_zero(site: Site) -> Iterator[Proposal]:
    """Zeros for what a loop goes on from."""
    node = site.node
    target = node.targets[0]
    if not isinstance(target, ast.Name) or isinstance(node.value, ast.Constant):
        return
    if not any(isinstance(s, ast.For) and _reads(s, target.id) for s in getattr(site.place.above[0], "siblings", ())):
        return
    zeros = call(parsed("torch.zeros_like"), node.value)
    yield Proposal(ast.copy_location(ast.Assign(node.targets, zeros), node), "", 0.0, "zeros")


def anew(site: Site) -> Iterator[Proposal]:
    """`for ...: x = zeros; ...` where x is made before the loop alone, and read and written by its rounds."""
    loop = site.node
    for before in _before(site):
        target = before.targets[0]
        if len(before.targets) == 1 and isinstance(target, ast.Name) and _writes(loop, target.id):
            first = ast.copy_location(ast.Assign(before.targets, before.value), loop.body[0])
            begun = ast.For(loop.target, loop.iter, [first, *loop.body], loop.orelse)
            head = ast.unparse(loop).partition("\n")[0]
            told = f"{head} {ast.unparse(first)}"
            yield Proposal(ast.copy_location(begun, loop), "", 0.0, f"begin {target.id}", told)


def counterpart(site: Site) -> Iterator[Proposal]:
    """`A[j] += v` and `A[k] -= v` for `A[j] += v` in a loop: what a difference takes off is an entry of its own."""
    node = site.node
    outer = next((above for above in site.place.above if isinstance(above, ast.For)), None)
    if outer is None or not isinstance(node.target, ast.Subscript) or not isinstance(node.op, ast.Add | ast.Sub):
        return
    there = _indices(node.target)
    others = {text: index for n in ast.walk(outer) for index in _picking(n) if (text := ast.unparse(index))}
    for old in there:
        for text, index in itertools.islice(others.items(), INDICES):
            if text in map(ast.unparse, there):
                continue
            target = _elsewhere(node.target, old, index)
            for op in (ast.Sub(), ast.Add()) if isinstance(node.op, ast.Add) else (ast.Add(), ast.Sub()):
                other = ast.fix_missing_locations(ast.copy_location(ast.AugAssign(target, op, node.value), node))
                both = ast.If(ast.Constant(True), [node, other], [])
                told = f"{ast.unparse(node)}; {ast.unparse(other)}"
                new = ast.fix_missing_locations(ast.copy_location(both, node))
                yield Proposal(new, "", 0.0 if type(op) is not type(node.op) else 0.4, f"and {text}", told)


def guarded(site: Site) -> Iterator[Proposal]:
    """`if k >= 1: x[k - 1] += v` for `x[k - 1] += v`, which adds to the last entry at k = 0."""
    node = site.node
    for index in _indices(node.target) if isinstance(node.target, ast.Subscript) else ():
        if isinstance(index, ast.BinOp) and isinstance(index.op, ast.Sub) and constant(index.right) is not None:
            test = ast.Compare(index.left, [ast.GtE()], [index.right])
            asked = f"if {ast.unparse(test)}"
            new = ast.fix_missing_locations(ast.copy_location(ast.If(test, [node], []), node))
            yield Proposal(new, "", 0.0, asked, f"{asked}: {ast.unparse(node)}")


def _indices(node: ast.Subscript) -> list[ast.expr]:
    """The indices of a subscript that are no slices and no numbers."""
    each = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return [e for e in each if not isinstance(e, ast.Slice | ast.Constant)]


def _picking(node: ast.AST) -> list[ast.expr]:
    """The expressions of a node that pick an entry: indices, and what they are compared with."""
    if isinstance(node, ast.Compare):
        return [e for e in (node.left, *node.comparators) if isinstance(e, ast.Name | ast.Subscript)]
    return _indices(node) if isinstance(node, ast.Subscript) else []


def _elsewhere(target: ast.Subscript, old: ast.expr, new: ast.expr) -> ast.Subscript:
    """The subscript with another index in the place of one."""
    at: ast.expr = new
    if isinstance(target.slice, ast.Tuple):
        at = ast.Tuple([new if e is old else e for e in target.slice.elts], ast.Load())
    return ast.Subscript(target.value, at, target.ctx)


def _before(site: Site) -> Iterator[ast.Assign]:
    """The assignments before a loop, in the block in which it stands."""
    block = getattr(site.place.parent, "body", ())
    if site.node not in block or isinstance(site.place.parent, ast.Module):
        block = getattr(site.place.above[0], "siblings", block)
    for statement in block:
        if statement is site.node:
            return
        if isinstance(statement, ast.Assign) and _reads(site.node, ast.unparse(statement.targets[0])):
            yield statement


def _reads(loop: ast.AST, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for n in ast.walk(loop))


def _writes(loop: ast.AST, name: str) -> bool:
    added = {n.target.id for n in ast.walk(loop) if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}
    stored = {n.id for n in ast.walk(loop) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return name in added | stored
