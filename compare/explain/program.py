"""The source of a backward as data: its statements, what they may call, and the names that they take from outside.

Nothing is run here. A program is made only where every statement is on the list of those that change nothing but
their own variables; a child process can then run it, and edits of it, without the user's file.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from compare.explain.pure import BUILTINS, MODULES, impure
from compare.explain.syntax import base, targets

MAX_LINES = 2000  # of one function; beyond, its numbers alone are looked at
MAX_HELPERS = 20
MAX_DEPTH = 8  # of collections in one another
MAX_ENTRIES = 100_000  # of collections
PLAIN = (bool, int, float, str, torch.Tensor, torch.dtype, np.ndarray, np.generic)


class NotReadable(ValueError):
    """Why a backward's source cannot be searched: the numbers alone must do."""


@dataclass(frozen=True)
class Piece:
    """The source of one function, with its place in its file."""

    source: str  # dedented, decorators included
    file: str
    line: int  # of its first line


@dataclass(frozen=True)
class Program:
    """A backward that can be run elsewhere: itself, the functions that it calls, modules and constants by name."""

    main: Piece
    helpers: tuple[Piece, ...] = ()
    modules: dict[str, str] = field(default_factory=dict)  # name: dotted path
    constants: dict[str, Any] = field(default_factory=dict)
    context: str = ""  # the parameter that holds what the forward of an autograd.Function saved
    returns: tuple[str, ...] = ()  # the inputs whose gradients it returns one after the other, where by no names
    deltas: tuple[tuple[str, str], ...] = ()  # outputs, with the parameters by which it is handed their gradients


def read(function: Callable[..., Any], forward: Callable[..., Any] | None = None, context: str = "") -> Program:
    """The program of a backward. Raises NotReadable where its source is missing, not its own, or not pure.

    Among its constants are the data that both the forward and the module of the backward know by one name.
    """
    plain = function if isinstance(function, FunctionType) else getattr(function, "__func__", None)
    if not isinstance(plain, FunctionType):
        raise NotReadable("it is no plain function")
    raise_if(hasattr(plain, "__wrapped__"), "it is wrapped by a decorator")
    main = _piece(plain)
    gathered = _Gathered(plain)
    gathered.function(plain, main, context)
    called = [piece for value, piece in reversed(gathered.pieces.values()) if isinstance(value, FunctionType)]
    tables = [piece for value, piece in reversed(gathered.pieces.values()) if not isinstance(value, FunctionType)]
    constants = _data(forward, plain) | gathered.constants
    return Program(main, (*called, *tables), gathered.modules, constants, context)


def raise_if(condition: bool, reason: str) -> None:
    """Raise NotReadable with this reason."""
    if condition:
        raise NotReadable(reason)


def _piece(function: FunctionType) -> Piece:
    try:
        lines, first = inspect.getsourcelines(function)
        file = Path(inspect.getsourcefile(function) or "").name
    except (OSError, TypeError, IndexError) as error:
        raise NotReadable("its source cannot be read") from error
    raise_if(len(lines) > MAX_LINES, f"it has more than {MAX_LINES} lines")
    return Piece(textwrap.dedent("".join(lines)), file, max(first, 1))


def definition(piece: Piece) -> ast.FunctionDef:
    """The function's syntax tree with the line numbers of its file, without decorators."""
    node = statement(piece)
    if not isinstance(node, ast.FunctionDef):
        raise NotReadable("its source is no single function")
    return node


