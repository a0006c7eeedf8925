"""Edits that put in a term that is left out: a penalty, another path, what a normalisation takes off."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from compare.explain.reach import Reach
from compare.explain.site import Proposal, Site, penalty
from compare.explain.syntax import binary, constant, names, number, parsed

SLOPE = "wrong_activation_derivative"
EPSILONS = ("1e-05", "1e-08", "1e-06", "1e-12", "0.001", "1e-07", "1e-10")  # that forwards write as plain numbers
PROJECTED = 8  # tensors of the shape of a sum that are looked at
PARTIAL = 60  # proposals a site where the shapes are not known


def _within_sum(site: Site) -> bool:
    """Whether a place is a term of a sum, to which as a whole any other term can be put."""
    above = site.place.parent
    return isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub)


def _complement(site: Site) -> str:
    """The mistake of x for 1 - x: of a mask, of a derivative, or of a gate."""
    text = ast.unparse(site.node).removeprefix("(1 - ").rstrip(")").removeprefix("1 - ")
    if any(t.text == text for t in site.reach.masks if ">" not in t.text):
        return "wrong_mask"
    own = site.reach.activations.get(text, ("", ""))[1]
    return "wrong_operand" if text in site.reach.tensors and own != site.reach.target else "wrong_activation_derivative"


def _penalised(site: Site) -> bool:
    """Whether a penalty's constant stands in the expression already, or a number times the quantity itself."""
    if any(t.text in names(site.node) for t in site.reach.numbers if t.role == "constant"):
        return True
    return any(penalty(n, site.reach) for n in ast.walk(site.node) if isinstance(n, ast.BinOp))


def _divides_or_roots(site: Site) -> bool:
    """Whether a place is divided by, or is what a root or logarithm is taken of."""
    above = site.place.parent
    if isinstance(above, ast.Call):
        return ast.unparse(above.func).rpartition(".")[2] in ("sqrt", "rsqrt", "log")
    return site.under(ast.Div)


def _made_here(text: str, reach: Reach) -> bool:
    """Whether a name is none of the forward's quantities: a gradient that the backward has made."""
    return text not in reach.quantities


