"""How an edit is shown: the line where it stands, as it is and as it should be."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from compare.explain.syntax import Place
from compare.explain.trial import RESULT, Trial

WIDTH = 100


@dataclass(frozen=True)
class Shown:
    """One changed piece of source: `hw3.py:41  d2 = d3 @ W3.T  ->  d2 = d3 @ W3`."""

    file: str
    line: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.old}  ->  {self.new or '(left out)'}"


def shown(place: Place, trial: Trial, new: Any) -> Shown:
    """The smallest piece that makes sense alone: an entry of a dictionary, or a statement. Called with the edit in."""
    file = next((trial.files[id(a)] for a in place.above if id(a) in trial.files), trial.file)
    line = getattr(place.node, "lineno", 0)
    if isinstance(place.node, ast.stmt):
        return Shown(file, line, _text(place.node), "" if new is None else _text(new))
    unit = _unit(place)
    if unit is None:
        return Shown(file, line, ast.unparse(place.node), ast.unparse(new))
    after = _text(unit[0]) if unit[1] is None else f"{ast.unparse(unit[1])}: {ast.unparse(unit[0])}"
    place.put(place.node)
    unit = _unit(place) or unit
    before = _text(unit[0]) if unit[1] is None else f"{ast.unparse(unit[1])}: {ast.unparse(unit[0])}"
    place.put(new)
    return Shown(file, line, before, after)


def _unit(place: Place) -> tuple[ast.AST, ast.expr | None] | None:
    """The entry of a dictionary (its value and key) or the statement that holds a place, as it is now."""
    for position in range(len(place.above) - 1, -1, -1):
        above = place.above[position]
        if isinstance(above, ast.Dict):
            below = place.above[position + 1] if position + 1 < len(place.above) else None
            index = place.index if below is None else next((i for i, v in enumerate(above.values) if v is below), None)
            if index is not None and above.keys[index] is not None:
                return above.values[index], above.keys[index]
            return above, None
        if isinstance(above, ast.stmt):
            return above, None
    return None


def _text(node: ast.AST) -> str:
    """A statement on one line; of a loop or branch, its head."""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == RESULT:
        return f"return {ast.unparse(node.value)}"
    return ast.unparse(node).partition("\n")[0]
