"""Edits spelt as NumPy has them, where what they work on are NumPy's arrays."""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

import numpy as np

from compare.explain.syntax import names, parsed

OTHERWISE = {"sigmoid": "1 / (1 + np.exp(-x))", "softplus": "np.log1p(np.exp(x))"}  # what NumPy has no name for


def in_numpy(new: Any, arrays: Collection[str], numpy: str = "np") -> Any:
    """The same edit with `np.f` for `torch.f` and `keepdims` for `keepdim`, if it names any of these arrays.

    `numpy` is the name by which the program knows NumPy.
    """
    if not arrays or not isinstance(new, ast.AST) or not _to_be_spelt(new) or not names(new) & set(arrays):
        return new
    return _InNumpy(numpy).visit(new)


def _to_be_spelt(new: ast.AST) -> bool:
    return any(
        (isinstance(n, ast.Name) and n.id in ("torch", "np"))
        or (isinstance(n, ast.keyword) and n.arg == "keepdim")
        or (isinstance(n, ast.Attribute) and n.attr == "numel")
        for n in ast.walk(new)
    )


class _InNumpy(ast.NodeTransformer):
    """Builds anew what it changes: the nodes are shared with other edits and with the program."""

    def __init__(self, numpy: str) -> None:
        self.numpy = numpy

    def generic_visit(self, node: ast.AST) -> ast.AST:
        fields = {name: self._of(value) for name, value in ast.iter_fields(node)}
        if all(fields[name] is value for name, value in ast.iter_fields(node)):
            return node
        made = ast.copy_location(type(node)(**fields), node)
        if hasattr(node, "begins"):  # what a loop begins with
            made.begins = made.body[0]  # type: ignore[attr-defined]
        return made

    def _of(self, value: Any) -> Any:
        if isinstance(value, list):
            made = [self._of(each) for each in value]
            return value if all(a is b for a, b in zip(made, value, strict=True)) else made
        return self.visit(value) if isinstance(value, ast.AST) else value

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = ast.unparse(node.func).rpartition(".")[2]
        if ast.unparse(node.func).startswith("torch.") and name in OTHERWISE and len(node.args) == 1:
            formula = _Put(self.visit(node.args[0])).visit(
                ast.parse(OTHERWISE[name].replace("np.", f"{self.numpy}."), mode="eval").body
            )
            made: ast.AST = ast.copy_location(formula, node)
            return made
        if isinstance(node.func, ast.Attribute) and node.func.attr == "numel":
            return ast.copy_location(ast.Attribute(self.visit(node.func.value), "size", ast.Load()), node)
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        known = isinstance(node.value, ast.Name) and node.value.id in {"torch", "np"} - {self.numpy}
        if known and hasattr(np, node.attr):
            return ast.copy_location(ast.Attribute(parsed(self.numpy), node.attr, node.ctx), node)
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg == "keepdim":
            return ast.copy_location(ast.keyword("keepdims", node.value), node)
        return self.generic_visit(node)


class _Put(ast.NodeTransformer):
    """Puts an expression in place of x."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def visit_Name(self, node: ast.Name) -> ast.AST:
        made: ast.AST = self.inner if node.id == "x" else node
        return made
