"""Two edits that mend a step together: told as one, under the name of one mistake."""

from __future__ import annotations

import ast
from collections.abc import Callable

from compare.explain.shown import Shown

TERMS = ("missing_l2", "missing_path", "path_twice")  # what a term put in or taken out mends
MOVED = ("order_of_operations", "a term stands in the wrong place", "um termo está no lugar errado")


def merged(first: list[Shown], second: list[Shown]) -> list[Shown]:
    """Two edits of one line told as one."""
    lines = {(s.file, s.line): s for s in first}
    for s in second:
        key = next((at for at, before in lines.items() if before.new == s.old), (s.file, s.line))
        before = lines.get(key)
        lines[key] = s if before is None else Shown(*key, before.old, s.new)
    return list(lines.values())


def moved(first: str, second: str) -> bool:
    """Whether one edit takes a term or factor out and the other puts the same one in elsewhere."""
    (out, gone), (put, new) = (key.partition(": ")[::2] for key in (first, second))
    if out != "take a factor or term out" or gone[2:] != new[2:].partition(" @ ")[0]:
        return False
    return put == ("put a term in" if gone[0] == "-" else "put a factor in")


def opposite(lines: list[Shown], first: str, second: str, number: Callable[[str], float | None]) -> bool:
    """Whether one edit multiplies by what the other divides by: nobody forgets both.

    `number` is what a factor is, so that len(x) and m are one.
    """
    (before, factors), (put, new) = (key.partition(": ")[::2] for key in (first, second))
    if put != "put a factor in":
        return False
    op, factor = new[0], new[2:].partition(" @ ")[0]
    undoes = (f"* {factor}", f"{factor} * ") if op == "/" else (f"/ {factor}",)
    if any(line.new.count(text) > line.old.count(text) for line in lines for text in undoes):
        return True
    if before != put or {factors[:1], op} != {"*", "/"}:
        return False
    value = number(factor)
    return value is not None and value == number(factors[2:].partition(" @ ")[0])


def joined(first: str, second: str, lines: list[Shown]) -> str:
    """The one mistake that two edits mend together."""
    slopes = {"extra_derivative", "missing_activation_derivative", "wrong_activation_derivative"}
    if {first, second} <= slopes or "wrong_activation_derivative" in (first, second):
        return "wrong_activation_derivative"
    cause = first if second in ("wrong_axis", "missing_transpose") else second
    one_term = all(_one_term_for_another(line.old, line.new) for line in lines)
    return "wrong_operand" if cause in TERMS and one_term else cause


def _one_term_for_another(old: str, new: str) -> bool:
    """Whether two lines are the same sum but for one term: what one edit took out with it, the other has put back."""
    before, after = (_terms(text) for text in (old, new))
    return len(before - after) == len(after - before) == 1


def _terms(text: str) -> set[str]:
    """The terms of the right-hand side of a line, or of an entry of a dictionary."""
    try:
        node = ast.parse(text if "=" in text else f"{{{text}}}").body[0]
    except SyntaxError:
        return set()
    value = getattr(node, "value", None)
    waiting = [value.values[0] if isinstance(value, ast.Dict) and value.values else value]
    found = set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.BinOp) and isinstance(each.op, ast.Add):
            waiting += [each.left, each.right]
        elif isinstance(each, ast.expr):
            found.add(ast.unparse(each))
    return found
