"""Edits of what belongs together: brackets moved, a term or factor on the other side of a call or product."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from compare.explain.edits_moments import under_root
from compare.explain.site import Proposal, Site
from compare.explain.syntax import attribute, binary, constant, factors_of


def bracket(site: Site) -> Iterator[Proposal]:
    """a * (b + c) for a * b + c, and the reverse; f(a) + b for f(a + b); a factor on the other side of a product."""
    node = site.node
    if isinstance(node, ast.Call):
        for at, inner in enumerate(node.args):
            if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Add | ast.Sub) and site.shape:
                for kept, out in ((inner.left, inner.right), (inner.right, inner.left)):
                    if constant(out) is None and (kept is inner.left or isinstance(inner.op, ast.Add)):
                        called = ast.copy_location(
                            ast.Call(node.func, [*node.args[:at], kept, *node.args[at + 1 :]], node.keywords), node
                        )
                        yield Proposal(binary(called, inner.op, out), "", 0.4, "f(a) + b")
        return
    left, right = node.left, node.right
    yield from _through(node)
    yield from under_root(site)
    if isinstance(node.op, ast.Add) and constant(right) is None:
        for called, other in ((left, right), (right, left)):
            if isinstance(called, ast.Call) and called.args:
                summed = [binary(called.args[0], ast.Add(), other), *called.args[1:]]
                joined = ast.copy_location(ast.Call(called.func, summed, called.keywords), node)
                yield Proposal(joined, "", 0.6, "f(a + b)")
    if (
        isinstance(node.op, ast.Add | ast.Sub)
        and isinstance(left, ast.BinOp)
        and isinstance(left.op, ast.Mult | ast.Div)
    ):
        held = ast.unparse(left.left) in map(ast.unparse, factors_of(right))  # r y - r r x: a power of r is lost
        cause = "missing_factor" if held and isinstance(left.op, ast.Mult) else ""
        yield Proposal(binary(left.left, left.op, binary(left.right, node.op, right)), cause, 0.0, "a (b + c)")
    if (
        isinstance(node.op, ast.Mult | ast.Div)
        and isinstance(right, ast.BinOp)
        and isinstance(right.op, ast.Add | ast.Sub)
    ):
        yield Proposal(binary(binary(left, node.op, right.left), right.op, right.right), "", 0.0, "a b + c")
    if (
        isinstance(node.op, ast.Mult | ast.Div)
        and isinstance(left, ast.BinOp)
        and isinstance(left.op, ast.Add | ast.Sub)
    ):
        yield Proposal(binary(left.left, left.op, binary(left.right, node.op, right)), "", 0.2, "a + b c")
    if isinstance(node.op, ast.Mult) and isinstance(left, ast.Call) and len(left.args) == 1:
        inner = binary(left.args[0], ast.Mult(), right)
        yield Proposal(ast.copy_location(ast.Call(left.func, [inner], left.keywords), node), "", 0.4, "f(a b)")
    if isinstance(node.op, ast.Add | ast.Sub):
        tail: list[ast.BinOp] = []
        while isinstance(right, ast.BinOp) and isinstance(right.op, ast.Mult | ast.Div):
            tail.append(right)
            right = right.left
            made = binary(left, node.op, right)
            for factor in reversed(tail):
                made = binary(made, factor.op, factor.right)
            yield Proposal(made, "", 0.2, "(a + b) c" + " d" * (len(tail) - 1))


def _through(node: ast.BinOp) -> Iterator[Proposal]:
    """An element-wise factor on the other side of a matrix product: (a @ W) * s for (a * s) @ W, a.T @ (s * d) ..."""
    left, right = node.left, node.right
    if isinstance(node.op, ast.MatMult):
        for a, b in _two(left):
            yield Proposal(binary(binary(a, ast.MatMult(), right), ast.Mult(), b), "", 0.2, "(a @ W) s")
        turned = isinstance(left, ast.Attribute) and left.attr == "T"
        first = left.value if isinstance(left, ast.Attribute) and turned else left
        for a, b in _two(first):
            kept = attribute(a, "T") if turned else a
            yield Proposal(binary(kept, ast.MatMult(), binary(b, ast.Mult(), right)), "", 0.2, "a @ (s d)")
        for a, b in _two(right):
            moved = binary(first, ast.Mult(), a)
            yield Proposal(binary(attribute(moved, "T") if turned else moved, ast.MatMult(), b), "", 0.2, "(a s) @ d")
    elif isinstance(node.op, ast.Mult):
        for product, s in ((left, right), (right, left)):
            if isinstance(product, ast.BinOp) and isinstance(product.op, ast.MatMult):
                inner = binary(binary(product.left, ast.Mult(), s), ast.MatMult(), product.right)
                yield Proposal(inner, "", 0.2, "(a s) @ W")
                yield Proposal(
                    binary(product.left, ast.MatMult(), binary(s, ast.Mult(), product.right)), "", 0.4, "a @ (s W)"
                )


def _two(node: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The two factors of a product, either one first."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield node.left, node.right
        yield node.right, node.left
