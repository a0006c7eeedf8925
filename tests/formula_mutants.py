"""Formulas with one edit each, from their source: other signs and operators, no transposition, another number."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.Pow: ast.Mult,
}


def edits(node: ast.AST) -> Iterator[ast.AST]:
    """What a slip of the pen makes of one node."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        yield ast.Constant(node.value + 1)
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Gt | ast.Lt):
        turned = ast.Lt() if isinstance(node.ops[0], ast.Gt) else ast.Gt()
        yield ast.Compare(node.left, [turned], node.comparators)


def mutants(formula: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every edit of a formula: its new text, and the function that it makes."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(formula)))
    places = [(i, k) for i, node in enumerate(ast.walk(tree)) for k, _ in enumerate(edits(node))]
    for i, k in places:
        changed = copy.deepcopy(tree)
        node = list(ast.walk(changed))[i]
        new = list(edits(node))[k]
        changed = ast.fix_missing_locations(Replace(node, new).visit(changed))
        functions: dict[str, Any] = dict(formula.__globals__)
        exec(compile(changed, "<edited>", "exec"), functions)  # our own source, with one node changed
        without_docstring = changed.body[0].body[1:]  # type: ignore[attr-defined]
        yield "; ".join(map(ast.unparse, without_docstring)), functions[formula.__name__]


class Replace(ast.NodeTransformer):
    """One node by another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        """The new node in the place of the old."""
        return self.new if node is self.old else self.generic_visit(node)
