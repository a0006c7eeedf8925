"""The search for an edit after which a backward that raises runs and is right in all it returns. Child process only."""

from __future__ import annotations

import ast
import time
import traceback
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.explain.candidate import Candidate
from compare.explain.search import ENOUGH, WINDOW, Applied, Found, Search, near
from compare.explain.site import Site
from compare.explain.trial import RESULT, Trial, gradient, limited

NEAR = 60  # statements before the one that raises that are looked at
ELSEWHERE = 1.5  # what a place costs that is not on the line that raises
LONGER = 0.5  # share of the time until the first repair that is spent on others


class Revival(Search):
    """The repairs of a program that raises."""

    def __init__(
        self,
        trial: Trial,
        expected: Mapping[str, Tensor],
        inputs: frozenset[str],
        quantities: frozenset[str],
        others: list[tuple[dict[str, Any], dict[str, Tensor], float]],
    ) -> None:
        self.wanted = {n: g.double() for n, g in expected.items()}
        self.elsewhere = others
        self.stops, self.line = 0, 0  # the statement and the line at which it raises
        super().__init__(
            trial, next(iter(self.wanted)), next(iter(self.wanted.values())), inputs, quantities, frozenset()
        )

    def find(self, seconds: float, like: list[str]) -> list[Found]:
        """Edits after which it runs and everything that it returns is right, likeliest first."""
        started = time.monotonic()
        deadline = started + seconds
        if not self._stopped():
            return []
        self.until = started + 0.5 * seconds
        found: list[tuple[float, Found]] = []
        for candidate in next(self.batches(like)):
            if time.monotonic() > deadline or len(found) >= ENOUGH:
                break
            if found and candidate.cost > found[0][0] + WINDOW:
                break
            self.tried += 1
            repaired = self._attempt(candidate)
            if repaired is not None:
                now = time.monotonic()
                deadline = min(deadline, now + LONGER + LONGER * (now - started)) if not found else deadline
                found.append((candidate.cost, repaired))
        return [each for _, each in found]

    def _stopped(self) -> bool:
        """Whether it raises; what the names held until then."""
        inside = self.trial.arguments()
        seen = [self.trial.kept(inside)]
        with torch.no_grad(), np.errstate(all="ignore"):
            for k, code in enumerate(self.trial.codes):
                try:
                    exec(code, inside)
                except Exception as error:  # that is what is looked at
                    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "<edit>"]
                    self.stops, self.line = k, (lines[-1] or 0) if lines else 0
                    break
                seen.append(self.trial.kept(inside))
            else:
                return False
        self.snapshots = seen + [seen[-1]] * (len(self.trial.statements) + 1 - len(seen))
        stopped = self.trial.statements[self.stops]
        self.target = self._raising_entry(stopped, inside) or self._returned_by(stopped) or self.target
        self.expected = self.wanted[self.target]
        self.size = float(self.expected.square().mean().sqrt()) if self.expected.numel() else 0.0
        return True

    def _raising_entry(self, statement: ast.stmt, inside: dict[str, Any]) -> str:
        """The key of the first entry that raises, where a statement puts a dictionary together."""
        made = getattr(statement, "value", None)
        for key, value in zip(made.keys, made.values, strict=True) if isinstance(made, ast.Dict) else ():
            try:
                with limited():
                    eval(compile(ast.Expression(value), "<entry>", "eval"), inside)
            except Exception:  # that is the one
                return str(key.value) if isinstance(key, ast.Constant) and key.value in self.wanted else ""
        return ""

    def _returned_by(self, statement: ast.stmt) -> str:
        """The quantity whose gradient a statement computes: that under whose key it, or its name, is returned."""
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        made = {target.id for target in targets if isinstance(target, ast.Name)} - {RESULT}
        keys = [_key(target) for target in targets]
        for node in (node for each in self.trial.statements for node in ast.walk(each)):
            for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
                if isinstance(key, ast.Constant) and isinstance(value, ast.Name) and value.id in made:
                    keys.append(str(key.value))
        return next((key for key in keys if key in self.wanted), "")

    def _allowed(self) -> list[int]:
        helpers = range(min(self.trial.helpers, self.stops))
        return [*helpers, *range(max(self.stops - NEAR, len(helpers)), self.stops + 1)]

    def _sites(self) -> Iterator[tuple[Site, int, float]]:
        for site, k, _ in super()._sites():
            yield site, k, 0.0 if getattr(site.node, "lineno", 0) == self.line else ELSEWHERE

    def _attempt(self, candidate: Candidate) -> Found | None:
        with Applied(self, candidate) as codes:
            everywhere = [(self.trial.values, self.wanted, self.floor), *self.elsewhere]
            if codes is None or not all(self._right(codes, *at) for at in everywhere):
                return None
            return self._found(candidate, codes)

    def _right(
        self, codes: list[CodeType | None], values: dict[str, Any], wanted: Mapping[str, Tensor], floor: float
    ) -> bool:
        """Whether it runs at these values, and every gradient that it returns is right."""
        result = self._result(codes, values)
        found = {n: gradient(v) for n, v in result.items() if n in wanted} if isinstance(result, Mapping) else {}
        return bool(found) and all(near(value, wanted[name].double(), floor) for name, value in found.items())


def _key(target: ast.expr) -> str:
    """The key of `grads["W"]`."""
    inner = target.slice if isinstance(target, ast.Subscript) else None
    return str(inner.value) if isinstance(inner, ast.Constant) else ""
