"""Edits of whole formulas: a factor put inside or throughout, one product, a full Jacobian, another derivative."""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Iterator

import torch

from compare.explain.activations import ACTIVATIONS
from compare.explain.edits_calls import called, operand
from compare.explain.named import ALIKE, plain, spreads, tensor
from compare.explain.numbers import multiple
from compare.explain.site import Proposal, Site, is_slope
from compare.explain.syntax import binary, constant, factors_of, method, names, number, parsed


def product(site: Site) -> Iterator[Proposal]:
    """The product of two quantities in reach in place of a whole right-hand side that is put together otherwise."""
    node, array = site.node, site.array
    if array is None or not site.whole or site.reach.target not in site.reach.inputs:
        return
    for candidate in site.reach.products(tuple(array.shape)):
        if not bool((candidate.value == array).all()):
            yield Proposal(parsed(candidate.text), _pieces(node, candidate.text), 0.0, candidate.text)


def _pieces(node: ast.expr, product_text: str) -> str:
    """The mistake of an expression that is made of parts of the samples, or that lacks a factor; else it is open."""
    if any(isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Slice) for n in ast.walk(node)):
        return "some_samples"
    held, wanted = names(node), names(parsed(product_text))
    return "missing_factor" if held & wanted and wanted - held else "unknown"


def inside(site: Site) -> Iterator[Proposal]:
    """f(g * w) for f(g) * w: a factor that belongs to every occurrence of a quantity, not behind the formula."""
    node = site.node
    factors = factors_of(node)
    above = site.place.parent
    if len(factors) < 2 or (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult)):
        return
    for at, factor_out in enumerate(factors):
        if not isinstance(factor_out, ast.Name | ast.Subscript) or constant(factor_out) is not None:
            continue
        rest = [f for k, f in enumerate(factors) if k != at]
        texts = [ast.unparse(n) for f in rest for n in ast.walk(f) if isinstance(n, ast.Name)]
        for name in sorted({t for t in texts if texts.count(t) > 1}):
            kept = [_Within(name, factor_out).visit(copy.deepcopy(f)) for f in rest]
            new = kept[0]
            for other in kept[1:]:
                new = binary(new, ast.Mult(), other)
            yield Proposal(new, "", 0.0, f"{ast.unparse(factor_out)} into {name}")


def _diagonal_of(site: Site, factor: ast.expr) -> str:
    """The p of a call that gives p * (1 - p), as a function called softmax_prime does; "" of anything else."""
    value = tensor(site.evaluated(factor)) if isinstance(factor, ast.Call) else None
    alike = (
        name
        for name, p in site.reach.tensors.items()
        if value is not None and p.shape == value.shape and torch.allclose(p * (1 - p), value, rtol=ALIKE)
    )
    return next(alike, "")


class _Within(ast.NodeTransformer):
    """`name * factor` for `name`, throughout."""

    def __init__(self, name: str, factor_in: ast.expr) -> None:
        self.name, self.factor = name, factor_in

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return binary(node, ast.Mult(), self.factor) if node.id == self.name else node


def throughout(site: Site) -> Iterator[Proposal]:
    """`g * w` for every g of an expression in which it occurs more than once."""
    node, reach = site.node, site.reach
    if not site.whole or not isinstance(node, ast.BinOp) or site.array is None:
        return
    texts = [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
    for name in sorted({t for t in texts if texts.count(t) > 1 and t in reach.tensors}):
        for term in reach.plain:
            if term.value.ndim and term.text != name and spreads(term.value, reach.tensors[name]):
                new = _Within(name, parsed(term.text)).visit(copy.deepcopy(node))
                yield Proposal(new, "", 0.3 if plain(term.text) in reach.quantities else 0.8, f"{name} * {term.text}")


def full_jacobian(site: Site) -> Iterator[Proposal]:
    """p * (g - (p * g).sum(-1)) for p * (1 - p) * g: a softmax's whole Jacobian for its diagonal."""
    factors = factors_of(site.node)
    if isinstance(site.place.parent, ast.BinOp) and isinstance(site.place.parent.op, ast.Mult):
        return
    texts = [ast.unparse(f) for f in factors]
    for i, one in enumerate(texts):
        j = texts.index(f"1 - {one}") if f"1 - {one}" in texts else None
        diagonal = parsed(whole) if j is None and (whole := _diagonal_of(site, factors[i])) else None
        rest = [f for k, f in enumerate(factors) if k not in (i, j)]
        if (j is None and diagonal is None) or not rest:
            continue
        p, g = diagonal or factors[i], rest[0]
        for factor_left in rest[1:]:
            g = binary(g, ast.Mult(), factor_left)
        for where in (-1, 1, 0):
            keep = "keepdim" if hasattr(site.value, "new_zeros") or not site.known else "keepdims"
            total = method(binary(p, ast.Mult(), g), "sum", number(where, p), **{keep: parsed("True")})
            yield Proposal(binary(p, ast.Mult(), binary(g, ast.Sub(), total)), "", 0.2 * (where != -1), f"full {where}")


def slope(site: Site) -> Iterator[Proposal]:
    """delta * sigma'(z) for delta * b * c: the derivative of the target's own activation for all factors but some.

    Where the forward gives its activation no name, that of any known function of the target.
    """
    factors = factors_of(site.node)
    above, z = site.place.parent, site.reach.target
    if len(factors) < 2 or (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult)):
        return
    own = [(a, name) for a, (name, pre) in sorted(site.reach.activations.items()) if plain(pre) == plain(z)]
    for a, name in own if len(factors) > 2 else ():
        text = ACTIVATIONS[name].text.format(a=a, z=site.reach.activations[a][1])
        for kept, others in _parted(factors):
            cause = _misplaced(site, others, a, name)
            whole = 0.0 if cause else 0.6 * any(_in_part(f, a) for f in others)  # a smaller edit may do as well
            yield Proposal(binary(kept, ast.Mult(), parsed(text)), cause, whole - 1.4, f"{text} for the others")
    if own or z not in site.reach.tensors or site.shape != tuple(site.reach.tensors[z].shape):
        return
    for name, activation in ACTIVATIONS.items():
        text = activation.text.format(a=activation.call.format(z=z), z=z)
        for kept, others in _parted(factors):
            long = 0.08 * sum(isinstance(n, ast.BinOp | ast.Call) for other in others for n in ast.walk(other))
            value = activation.derivative(activation.function(site.reach.tensors[z]), site.reach.tensors[z])
            old = tensor(site.evaluated(_product(others)))
            scaled = old is not None and old.shape == value.shape and multiple(value, old) is not None
            cause = "wrong_factor" if scaled else ""  # no other function: a number is missing
            yield Proposal(binary(kept, ast.Mult(), parsed(text)), cause, 0.2 + long, f"{name} for the others")


