"""How an edit is shown: the line where it stands, as it is and as it should be."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compare.explain.site import Proposal, Site
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


def shown(edits: Sequence[tuple[Site, Proposal]], trial: Trial) -> list[Shown]:
    """Each changed piece that makes sense alone: an entry of a dictionary, or a statement. Called with the edits in."""
    changes = [(site.place, proposal.new) for site, proposal in edits]
    after = [proposal.told or _piece(site.place, proposal.new) for site, proposal in edits]
    for place, _ in changes:
        _put(place, place.node)
    before = [_piece(place, place.node) for place, _ in changes]
    for place, new in changes:
        _put(place, new)
    found = []
    for (place, new), old_text, new_text in zip(changes, before, after, strict=True):
        file = next((trial.files[id(a)] for a in place.above if id(a) in trial.files), trial.file)
        unchanged = new is None or _says_nothing(new_text)
        found.append(Shown(file, getattr(place.node, "lineno", 0), old_text, "" if unchanged else new_text))
    return list(dict.fromkeys(found))


def where(place: Place, trial: Trial) -> Shown:
    """The statement, or the entry of what is returned, that holds a place, as it is."""
    file = next((trial.files[id(a)] for a in place.above if id(a) in trial.files), trial.file)
    return Shown(file, getattr(place.node, "lineno", 0), _piece(place, place.node), "")


def _put(place: Place, node: Any) -> None:
    if not isinstance(place.node, ast.stmt):
        place.put(node)


def _piece(place: Place, node: Any) -> str:
    if isinstance(place.node, ast.stmt):
        return "" if node is None else _text(node)
    unit = _unit(place)
    if unit is None:
        return ast.unparse(node)
    return _text(unit[0]) if unit[1] is None else f"{ast.unparse(unit[1])}: {ast.unparse(unit[0])}"


def _says_nothing(text: str) -> bool:
    """Whether a statement is `x = x`."""
    left, equals, right = text.partition(" = ")
    return bool(equals) and left == right


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
