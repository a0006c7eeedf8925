"""Edits that put in what is left out: a factor, a term, a quantity in place of an expression."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from torch import Tensor

from compare.explain.named import Term, plain
from compare.explain.reach import Reach
from compare.explain.site import Proposal, Site, penalty
from compare.explain.syntax import binary, constant, names, number, parsed

SCALARS = ("size", "number", "constant")
SLOPE = "wrong_activation_derivative"
PARTIAL = 60  # proposals a site where the shapes are not known
BY_CHANCE = 0.3  # what a size costs that is a small number as well, where nothing speaks for it


def factor(site: Site) -> Iterator[Proposal]:
    """x * t and x / t for x: a derivative, a mask, a tensor, a size, a number."""
    node, reach = site.node, site.reach
    if not _value(site) or _within_product(site):
        return
    here = 0.0 if whole(site) else 0.7
    held = names(node)
    here += 0.3 if held and held <= reach.inputs else 0.0  # not a weight, but what is handed on
    for term in (*reach.sizes, *reach.numbers):
        if term.role == "number" and (term.value < 1 or (term.text == "2" and isinstance(node, ast.Constant))):
            continue  # `/ 2` says more than `* 0.5`
        cost = {"size": 0.0, "constant": 0.2, "number": 0.1}[term.role] + (0.6 if "**" in term.text else 0.0)
        t = parsed(term.text)
        if constant(node) is None:
            for op, sign, more in ((ast.Div(), "/", 0.0), (ast.Mult(), "*", 0.1)):
                more += BY_CHANCE if _by_chance(reach, term, sign) else 0.0
                ahead = term.role == "number" and sign == "*" and not isinstance(node, ast.BinOp)
                new = binary(t, op, node) if ahead else binary(node, op, t)
                yield Proposal(new, _cause(site, term, sign), here + cost + more, f"{sign} {term.text}")
    if constant(node) is not None or (site.known and site.shape is None):
        return
    at = f" @ {ast.unparse(node)}" if isinstance(node, ast.Name) else ""
    for count, term in enumerate(reach.factors):
        if site.shape is None and count > PARTIAL:
            return
        if not _broadcasts(term.value, site):
            continue
        cost = {"derivative": 0.0, "mask": 0.2, "tensor": 0.5, "complement": 0.8, "power": 1.4}[term.role]
        t = parsed(term.text)
        yield Proposal(binary(node, ast.Mult(), t), _cause(site, term, "*"), here + cost, f"* {term.text}{at}")
        if term.role == "tensor":
            own = term.text == reach.target  # d(s c)/ds holds c, and what was written s c
            cause = "wrong_operand" if own else "missing_factor"
            yield Proposal(binary(node, ast.Div(), t), cause, here + cost + 0.4, f"/ {term.text}")
    own = ast.unparse(node)
    for term in reach.written:
        if _broadcasts(term.value, site) and term.text != own:
            t = parsed(term.text)
            yield Proposal(binary(node, ast.Mult(), t), _cause(site, term, "*"), here + 0.9, f"* {term.text}{at}")


def _by_chance(reach: Reach, term: Term, op: str) -> bool:
    """Whether a size may as well be a plain number: nothing is averaged, or nothing was divided by it before."""
    if term.role != "size":
        return False
    if op == "/":
        return not reach.averaged(term.value)
    return term.value in {t.value for t in reach.numbers if t.role == "number"} and term.value not in reach.divisors


def _within_product(site: Site) -> bool:
    """Whether a place is a factor of a product, to which as a whole any other factor can be put."""
    above = site.place.parent
    if isinstance(above, ast.UnaryOp):
        return True
    if constant(site.node) is not None or not isinstance(above, ast.BinOp):
        return False
    return isinstance(above.op, ast.Mult) or (isinstance(above.op, ast.Div) and site.place.field == "left")


def _within_sum(site: Site) -> bool:
    """Whether a place is a term of a sum, to which as a whole any other term can be put."""
    above = site.place.parent
    return isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub)


def _cause(site: Site, term: Term, op: str) -> str:
    """The mistake of having left a factor out."""
    if site.in_penalty:
        return "wrong_l2"
    if site.in_slope:
        return "wrong_activation_derivative"
    if term.role == "size":
        if "**" in term.text:
            return "wrong_factor"
        return "missing_mean" if op == "/" else "mean_twice"
    if term.role in ("number", "constant"):
        return "wrong_factor"
    if term.role in ("written", "complement") and site.reach.slope(term.text):
        return "missing_activation_derivative"
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


def _value(site: Site) -> bool:
    if not site.in_arithmetic:
        return False
    if isinstance(
        site.node, ast.Dict | ast.Tuple | ast.List | ast.Constant | ast.GeneratorExp | ast.Lambda | ast.JoinedStr
    ):
        return constant(site.node) is not None and not site.inside(ast.Subscript)
    if isinstance(site.node, ast.Compare) or not isinstance(site.node, ast.expr):
        return False
    return not (isinstance(site.node, ast.Call) and isinstance(site.place.parent, ast.Expr | ast.For))


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


def whole(site: Site) -> bool:
    """Whether an expression is all that is assigned, returned or put under a key."""
    return isinstance(site.place.parent, ast.Assign | ast.AugAssign | ast.Dict | ast.Return)


def _broadcasts(value: Tensor, site: Site) -> bool:
    """Whether a factor leaves the shape as it is, or, where there is room for one sum more, enlarges it."""
    shape = site.shape
    if shape is None:
        return not site.known
    if value.ndim > len(shape):
        return False
    return all(v in (1, s) for v, s in zip(reversed(value.shape), reversed(shape), strict=False))


def term(site: Site) -> Iterator[Proposal]:
    """x + t and x - t for x: a penalty, another quantity, a product of two, a number."""
    node, reach = site.node, site.reach
    if not _value(site) or constant(node) is not None:
        return
    if site.known and site.shape is None:
        return
    own = reach.target in reach.inputs
    here = 0.0 if whole(site) else 0.9
    shape = site.shape
    if _within_sum(site):
        return
    if own and whole(site):
        for scalar in reach.numbers:
            if scalar.role == "constant" and not (scalar.value == reach.decay and _penalised(site)):
                t = parsed(f"{scalar.text} * {reach.target}")
                cause = "wrong_l2" if _penalised(site) else "missing_l2"
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
                    yield Proposal(binary(node, ast.Add(), t), "missing_l2", here, f"+ {scalar.text} own / {size.text}")
    if site.inside(ast.Compare):
        for scalar in reach.numbers:
            if scalar.role == "constant":
                t = parsed(scalar.text)
                yield Proposal(binary(node, ast.Add(), t), "wrong_mask", -0.4, f"+ {scalar.text}")
                yield Proposal(binary(node, ast.Sub(), t), "wrong_mask", -0.3, f"- {scalar.text}")
    for count, candidate in enumerate(reach.plain):
        value = candidate.value
        if shape is not None and tuple(value.shape) != shape and not (value.ndim and _broadcasts(value, site)):
            continue
        if shape is None and count > PARTIAL // 2:
            break
        t = parsed(candidate.text)
        cause = "missing_path"
        if candidate.text == reach.target and own:
            cause = "wrong_l2" if _penalised(site) else "missing_l2"
        yield Proposal(binary(node, ast.Add(), t), cause, here, f"+ {candidate.text}")
        yield Proposal(binary(node, ast.Sub(), t), cause, here + 0.2, f"- {candidate.text}")
    for candidate in reach.written:
        if shape is not None and tuple(candidate.value.shape) == shape and whole(site):
            t = parsed(candidate.text)
            yield Proposal(binary(node, ast.Add(), t), "missing_path", here + 0.8, f"+ {candidate.text}")
            yield Proposal(binary(node, ast.Sub(), t), "missing_path", here + 1.2, f"- {candidate.text}")
    if shape is not None and whole(site):
        for product in reach.products(shape):
            t = parsed(product.text)
            yield Proposal(binary(node, ast.Add(), t), "missing_path", here + 0.6, f"+ {product.text}")
            yield Proposal(binary(node, ast.Sub(), t), "missing_path", here + 1.2, f"- {product.text}")
    if not whole(site) and len(shape or ()) >= 1:
        yield Proposal(binary(parsed("1"), ast.Sub(), node), _complement(site), 0.0, "1 - x")
        pre = {z for _, z in reach.activations.values()}
        slope = site.in_slope or bool(names(node) & {*reach.activations, *({reach.target} & pre)})
        yield Proposal(binary(parsed("1"), ast.Add(), node), SLOPE if slope else "missing_path", 0.4, "1 + x")
        yield Proposal(binary(node, ast.Sub(), number(1, node)), "wrong_index", 0.4, "x - 1")
    if shape is not None and len(shape) >= 1:
        axis = -1
        keep = "keepdims" if not hasattr(site.value, "new_zeros") else "keepdim"
        text = ast.unparse(node)
        for inner, cost in (
            (text, 0.6),
            *((f"{t.text} * ({text})", 0.9) for t in reach.plain if _broadcasts(t.value, site)),
        ):
            for where in (axis, 0):
                for name in ("mean", "sum"):
                    t = parsed(f"({inner}).{name}({where}, {keep}=True)")
                    yield Proposal(
                        binary(node, ast.Sub(), t), "missing_path", here * 0.3 + cost, f"- {name} {where} {inner}"
                    )


def replaced(site: Site) -> Iterator[Proposal]:
    """A quantity, a derivative or a mask of the same shape in place of an expression."""
    node, reach = site.node, site.reach
    if not (site.in_arithmetic or site.in_index) or constant(node) is not None or not isinstance(node, ast.expr):
        return
    if isinstance(node, ast.Call) and isinstance(site.place.parent, ast.Expr | ast.For):
        return
    if site.known and isinstance(site.value, int) and site.in_index:
        for name in sorted(reach.counts - names(node)):
            if name.isidentifier():
                yield Proposal(parsed(name), "wrong_index", -1.8, f"{ast.unparse(node)} {name}")
        return
    if site.known and isinstance(site.value, int | float):
        cause = "wrong_axis" if shaping(site.place.parent) else "wrong_count"
        for size in (*reach.sizes, *(t for t in reach.numbers if t.role == "constant" and t.text in reach.counts)):
            if size.text != ast.unparse(node) and not isinstance(node, ast.UnaryOp):
                away = BY_CHANCE if reach.averaged(float(site.value)) and not reach.averaged(size.value) else 0.0
                yield Proposal(parsed(size.text), cause, -2.2 + 6 * away, f"{ast.unparse(node)} {size.text}")
        return
    array = site.array
    if array is None:
        return
    for candidate in (*reach.derivatives, *reach.masks, *reach.plain, *_complements(reach.factors), *reach.written):
        value = candidate.value
        if value.shape != array.shape or bool((value == array).all()):
            continue
        cause = "wrong_operand"
        if candidate.role == "derivative":
            part = ast.unparse(node) in candidate.text.replace("(", "").replace(")", "").split(" * ")
            cause = "missing_activation_derivative" if part else "wrong_activation_derivative"
        elif candidate.role == "mask":
            cause = "wrong_mask"
        elif candidate.role == "complement" and "*" in candidate.text:  # a (1 - a), 1 - a ** 2
            cause = "wrong_activation_derivative"
        elif _almost(value, array):
            cause = "wrong_epsilon"
        elif candidate.role == "written":
            cause = _part(node, candidate.text) or cause
        cost = {"derivative": -0.8, "mask": -0.2, "tensor": 0.0}.get(candidate.role, 0.5)
        cost += 0.08 * sum(isinstance(inner, ast.BinOp | ast.Call) for inner in ast.walk(node))
        yield Proposal(parsed(candidate.text), cause, cost, candidate.text)


def shaping(node: ast.AST) -> bool:
    """Whether a call parts or joins axes."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("reshape", "view", "unflatten")


def _part(node: ast.expr, text: str) -> str:
    """The mistake of an expression that holds more than the one that belongs there."""
    while isinstance(node, ast.BinOp):
        left, right = ast.unparse(node.left), ast.unparse(node.right)
        if text in (left, right):
            return "path_twice" if isinstance(node.op, ast.Add | ast.Sub) else "extra_derivative"
        node = node.left
    return ""


def _complements(terms: list[Term]) -> Iterator[Term]:
    return (term for term in terms if term.role == "complement")


def _almost(value: Tensor, other: Tensor) -> bool:
    return bool((value - other).norm() < 1e-2 * value.norm())