def statement(piece: Piece) -> ast.FunctionDef | ast.Assign:
    """A function's syntax tree, or that of a table of functions, with the line numbers of its file."""
    try:
        tree = ast.parse(piece.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotReadable("its source cannot be parsed") from error
    node = tree.body[0] if tree.body else None
    if len(tree.body) != 1 or not isinstance(node, ast.FunctionDef | ast.Assign):
        raise NotReadable("its source is no single function")
    ast.increment_lineno(node, piece.line - 1)
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
    return node


class _Gathered:
    """What a backward and all that it calls need of what stands outside of them."""

    def __init__(self, backward: FunctionType) -> None:
        self.backward = backward
        self.pieces: dict[str, tuple[Any, Piece]] = {}  # functions, and tables of functions
        self.modules: dict[str, str] = {}
        self.constants: dict[str, Any] = {}

    def function(self, function: FunctionType, piece: Piece, context: str = "") -> None:
        """Check one function and all that it calls, and collect what they need."""
        node = definition(piece)
        raise_if(node.name != function.__name__, "its source is that of another function")
        outside = dict(function.__globals__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                outside[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        self._checked(node, outside, function, context)

    def _checked(self, node: ast.stmt, outside: dict[str, Any], function: FunctionType, context: str = "") -> None:
        reason = impure(node, context)
        raise_if(bool(reason), reason)
        for name in sorted(set(_free_names(node))):
            if name in outside:
                self._named(name, outside[name], function)
                continue
            raise_if(name not in BUILTINS and not hasattr(builtins, name), f"{name} is not defined")
            raise_if(name not in BUILTINS, f"{name}() may have side effects")

    def _named(self, name: str, value: Any, function: FunctionType) -> None:
        """What a name stands for, which `function` reads."""
        if isinstance(value, ModuleType):
            raise_if(value.__name__ not in MODULES, f"module {name} is not known to be free of side effects")
            _put(self.modules, name, value.__name__)
        elif isinstance(value, FunctionType) and not _library(value):
            if value is self.backward:
                return
            raise_if(value.__name__ != name, f"{name} is another name of {value.__name__}")
            if not self._met(name, value):
                self.function(value, self._added(name, value, _piece(value)))
        elif callable(value) and not isinstance(value, type):
            path = f"{getattr(value, '__module__', None) or 'torch'}.{getattr(value, '__name__', '')}"
            raise_if(path.rpartition(".")[0] not in MODULES, f"{name}() may have side effects")
            _put(self.modules, name, path)
        elif plain_value(value):
            _put(self.constants, name, value)
        elif not self._met(name, value):
            piece = self._added(name, value, _table(function, name))
            self._checked(statement(piece), function.__globals__, function)

    def _met(self, name: str, value: Any) -> bool:
        """Whether a function or table is among the pieces already."""
        raise_if(name in self.pieces and self.pieces[name][0] is not value, f"two functions are called {name}")
        return name in self.pieces

    def _added(self, name: str, value: Any, piece: Piece) -> Piece:
        raise_if(len(self.pieces) >= MAX_HELPERS, "it calls too many functions")
        self.pieces[name] = (value, piece)
        return piece


def _table(function: FunctionType, name: str) -> Piece:
    """Where the module of a function assigns a list or dictionary, of functions, that it never changes."""
    value = function.__globals__.get(name)
    raise_if(not isinstance(value, list | tuple | dict), f"{name} is a value of type {type(value).__name__}")
    try:
        lines, _ = inspect.findsource(function)
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotReadable("its source cannot be read") from error
    stores = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and name in _changed(n)]
    node = stores[0] if len(stores) == 1 else None
    if not isinstance(node, ast.Assign) or node not in tree.body or len(node.targets) != 1 or node.end_lineno is None:
        raise NotReadable(f"{name} is not assigned once and for all")
    source = "".join(lines[node.lineno - 1 : node.end_lineno])
    return Piece(source, Path(inspect.getsourcefile(function) or "").name, node.lineno)


def _changed(node: ast.stmt) -> set[str]:
    """The names that a statement assigns, or changes entries or attributes of."""
    if isinstance(node, ast.Expr):  # `TABLE.update(...)`
        called = node.value.func if isinstance(node.value, ast.Call) else node.value
        return {base(called)} if isinstance(called, ast.Attribute) else set()
    return {base(each) for target in targets(node) for each in _parts(target)}


def _parts(target: ast.expr) -> list[ast.expr]:
    return [p for e in target.elts for p in _parts(e)] if isinstance(target, ast.Tuple | ast.List) else [target]


def _data(forward: Callable[..., Any] | None, backward: FunctionType) -> dict[str, Any]:
    """The data by whose names the forward computes, where the backward could name them as well."""
    if not isinstance(forward, FunctionType):
        return {}
    named = {n: (forward.__globals__.get(n), backward.__globals__.get(n)) for n in forward.__code__.co_names}
    data = {n: own for n, (other, own) in named.items() if not isinstance(own, bool | str | None) and _same(own, other)}
    return {n: v for n, v in data.items() if plain_value(v)}


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    raise_if(not _same(table.get(name, value), value), f"{name} means two things")
    table[name] = value


def _same(value: Any, other: Any) -> bool:
    """Whether two values are one, or equal numbers or strings."""
    return value is other or (isinstance(value, str | int | float) and type(other) is type(value) and other == value)


def _library(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] in ("torch", "numpy", "math")


def plain_value(value: Any) -> bool:
    """Whether a value is data alone, of which each run has a copy: numbers, strings, tensors, collections of them.

    Not of more than `MAX_ENTRIES` in all, nor deeper than `MAX_DEPTH`: one entry may stand for any number of others.
    """
    waiting: list[tuple[Any, int]] = [(value, 0)]
    entries = 0
    while waiting:
        each, depth = waiting.pop()
        if isinstance(each, tuple | list | dict):
            entries += len(each)
            if depth >= MAX_DEPTH or entries > MAX_ENTRIES:
                return False
            waiting += [(entry, depth + 1) for entry in ([*each, *each.values()] if isinstance(each, dict) else each)]
        elif each is not None and not isinstance(each, PLAIN):
            return False
    return True


def _free_names(node: ast.stmt) -> Iterator[str]:
    """Names that a function, or a table, reads and does not bind itself, nested functions included."""
    bound = {a.arg for n in ast.walk(node) if isinstance(n, ast.arguments) for a in _all_arguments(n)}
    bound |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n is not node}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load) and inner.id not in bound:
            yield inner.id


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    variadic = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variadic]
