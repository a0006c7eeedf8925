"""What each expression of a program was, wherever it stands: in a loop, a comprehension, a function that is called.

The program is run once with every expression wrapped in a call that notes its value. Child process only.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

from compare.explain.trial import TooSlow, Trial, own

VISITS = 6  # of one statement that are kept: the first steps of a loop, the first calls of a function
SEE, HERE, LOCALS, AT = "__see__", "__here__", "__locals__", "__at__"


class Traced:
    """The values of every expression, and the names in reach of every statement below the top, by their nodes.

    Of what is run several times, the visits are numbered; `visit` of a statement says which of them is looked at.
    """

    def __init__(self, trial: Trial) -> None:
        self.keep = trial.mutates
        self.values: dict[int, list[Any]] = {}
        self.spaces: dict[int, list[dict[str, Any]]] = {}
        self.statement: dict[int, int] = {}  # node: the nested statement that holds it
        self.ran: list[tuple[ast.stmt, int]] = []  # statements in the order in which they ran, with their visits
        self.watching: list[ast.stmt] = [s for each in trial.statements for s in (each, *_nested(each))]
        self._own = {id(s): s for s in self.watching}
        self._times: Counter[int] = Counter()
        self.watched: set[int] = set()
        self.function: dict[int, list[ast.stmt]] = {}  # node: the body of the function that holds it
        self.parameters: dict[int, set[str]] = {}  # node: those of the function that holds it
        self.top = [s for s in trial.statements if not isinstance(s, ast.FunctionDef)]
        self.whole = self._run(trial)

    def _run(self, trial: Trial) -> bool:
        inside = trial.arguments() | {SEE: self._see, HERE: self._here, LOCALS: builtins.locals, AT: self._at}
        try:
            codes = [compile(ast.Module(self._watched(s), []), "<traced>", "exec") for s in trial.statements]
            trial.run(0, inside, list(codes))
        except (TooSlow, Exception):  # what was seen until then is still of use
            return False
        return True

    def _watched(self, statement: ast.stmt) -> list[ast.stmt]:
        twin = copy.deepcopy(statement)
        for node, other in zip(ast.walk(statement), ast.walk(twin), strict=True):
            other.number = id(node)  # type: ignore[attr-defined]
        for outer in ast.walk(statement):
            if isinstance(outer, ast.FunctionDef):
                for node in ast.walk(outer):
                    self.function[id(node)] = outer.body
                    self.parameters[id(node)] = {a.arg for a in (*outer.args.args, *outer.args.kwonlyargs)}
        for nested in _nested(statement):
            for node in ast.walk(nested):
                self.statement[id(node)] = id(nested)
        watching = _Watch(self.watched).visit(twin)
        assert isinstance(watching, ast.stmt)
        at = ast.Expr(ast.Call(ast.Name(AT, ast.Load()), [ast.Constant(id(statement))], []))
        return [ast.fix_missing_locations(ast.copy_location(at, statement)), ast.fix_missing_locations(watching)]

    def _at(self, number: int) -> None:
        if self._times[number] < VISITS:
            self.ran.append((self._own[number], self._times[number]))
        self._times[number] += 1

    def _see(self, number: int, value: Any) -> Any:
        seen = self.values.setdefault(number, [])
        if len(seen) < VISITS:
            seen.append(own(value) if self.keep else value)
        return value

    def _here(self, number: int, names: dict[str, Any]) -> None:
        self._at(number)
        seen = self.spaces.setdefault(number, [])
        if len(seen) < VISITS:
            made: dict[int, Any] = {}
            kept = {n: v for n, v in names.items() if not n.startswith("__") and not callable(v)}
            seen.append({n: own(v, made) for n, v in kept.items()} if self.keep else kept)

    def nested(self, node: ast.AST) -> bool:
        """Whether a node stands in a loop, a branch or a function."""
        return id(node) in self.statement

    def reached(self, node: ast.AST) -> bool:
        """Whether a nested node was run at all; True where it is not known."""
        if not self.whole:
            return True
        if id(node) in self.watched and id(node) not in self.values:
            return False
        return id(node) not in self.statement or self.statement[id(node)] in self.spaces

    def beside(self, node: ast.AST) -> list[ast.stmt]:
        """The statements of the function that a node stands in."""
        return self.function.get(id(node), self.top)

    def names(self, node: ast.AST) -> list[dict[str, Any]]:
        """The names in reach of a nested node's statement, visit by visit."""
        return self.spaces.get(self.statement.get(id(node), 0), [])

    def value(self, node: ast.AST, visit: int) -> tuple[Any, bool]:
        """The value of an expression, and whether it is known."""
        seen = self.values.get(id(node))
        if not seen:
            return None, False
        return seen[min(visit, len(seen) - 1)], True


def _nested(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Every statement below a compound one, outer ones first."""
    for field in ("body", "orelse"):
        for inner in getattr(statement, field, ()):
            yield inner
            yield from _nested(inner)


class _Watch(ast.NodeTransformer):
    """Wraps the expressions that are read, and notes the names before each nested statement."""

    def __init__(self, watched: set[int]) -> None:
        self.watched = watched

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.JoinedStr | ast.arguments | ast.withitem):
            return node
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                node.func.value = self._wrapped(node.func.value)
            node.args = [self._wrapped(a) for a in node.args]
            for keyword in node.keywords:
                keyword.value = self._wrapped(keyword.value)
            return node
        if isinstance(node, ast.Subscript):
            node.value = self._wrapped(node.value)
            node.slice = self._index(node.slice)
            return node
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                if field not in ("annotation", "returns"):
                    setattr(node, field, self._wrapped(value))
            elif isinstance(value, ast.AST):
                self.visit(value)
            elif isinstance(value, list):
                setattr(node, field, self._list(node, field, value))
        return node

    def _list(self, above: ast.AST, field: str, entries: list[Any]) -> list[Any]:
        if field in ("decorator_list", "keys", "type_params", "ops"):
            return entries
        made: list[Any] = []
        for entry in entries:
            if isinstance(entry, ast.stmt) and field in ("body", "orelse"):
                made.append(_call(HERE, entry, ast.Call(ast.Name(LOCALS, ast.Load()), [], [])))
                made[-1] = ast.Expr(made[-1])
            made.append(self._wrapped(entry) if isinstance(entry, ast.expr) else self.visit(entry))
        return made

    def _index(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Tuple):
            node.elts = [self._index(e) for e in node.elts]
            return node
        if isinstance(node, ast.Slice):
            self.visit(node)
            return node
        return self._wrapped(node)

    def _wrapped(self, node: ast.expr) -> ast.expr:
        seen = self.visit(node)
        assert isinstance(seen, ast.expr)
        stored = isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)
        if stored or isinstance(node, ast.Constant | ast.Starred | ast.Slice | ast.Lambda | ast.JoinedStr):
            return seen
        self.watched.add(node.number)  # type: ignore[attr-defined]
        return _call(SEE, node, seen)


def _call(name: str, node: ast.AST, argument: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [ast.Constant(node.number), argument], [])  # type: ignore[attr-defined]
