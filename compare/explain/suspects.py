"""Where in a backward the mistake can be: what it computes is held against the gradients of the forward's graph.

A value that autograd passes along an edge of its graph is right. What is computed from right gradients and is none
itself is suspect, and what is computed from that only inherits its error. Child process only.
"""

from __future__ import annotations

import ast
import copy
import functools
import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from compare.explain.around import Around
from compare.explain.named import tensor
from compare.explain.pure import in_place
from compare.explain.syntax import Place, base, names, targets

CLOSE = 1e-9  # relative: nearer than formulas that differ are by chance
# what made something else of what is right; a part of a sum, and what suspects read that is no gradient; what nothing
# is known of; what is right
SUSPECT, FEEDS, OPEN, SETTLED = range(4)
RIGHT, PARTIAL, WRONG = "right", "partial", "wrong"  # a gradient; the sum of some on their way to one; none of these


class Suspects:
    """What the expressions of a backward are, statement by statement in the order in which they ran."""

    def __init__(self, around: Around, flowing: Sequence[Tensor], off: Sequence[Tensor]) -> None:
        self.around, self.traced = around, around.traced
        self.flowing, self.off = _by_shape(flowing), _by_shape(off)
        self.known: dict[str, str] = {}  # what a name holds at the moment; nothing of what is no gradient
        self.right: dict[int, list[bool]] = {}  # by expression, visit by visit
        self.handed: dict[int, list[bool]] = defaultdict(list)  # by statement: whether it was handed what is right
        # statements that made something else of what is right: on which visit first, and what the names held then
        self.suspects: dict[int, tuple[ast.stmt, int, dict[str, str]]] = {}
        self.partial: set[int] = set()  # of these, what is the sum of some gradients
        if self.flowing:
            for statement, visit in self.traced.ran:
                self._follow(statement, visit)
        self.settled = {id(node) for statement in self.traced.watching for node in self._settled(statement)}

    def rank(self, place: Place, statement: ast.stmt) -> int:
        """How likely a mistake is at a place: what is right would be undone, and what inherits an error has none."""
        if isinstance(place.parent, ast.Dict):
            return SUSPECT  # what is returned for the step itself, maybe another's gradient
        at = _statement(place, statement)
        if place.node is at and _stores(at):
            return SUSPECT  # what is right is lost where it overwrites, or is changed under another name
        handed = self.handed.get(id(at), [])
        if handed and not any(handed):
            return SETTLED
        if any(id(above) in self.settled for above in place.above):
            return FEEDS if any(self._carried(at, other) for _, other in self._read_from(at)) else SETTLED
        if self._called & {a.name for a in place.above if isinstance(a, ast.FunctionDef)}:
            return SUSPECT
        if id(at) in self.suspects:
            return FEEDS if id(at) in self.partial and len(self.partial) < len(self.suspects) else SUSPECT
        if not self.suspects:
            return SUSPECT
        return FEEDS if any(self._read_from(at)) else OPEN

    @functools.cached_property
    def _called(self) -> set[str]:
        """The names of what suspects call: functions of the program may be among them."""
        nodes = (node for statement, _, _ in self.suspects.values() for node in ast.walk(statement))
        return {n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}

    def first(self, places: Iterable[tuple[Place, ast.stmt]]) -> Place | None:
        """Of places with the statements that hold them, one in the first that made no gradient of right ones."""
        by_statement = {id(_statement(place, top)): place for place, top in places}
        found = (number for number in self.suspects if number in by_statement and number not in self.partial)
        return next((by_statement[number] for number in found), None)

    def _read_from(self, statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
        """The names that a statement assigns, with the suspects that read them."""
        made = {target.id for target, _ in _assigned(statement) if isinstance(target, ast.Name)}
        for other, _, _ in self.suspects.values():
            for _, value in _assigned(other):
                yield from ((name, other) for name in made & names(value))

    @functools.cached_property
    def _changing(self) -> set[int]:
        """The suspects that change in place what they read."""
        return {
            n for n, (statement, _, _) in self.suspects.items() if any(in_place(v) for _, v in _assigned(statement))
        }

    @functools.cached_property
    def _order(self) -> dict[int, int]:
        """When each statement ran first."""
        return {id(statement): k for k, (statement, _) in reversed(list(enumerate(self.traced.ran)))}

    def _carried(self, statement: ast.stmt, suspect: ast.stmt) -> bool:
        """Whether what a statement makes is read in a later round of a loop: a gradient, but maybe another's."""
        return self._order.get(id(statement), 0) > self._order.get(id(suspect), 0)

    def mends(self, place: Place, new: Any, top: ast.stmt) -> bool:
        """Whether a suspect computes a gradient of the graph, or a part of one, with `new` at a place; True if open."""
        at = _statement(place, top)
        if (
            place.node is at
            or isinstance(place.parent, ast.Dict)
            or self._called & {a.name for a in place.above if isinstance(a, ast.FunctionDef)}
        ):
            return True
        place.put(new)
        try:
            if id(at) in self.suspects:
                return self._computes(at, (*place.above, new))
            made = {target.id: value for target, value in _assigned(at) if isinstance(target, ast.Name)}
            return any(
                self._carried(at, other) or self._computes(other, (), name, made[name])
                for name, other in self._read_from(at)
            )
        finally:
            place.put(place.node)

    def _computes(
        self, statement: ast.stmt, edited: Sequence[ast.AST], name: str = "", made: ast.expr | None = None
    ) -> bool:
        """Whether a suspect, reading `made` for a name, is a gradient of the graph or a sum of some."""
        _, visit, known = self.suspects[id(statement)]
        values = [value for _, value in _assigned(statement)]
        if id(statement) in self._changing:
            return True  # it would change what it reads
        untouched = {id(term) for value in values for term in _terms(value)} - {id(node) for node in edited}
        if made is not None:
            values = [_Read(name, made).visit(copy.deepcopy(value)) for value in values]

        def right(node: ast.expr) -> bool:
            return _among(self.around.there(node, statement, visit), self.flowing)

        def part(node: ast.expr) -> bool:
            if isinstance(node, ast.Name) and known.get(node.id) in (RIGHT, PARTIAL):
                return True
            return self._is_right(node, visit) if id(node) in untouched else right(node)

        return all(right(v) if len(terms := _terms(v)) == 1 else all(map(part, terms)) or right(v) for v in values)

    def _follow(self, statement: ast.stmt, visit: int) -> None:
        pairs = list(_assigned(statement))
        kinds = [self._kind(value, visit) for _, value in pairs]
        self.handed[id(statement)].append(any(right for _, right in kinds))
        for (target, _), (kind, right) in zip(pairs, kinds, strict=True):
            if right and kind in (PARTIAL, WRONG):
                if kind == PARTIAL and id(statement) not in self.suspects:
                    self.partial.add(id(statement))
                self.suspects.setdefault(id(statement), (statement, visit, dict(self.known)))
            if target is None or not (name := base(target)):
                continue
            if isinstance(statement, ast.AugAssign) or isinstance(target, ast.Subscript):
                kind = WRONG if WRONG in (kind, self.known.get(name, "")) else kind
            self.known[name] = kind

    def _kind(self, value: ast.expr, visit: int) -> tuple[str, bool]:
        """What an expression is, and whether all that it was handed is right, as far as it can be told."""
        if self._is_right(value, visit):
            return RIGHT, True
        terms = [self._kind_of_term(term, visit) for term in _terms(value)]
        kinds = {kind for kind, _ in terms}
        if WRONG in kinds:
            return WRONG, any(right for kind, right in terms if kind == WRONG)
        off = any(_among(value, self.off) for value in self.traced.values.get(id(value), ())[visit : visit + 1])
        return (WRONG if off else PARTIAL if PARTIAL in kinds else ""), True

    def _kind_of_term(self, term: ast.expr, visit: int) -> tuple[str, bool]:
        if self._is_right(term, visit) or (isinstance(term, ast.Name) and self.known.get(term.id) in (RIGHT, PARTIAL)):
            return PARTIAL, True
        read = {self.known.get(name, "") for name in names(term)}
        if read & {WRONG, PARTIAL}:
            return WRONG, False
        return (WRONG if RIGHT in read else ""), True

    def _is_right(self, node: ast.expr, visit: int) -> bool:
        seen = self._seen(node)
        return visit < len(seen) and seen[visit]

    def _seen(self, node: ast.expr) -> list[bool]:
        """Whether an expression was a gradient of the graph, visit by visit."""
        if id(node) not in self.right:
            self.right[id(node)] = [_among(value, self.flowing) for value in self.traced.values.get(id(node), ())]
        return self.right[id(node)]

    def _settled(self, statement: ast.stmt) -> Iterator[ast.AST]:
        """The expressions of a statement that were gradients of the graph whenever it was handed what is right."""
        handed = self.handed.get(id(statement), [])
        for _, value in _assigned(statement) if any(handed) else ():
            for node in ast.walk(value):
                seen = self._seen(node) if isinstance(node, ast.expr) else []
                as_often = len(seen) == len(handed)
                if any(seen) and (all(seen) or (as_often and all(map(operator.or_, seen, map(operator.not_, handed))))):
                    yield node


class _Read(ast.NodeTransformer):
    """Puts an expression in place of a name."""

    def __init__(self, name: str, made: ast.expr) -> None:
        self.name, self.made = name, made

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.made if node.id == self.name else node


def _statement(place: Place, top: ast.stmt) -> ast.stmt:
    """The innermost statement that holds a place."""
    return place.statement or top


def _stores(statement: ast.stmt) -> bool:
    """Whether a statement changes an entry of an array, adds to a name, or gives an array another name."""
    if isinstance(statement, ast.Assign):
        stores = any(isinstance(target, ast.Subscript) for target in statement.targets)
        return stores or isinstance(statement.value, ast.Name)
    return isinstance(statement, ast.AugAssign)


def _assigned(statement: ast.stmt) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    """What a statement computes, and what it is assigned to; None where it is returned."""
    value = getattr(statement, "value", None)
    if not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return) or value is None:
        return
    target = next(iter(targets(statement)), None)
    if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) and len(value.elts) == len(target.elts):
        yield from zip(target.elts, value.elts, strict=True)
    elif isinstance(value, ast.Dict | ast.Tuple):
        for entry in value.values if isinstance(value, ast.Dict) else value.elts:
            yield None, entry
    elif isinstance(target, ast.Tuple):
        for each in target.elts:
            yield each, value
    else:
        yield target, value


def _terms(value: ast.expr) -> list[ast.expr]:
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Sub):
        return [*_terms(value.left), *_terms(value.right)]
    return [value]


def _by_shape(gradients: Sequence[Tensor]) -> dict[tuple[int, ...], Tensor]:
    """Gradients in rows of their entries, by their shapes."""
    alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    for gradient in gradients:
        alike[_shape(gradient)].append(gradient.double().reshape(-1))
    return {shape: torch.stack(some) for shape, some in alike.items()}


def _among(value: object, gradients: dict[tuple[int, ...], Tensor]) -> bool:
    """Whether a value is one of these gradients."""
    own = tensor(value)
    if own is None or own.numel() < 2 or (some := gradients.get(_shape(own))) is None:
        return False
    own = own.reshape(-1)
    if bool((own == own[0]).all()):
        return False  # a constant, such as 1/m, is found everywhere
    return bool(((some - own).abs().amax(1) <= CLOSE * float(own.abs().max())).any())


def _shape(value: Tensor) -> tuple[int, ...]:
    """A shape without the axes of size one."""
    return tuple(size for size in value.shape if size != 1)
