"""Edits of means and variances: by which number they divide, and where epsilon joins them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from compare.explain.edits_calls import called, is_method, operand, renamed
from compare.explain.site import Proposal, Site
from compare.explain.syntax import attribute, binary, constant, number, parsed

SMALL = 0.1  # a number below is an epsilon
SPREADS = ("var", "std")


def counted(site: Site) -> Iterator[Proposal]:
    """n - 1 for n, or n for n - 1, in a variance, a standard deviation or a mean."""
    node = site.node
    inner = operand(node)
    if inner is None:
        return
    value = site.evaluated(inner)
    if called(node) in SPREADS:
        word, by_default = ("ddof", 0) if isinstance(value, np.ndarray) else ("correction", 1)
        spelt = {"ddof", "correction", "unbiased"}
        others = [k for k in node.keywords if k.arg not in spelt]
        now = next((constant(k.value) for k in node.keywords if k.arg in spelt), by_default)
        other = 1 - int(now) if now in (0, 1) else 1 - by_default
        keywords = (
            others
            if other == by_default
            else [*others, ast.copy_location(ast.keyword(word, number(other, node)), node)]
        )
        yield Proposal(ast.copy_location(ast.Call(node.func, node.args, keywords), node), "", 0.0, word)
        if called(node) == "std":
            for term in site.reach.numbers:  # the epsilon that keeps the quotient finite
                if term.role == "constant" and 0 < term.value < SMALL:
                    summed = binary(renamed(node, "var"), ast.Add(), parsed(term.text))
                    root = ast.copy_location(ast.BinOp(summed, ast.Pow(), ast.Constant(0.5)), node)
                    yield Proposal(ast.fix_missing_locations(root), "wrong_epsilon", 0.2, f"std + {term.text}")
    elif called(node) == "mean" and (many := _many(node, value)) > 1:
        fewer = number(many - 1, node)
        for size in site.reach.sizes:
            if size.value == many:
                fewer = binary(ast.parse(size.text, mode="eval").body, ast.Sub(), number(1, node))
                break
        yield Proposal(binary(renamed(node, "sum"), ast.Div(), fewer), "", 0.4, "n - 1")


def _many(node: ast.Call, value: object) -> int:
    """How many entries a mean runs over, by its first axis; 0 where that is not known."""
    if not isinstance(value, np.ndarray | Tensor):
        return 0
    axes = [k.value for k in node.keywords if k.arg in ("dim", "axis")] + node.args[0 if is_method(node) else 1 :]
    if not axes:
        return int(np.prod(value.shape))
    axis = constant(axes[0])
    return value.shape[axis] if isinstance(axis, int) and -value.ndim <= axis < value.ndim else 0


def under_root(site: Site) -> Iterator[Proposal]:
    """(v + eps).sqrt() for v.sqrt() + eps, sqrt(v + eps) for sqrt(v) + eps, (var + eps) ** 0.5 for std + eps."""
    node = site.node
    if not isinstance(node.op, ast.Add) or not isinstance(node.left, ast.Call):
        return
    call, plain = node.left, constant(node.right)
    added = site.reach.scalars.get(ast.unparse(node.right)) if plain is None else plain
    inner = operand(call) if called(call) in ("sqrt", "rsqrt", "std") else None
    if inner is None or added is None or not 0 < added < SMALL:
        return
    if called(call) == "std":
        summed = binary(renamed(call, "var"), ast.Add(), node.right)
        new: ast.expr = ast.BinOp(summed, ast.Pow(), ast.Constant(0.5))
    elif is_method(call) and isinstance(call.func, ast.Attribute):
        summed = binary(inner, ast.Add(), node.right)
        new = ast.Call(attribute(summed, call.func.attr), call.args, call.keywords)
    else:
        new = ast.Call(call.func, [binary(inner, ast.Add(), node.right), *call.args[1:]], call.keywords)
    yield Proposal(ast.fix_missing_locations(ast.copy_location(new, node)), "wrong_epsilon", 0.0, "sqrt(v + eps)")
