"""Edits of operators: swapped, turned, transposed, taken out, exchanged."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from compare.explain.edits_calls import is_method
from compare.explain.edits_places import cause_of_name
from compare.explain.meaning import meaning
from compare.explain.named import counts, tensor
from compare.explain.site import Proposal, Site, is_slope, penalty
from compare.explain.syntax import attribute, binary, constant, factors_of, method, names, negative

MATMUL = ("matmul", "mm", "dot", "bmm")
PRODUCTS = (*MATMUL, "mul", "multiply", "outer")


def operator(site: Site) -> Iterator[Proposal]:
    """`*` for `@`, `+` for `-`, `*` for `/`, and the reverse of each."""
    node = site.node
    if isinstance(node, ast.Call):
        yield from _product(node)
        return
    swaps: dict[type[ast.operator], list[tuple[ast.operator, str]]] = {
        ast.Mult: [(ast.MatMult(), "elementwise_for_matmul"), (ast.Div(), _lost_bracket(site) or _scalar(site))],
        ast.MatMult: [(ast.Mult(), "elementwise_for_matmul")],
        ast.Div: [(ast.Mult(), _scalar(site))],
        ast.Add: [*([] if _negated(node) else [(ast.Sub(), "sign")]), (ast.Mult(), "order_of_operations")],
        ast.Sub: [(ast.Add(), "sign")],
        ast.FloorDiv: [(ast.Div(), "wrong_count")],
    }
    second = node.right if isinstance(node, ast.BinOp) else node.value
    for op, cause in swaps.get(type(node.op), ()):
        if isinstance(op, ast.Mult) and constant(second) == 1:
            continue  # which is to leave it out
        cause = "wrong_l2" if site.in_penalty else cause
        if any(_clips(a) for a in site.place.above):
            cause = "clipped"
        key = f"{type(node.op).__name__} {type(op).__name__}"
        if isinstance(node, ast.AugAssign):
            yield Proposal(ast.copy_location(ast.AugAssign(node.target, op, node.value), node), cause, 0.0, key)
        else:
            summed = isinstance(op, ast.MatMult) and site.shape is not None and len(site.shape) == 1
            yield Proposal(binary(node.left, op, node.right), cause, 0.6 if summed else 0.0, key)
            if isinstance(op, ast.MatMult):
                for a, b, cost, exchanged in (
                    (node.left, node.right, 0.3, ""),
                    (node.right, node.left, 0.4, " exchanged"),
                ):
                    for first, second in ((attribute(a, "T"), b), (a, attribute(b, "T"))):
                        yield Proposal(binary(first, op, second), cause, cost, f"{key} T{exchanged}")


def _negated(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether what is added bears a minus: taking that out says the same as `- -x`, and reads better."""
    added = factors_of(node.right if isinstance(node, ast.BinOp) else node.value)[0]
    return isinstance(added, ast.UnaryOp) and isinstance(added.op, ast.USub)


def _product(node: ast.Call) -> Iterator[Proposal]:
    """`a * b` for `a.dot(b)` and `np.dot(a, b)`, `a @ b` for `np.multiply(a, b)`."""
    name = ast.unparse(node.func).rpartition(".")[2]
    both = [node.func.value, *node.args] if is_method(node) and isinstance(node.func, ast.Attribute) else node.args
    if len(both) == 2 and name in PRODUCTS and name != "outer":
        op = ast.Mult() if name in MATMUL else ast.MatMult()
        yield Proposal(binary(both[0], op, both[1]), "elementwise_for_matmul", 0.0, f"{name} {type(op).__name__}")


def _lost_bracket(site: Site) -> str:
    """The mistake of `a / b * c` where `a / (b * c)` is meant."""
    left = getattr(site.node, "left", None)
    return "order_of_operations" if isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div) else ""


def _scalar(site: Site) -> str:
    return "wrong_l2" if site.in_penalty else "wrong_factor"


def sign(site: Site) -> Iterator[Proposal]:
    """-x for x, x for -x, b - a for a - b."""
    node = site.node
    number_of = constant(node) is not None and isinstance(site.place.parent, ast.BinOp) and not site.in_index
    if (
        (not number_of and (site.known and site.shape is None and not isinstance(site.value, float)))
        or site.inside(ast.Compare)
        or (site.inside(ast.Tuple) and site.shape is None)
        or site.iterated
    ) and not isinstance(node, ast.BinOp):
        return  # a size, an index, a collection
    cause = "wrong_l2" if site.in_penalty else "sign"
    if site.inside(ast.Call) and any(_clips(a) for a in site.place.above):
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield Proposal(node.operand, cause, 0.0, "-")
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        yield Proposal(binary(node.right, ast.Sub(), node.left), cause, 0.0, "a - b")
    if site.in_arithmetic and isinstance(node, ast.BinOp | ast.Call | ast.Name | ast.Subscript | ast.Attribute):
        above = site.place.parent
        if isinstance(above, ast.UnaryOp) or (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Add | ast.Sub)):
            return  # the operator's own edits do this
        turned = isinstance(above, ast.BinOp) and any(isinstance(a, ast.UnaryOp) for a in site.place.above)
        yield Proposal(negative(node), cause, 0.8 if turned else 0.4, "-")


