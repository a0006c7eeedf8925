"""Are the check's own tests able to fail? Small edits of its core, and which of them no test notices.

    python -m benchmarks.mutation [--sample 40] [--seed 0] [--file noise] [--only 17,23] [--seconds 280]

Every edit of compare/check/hooks.py, noise.py (with operations.py and restore.py) and verdict.py: another
operator, comparison or number, a condition
turned, a statement or an argument left out. For each of a sample, in a process of its own, the tests of that file run
until the first fails; the survivors are printed as a diff each. docs/mutation.md argues those that were found.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import importlib.machinery
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "hooks": ["tests/test_hooks.py", "tests/test_check_derivation.py"],
    "noise": ["tests/test_noise_rules.py", "tests/test_noise.py", "tests/test_traps.py"],
    "operations": ["tests/test_noise_rules.py", "tests/test_noise.py"],
    "restore": ["tests/test_noise.py"],
    "verdict": ["tests/test_verdict_rules.py", "tests/test_verdicts.py"],
}
LIMIT = 150  # seconds of the processor for a mutant's tests, several times what they take
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NAMES = {"amax": "amin", "maximum": "minimum", "any": "all", "all": "any", "sqrt": "square", "mean": "sum"}
Edit = Callable[[Any], None]


def edits(tree: ast.Module) -> Iterator[tuple[int, Edit]]:
    """Every edit, with the number of its node in the order of `ast.walk`."""
    annotations = [
        n for node in ast.walk(tree) for n in (getattr(node, "annotation", None), getattr(node, "returns", None))
    ]
    unread = {id(node) for each in annotations if each is not None for node in ast.walk(each)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) not in unread:
            for edit in _at(node):
                yield number, edit


def _at(node: ast.AST) -> Iterator[Edit]:
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS:
            yield _setting(op=OPERATORS[type(op)]())
        case ast.Compare(ops=[op]) if type(op) in OPERATORS:
            yield _setting(ops=[OPERATORS[type(op)]()])
        case ast.Constant(value=bool(value)):
            yield _setting(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield _setting(value=value + 1)
        case ast.If(test=test) | ast.IfExp(test=test):
            yield _setting(test=ast.UnaryOp(ast.Not(), test))
        case ast.Attribute(attr=attr) if attr in NAMES:
            yield _setting(attr=NAMES[attr])
        case ast.Call(keywords=[*_, ast.keyword(arg=str())]):
            yield _without_keyword
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        for k, statement in enumerate(statements if isinstance(statements, list) else []):
            is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue) and not is_text:
                yield _without_statement(field, k)


def _setting(**fields: Any) -> Edit:
    def edit(node: Any) -> None:
        for name, value in fields.items():
            setattr(node, name, copy.deepcopy(value))

    return edit


def _without_keyword(node: Any) -> None:
    del node.keywords[-1]


def _without_statement(field: str, k: int) -> Edit:
    def edit(node: Any) -> None:
        getattr(node, field)[k] = ast.Pass()

    return edit


def mutants(file: Path) -> list[tuple[str, str]]:
    """The file's text as Python writes it, and with each edit: (before, after)."""
    tree = ast.parse(file.read_text())
    before = ast.unparse(tree)
    found: dict[str, None] = {}
    for number, edit in edits(tree):
        mutated = copy.deepcopy(tree)
        edit(list(ast.walk(mutated))[number])
        found[ast.unparse(ast.fix_missing_locations(mutated))] = None
    return [(before, after) for after in found if after != before]


def killed(module: str, source: str, tests: list[str]) -> str:
    """How a test notices: "failed", "time", or an empty string where none does."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.meta_path.insert(0, _Instead(module, source))
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    _, status = os.waitpid(child, 0)
    if status == 0:
        return ""
    return "time" if os.WIFSIGNALED(status) else "failed"


class _Instead:
    """Finds one module with another source than its file has."""

    def __init__(self, module: str, source: str) -> None:
        self.module, self.source = module, source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        source = self.source
        assert spec is not None

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, fullname: str) -> Any:
                return compile(source, self.path, "exec")

        assert spec.origin is not None
        spec.loader = Loader(name, spec.origin)
        return spec


def diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if line[:3] not in ("---", "+++", "@@ ") and line.strip("+- "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="mutants of each file; 0: every one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", choices=sorted(TESTS))
    parser.add_argument("--only", default="", help="numbers of mutants")
    parser.add_argument("--first", type=int, default=0, help="begin with this one of the sample")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    os.chdir(ROOT)
    import numpy  # noqa: F401  # what every child would import again
    import pytest  # noqa: F401
    import torch

    torch.set_num_threads(1)
    started = time.monotonic()
    for name in [options.file] if options.file else TESTS:
        everything = list(enumerate(mutants(ROOT / "compare" / "check" / f"{name}.py")))
        chosen = list(everything)
        random.Random(options.seed).shuffle(chosen)
        chosen = chosen[: options.sample or None][options.first :]
        if options.only:
            chosen = [everything[int(number)] for number in options.only.split(",")]
        how = killed(f"compare.check.{name}", chosen[0][1][0], TESTS[name]) if chosen else ""
        if how:
            raise SystemExit(f"{' '.join(TESTS[name])}: these have to pass before any edit ({how})")
        tried = survived = 0
        for number, (before, after) in chosen:
            if time.monotonic() - started > options.seconds:
                print(f"{name}: out of time; go on with --file {name} --first {options.first + tried}")
                break
            how = killed(f"compare.check.{name}", after, TESTS[name])
            tried += 1
            if tried % 20 == 0:
                print(f"{name}: {tried} of {len(chosen)}", file=sys.stderr, flush=True)
            if not how:
                survived += 1
                print(f"{name} {number} survives:\n{diff(before, after)}", flush=True)
        print(f"{name}: {tried} of {len(everything)} mutants tried, {survived} survive", flush=True)


if __name__ == "__main__":
    main()
