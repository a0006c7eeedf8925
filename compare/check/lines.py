"""Where in the source a backward computes each quantity that it returns. Read from the syntax tree; nothing is run."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

Entry = tuple[str, ast.expr, int]  # a key, the expression of its value, the line where it is set


def source_lines(backward: Callable[..., Any]) -> dict[str, str]:
    """`{"z2": "hw.py:41"}`: for each returned name the line where its value is computed; empty where unknown."""
    try:
        function = inspect.unwrap(backward)
        function = getattr(function, "__func__", function)
        source, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(source)))
        file = Path(inspect.getsourcefile(function) or "").name
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return {}
    definition = next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)), None)
    if definition is None or not file:
        return {}
    return {name: f"{file}:{line + first - 1}" for name, line in lines_of(definition).items()}


def lines_of(function: ast.FunctionDef) -> dict[str, int]:
    """For each key of the dictionary that a function returns, the line of its value's computation.

    The dictionary is a literal, `dict(...)`, or a name that is given entries: `grads["z2"] = ...`,
    `grads.update(...)`, `grads |= {...}`. A value that is a name counts where that name was last assigned.
    """
    statements = _statements(function.body)
    returned = [s for s in statements if isinstance(s, ast.Return) and s.value is not None]
    if not returned:
        return {}
    last = returned[-1]
    return {name: _computed(value, statements, at) for name, value, at in _entries(last.value, statements, last.lineno)}


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Every statement of a function in the order of the text; not those of functions inside it."""
    found: list[ast.stmt] = []
    for statement in body:
        found.append(statement)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for field in ("body", "orelse", "finalbody"):
            found += _statements(getattr(statement, field, []))
        for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            found += _statements(handler.body)
    return found


def _entries(node: ast.expr | None, statements: list[ast.stmt], at: int) -> list[Entry]:
    """The entries of a dictionary made in line `at`, in the order in which they are set: the last one counts."""
    if isinstance(node, ast.Dict):
        entries: list[Entry] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                entries += _entries(value, statements, at)
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                entries.append((key.value, value, at))
        return entries
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return _arguments(node, statements, at)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _entries(node.left, statements, at) + _entries(node.right, statements, at)
    if isinstance(node, ast.Name):
        return _filled(node.id, statements, at)
    return []


def _arguments(call: ast.Call, statements: list[ast.stmt], at: int) -> list[Entry]:
    """The entries that `dict(...)` or `.update(...)` sets."""
    entries = [entry for positional in call.args for entry in _entries(positional, statements, at)]
    for keyword in call.keywords:
        if keyword.arg is None:
            entries += _entries(keyword.value, statements, at)
        else:
            entries.append((keyword.arg, keyword.value, at))
    return entries


def _filled(name: str, statements: list[ast.stmt], before: int) -> list[Entry]:
    """The entries of the dictionary called `name`, from the statements above line `before` that build it."""
    entries: list[Entry] = []
    for statement in statements:
        if statement.lineno >= before:
            continue
        at = statement.lineno
        for target, value in _assignments(statement):
            if isinstance(target, ast.Name) and target.id == name:
                made = _entries(value, statements, at)
                entries = entries + made if isinstance(statement, ast.AugAssign) else made
            elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == name:
                key = target.slice
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and value is not None:
                    entries.append((key.value, value, at))
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) == f"{name}.update":
            entries += _arguments(call, statements, at)
    return entries


def _assignments(statement: ast.stmt) -> list[tuple[ast.expr, ast.expr | None]]:
    """Targets with the expression that each gets; of unpacked tuples entry by entry where they correspond."""
    if isinstance(statement, ast.Assign):
        pairs: list[tuple[ast.expr, ast.expr | None]] = []
        for target in statement.targets:
            if isinstance(target, ast.Tuple | ast.List):
                values = statement.value.elts if isinstance(statement.value, ast.Tuple | ast.List) else ()
                alike = len(values) == len(target.elts)
                pairs += [(entry, values[i] if alike else statement.value) for i, entry in enumerate(target.elts)]
            else:
                pairs.append((target, statement.value))
        return pairs
    if isinstance(statement, ast.AugAssign | ast.AnnAssign):
        return [(statement.target, statement.value)]
    return []


def _computed(value: ast.expr, statements: list[ast.stmt], before: int) -> int:
    """The line of an expression; of a name, of the last statement above that assigns to it or to its entries."""
    if not isinstance(value, ast.Name):
        return value.lineno
    lines = [
        statement.lineno
        for statement in statements
        if statement.lineno < before
        for target, _ in _assignments(statement)
        if _base(target) == value.id
    ]
    return max(lines, default=value.lineno)


def _base(target: ast.expr) -> str:
    """The name that an assignment changes: `dz` of `dz`, `dz[0]` and `dz.T[i]`."""
    while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""
