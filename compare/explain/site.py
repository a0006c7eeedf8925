"""A place in a program where an edit may apply, with what is known about it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from compare.explain.named import tensor
from compare.explain.reach import Reach
from compare.explain.syntax import Place, binary, constant, factors_of, names, parsed, targets

METHODS = (
    "sum",
    "mean",
    "unsqueeze",
    "expand",
    "reshape",
    "view",
    "flatten",
    "flip",
    "transpose",
    "mm",
    "matmul",
    "clone",
)


@dataclass(frozen=True, eq=False)
class Proposal:
    """What to put in a place; `key` is equal for the same edit at another place."""

    new: Any  # an expression, a statement, or None to leave the statement out
    cause: str = ""  # where it is not the edit's own
    cost: float = 0.0
    key: str = ""
    told: str = ""  # how the new statement is shown, where its first line does not say it


@dataclass(frozen=True, eq=False)
class Site:
    """One place, the names in reach there, and the value that the expression had where it is known."""

    place: Place
    reach: Reach
    value: Any = None  # of the expression, in a straight line of statements
    known: bool = False  # whether the value is known
    evaluated: Callable[[ast.expr], Any] = lambda node: None  # what another expression would be here

    @property
    def node(self) -> Any:
        """What stands at the place."""
        return self.place.node

    @cached_property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the expression's value, where it is an array."""
        found = tensor(self.value)
        return None if found is None else tuple(found.shape)

    @cached_property
    def array(self) -> Tensor | None:
        """The expression's value as a float64 tensor, where it is one."""
        return tensor(self.value)

    @cached_property
    def is_load(self) -> bool:
        """Whether the expression is read here, and is no part of a function's name, a target or an attribute."""
        above = self.place.parent
        if isinstance(getattr(self.node, "ctx", None), ast.Store | ast.Del):
            return False
        if isinstance(above, ast.Call) and self.place.field == "func":
            return False
        if isinstance(above, ast.Attribute):
            if above.attr in ("T", "mT"):
                return isinstance(self.node, ast.BinOp) and self.shape is not None
            return above.attr in METHODS and isinstance(self.node, ast.Name | ast.BinOp) and self.shape is not None
        return not isinstance(above, ast.arguments | ast.FormattedValue | ast.JoinedStr)

    @cached_property
    def in_arithmetic(self) -> bool:
        """Whether the expression is a value of its own: an operand, an argument, what is assigned or returned."""
        if not self.is_load or (self.known and self.value is None):
            return False
        above = self.place.parent
        indexing = isinstance(above, ast.Subscript) and self.place.field == "slice"
        return (not indexing and not isinstance(above, ast.keyword | ast.Slice | ast.Dict | ast.For)) or isinstance(
            above, ast.Dict
        )

    @cached_property
    def whole(self) -> bool:
        """Whether the expression is all that is assigned, returned or put under a key."""
        return isinstance(self.place.parent, ast.Assign | ast.AugAssign | ast.Dict | ast.Return)

    @cached_property
    def is_value(self) -> bool:
        """Whether the expression is a number or an array, to which factors and terms can be put."""
        node = self.node
        if not self.in_arithmetic:
            return False
        if isinstance(
            node, ast.Dict | ast.Tuple | ast.List | ast.Constant | ast.GeneratorExp | ast.Lambda | ast.JoinedStr
        ):
            return constant(node) is not None and not self.inside(ast.Subscript)
        if isinstance(node, ast.Compare) or not isinstance(node, ast.expr):
            return False
        return not (isinstance(node, ast.Call) and isinstance(self.place.parent, ast.Expr | ast.For))

    @cached_property
    def turned(self) -> bool:
        """Whether the expression is an array that is read as its transpose, as the a of `a.T @ dz`."""
        above = self.place.parent
        named = isinstance(self.node, ast.Name | ast.Subscript) and self.shape is not None
        return named and isinstance(above, ast.Attribute) and above.attr in ("T", "mT")

    @cached_property
    def top(self) -> Any:
        """The whole expression that holds the place: what is assigned, returned or put under a key."""
        top = self.node
        for above in reversed(self.place.above):
            if not isinstance(above, ast.expr | ast.keyword) or isinstance(above, ast.Dict | ast.Tuple | ast.List):
                break
            top = above
        return top

    @cached_property
    def wanted(self) -> set[tuple[int, ...]]:
        """The shapes that the whole expression may have: its own, the step's, or what its name had before."""
        own = {self.reach.shape} if self.reach.shape is not None else set()
        if any(isinstance(above, ast.Dict) for above in self.place.above) and own:
            return own  # what is returned for the step
        before = [self.reach.tensors[name] for name in self._assigned if name in self.reach.tensors]
        if isinstance(self.place.statement, ast.AugAssign):
            return {tuple(value.shape) for value in before}
        now = tensor(self.evaluated(self.top))
        return own | {tuple(value.shape) for value in (now, *before) if value is not None}

    @property
    def _assigned(self) -> list[str]:
        """What the statement assigns to."""
        statement = self.place.statement
        return [ast.unparse(target) for target in targets(statement)] if statement is not None else []

    def fits(self, new: ast.expr) -> bool:
        """Whether the whole expression has a shape that it may have with something else here."""
        statement = self.place.statement
        if self.top is self.node and not isinstance(statement, ast.AugAssign):
            return False
        self.place.put(new)
        try:
            whole = new if self.top is self.node else self.top
            if isinstance(statement, ast.AugAssign):
                whole = binary(parsed(self._assigned[0]), statement.op, whole)
            value = tensor(self.evaluated(whole))
        finally:
            self.place.put(self.node)
        return value is not None and tuple(value.shape) in self.wanted

    def takes(self, value: Tensor) -> bool:
        """Whether a factor leaves the shape of the expression as it is; True where neither is known."""
        if self.shape is None:
            return not self.known
        if value.ndim > len(self.shape):
            return False
        return all(v in (1, s) for v, s in zip(reversed(value.shape), reversed(self.shape), strict=False))

    @cached_property
    def beside(self) -> tuple[int, ...] | None:
        """The shape of the array beside a number in a sum or in the branches of `where`; None where there is none."""
        above = self.place.parent
        others: list[ast.expr] = []
        if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub):
            others = [above.left, above.right]
        elif isinstance(above, ast.Call) and ast.unparse(above.func).rpartition(".")[2] == "where":
            others = above.args
        found = (tensor(self.evaluated(other)) for other in others if other is not self.node)
        return next((tuple(array.shape) for array in found if array is not None and array.ndim), None)

    @cached_property
    def in_penalty(self) -> bool:
        """Whether the expression stands in a term that holds the quantity whose gradient this is: a penalty's."""
        if self.reach.target not in self.reach.inputs:
            return False
        term: ast.AST = self.node
        for above in reversed(self.place.above):
            if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult | ast.Div):
                term = above
            elif not isinstance(above, ast.UnaryOp | ast.Call | ast.Attribute):
                break
        return penalty(term, self.reach)

    @cached_property
    def divides(self) -> bool:
        """Whether what surrounds the expression in its product is divided by it: a factor put in here makes less."""
        under = False
        for above, below in reversed(list(self.place.steps)):
            if not (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult | ast.Div)):
                break
            under ^= isinstance(above.op, ast.Div) and below is above.right
        return under

    def under(self, *ops: type[ast.operator]) -> bool:
        """Whether the expression is the right side of such an operator: what something is divided by."""
        above = self.place.parent
        return isinstance(above, ast.BinOp) and isinstance(above.op, ops) and self.place.field == "right"

    @cached_property
    def in_slope(self) -> bool:
        """Whether the expression stands in a formula such as 1 - a ** 2 or a * (1 - a)."""
        return any(is_slope(a) for a in (*self.place.above, self.node))

    @cached_property
    def beside_slope(self) -> bool:
        """Whether the expression is the a of a * (1 - a)."""
        top: ast.AST = self.node
        for above in reversed(self.place.above):
            if not (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult)):
                break
            top = above
        factors = factors_of(top) if isinstance(top, ast.expr) else []
        return any(is_slope(f) and names(self.node) == names(f) for f in factors if f is not self.node)

    @cached_property
    def in_update(self) -> bool:
        """Whether the statement is a step of gradient descent: `W = W - ...`, `W -= ...`."""
        return updates(next((a for a in reversed(self.place.above) if isinstance(a, ast.stmt)), self.node))

    @cached_property
    def in_index(self) -> bool:
        """Whether the place says which entries are taken, not what they are taken from."""
        return any(isinstance(a, ast.Subscript) and below is a.slice for a, below in self.place.steps)

    @cached_property
    def measured(self) -> bool:
        """Whether nothing but a size is read of the expression: `len(x)`, `x.shape[0]`, `x.numel()`."""
        above = self.place.parent
        if isinstance(above, ast.Call):
            return ast.unparse(above.func) == "len"
        return isinstance(above, ast.Attribute) and above.attr in ("shape", "size", "numel")

    @cached_property
    def in_shape(self) -> bool:
        """Whether the place says which entry of a shape is read: what is wrong there is a count."""
        chain = (*self.place.above, self.node)
        shapes = (a for a in chain if isinstance(a, ast.Subscript) and isinstance(a.value, ast.Attribute))
        return any(a.value.attr == "shape" for a in shapes if isinstance(a.value, ast.Attribute))

    @cached_property
    def iterated(self) -> bool:
        """Whether the place says what a loop runs over."""
        return any(isinstance(a, ast.For) and below is a.iter for a, below in self.place.steps)

    def inside(self, *kinds: type[ast.AST]) -> bool:
        """Whether the place lies below such a node in its statement."""
        return any(isinstance(above, kinds) for above in self.place.above)


def is_slope(node: ast.AST) -> bool:
    """Whether an expression reads 1 - a."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and constant(node.left) == 1


def updates(statement: ast.AST) -> bool:
    """Whether a statement subtracts from what it assigns to."""
    if isinstance(statement, ast.AugAssign):
        return isinstance(statement.op, ast.Sub) and not isinstance(statement.value, ast.Constant)
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.BinOp):
        return False
    value = statement.value
    same = ast.unparse(value.left) == ast.unparse(statement.targets[0])
    return isinstance(value.op, ast.Sub) and same and not isinstance(value.right, ast.Constant)


def penalty(term: ast.AST, reach: Reach) -> bool:
    """Whether a term is a constant of the derivation, or a number, times the quantity whose gradient is computed."""
    found = names(term)
    if reach.target not in found or reach.target not in reach.inputs:
        return False
    scaled = isinstance(term, ast.BinOp) and found == {reach.target} and constant(term.left) is not None
    by_tensor = any(n in reach.tensors and not reach.tensors[n].ndim for n in found - {reach.target})
    return scaled or by_tensor or any(t.text in found for t in reach.numbers if t.role == "constant")
