"""Edits of numbers: another one, a size or a constant in place of it, and what a number is where it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from compare.explain.edits_calls import is_method
from compare.explain.named import tensor
from compare.explain.site import Proposal, Site
from compare.explain.syntax import base, binary, constant, number, parsed

ALONG = frozenset(
    """sum mean softmax log_softmax amax max cat transpose roll size unsqueeze squeeze flip cumsum gather scatter
    scatter_add index_select index_add swapaxes movedim permute diagonal unbind stack logsumexp select narrow
    repeat_interleave split chunk""".split()
)
POSITIONS = {"roll": 0, "narrow": 1, "select": 1}  # which of a method's arguments says where along the axis
COUNTED = {"repeat_interleave": 0, "split": 0, "chunk": 0}  # and which is a count


LARGE = 200  # no argument of a call is made larger: as a number of copies it would fill the memory
ODD = (0.1, 0.2, 0.25, 4.0)  # numbers that are seldom what a factor is


def number_changed(site: Site) -> Iterator[Proposal]:
    """Another number: one more or less, doubled, halved, turned, or a size or constant in reach."""
    node, value = site.node, constant(site.node)
    if value is None or isinstance(site.place.parent, ast.UnaryOp):
        return
    cause = _cause_of_number(site)
    tried: list[float | int] = []
    if isinstance(value, int):
        tried = [value + 1, value - 1, -value, 0, 1, 2, -1, 3]
    else:
        tried = [-value, value * 2, value / 2, value + 1, value - 1, 0.0, 1.0, value * 10, value / 10]
    above = site.place.parent
    if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub):
        tried.remove(0)  # which is to leave the term out
    if cause == "wrong_factor":
        tried += [0.5, 2.0, 3.0, 4.0, 0.1, 0.2, 0.25]
    if isinstance(above, ast.Compare):
        named = {abs(t.value) for t in site.reach.numbers if t.role == "constant"}  # which says more than its value
        tried += [sign * bound for bound in _written(site) if bound not in named for sign in (1, -1)]
    seen = {value}
    piecewise = site.inside(ast.Call)
    for other in tried:
        if other not in seen and not (isinstance(value, int) and isinstance(other, float) and other.is_integer()):
            seen.add(other)
            fewer = cause == "wrong_factor" and other and site.reach.counts_too_few(value / other)
            odd = other in ODD and not piecewise and other not in (2 * value, value / 2)
            yield Proposal(
                number(other, node), "wrong_count" if fewer else cause, 0.6 if odd else 0.0, f"{value} {other}"
            )
    if site.in_index or site.inside(ast.keyword):
        return
    for term in (*site.reach.sizes, *site.reach.numbers):
        if isinstance(above, ast.Call) and term.value > LARGE:
            continue
        if term.role in ("size", "constant") and cause in ("wrong_factor", "wrong_count"):
            divides = isinstance(above, ast.BinOp) and isinstance(above.op, ast.Div) and site.place.field == "right"
            counted = term.role == "size" and divides and site.reach.averaged(term.value)
            cost = 0.1 if counted else 0.8
            yield Proposal(parsed(term.text), "wrong_count" if term.role == "size" else cause, cost, term.text)
        if term.role == "size" and value and cause in ("wrong_factor", "special_case"):
            late = "order_of_operations" if _divided_before(site) else "missing_mean"
            yield Proposal(binary(node, ast.Div(), parsed(term.text)), late, 0.6, f"/ {term.text}")


def _cause_of_number(site: Site) -> str:
    above = site.place.parent
    changed = next((a for a in site.place.above if isinstance(a, ast.AugAssign)), None)
    if changed is not None and isinstance(changed.target, ast.Subscript):
        return "special_case"
    if _masked(site):
        return "wrong_mask"
    if site.in_shape:
        return "wrong_count"
    if isinstance(above, ast.Compare) or site.inside(ast.Compare):
        return "special_case" if site.inside(ast.If, ast.IfExp) else "wrong_mask"
    if isinstance(above, ast.keyword):
        return "wrong_axis" if above.arg in ("dim", "axis", "dims") else "wrong_factor"
    if site.in_index:
        return "wrong_index"
    call = next((n for n in reversed(site.place.above) if isinstance(n, ast.Call)), None)
    if call is not None and call is above:
        name = ast.unparse(call.func).rpartition(".")[2]
        if name in ("clamp", "clip", "clamp_", "round"):
            return "clipped"
        if name == "range":
            return "some_samples"
        if name in ALONG and not _beside(call, name, site.place.index):
            return "wrong_axis"
        if name in POSITIONS:
            return "wrong_index"
        if name == "where":
            return "wrong_factor"
        if name in ("pow", "power", "float_power"):
            return "wrong_activation_derivative"
    if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Pow) and site.place.field == "right":
        return "wrong_activation_derivative"
    if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub):
        value = abs(constant(site.node) or 0)
        other = above.left if site.place.field == "right" else above.right
        if isinstance(site.evaluated(other), int) or ast.unparse(other) in site.reach.counts:
            return "wrong_count"
        if 0 < value < 0.01:
            return "wrong_epsilon"
        entries = tensor(site.evaluated(other)) is not None  # a number of each of them, as the 1 of 1 - a
        return (
            "wrong_activation_derivative" if entries or not float(value).is_integer() or value == 1 else "wrong_count"
        )
    return "wrong_l2" if site.in_penalty else "wrong_factor"


def _written(site: Site) -> list[float | int]:
    """The numbers that the program holds: one of them may be the other bound of a range."""
    top = site.place.above[0]
    nodes = (node for s in getattr(top, "siblings", [top]) for node in ast.walk(s))
    return sorted({abs(n) for node in nodes if isinstance(node, ast.Constant) and (n := constant(node)) is not None})


def _divided_before(site: Site) -> bool:
    """Whether a number is added to entries of what has been divided as a whole before: `d /= m; d[rows, y] -= 1`."""
    changed = site.place.parent
    if not isinstance(changed, ast.AugAssign) or not isinstance(changed.target, ast.Subscript):
        return False
    before = [s for s in getattr(changed, "siblings", ()) if s.lineno < changed.lineno]
    made = [s for s in before if isinstance(s, ast.AugAssign | ast.Assign) and base(changed.target) in _targets(s)]
    return any(isinstance(n, ast.Div) for s in made for n in ast.walk(s))


def _targets(statement: ast.Assign | ast.AugAssign) -> set[str]:
    return set(map(base, [statement.target] if isinstance(statement, ast.AugAssign) else statement.targets))


def _masked(site: Site) -> bool:
    """Whether a number is what is written over the entries that a comparison picks: `dz[z < 0] = 0`."""
    above = site.place.parent
    if not isinstance(above, ast.Assign) or not isinstance(above.targets[0], ast.Subscript):
        return False
    return isinstance(above.targets[0].slice, ast.Compare)


def _beside(call: ast.Call, name: str, index: int | None) -> bool:
    """Whether an argument is a place along an axis, or a count, and no axis itself."""
    at = POSITIONS.get(name, COUNTED.get(name))
    return at is not None and index == at + (0 if is_method(call) else 1)
