"""Edits of what stands at a place: another number, another name, another comparison, another index."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from compare.explain.edits_calls import is_method
from compare.explain.named import plain
from compare.explain.site import Proposal, Site
from compare.explain.syntax import base, binary, constant, names, number, parsed

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
    seen = {value}
    piecewise = site.inside(ast.Call)
    for other in tried:
        if other not in seen and not (isinstance(value, int) and isinstance(other, float) and other.is_integer()):
            seen.add(other)
            odd = other in ODD and not piecewise and other not in (2 * value, value / 2)
            yield Proposal(number(other, node), cause, 0.6 if odd else 0.0, f"{value} {other}")
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
    if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Pow) and site.place.field == "right":
        return "wrong_activation_derivative"
    if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub):
        value = abs(constant(site.node) or 0)
        other = above.left if site.place.field == "right" else above.right
        if isinstance(site.evaluated(other), int) or ast.unparse(other) in site.reach.counts:
            return "wrong_count"
        if 0 < value < 0.01:
            return "wrong_epsilon"
        return "wrong_activation_derivative" if value == 1 or not float(value).is_integer() else "wrong_count"
    return "wrong_l2" if site.in_penalty else "wrong_factor"


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


def name_replaced(site: Site) -> Iterator[Proposal]:
    """Another quantity or local of the same shape; then others of as many dimensions."""
    node = site.node
    if not site.is_load and not isinstance(site.place.parent, ast.Attribute):
        return
    if isinstance(site.place.parent, ast.Call) and site.place.field == "func":
        return
    old = ast.unparse(node)
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant):
        return
    reach = site.reach
    if isinstance(site.place.parent, ast.Dict) and reach.target in reach.tensors:
        wanted = reach.tensors[reach.target].shape
        if site.shape != tuple(wanted):  # what is returned has another shape than it must have
            for other, value in reach.tensors.items():
                if other != old and value.shape == wanted:
                    far = 0.0 if plain(other) not in reach.quantities else 0.8
                    yield Proposal(parsed(other), "wrong_operand", far, f"returned {other}")
            return
    if old in reach.scalars:
        for term in (*reach.sizes, *reach.numbers):
            if term.text != old and term.role in ("size", "constant", "number"):
                if any(isinstance(a, ast.If | ast.IfExp) and below is a.test for a, below in _steps(site)):
                    continue  # a number in a test: true as well, and no mistake's name
                count = term.role == "size" and reach.is_size(reach.scalars[old])
                cause = "wrong_l2" if site.in_penalty else "wrong_count" if count else "wrong_factor"
                cause = "wrong_index" if site.in_index else cause
                yield Proposal(parsed(term.text), cause, 0.4 if term.role == "size" else 1.0, f"{old} {term.text}")
        return
    known = reach.tensors.get(old)
    if known is None and old in reach.whole:
        for other in reach.whole:
            if other != old:
                yield Proposal(parsed(other), "wrong_index", 0.6, f"{old} {other}")
        return
    if known is None and site.known:
        return
    for other, value in reach.tensors.items():
        if other == old or (site.inside(ast.Lambda) and not plain(other)):
            continue
        cost = 0.0 if known is None or value.shape == known.shape else 0.9
        if known is not None and value.ndim != known.ndim:
            continue
        relation = reach.relation(old, other)
        cost += {"activation": 0.0, "layer": 0.1, "step": 0.1}.get(relation, 0.3)
        cost += 0.0 if plain(other) in reach.quantities else 0.3
        yield Proposal(parsed(other), cause_of_name(site, old, other), cost, f"{relation} {old} {other}")
    if known is not None and isinstance(site.place.parent, ast.BinOp) and isinstance(site.place.parent.op, ast.Mult):
        if bool((known == 0).any()) and not bool((known < 0).any()):
            yield Proposal(parsed(f"({old} > 0)"), "wrong_activation_derivative", 0.5, "slope > 0")
        for term in (*reach.derivatives, *reach.masks):  # a value where its slope belongs
            if old in names(parsed(term.text)) and term.text != old and term.value.shape == known.shape:
                yield Proposal(parsed(term.text), "wrong_activation_derivative", 0.5, f"slope {old}")


def _steps(site: Site) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Each node above a place with the one below it."""
    chain = (*site.place.above, site.node)
    return itertools.pairwise(chain)


def cause_of_name(site: Site, old: str, new: str) -> str:
    """The mistake of having written `old` where `new` belongs."""
    reach = site.reach
    if site.inside(ast.Compare):
        return "wrong_mask"
    if site.in_penalty:
        return "wrong_l2"
    relation = reach.relation(old, new)
    effect = reach.effect(reach.tensors.get(old), reach.tensors.get(new)) if relation != "activation" else ""
    both = {plain(old), plain(new)} <= reach.quantities  # x for xhat is another quantity, not a factor left out
    if effect and not (effect == "missing_factor" and both):
        return effect
    if relation == "activation":
        above = next((a for a in reversed(site.place.above) if not isinstance(a, ast.Attribute)), None)
        factor = isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult | ast.MatMult) and not site.in_slope
        final = reach.target in reach.inputs  # a parameter's gradient holds the activation itself, no derivative
        own = reach.target_follows(old, new) and not final
        return "wrong_operand" if factor and not own else "derivative_at_wrong_place"
    if relation == "layer":
        return "wrong_layer"
    if relation == "step":
        return "derivative_at_wrong_place" if site.in_slope else "wrong_index"
    if plain(new) in reach.inputs and plain(old) not in reach.quantities and _updated(site, old, new):
        return "updated_weight"
    return "modified_in_place" if _copied(site, old, new) else "wrong_operand"


def _copied(site: Site, old: str, new: str) -> bool:
    """Whether `new` was made as a copy of `old`."""
    statements = getattr(site.place.above[0], "siblings", [])
    copies = [s.value for s in statements if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == new]
    return any(isinstance(v, ast.Call) and ast.unparse(v.func) == f"{old}.clone" for v in copies)


def _updated(site: Site, old: str, new: str) -> bool:
    """Whether the statement that made `old` subtracts from `new`."""
    top = site.place.above[0]
    statements = getattr(top, "siblings", [])
    return any(
        isinstance(s, ast.Assign)
        and ast.unparse(s.targets[0]) == old
        and isinstance(s.value, ast.BinOp)
        and isinstance(s.value.op, ast.Sub)
        and ast.unparse(s.value.left) == new
        for s in statements
    )


def comparison(site: Site) -> Iterator[Proposal]:
    """> for <, >= for >, another side, another threshold."""
    node = site.node
    if len(node.ops) != 1:
        return
    left, right = node.left, node.comparators[0]
    ops = (ast.Gt, ast.GtE, ast.Lt, ast.LtE, ast.Eq, ast.NotEq)
    if isinstance(node.ops[0], ops):
        for op in ops:
            if not isinstance(node.ops[0], op):
                apart = site.inside(ast.If, ast.IfExp) or op in (ast.Eq, ast.NotEq)
                cause, cost = ("special_case", 0.8) if apart else ("", 0.2)
                yield Proposal(_compare(node, left, op(), right), cause, cost, f"{op.__name__}")
    if constant(right) is not None:
        for term in (*(t for t in site.reach.masks if ">" in t.text), *site.reach.derivatives):
            mask = parsed(term.text)
            if ast.unparse(mask) != ast.unparse(node):
                derivative = term.role == "derivative" and "where" in term.text
                yield Proposal(mask, "wrong_activation_derivative" if derivative else "", 0.3, term.text)


def _compare(node: ast.Compare, left: ast.expr, op: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Compare(left, [op], [right]), node)