def _clips(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].rstrip("_") in ("clamp", "clip")


def transpose(site: Site) -> Iterator[Proposal]:
    """x.T for x and x for x.T; both operands of a matrix product; a product's result."""
    node = site.node
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield Proposal(node.value, "", 0.0, "T")
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("t", "transpose"):
        yield Proposal(node.func.value, "", 0.0, "T")
    elif any(isinstance(a, ast.Call) and ast.unparse(a.func) == "len" for a in site.place.above):
        return
    elif site.in_arithmetic and (site.shape is None or len(site.shape) >= 2):
        if isinstance(site.place.parent, ast.Attribute) or constant(node) is not None:
            return
        if isinstance(site.place.parent, ast.Subscript) and site.place.field == "value":
            return  # its indices are exchanged instead
        if site.known and site.shape is None:
            return
        name = "T" if site.shape is None or len(site.shape) == 2 else "mT"
        yield Proposal(attribute(node, name), "", 0.2 if _operand(site) else 1.2, "T")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        left, right = _turned(node.left), _turned(node.right)
        yield Proposal(binary(node.right, ast.MatMult(), node.left), "", 0.4, "b @ a")
        yield Proposal(binary(left, ast.MatMult(), right), "", 0.4, "A.T @ B.T")
        yield Proposal(binary(right, ast.MatMult(), left), "", 0.5, "(A @ B).T")


def conjugate(site: Site) -> Iterator[Proposal]:
    """x.conj() for x, where x is complex, and the reverse."""
    node = site.node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("conj", "conjugate"):
        yield Proposal(node.func.value, "", 0.0, "conj")
    elif site.is_load and not isinstance(site.place.parent, ast.Attribute) and _complex(site.value):
        yield Proposal(method(node, "conj"), "", 0.1, "conj")