def term(site: Site) -> Iterator[Proposal]:
    """x + t and x - t for x: a penalty, another quantity, a product of two, a number."""
    node, reach = site.node, site.reach
    if not site.is_value or constant(node) is not None:
        return
    if site.known and site.shape is None:
        return
    own = reach.target in reach.inputs
    here = 0.0 if site.whole else 0.9
    shape = site.shape
    if _within_sum(site):
        return
    if ((site.whole and not own) or _divides_or_roots(site)) and site.array is not None and site.array.ndim:
        for scalar in reach.numbers:  # what keeps a quotient or a root finite
            if scalar.role == "constant" and not scalar.text.startswith("(") and scalar.value > 0:
                yield Proposal(binary(node, ast.Add(), parsed(scalar.text)), "wrong_epsilon", 0.4, f"+ {scalar.text}")
        for usual in EPSILONS if _divides_or_roots(site) else ():
            yield Proposal(binary(node, ast.Add(), parsed(usual)), "wrong_epsilon", 0.6, f"+ {usual}")
    if own and site.whole:
        for scalar in reach.numbers:
            if scalar.role == "constant" and not (scalar.value == reach.decay and _penalised(site)):
                t = parsed(f"{scalar.text} * {reach.target}")
                cause = "wrong_l2" if _penalised(site) or scalar.value < 0 else "missing_l2"
                yield Proposal(binary(node, ast.Add(), t), cause, here - 0.8, f"+ {scalar.text} own")
                for times, cost in ((f"2 * {scalar.text}", 0.0), (f"-{scalar.text}", 0.4)):
                    yield Proposal(
                        binary(node, ast.Add(), parsed(f"{times} * {reach.target}")),
                        "wrong_l2",
                        here + cost,
                        f"+ {times}",
                    )
        for size in reach.sizes[:6]:
            for scalar in reach.numbers:
                if scalar.role == "constant":
                    t = parsed(f"{scalar.text} / {size.text} * {reach.target}")
                    cause, more = ("wrong_l2", 1.0) if _penalised(site) else ("missing_l2", 0.0)
                    key = f"+ {scalar.text} own / {size.text}"
                    yield Proposal(binary(node, ast.Add(), t), cause, here + more, key)
    if site.inside(ast.Compare):
        for op, sign in ((ast.Add(), "+"), (ast.Sub(), "-")):  # a margin
            yield Proposal(binary(node, op, number(1, node)), "wrong_mask", -0.5, f"{sign} 1")
        for scalar in reach.numbers:
            if scalar.role == "constant":
                t = parsed(scalar.text)
                yield Proposal(binary(node, ast.Add(), t), "wrong_mask", -0.4, f"+ {scalar.text}")
                yield Proposal(binary(node, ast.Sub(), t), "wrong_mask", -0.3, f"- {scalar.text}")
    for count, candidate in enumerate(reach.plain):
        value = candidate.value
        if shape is not None and tuple(value.shape) != shape and not (value.ndim and site.takes(value)):
            continue
        if shape is None and count > PARTIAL // 2:
            break
        t = parsed(candidate.text)
        cause = "missing_path"
        if candidate.text == reach.target and own:
            cause = "wrong_l2" if _penalised(site) else "missing_l2"
        yield Proposal(binary(node, ast.Add(), t), cause, here, f"+ {candidate.text}")
        again = _made_here(candidate.text, reach)  # of a gradient that came in before, one is too many
        again &= "==" not in candidate.text
        yield Proposal(binary(node, ast.Sub(), t), "path_twice" if again else cause, here + 0.2, f"- {candidate.text}")
    for candidate in reach.written:
        if shape is not None and tuple(candidate.value.shape) == shape and site.whole:
            t = parsed(candidate.text)
            decays = "wrong_l2" if _penalised(site) else "missing_l2"
            cause = decays if penalty(t, reach) else "missing_path"
            yield Proposal(binary(node, ast.Add(), t), cause, here + 0.8, f"+ {candidate.text}")
            yield Proposal(binary(node, ast.Sub(), t), cause, here + 1.2, f"- {candidate.text}")
    if shape is not None and site.whole:
        broadcast = reach.shape is not None and len(shape) == len(reach.shape) and shape != reach.shape
        for product in (*reach.products(shape), *(reach.products(reach.shape or ()) if broadcast else ())):
            t = parsed(product.text)
            yield Proposal(binary(node, ast.Add(), t), "missing_path", here + 0.6, f"+ {product.text}")
            yield Proposal(binary(node, ast.Sub(), t), "missing_path", here + 1.2, f"- {product.text}")
    if not site.whole and len(shape or ()) >= 1:
        yield Proposal(binary(parsed("1"), ast.Sub(), node), _complement(site), 0.0, "1 - x")
        pre = {z for _, z in reach.activations.values()}
        slope = site.in_slope or site.beside_slope or names(node) & {*reach.activations, *({reach.target} & pre)}
        yield Proposal(binary(parsed("1"), ast.Add(), node), SLOPE if slope else "missing_path", 0.4, "1 + x")
        yield Proposal(binary(node, ast.Sub(), number(1, node)), "wrong_index", 0.4, "x - 1")
    if shape is not None and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield from _projections(site, shape)
    if shape is not None and len(shape) >= 1:
        axis = -1
        keep = "keepdims" if not hasattr(site.value, "new_zeros") else "keepdim"
        text = ast.unparse(node)
        for inner, cost in (
            (text, 0.6),
            *((f"{t.text} * ({text})", 0.9) for t in reach.plain if site.takes(t.value)),
        ):
            for where in (axis, 0):
                for name in ("mean", "sum"):
                    t = parsed(f"({inner}).{name}({where}, {keep}=True)")
                    yield Proposal(
                        binary(node, ast.Sub(), t), "missing_path", here * 0.3 + cost, f"- {name} {where} {inner}"
                    )


def _projections(site: Site, shape: tuple[int, ...]) -> Iterator[Proposal]:
    """What a normalisation takes off besides: - t.sum(axis), - t * (t * u).sum(axis), of what is in reach."""
    node = site.node
    alike = [t.text for t in site.reach.plain if tuple(t.value.shape) == shape][:PROJECTED]
    keep = "keepdim" if hasattr(site.value, "new_zeros") else "keepdims"
    for name, where in itertools.product(("sum", "mean"), (-1, 0)):
        along = f"{name}({where}, {keep}=True)"
        for text in alike:
            t = parsed(f"{text}.{along}")
            yield Proposal(binary(node, ast.Sub(), t), "missing_path", -0.1, f"- {name} {where} {text}")
        for text, other in itertools.permutations(alike, 2):
            t = parsed(f"{text} * ({other} * {text}).{along}")
            yield Proposal(binary(node, ast.Sub(), t), "missing_path", 0.6, f"- {text} {name} {where} {other}")
