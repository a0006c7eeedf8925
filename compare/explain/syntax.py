"""Small pieces of syntax trees: building expressions, walking their places, changing one and changing it back."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4096)
def parsed(text: str) -> ast.expr:
    """The expression that a text stands for. Shared: never changed."""
    return ast.parse(text, mode="eval").body


def binary(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.expr:
    """`left op right`."""
    return ast.copy_location(ast.BinOp(left, op, right), left)


def negative(node: ast.expr) -> ast.expr:
    """`-node`."""
    return ast.copy_location(ast.UnaryOp(ast.USub(), node), node)


def number(value: float | int, like: ast.expr) -> ast.expr:
    """A constant; negative ones as Python's parser has them."""
    constant = ast.copy_location(ast.Constant(abs(value)), like)
    return negative(constant) if value < 0 else constant


def attribute(node: ast.expr, name: str) -> ast.expr:
    """`node.name`."""
    return ast.copy_location(ast.Attribute(node, name, ast.Load()), node)


def call(function: ast.expr, *args: ast.expr, **keywords: ast.expr) -> ast.expr:
    """`function(*args, **keywords)`."""
    named = [ast.copy_location(ast.keyword(name, value), function) for name, value in keywords.items()]
    return ast.copy_location(ast.Call(function, list(args), named), function)


def method(node: ast.expr, name: str, *args: ast.expr, **keywords: ast.expr) -> ast.expr:
    """`node.name(*args, **keywords)`."""
    return call(attribute(node, name), *args, **keywords)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a node stands: the field of its parent, and its position there."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    above: tuple[ast.AST, ...]  # from the statement at the top down to the parent

    @property
    def steps(self) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Each node above with the one below it, down to the node itself."""
        return itertools.pairwise((*self.above, self.node))

    @property
    def statement(self) -> ast.stmt | None:
        """The innermost statement that the node is or stands in."""
        return next((s for s in (self.node, *reversed(self.above)) if isinstance(s, ast.stmt)), None)

    def put(self, new: Any) -> None:
        """Set what stands here."""
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new


def places(top: ast.AST, above: tuple[ast.AST, ...] = ()) -> Iterator[Place]:
    """Every place below a node, outermost first."""
    above = (*above, top)
    for field, value in ast.iter_fields(top):
        if isinstance(value, ast.AST):
            yield Place(value, top, field, None, above)
            yield from places(value, above)
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                if isinstance(entry, ast.AST):
                    yield Place(entry, top, field, index, above)
                    yield from places(entry, above)


def names(node: ast.AST) -> set[str]:
    """Every name that occurs."""
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def base(node: ast.expr) -> str:
    """The name that an assignment target changes: `dz` of `dz`, `dz[0]` and `dz.T[i]`."""
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def targets(statement: ast.stmt) -> list[ast.expr]:
    """What a statement assigns to, adds to, deletes or loops with."""
    if isinstance(statement, ast.Assign | ast.Delete):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AugAssign | ast.AnnAssign | ast.For) else []


def constant(node: ast.AST | None) -> float | int | None:
    """The number that an expression is, with its sign; None where it is none."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    return None


def factors_of(node: ast.expr) -> list[ast.expr]:
    """The factors of a product; of anything else, itself."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*factors_of(node.left), *factors_of(node.right)]
    return [node]