def fed(site: Site) -> Iterator[Proposal]:
    """The function's value for its argument in a formula that is written in the value: 1 - tanh(z)**2 for 1 - z**2."""
    node = site.node
    inner = _squared(node.right) if is_slope(node) else None
    if inner is not None:
        yield Proposal(parsed(f"1 - torch.tanh({ast.unparse(inner)}) ** 2"), "", 0.0, "tanh inside")
        return
    factors = factors_of(node)
    texts = [ast.unparse(f) for f in factors]
    for k, text in enumerate(texts):
        if f"1 - {text}" in texts and not isinstance(factors[k], ast.Constant):
            value = f"torch.sigmoid({text})"
            rest = [f for f, own in zip(factors, texts, strict=True) if own not in (text, f"1 - {text}")]
            yield Proposal(_product([*rest, parsed(value), parsed(f"1 - {value}")]), "", 0.0, "sigmoid inside")


def _squared(node: ast.expr) -> ast.expr | None:
    """x of x ** 2, x * x, square(x) and pow(x, 2)."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and constant(node.right) == 2:
        return node.left
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return node.left if ast.unparse(node.left) == ast.unparse(node.right) else None
    if not isinstance(node, ast.Call):
        return None
    name, inner = called(node), operand(node)
    last = node.args[-1] if node.args else None
    return inner if name == "square" or (name in ("pow", "power") and constant(last) == 2) else None


def _in_part(factor: ast.expr, a: str) -> bool:
    """Whether a factor is part of a slope already: `a`, or `1 - a`."""
    return ast.unparse(factor) in (a, f"1 - {a}", f"1 - {a} ** 2", f"1 - {a} * {a}")


def _parted(factors: list[ast.expr]) -> Iterator[tuple[ast.expr, list[ast.expr]]]:
    """What of a product may stay, and the rest: one factor, or the first ones, or the last ones."""
    some = [[k] for k in range(len(factors))]
    some += [
        each for k in range(2, len(factors)) for each in (list(range(k)), list(range(len(factors) - k, len(factors))))
    ]
    for kept in some:
        stays = [factors[k] for k in kept]
        yield _product(stays), [f for k, f in enumerate(factors) if k not in kept]


def _product(factors: list[ast.expr]) -> ast.expr:
    return functools.reduce(lambda x, y: binary(x, ast.Mult(), y), factors)


def _misplaced(site: Site, factors: list[ast.expr], a: str, name: str) -> str:
    """The mistake of factors that are the right derivative at the wrong place, or that of another layer."""
    value = tensor(site.evaluated(_product(factors)))
    out, pre, activation = site.reach.tensors[a], site.reach.tensors[site.reach.activations[a][1]], ACTIVATIONS[name]
    if value is None or value.shape != out.shape:
        return ""
    fed = activation.derivative(activation.function(out), out), activation.derivative(pre, pre)
    if any(torch.allclose(value, other, rtol=ALIKE) for other in fed):
        return "derivative_at_wrong_place"
    slopes = (t.value for t in site.reach.derivatives if t.value.shape == value.shape)
    return "wrong_layer" if any(torch.allclose(value, other, rtol=ALIKE) for other in slopes) else ""
