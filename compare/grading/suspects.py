"""What a teacher may want to look at by eye: ways out of a derivation that nobody needs for one. No verdict."""

from __future__ import annotations

import ast

MODULES = frozenset(
    """builtins compare ctypes ftplib gc http importlib inspect multiprocessing os pathlib pickle requests runpy shutil
    socket subprocess sys threading torch_ref traceback urllib""".split()
)
CALLS = frozenset("__import__ compile eval exec getattr globals open setattr vars".split())
ATTRIBUTES = frozenset("autograd func requires_grad requires_grad_ enable_grad".split())
SHOWN = 5


def suspects(source: str) -> str:
    """`uses os (line 3), exec (line 7)`, or nothing. Never raises: a file that does not parse says so elsewhere."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        for name in _names(node):
            found[name] = min(getattr(node, "lineno", 0), found.get(name, 10**9))
    if not found:
        return ""
    named = [f"{name} (line {line})" for name, line in sorted(found.items(), key=lambda item: item[1])]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"uses {', '.join(named[:SHOWN])}{more}"


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [root for alias in node.names if (root := alias.name.partition(".")[0]) in MODULES]
    if isinstance(node, ast.ImportFrom):
        root = (node.module or "").partition(".")[0]
        specification = root == "compare" and all(alias.name in _SPECIFICATIONS for alias in node.names)
        return [root] if root in MODULES and not specification else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        return [node.func.id]
    if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        return [node.attr]
    return []


_SPECIFICATIONS = frozenset("binary constant index one_hot permutation positive probability real".split())
