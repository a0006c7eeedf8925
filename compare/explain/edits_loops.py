"""Edits of what a loop begins with: zeros, or a value made anew in each round."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from compare.explain.site import Proposal, Site
from compare.explain.syntax import call, parsed


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
            begun.begins = first  # type: ignore[attr-defined]  # told with the head of the loop: `shown` reads it
            yield Proposal(ast.copy_location(begun, loop), "", 0.0, f"begin {target.id}")


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