def _complex(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_complex()


def _turned(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return attribute(node, "T")


def _operand(site: Site) -> bool:
    above = site.place.parent
    if isinstance(above, ast.BinOp):
        return isinstance(above.op, ast.MatMult)
    return isinstance(above, ast.Call) and ast.unparse(above.func).rpartition(".")[2] in PRODUCTS


def drop(site: Site) -> Iterator[Proposal]:
    """One of the two operands of +, -, *, / or **, the other left out."""
    node = site.node
    if isinstance(node.op, ast.Add | ast.Sub):
        for kept, gone in ((node.left, node.right), (node.right, node.left)):
            kept = negative(kept) if kept is node.right and isinstance(node.op, ast.Sub) else kept
            if isinstance(kept, ast.Subscript) and not isinstance(kept.slice, ast.Constant) and _again(site, kept):
                continue  # the statement as a whole is left out
            if constant(gone) is not None and isinstance(site.place.parent, ast.Call | ast.Subscript | ast.Slice):
                looped = isinstance(site.place.parent, ast.Call) and ast.unparse(site.place.parent.func) == "range"
                yield Proposal(kept, "some_samples" if looped else "wrong_index", 0.3, f"- {ast.unparse(gone)}")
                continue
            cause = "wrong_l2" if penalty(gone, site.reach) else "path_twice"
            if isinstance(node.op, ast.Sub) and (site.in_update or ast.unparse(kept) in site.reach.inputs):
                cause = "updated_weight"
            if constant(gone) is not None and (ast.unparse(kept) in site.reach.scalars or "shape" in ast.unparse(kept)):
                cause = "wrong_count"
            elif constant(gone) is not None:
                cause = "wrong_epsilon" if 0 < abs(constant(gone) or 0) < 0.01 else "wrong_activation_derivative"
            alone = constant(kept) is not None  # -1 for k - 1
            yield Proposal(kept, cause, 0.8 if alone else 0.2, f"- {ast.unparse(gone)}")
    elif isinstance(node.op, ast.Mult | ast.Div):
        for kept, gone in ((node.left, node.right), (node.right, node.left)):
            if gone is node.left and isinstance(node.op, ast.Div) and constant(gone) != 1:
                continue
            cost = 1.5 if site.in_update else 0.0  # an update is left out as a whole
            multiplies = (isinstance(node.op, ast.Mult) or gone is node.left) != site.divides
            op = ast.Mult() if multiplies else ast.Div()
            yield Proposal(kept, too_many(site, gone, op), cost, f"/ {ast.unparse(gone)}")
    elif isinstance(node.op, ast.Pow):
        slopes = {site.reach.target, *(n for pair in site.reach.activations.items() for n in (pair[0], pair[1][1]))}
        slope = site.in_slope or is_slope(node.left) or names(node.left) & slopes
        number = names(node.left) <= site.reach.scalars.keys()
        cause = "wrong_activation_derivative" if slope else "wrong_factor" if number else "extra_derivative"
        yield Proposal(node.left, "wrong_l2" if site.in_penalty else cause, 0.6, "**")
    elif isinstance(node.op, ast.MatMult):
        yield Proposal(node.left, "extra_derivative", 1.0, "@")
        yield Proposal(node.right, "extra_derivative", 1.0, "@")


def _again(site: Site, kept: ast.expr) -> bool:
    """Whether a statement would do nothing but `x[k] = x[k]`."""
    above = site.place.parent
    return isinstance(above, ast.Assign) and ast.unparse(above.targets[0]) == ast.unparse(kept)


def too_many(site: Site, gone: ast.expr, op: ast.operator) -> str:
    """The mistake that a factor too many is."""
    if site.in_update:
        return "updated_weight"
    if site.in_slope:
        return "wrong_activation_derivative"
    own = {t.text for t in site.reach.numbers if t.role == "constant"}
    scales = isinstance(gone, ast.BinOp) and bool(names(gone) & own)
    if site.in_penalty or (scales and site.reach.target in site.reach.inputs):
        return "missing_l2" if _nothing(site, gone) else "wrong_l2"
    if constant(gone) is not None:
        return "wrong_factor"
    if isinstance(op, ast.Mult) and _nothing(site, gone):
        return "missing_path"
    if isinstance(gone, ast.Compare):
        return "wrong_mask"
    text = ast.unparse(gone)
    calls = [a for a in site.place.above if isinstance(a, ast.Call) and ast.unparse(a.func)[-5:] != "where"]
    if names(gone) == {site.reach.target} and site.reach.target not in site.reach.inputs and not calls:
        return "wrong_activation_derivative"  # the function's value, such as 0.1 z, where its slope belongs
    sizes = {term.text for term in site.reach.sizes} | {s.replace("[0]", "") for s in ("shape[0]",)}
    inverse = isinstance(gone, ast.BinOp) and isinstance(gone.op, ast.Div) and constant(gone.left) is not None
    count = text in sizes or "len(" in text or "shape" in text or "numel" in text or text in site.reach.scalars
    if (isinstance(op, ast.Div) and count) or inverse:
        return "mean_twice" if text not in site.reach.scalars or text in sizes or inverse else "wrong_factor"
    if isinstance(op, ast.Mult) and count:
        return "missing_mean" if text in sizes else "wrong_factor"
    return "mean_twice" if isinstance(op, ast.Div) and counts(site.evaluated(gone)) else "extra_derivative"


def _nothing(site: Site, factor: ast.expr) -> bool:
    """Whether a factor is zero: what it stands before is left out."""
    return constant(factor) == 0 or site.reach.scalars.get(ast.unparse(factor)) == 0


def branch(site: Site) -> Iterator[Proposal]:
    """x or y for `x if c else y`."""
    for kept, gone in ((site.node.body, site.node.orelse), (site.node.orelse, site.node.body)):
        if constant(kept) is None:
            cause = _another(site, gone, kept) or meaning(site, kept, gone) or _less(site, gone, kept)
            yield Proposal(kept, cause, 0.0, "one branch")


def _another(site: Site, gone: ast.expr, kept: ast.expr) -> str:
    """The mistake of one branch that differs from the other in one name throughout."""
    old, new = ([n.id for n in ast.walk(tree) if isinstance(n, ast.Name)] for tree in (gone, kept))
    pairs = {(a, b) for a, b in zip(old, new, strict=False) if a != b}
    if len(old) != len(new) or len(pairs) != 1:
        return ""
    a, b = pairs.pop()
    if re.sub(rf"\b{a}\b", b, ast.unparse(gone)) != ast.unparse(kept):
        return ""
    slope = site.reach.slope(ast.unparse(kept)) and site.reach.relation(a, b) == "activation"
    return "derivative_at_wrong_place" if slope else cause_of_name(site, a, b)


def _less(site: Site, gone: ast.expr, kept: ast.expr) -> str:
    """What one branch lacks that the other has."""
    value = tensor(site.evaluated(kept))
    if constant(gone) == 1 and value is not None and bool(((value == 0) | (value == 1)).all()):
        return "wrong_mask"
    if constant(gone) == 0 or constant(gone) == 1:
        return "missing_factor" if constant(gone) else "missing_path"
    for more, less, causes in ((kept, gone, ("missing_factor", "missing_path")), (gone, kept, ("", "path_twice"))):
        if isinstance(more, ast.BinOp) and ast.unparse(less) in (ast.unparse(more.left), ast.unparse(more.right)):
            return causes[0] if isinstance(more.op, ast.Mult | ast.Div) else causes[1]
    return ""


def exchange(site: Site) -> Iterator[Proposal]:
    """b / a for a / b, b @ a for a @ b; the last two arguments of a call, as the branches of `where`."""
    node = site.node
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Div | ast.Pow):
            yield Proposal(binary(node.right, node.op, node.left), "", 0.5, "b op a")
    elif len(node.args) >= 2:
        args = [*node.args[:-2], node.args[-1], node.args[-2]]
        where = ast.unparse(node.func).rpartition(".")[2] == "where"
        swapped = ast.copy_location(ast.Call(node.func, args, node.keywords), node)
        yield Proposal(swapped, "swapped_branches" if where else "missing_transpose", -1.0 if where else 0.0, "swap")
