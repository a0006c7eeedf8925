"""What an edit means: the mistake of an expression that stands where another belongs, by what the two are."""

from __future__ import annotations

import ast

from compare.explain.edits_calls import REDUCTIONS, called, operand
from compare.explain.named import tensor
from compare.explain.site import Site


def meaning(site: Site, new: ast.expr, old: ast.expr | None = None) -> str:
    """The mistake that `new` mends at a site, by how the two are written and by their values; "" where it is open."""
    if _along_others(old or site.node, new):
        return "wrong_axis"
    return site.reach.effect(site.array, tensor(site.evaluated(new)))


def _along_others(old: ast.expr, new: ast.expr) -> bool:
    """Whether two expressions reduce the same thing along different axes."""
    first, second = _reductions(old), _reductions(new)
    return any(first[each] != second[each] for each in first.keys() & second.keys())


def _reductions(node: ast.expr) -> dict[tuple[str, str], str]:
    found = {}
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and called(call) in REDUCTIONS and (inner := operand(call)) is not None:
            found[called(call), ast.unparse(inner)] = ast.unparse(call)
    return found
