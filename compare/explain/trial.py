"""Running a program, whole or from one of its statements on: in the child process only."""

from __future__ import annotations

import ast
import builtins
import importlib
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.explain.program import Program, definition, statement
from compare.explain.pure import BUILTINS, in_place
from compare.explain.syntax import base, names

RESULT = "__result__"
SAFE = {name: getattr(builtins, name) for name in BUILTINS} | {
    "print": lambda *args, **kwargs: None,
    "__import__": __import__,
}
PER_CANDIDATE = 0.25  # seconds of the processor that one run of an edited backward may take


class TooSlow(Exception):
    """A candidate that took longer than its limit."""


def _stop(signum: int, frame: FrameType | None) -> None:
    raise TooSlow


@contextmanager
def limited() -> Iterator[None]:
    """At most `PER_CANDIDATE` seconds of the processor for what an edit computes, without gradients or warnings."""
    signal.setitimer(signal.ITIMER_PROF, PER_CANDIDATE)
    try:
        with torch.no_grad(), np.errstate(all="ignore"):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class Trial:
    """A program as a list of statements over one namespace, with the values of one condition."""

    def __init__(self, program: Program, values: Mapping[str, Any]) -> None:
        signal.signal(signal.SIGPROF, _stop)
        warnings.simplefilter("ignore")
        self.values = dict(values)
        main = _Literal().visit(definition(program.main))
        helpers = [statement(piece) for piece in program.helpers]
        self.files = {id(helper): piece.file for helper, piece in zip(helpers, program.helpers, strict=True)}
        self.file = program.main.file
        self.main = main
        self.context = program.context
        self.parameters = {a.arg for a in (*main.args.posonlyargs, *main.args.args, *main.args.kwonlyargs)}
        body = _body(main, program)
        self.statements: list[ast.stmt] = [*helpers, *(s for each in body for s in _apart(each))]
        self.helpers = len(helpers)
        self.functions = {n.name for s in self.statements for n in ast.walk(s) if isinstance(n, ast.FunctionDef)}
        self.numpy = next((n for n, path in program.modules.items() if path == "numpy"), "np")
        self.outside: dict[str, Any] = {"__builtins__": SAFE, "torch": torch, self.numpy: np}
        self.outside |= {n: _module(p) for n, p in program.modules.items()}
        self.outside |= dict(program.constants)
        self.mutates = any(in_place(s) for s in self.statements)
        self.codes = [compiled(s) for s in self.statements]

    def arguments(self) -> dict[str, Any]:
        """The namespace in which the first statement runs: every value in reach by its name."""
        values = {n: own(v) for n, v in self.values.items()}
        if self.context:  # it is handed nothing else
            values = {n: v for n, v in values.items() if n in self.parameters}
            values[self.context] = SimpleNamespace(**values.get(self.context, {}))
        inside = self.kept(self.outside) | {
            n: v for n, v in values.items() if n not in self.outside or n in self.parameters
        }
        arguments = self.main.args
        if arguments.kwarg is not None:
            inside[arguments.kwarg.arg] = {n: v for n, v in values.items() if n not in self.parameters}
        defaults = [
            *zip(arguments.args[len(arguments.args) - len(arguments.defaults) :], arguments.defaults, strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for argument, default in defaults:
            if argument.arg not in values and default is not None:
                inside[argument.arg] = eval(compile(ast.Expression(default), "<default>", "eval"), dict(inside))
        return inside

    def run(
        self, start: int = 0, namespace: dict[str, Any] | None = None, codes: list[CodeType | None] | None = None
    ) -> Any:
        """What the statements from `start` on compute, in a namespace that holds what those before left."""
        inside = self.arguments() if namespace is None else namespace
        with limited():
            for code in (codes or self.codes)[start:]:
                if code is not None:
                    exec(code, inside)
        return inside.get(RESULT)

    def snapshots(self) -> list[dict[str, Any]]:
        """The namespace before each statement, and after the last."""
        inside = self.arguments()
        seen = [self.kept(inside)]
        with torch.no_grad(), np.errstate(all="ignore"):
            for code in self.codes:
                exec(code, inside)
                seen.append(self.kept(inside))
        return seen

    def kept(self, inside: dict[str, Any]) -> dict[str, Any]:
        """A namespace as it is now; its arrays copied where a later statement may change them."""
        if not self.mutates:
            return dict(inside)
        made: dict[int, Any] = {}
        return {n: own(v, made) for n, v in inside.items() if n != "__builtins__"} | {"__builtins__": SAFE}


class _Literal(ast.NodeTransformer):
    """`{"W": dW}` for `dict(W=dW)`: what is returned under a name is then found in one way."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node.func) != "dict" or node.args or not all(k.arg for k in node.keywords):
            return node
        keys: list[ast.expr | None] = [ast.copy_location(ast.Constant(k.arg), k.value) for k in node.keywords]
        return ast.copy_location(ast.Dict(keys, [k.value for k in node.keywords]), node)


def compiled(statement: ast.stmt) -> CodeType:
    """One statement, ready to run."""
    return compile(ast.Module([statement], []), "<edit>", "exec")


def own(value: Any, made: dict[int, Any] | None = None) -> Any:
    """A copy that an edit may change, of an array or a collection of them; what is shared stays shared in `made`."""
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    copied = value
    if isinstance(value, Tensor):
        copied = value.clone()
    elif isinstance(value, np.ndarray):
        copied = value.copy()
    elif type(value) in (list, dict):
        copied = made[id(value)] = type(value)()
        if isinstance(value, dict):
            copied.update((k, own(v, made)) for k, v in value.items())
        else:
            copied.extend(own(v, made) for v in value)
    elif type(value) is tuple:
        copied = tuple(own(v, made) for v in value)
    elif isinstance(value, SimpleNamespace):
        copied = SimpleNamespace(**{k: own(v, made) for k, v in vars(value).items()})
    made[id(value)] = copied
    return copied


def gradient(value: Any) -> Tensor | None:
    """A returned gradient as a float64 tensor; None where it is none."""
    if isinstance(value, Tensor):
        return value.detach().double()
    if isinstance(value, np.ndarray | np.generic | float):
        return torch.from_numpy(np.array(value, dtype=np.float64))
    return None


def _body(main: ast.FunctionDef, program: Program) -> list[ast.stmt]:
    """The function's statements, its return made an assignment; the whole function where it returns elsewhere too.

    What it returns one after the other goes by the names that the program has for that.
    """
    body = list(main.body)
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    last = body[-1] if body else None
    once = sum(isinstance(n, ast.Return) for s in body for n in _outer(s)) == 1
    if isinstance(last, ast.Return) and last.value is not None and once and not _clashes(main):
        target = ast.copy_location(ast.Name(RESULT, ast.Store()), last)
        return [*body[:-1], ast.copy_location(ast.Assign([target], _by_name(last.value, program)), last)]
    keywords = [ast.keyword(a.arg, ast.Name(a.arg, ast.Load())) for a in (*main.args.args, *main.args.kwonlyargs)]
    if main.args.kwarg is not None:
        keywords.append(ast.keyword(None, ast.Name(main.args.kwarg.arg, ast.Load())))
    made: ast.expr = ast.Call(ast.Name(main.name, ast.Load()), [], keywords)
    if program.returns:
        every = ast.unparse(made) if len(program.returns) > 1 else f"[{ast.unparse(made)}]"
        handed = ", ".join(f"{name!r}: {parameter}" for name, parameter in program.deltas)
        made = ast.parse(f"dict(zip({program.returns!r}, {every})) | {{{handed}}}", mode="eval").body
    run = ast.Assign([ast.Name(RESULT, ast.Store())], made)
    ast.copy_location(run, main)
    return [main, ast.fix_missing_locations(run)]


def _by_name(value: ast.expr, program: Program) -> ast.expr:
    """What is returned one after the other as a dictionary."""
    entries = value.elts if isinstance(value, ast.Tuple) else [value]
    if not program.returns or len(entries) != len(program.returns):
        return value
    named = [(n, e) for n, e in zip(program.returns, entries, strict=True) if not _none(e)]
    named += [(n, ast.copy_location(ast.Name(p, ast.Load()), value)) for n, p in program.deltas]
    keys: list[ast.expr | None] = [ast.copy_location(ast.Constant(n), e) for n, e in named]
    return ast.copy_location(ast.Dict(keys, [e for _, e in named]), value)


def _none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _apart(statement: ast.stmt) -> list[ast.stmt]:
    """`a, b = x, y` as two statements, where y does not read a."""
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
        return [statement]
    target, value = statement.targets[0], statement.value
    if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts)):
        return [statement]
    if any(isinstance(v, ast.Starred) for v in value.elts) or not all(map(_plain_target, target.elts)):
        return [statement]
    written: set[str] = set()
    for each, entry in zip(target.elts, value.elts, strict=True):
        if _read(entry) & written:
            return [statement]
        written |= {ast.unparse(each), base(each)} if isinstance(each, ast.Subscript) else {ast.unparse(each)}
    pairs = zip(target.elts, value.elts, strict=True)
    return [ast.copy_location(ast.Assign([t], v), v) for t, v in pairs]


def _plain_target(node: ast.expr) -> bool:
    """A name, or an entry of a dictionary: what `grads["a"] = ...` changes, no other name can share."""
    return isinstance(node, ast.Name) or (
        isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and _key(node)
    )


def _key(node: ast.Subscript) -> bool:
    return isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)


def _read(node: ast.expr) -> set[str]:
    """The names and entries that an expression reads; of a name with entries, every one that stands there."""
    entries = [n for n in ast.walk(node) if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and _key(n)]
    inner = {id(n.value) for n in entries}
    plain = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in inner}
    return plain | {ast.unparse(n) for n in entries}


def _outer(statement: ast.stmt) -> list[ast.AST]:
    """The nodes of a statement that belong to the function itself, not to one inside it."""
    if isinstance(statement, ast.FunctionDef):
        return []
    found: list[ast.AST] = [statement]
    for child in ast.iter_child_nodes(statement):
        found += _outer(child) if isinstance(child, ast.stmt) else []
    return found


def _clashes(main: ast.FunctionDef) -> bool:
    """Whether a name means one thing inside and another outside of an inner function, or before it is assigned."""
    return any(isinstance(n, ast.FunctionDef) and n is not main and n.name in names(n.args) for n in ast.walk(main))


def _module(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ImportError:
        holder, _, name = path.rpartition(".")
        return getattr(importlib.import_module(holder), name)
