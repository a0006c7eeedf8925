"""Edits that put in a factor that is left out: a derivative, a mask, a quantity, a size, a number."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from torch import Tensor

from compare.explain.named import Term, counts, plain
from compare.explain.site import Proposal, Site, is_slope
from compare.explain.syntax import binary, constant, names, parsed

PARTIAL = 60  # proposals a site where the shapes are not known
BY_CHANCE = 0.3  # what a size costs that is a small number as well, where nothing speaks for it


def factor(site: Site) -> Iterator[Proposal]:
    """x * t and x / t for x: a derivative, a mask, a tensor, a size, a number."""
    node, reach = site.node, site.reach
    if site.turned:
        yield from _turned(site)
    if not site.is_value or _within_product(site):
        return
    here = 0.0 if site.whole else 0.7
    held = names(node)
    here += 0.3 if held and held <= reach.inputs else 0.0  # not a weight, but what is handed on
    for term in (*reach.sizes, *reach.numbers):
        if term.role == "number" and (term.value < 1 or (term.text == "2" and isinstance(node, ast.Constant))):
            continue  # `/ 2` says more than `* 0.5`
        cost = {"size": 0.0, "constant": 0.2, "number": 0.1}[term.role] + (0.6 if "**" in term.text else 0.0)
        cost += 0.8 if term.text.startswith("(1 - ") else 0.0
        t = parsed(term.text)
        if constant(node) is None:
            for op, sign, more in ((ast.Div(), "/", 0.0), (ast.Mult(), "*", 0.1)):
                more += BY_CHANCE if _by_chance(site, term, sign) else 0.0
                ahead = term.role == "number" and sign == "*" and not isinstance(node, ast.BinOp)
                new = binary(t, op, node) if ahead else binary(node, op, t)
                yield Proposal(new, _cause(site, term, sign), here + cost + more, f"{sign} {term.text}")
    if constant(node) is not None or (site.known and site.shape is None):
        yield from _spread(site, here)
        return
    at = f" @ {ast.unparse(node)}" if isinstance(node, ast.Name) else ""
    for count, term in enumerate(reach.factors):
        if site.shape is None and count > PARTIAL:
            return
        if not site.takes(term.value):
            continue
        cost = {"derivative": 0.0, "mask": 0.2, "tensor": 0.5, "complement": 0.8, "power": 1.4}[term.role]
        t = parsed(term.text)
        yield Proposal(binary(node, ast.Mult(), t), _cause(site, term, "*"), here + cost, f"* {term.text}{at}")
        if term.role == "tensor" or term.text.endswith("[:, None]"):
            itself = term.text == reach.target  # d(s c)/ds holds c, and what was written s c
            slope = itself and term.text in {z for _, z in reach.activations.values()}  # a / z, as that of relu is
            cause = "wrong_activation_derivative" if slope else "wrong_operand" if itself else "missing_factor"
            cause = "missing_mean" if counts(term.value) and not site.divides else cause
            yield Proposal(binary(node, ast.Div(), t), cause, here + cost + 0.4, f"/ {term.text}")
    for term in reach.unnamed if site.shape == reach.shape else ():
        new = binary(node, ast.Mult(), parsed(term.text))
        yield Proposal(new, _cause(site, term, "*"), here + 0.6, f"* {term.text}")
    own = ast.unparse(node)
    for term in reach.written:
        if site.takes(term.value) and term.text != own:
            t = parsed(term.text)
            yield Proposal(binary(node, ast.Mult(), t), _cause(site, term, "*"), here + 0.9, f"* {term.text}{at}")


def scaled(site: Site) -> Iterator[Proposal]:
    """x = x / m + v for x += v: a factor of what was added up before."""
    node, reach = site.node, site.reach
    if not isinstance(node.op, ast.Add | ast.Sub):
        return
    before = parsed(ast.unparse(node.target))
    for term in (*reach.sizes, *(t for t in reach.numbers if t.role == "constant")):
        for op, sign in ((ast.Div(), "/"), (ast.Mult(), "*")):
            cause = "wrong_factor" if term.role == "constant" else "missing_mean" if sign == "/" else "mean_twice"
            total = binary(binary(before, op, parsed(term.text)), node.op, node.value)
            made = ast.copy_location(ast.Assign([node.target], total), node)
            yield Proposal(made, cause, 0.2 if term.role == "size" else 0.5, f"{sign} {term.text} before")


def _turned(site: Site) -> Iterator[Proposal]:
    """(a * t).T for a.T: what is handed through a gate or a mask before it meets a weight."""
    for term in site.reach.plain:
        if site.takes(term.value) and term.text != ast.unparse(site.node):
            new = binary(site.node, ast.Mult(), parsed(term.text))
            yield Proposal(new, _cause(site, term, "*"), 1.2, f"* {term.text} turned")


def _spread(site: Site, here: float) -> Iterator[Proposal]:
    """c * t for a number c beside an array: what has to differ from entry to entry."""
    if constant(site.node) == 0 or site.beside is None:
        return
    for term in site.reach.factors:
        if tuple(term.value.shape) == site.beside:
            new = binary(site.node, ast.Mult(), parsed(term.text))
            yield Proposal(new, _cause(site, term, "*"), here + 0.2, f"* {term.text}")


def _by_chance(site: Site, term: Term, op: str) -> bool:
    """Whether a size may as well be a plain number: nothing is averaged, or nothing was divided by it before."""
    reach = site.reach
    if term.role != "size":
        return False
    if site.in_index:
        return True
    if op == "/":
        return not reach.averaged(term.value) and not reach.averaged(term.value * _divisor(site))
    return term.value in {t.value for t in reach.numbers if t.role == "number"} and term.value not in reach.divisors


def _within_product(site: Site) -> bool:
    """Whether a place is a factor of a product, to which as a whole any other factor can be put."""
    above = site.place.parent
    if isinstance(above, ast.UnaryOp):
        return True
    if constant(site.node) is not None or not isinstance(above, ast.BinOp):
        return False
    return isinstance(above.op, ast.Mult) or (isinstance(above.op, ast.Div) and site.place.field == "left")


def _cause(site: Site, term: Term, op: str) -> str:
    """The mistake of having left a factor out."""
    if site.in_penalty:
        return "wrong_l2"
    handed_on = is_slope(site.node) and term.role == "tensor"  # what arrives is left out, not a part of the slope
    if site.in_slope and not handed_on:
        return "wrong_activation_derivative"
    if type(site.value) is int and site.reach.is_size(float(site.value)) and "**" not in term.text:
        return "wrong_count"  # of what is counted, so many times as many
    if (op == "/") != site.divides and counts(term.value):
        return "missing_mean"
    if term.role == "size":
        if "**" in term.text:
            return "wrong_factor"
        if (op == "/") != site.divides:
            return "wrong_count" if _divisor(site) > 1 else "missing_mean"
        return "mean_twice"
    if term.role in ("number", "constant"):
        if (op == "/") != site.divides and "[" in term.text and term.text in site.reach.counts:
            return "missing_mean"  # the entry of a table of counts
        divides = term.role == "number" and (op == "/") != site.divides
        if divides and site.reach.counts_too_few(term.value):
            return "wrong_count"
        return "missing_mean" if divides and term.value in site.reach.facts.means else "wrong_factor"
    if term.role in ("written", "complement") and site.reach.slope(term.text):
        return "missing_activation_derivative"
    if term.role in ("tensor", "written", "complement") and _chooses(term.value):
        return "wrong_mask"
    if term.role == "mask":
        return "missing_activation_derivative" if ">" in term.text else "wrong_mask"
    if term.role == "derivative":
        return "missing_activation_derivative"
    a = term.text.removeprefix("(1 - ").rstrip(")")
    if plain(a) in {plain(n) for n in site.reach.activations} and plain(site.reach.target) not in site.reach.inputs:
        own = {plain(n): plain(z) for n, (_, z) in site.reach.activations.items()}
        if own[plain(a)] == plain(site.reach.target):
            return "missing_activation_derivative"
    return "missing_factor"


def _divisor(site: Site) -> int:
    """The sizes that an expression is divided by already, as by one axis of two that are averaged over; else 1."""
    node, found = site.node, 1
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        value = site.evaluated(node.right) if isinstance(node.op, ast.Div) else None
        found *= value if isinstance(value, int) and site.reach.is_size(value) else 1
        node = node.left
    return found


def _chooses(value: Tensor) -> bool:
    """Whether a factor is a mask: nothing but zeros and ones, and both of them."""
    return bool(((value == 0) | (value == 1)).all()) and bool((value == 0).any()) and bool((value == 1).any())
