"""What is in reach around each place of a program: values, names, and what an expression would be there.

Child process only.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.explain.edits_calls import operand
from compare.explain.facts import NOTHING, Facts
from compare.explain.known import Known
from compare.explain.pure import in_place
from compare.explain.reach import Reach
from compare.explain.syntax import Place, names
from compare.explain.traced import Traced
from compare.explain.trial import Trial, gradient, limited

SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)
WRITTEN = 80  # expressions of the same function that are looked at


class Around:
    """The values that the expressions of a program had, and the names in reach of each of its places."""

    def __init__(
        self,
        trial: Trial,
        snapshots: list[dict[str, Any]],
        target: str,
        inputs: frozenset[str],
        quantities: frozenset[str],
        facts: Facts = NOTHING,
    ) -> None:
        self.trial, self.snapshots = trial, snapshots
        self.target, self.inputs, self.quantities = target, inputs, quantities
        self.traced = Traced(trial)
        self.facts = facts
        self.decay: float | None = None
        self.divisors = self._divisors()

    def value(self, place: Place, k: int, visit: int) -> tuple[Any, bool]:
        """The value that an expression had: where it was computed several times, on one of those visits."""
        statement = self.trial.statements[k]
        if not isinstance(place.node, ast.expr) or isinstance(getattr(place.node, "ctx", None), ast.Store):
            return None, False
        value, known = self.traced.value(place.node, visit)
        if known:
            return (None, False) if callable(value) else (value, True)
        if not isinstance(statement, SIMPLE) or in_place(place.node):
            return None, False
        if any(
            isinstance(a, ast.comprehension | ast.GeneratorExp | ast.ListComp | ast.DictComp | ast.Lambda)
            for a in place.above
        ):
            return None, False
        try:
            with torch.no_grad():
                return eval(compile(ast.Expression(place.node), "<value>", "eval"), self.snapshots[k]), True
        except Exception:  # a function's name, a keyword, or an expression that changes something
            return None, False

    def _reach(self, k: int) -> Reach:
        after = self.snapshots[k] if isinstance(self.trial.statements[k], SIMPLE) else self.snapshots[-2]
        outside = set(self.trial.outside) - set(self.trial.values)
        values = {n: v for n, v in after.items() if n not in outside or not callable(v)}
        written = self._written(self.trial.statements[k], 0)
        return self._reaching(values, self.inputs, self.target, self.quantities, written, False)

    def _reaching(
        self,
        values: dict[str, Any],
        inputs: frozenset[str],
        target: str,
        quantities: frozenset[str],
        written: dict[str, Any],
        nested: bool,
    ) -> Reach:
        reach = Reach(values, inputs, target, quantities, written, nested, self.trial.values)
        reach.facts, reach.divisors, reach.decay = self.facts, self.divisors, self.decay
        return reach

    def _divisors(self) -> frozenset[float]:
        """The numbers that the program divides by, itself or in a mean."""
        found: set[float] = set()
        for statement in self.trial.statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
                    value, known = self.traced.value(node.right if isinstance(node, ast.BinOp) else node.value, 0)
                    if known and isinstance(value, int | float):
                        found.add(float(value))
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "mean":
                    whole, _ = self.traced.value(operand(node) or node, 0)
                    found |= {float(size) for size in getattr(whole, "shape", ())}
        return frozenset(found)

    def _written(self, node: ast.AST, visit: int) -> dict[str, Any]:
        """The expressions that the function of a node writes out: what one line holds, another may lack."""
        found: dict[str, Any] = {}
        for statement in self.traced.beside(node):
            for inner in ast.walk(statement):
                if not isinstance(inner, ast.BinOp | ast.Call | ast.Subscript | ast.Attribute) or len(found) >= WRITTEN:
                    continue
                if isinstance(getattr(inner, "ctx", None), ast.Store):
                    continue
                value, known = self.traced.value(inner, visit)
                if (
                    known
                    and not callable(value)
                    and gradient(value) is not None
                    and len(text := ast.unparse(inner)) < 60
                ):
                    found.setdefault(text, value)
        return found

    def within(self, node: ast.AST, k: int, loops: Sequence[str] = ()) -> tuple[Reach, int]:
        """The names in reach of a node, and the visit of its statement at which they had these values.

        `loops` are the names that the loops around it count with: entries of arrays at these are in reach too.

        In a loop or a function a quantity has another name than in the forward; it is known by its value. Of several
        visits that one is looked at where the target itself is in reach, else the second: the first of a loop is often
        a special one.
        """
        visits = self.traced.names(node)
        if not visits:
            return self._reach(k), 0
        known = Known(self.trial.values)
        named = [known.names(space) for space in visits]
        visit = next((i for i, names in enumerate(named) if self.target in names.values()), min(1, len(visits) - 1))
        outside = {n: v for n, v in self.trial.outside.items() if not callable(v) and not n.startswith("__")}
        values = outside | self._around(node) | {n: v for n, v in visits[visit].items() if not callable(v)}
        values |= _entries(values, loops, self.trial.values)
        names = named[visit]
        parameters = self.traced.parameters.get(id(node), set())
        inputs = self.inputs | {n for n, own in names.items() if own in self.inputs and n in parameters}
        target = next((n for n, own in names.items() if own == self.target), self.target)
        written = self._written(node, visit)
        quantities = self.quantities | frozenset(names)
        return self._reaching(values, frozenset(inputs), target, quantities, written, True), visit

    def _around(self, node: ast.AST) -> dict[str, Any]:
        """What the function that holds a node reads of the statements around it, such as a size."""
        read = {name for statement in self.traced.function.get(id(node), ()) for name in names(statement)}
        after = self.snapshots[-2]
        return {n: after[n] for n in read & after.keys() if not callable(after[n])}

    def evaluated(self, node: ast.expr, place: Place, k: int, visit: int) -> Any:
        """What another expression would be at a place; None where it cannot be told."""
        return self._value(node, self.traced.names(place.node), self.snapshots[k], visit)

    def there(self, node: ast.expr, statement: ast.stmt, visit: int) -> Any:
        """What an expression would be in a statement; None where it cannot be told."""
        at = self.trial.statements.index(statement) if statement in self.trial.statements else 0
        return self._value(node, self.traced.spaces.get(id(statement), []), self.snapshots[at], visit)

    def _value(self, node: ast.expr, visits: list[dict[str, Any]], space: dict[str, Any], visit: int) -> Any:
        inside = self.trial.outside | visits[min(visit, len(visits) - 1)] if visits else dict(space)
        try:
            with limited():
                return eval(compile(ast.Expression(node), "<value>", "eval"), inside)
        except Exception:  # it may be refused in any way, or take too long
            return None


def _entries(values: Mapping[str, Any], loops: Sequence[str], given: Collection[str]) -> dict[str, Any]:
    """What arrays hold at the indices that loops count with: `dout[n, c]`, and of `given` arrays `x[:, j]` too.

    With them goes, in two loops, whether one counts the label of the other: `float(j == y[i])`.
    """
    at = {name: index for name in loops if type(index := values.get(name)) is int}
    if not at or len(at) < len(loops):
        return {}
    found: dict[str, Any] = {}
    arrays = {n: v for n, v in values.items() if n.isidentifier() and isinstance(v, Tensor | np.ndarray) and v.ndim}
    for name, value in arrays.items():
        picks: list[tuple[str, tuple[Any, ...]]] = [(", ".join(at), tuple(at.values()))]
        if name in given:
            picks += [(f":, {v}", (slice(None), k)) for v, k in at.items() if value.ndim == 2]
            picks += [(v, (k,)) for v, k in at.items() if len(at) > 1]
        for text, index in picks:
            within = zip(index, value.shape, strict=False)
            if len(index) <= value.ndim and all(k == slice(None) or 0 <= k < size for k, size in within):
                found[f"{name}[{text}]"] = np.asarray(value[index]) if isinstance(value, np.ndarray) else value[index]
    for (i, k), (j, other) in itertools.permutations(at.items(), 2):
        for name, value in arrays.items():
            if value.ndim == 1 and "float" not in str(value.dtype) and 0 <= k < len(value):
                found[f"float({j} == {name}[{i}])"] = np.asarray(float(other == value[k]))
    return found
