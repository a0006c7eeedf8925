"""Edits of what stands at a place: another name, another comparison."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from compare.explain.named import plain
from compare.explain.site import Proposal, Site
from compare.explain.syntax import constant, names, parsed

KINDS = 40  # quantities of other axes that are tried in place of a name


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
        yield from _another_number(site, old)
        return
    if old in reach.lists:
        yield from _another_list(site, old)
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
        if site.measured:
            yield Proposal(parsed(other), "wrong_count", 0.3, f"counts {old} {other}")
            continue
        relation = reach.relation(old, other)
        cost += {"activation": 0.0, "layer": 0.1, "step": 0.1}.get(relation, 0.3)
        cost += 0.0 if plain(other) in reach.quantities else 0.3
        yield Proposal(parsed(other), cause_of_name(site, old, other), cost, f"{relation} {old} {other}")
    if known is not None:
        yield from _of_another_kind(site, old)
    if known is not None and _multiplied(site.place.parent):
        if bool((known == 0).any()) and not bool((known < 0).any()):
            yield Proposal(parsed(f"({old} > 0)"), "wrong_activation_derivative", 0.5, "slope > 0")
        for term in (*reach.derivatives, *reach.masks):  # a value where its slope belongs
            if old in names(parsed(term.text)) and term.text != old and term.value.shape == known.shape:
                yield Proposal(parsed(term.text), "wrong_activation_derivative", 0.5, f"slope {old}")


def _another_number(site: Site, old: str) -> Iterator[Proposal]:
    """Another size, constant or number, one less than a count, another index; an array where a number stands."""
    reach = site.reach
    asked = any(isinstance(a, ast.If | ast.IfExp) and below is a.test for a, below in site.place.steps)
    for term in (*reach.sizes, *reach.numbers) if not asked else ():  # in a test: true as well, and no mistake's name
        if term.text == old or term.role not in ("size", "constant", "number"):
            continue
        if site.in_index and (".sum(" in term.text or "**" in term.text):
            continue
        count = term.role == "size" and reach.is_size(reach.scalars[old])
        cause = "wrong_l2" if site.in_penalty else "wrong_count" if count else "wrong_factor"
        cause = "wrong_index" if site.in_index else cause
        far = 1.2 if "**" in term.text else 0.4 if term.role == "size" else 0.9
        yield Proposal(parsed(term.text), cause, far, f"{old} {term.text}")
    if reach.counted(old) and _divides(site):
        yield Proposal(parsed(f"({old} - 1)"), "wrong_count", 0.6, f"{old} - 1")
    if site.in_index:  # `de[i, j]` for `de[i, i]`
        others = sorted(n for n in reach.counts if n != old and n.isidentifier() and not reach.counted(n))
        yield from (Proposal(parsed(n), "wrong_index", 0.2, f"index {old} {n}") for n in others)
    else:
        yield from _of_another_kind(site, old)


def _of_another_kind(site: Site, old: str) -> Iterator[Proposal]:
    """What has other axes, or none, where the whole expression has the right shape with it."""
    reach = site.reach
    known = reach.tensors.get(old)
    argument = known is None and isinstance(site.place.parent, ast.Call)
    if site.measured or site.inside(ast.Compare) or (argument and reach.is_size(reach.scalars[old])):
        return
    others = [t.text for t in reach.plain if known is None or t.value.ndim != known.ndim]
    for other in others[:KINDS]:
        if site.fits(parsed(other)):
            cost = 0.5 + (0.0 if plain(other) in reach.quantities else 0.3)
            yield Proposal(parsed(other), cause_of_name(site, old, other), cost, f"kind {old} {other}")
    for term in (*reach.sizes, *reach.numbers) if known is not None else ():
        possible = term.role == "constant" or (term.role == "size" and _divides(site))
        if possible and site.fits(parsed(term.text)):
            cause = "wrong_count" if term.role == "size" else "wrong_operand"
            yield Proposal(parsed(term.text), cause, 0.9, f"kind {old} {term.text}")


def _divides(site: Site) -> bool:
    """Whether a place is what something is divided by, in place too."""
    above = site.place.parent
    return site.under(ast.Div) or (isinstance(above, ast.AugAssign) and isinstance(above.op, ast.Div))


def _another_list(site: Site, old: str) -> Iterator[Proposal]:
    """`f[k]` for `i[k]`: the entries of another list as long."""
    above = site.place.parent
    for other, length in site.reach.lists.items():
        if other == old or length != site.reach.lists[old]:
            continue
        cause = "wrong_operand"
        if isinstance(above, ast.Subscript) and site.place.field == "value":
            at = ast.unparse(above.slice)
            cause = cause_of_name(site, f"{old}[{at}]", f"{other}[{at}]")
        yield Proposal(parsed(other), cause, 0.3, f"{old} {other}")


def _multiplied(above: ast.AST) -> bool:
    """Whether a node multiplies entry by entry: a * b, np.multiply(a, b), a.mul(b)."""
    if isinstance(above, ast.Call):
        return ast.unparse(above.func).rpartition(".")[2] in ("multiply", "mul")
    return isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult)


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
        multiplied = isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult | ast.MatMult)
        factor = multiplied and not site.in_slope and not site.beside_slope
        final = reach.target in reach.inputs  # a parameter's gradient holds the activation itself, no derivative
        own = reach.target_follows(old, new) and not final
        term = isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub) and not site.in_slope
        return "wrong_operand" if (factor and not own) or term else "derivative_at_wrong_place"
    if relation == "layer":
        return "wrong_layer"
    if relation == "step":
        return "derivative_at_wrong_place" if site.in_slope else "wrong_index"
    own = plain(old) == plain(new) or plain(old) not in reach.quantities  # params["W"] for W
    if plain(new) in reach.inputs and own and _updated(site, old, new):
        return "updated_weight"
    return "modified_in_place" if _copied(site, old, new) else "wrong_operand"


def _copied(site: Site, old: str, new: str) -> bool:
    """Whether `new` was made as a copy of `old`."""
    statements = getattr(site.place.above[0], "siblings", [])
    copies = [s.value for s in statements if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == new]
    return any(isinstance(v, ast.Call) and ast.unparse(v.func) == f"{old}.clone" for v in copies)


def _updated(site: Site, old: str, new: str) -> bool:
    """Whether the statement that made `old` subtracts from `new`, or from what `old` was."""
    top = site.place.above[0]
    statements = getattr(top, "siblings", [])
    return any(
        isinstance(s, ast.Assign)
        and ast.unparse(s.targets[0]) == old
        and isinstance(s.value, ast.BinOp)
        and isinstance(s.value.op, ast.Sub)
        and ast.unparse(s.value.left) in (old, new)
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
                asked, one = site.inside(ast.If, ast.IfExp), op in (ast.Eq, ast.NotEq)
                cost = 0.8 if asked or one else 0.2
                cause = "special_case" if asked or (one and _chosen_by(site)) else ""
                yield Proposal(_compare(node, left, op(), right), cause, cost, f"{op.__name__}")
    if constant(right) is not None:
        for term in (*(t for t in site.reach.masks if ">" in t.text), *site.reach.derivatives):
            mask = parsed(term.text)
            if ast.unparse(mask) != ast.unparse(node):
                derivative = term.role == "derivative" and "where" in term.text
                yield Proposal(mask, "wrong_activation_derivative" if derivative else "", 0.3, term.text)


def _chosen_by(site: Site) -> bool:
    """Whether a comparison chooses between the branches of `where`."""
    above = site.place.parent
    return isinstance(above, ast.Call) and ast.unparse(above.func).rpartition(".")[2] == "where"


def _compare(node: ast.Compare, left: ast.expr, op: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Compare(left, [op], [right]), node)
