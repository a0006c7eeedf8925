"""Edits that put a quantity, a derivative, a mask or a count in place of a whole expression."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from torch import Tensor

from compare.explain.edits_factors import BY_CHANCE
from compare.explain.named import Term
from compare.explain.site import Proposal, Site
from compare.explain.syntax import binary, constant, names, number, parsed

SHORT = 4  # operations of a formula that anyone would write; a longer one is the less likely the longer it is


def replaced(site: Site) -> Iterator[Proposal]:
    """A quantity, a derivative or a mask of the same shape in place of an expression."""
    node, reach = site.node, site.reach
    if not (site.in_arithmetic or site.in_index) or constant(node) is not None or not isinstance(node, ast.expr):
        return
    if isinstance(node, ast.Call) and isinstance(site.place.parent, ast.Expr | ast.For):
        return
    if site.known and isinstance(site.value, int) and site.in_index:
        for name in sorted(reach.counts - names(node)):
            if name.isidentifier():
                away = 0.6 if reach.counted(name) or name.isupper() else 0.0  # a size, seldom an index
                yield Proposal(parsed(name), "wrong_index", away - 1.8, f"{ast.unparse(node)} {name}")
        return
    if site.known and isinstance(site.value, int | float):
        cause = "wrong_axis" if shaping(site.place.parent) else "wrong_count"
        if site.under(ast.Div, ast.FloorDiv):
            sums = [t.text for t in reach.plain if t.value.ndim == 1 and bool((t.value >= 0).all())]
            yield from (Proposal(parsed(f"{text}.sum()"), cause, -1.0, f"/ {text}.sum()") for text in sums)
            if isinstance(site.value, int):
                yield Proposal(binary(node, ast.Sub(), number(1, node)), cause, -1.0, f"{ast.unparse(node)} - 1")
        for size in (*reach.sizes, *(t for t in reach.numbers if t.role == "constant" and t.text in reach.counts)):
            if size.text != ast.unparse(node) and not isinstance(node, ast.UnaryOp):
                away = BY_CHANCE if reach.averaged(float(site.value)) and not reach.averaged(size.value) else 0.0
                away += 0.0 if _counts(site) else BY_CHANCE
                away += BY_CHANCE if "//" in size.text else 0.0
                yield Proposal(parsed(size.text), cause, -2.2 + 6 * away, f"{ast.unparse(node)} {size.text}")
        return
    array = site.array
    if array is None:
        return
    if array.ndim == 0 and site.under(ast.Div):  # how many are counted, for how many there are
        yield from (Proposal(parsed(t.text), "wrong_count", -1.8, f"/ {t.text}") for t in reach.sizes)
    above = site.place.parent
    written_to = ast.unparse(above.targets[0]) if isinstance(above, ast.Assign) else ""
    for candidate in (*reach.derivatives, *reach.masks, *reach.plain, *_complements(reach.factors), *reach.written):
        value = candidate.value
        if value.shape != array.shape or bool((value == array).all()):
            continue
        cause = "wrong_operand"
        if candidate.text == written_to:
            cause = "unknown"  # as if the statement were left out
        elif candidate.role == "derivative":
            part = ast.unparse(node) in candidate.text.replace("(", "").replace(")", "").split(" * ")
            cause = "missing_activation_derivative" if part else "wrong_activation_derivative"
        elif candidate.role == "mask":
            cause = "wrong_mask"
        elif candidate.role == "complement" and "*" in candidate.text:  # a (1 - a), 1 - a ** 2
            cause = "wrong_activation_derivative"
        elif _almost(value, array):
            cause = "wrong_epsilon"
        else:
            cause = _part(node, candidate.text) or cause
        cost = {"derivative": -0.8, "mask": -0.2, "tensor": 0.0}.get(candidate.role, 0.5)
        cost += 0.08 * (_operations(node) + max(_operations(parsed(candidate.text)) - SHORT, 0))
        yield Proposal(parsed(candidate.text), cause, cost, candidate.text)


def _operations(node: ast.expr) -> int:
    return sum(isinstance(inner, ast.BinOp | ast.Call) for inner in ast.walk(node))


def _counts(site: Site) -> bool:
    """Whether a number stands where a count does: below a fraction's line, or in a call, or is a size itself."""
    if site.under(ast.Div, ast.FloorDiv) or not isinstance(site.place.parent, ast.BinOp):
        return True
    return site.reach.is_size(float(site.value))


def shaping(node: ast.AST) -> bool:
    """Whether a call parts or joins axes."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("reshape", "view", "unflatten")


def _part(node: ast.expr, text: str) -> str:
    """The mistake of an expression that holds more than the one that belongs there."""
    while isinstance(node, ast.BinOp):
        left, right = ast.unparse(node.left), ast.unparse(node.right)
        if text in (left, right):
            return "path_twice" if isinstance(node.op, ast.Add | ast.Sub) else "extra_derivative"
        node = node.left
    return ""


def _complements(terms: list[Term]) -> Iterator[Term]:
    return (term for term in terms if term.role == "complement")


def _almost(value: Tensor, other: Tensor) -> bool:
    return bool((value - other).norm() < 1e-2 * value.norm())
