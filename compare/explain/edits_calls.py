"""Edits of calls: sum and mean, axes, reductions, functions put in, taken out or replaced."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import torch
from torch import Tensor

from compare.explain.named import tensor
from compare.explain.site import Proposal, Site
from compare.explain.syntax import attribute, call, constant, method, names, number, parsed

REDUCTIONS = (
    "sum",
    "mean",
    "softmax",
    "log_softmax",
    "logsumexp",
    "amax",
    "max",
    "std",
    "var",
    "cumsum",
    "norm",
    "prod",
)
FAMILIES = (
    ("sigmoid", "tanh", "relu", "exp", "sign"),
    ("zeros_like", "ones_like"),
    ("sin", "cos"),
    ("maximum", "minimum"),
    ("max", "min", "amax", "amin"),
    ("sqrt", "rsqrt", "square"),
    ("log", "exp", "log1p", "expm1"),
    ("triu", "tril"),
    ("softmax", "sigmoid"),
    ("outer", "dot", "multiply", "mul", "mm", "matmul"),
    ("view", "reshape"),
    ("abs", "sign"),
)


def called(node: ast.Call) -> str:
    """The last part of the name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)


def is_method(node: ast.Call) -> bool:
    """Whether a call is a method of an array, not a function of a module."""
    if not isinstance(node.func, ast.Attribute):
        return False
    return not (
        isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "np", "numpy", "F", "math", "nn")
    )


def operand(node: ast.Call) -> ast.expr | None:
    """What a call works on: its object, or its first argument."""
    if is_method(node) and isinstance(node.func, ast.Attribute):
        return node.func.value
    return node.args[0] if node.args else None


def renamed(node: ast.Call, name: str) -> ast.Call:
    """The same call of another function."""
    if isinstance(node.func, ast.Attribute):
        function: ast.expr = attribute(node.func.value, name)
    else:
        function = ast.copy_location(ast.Name(name, ast.Load()), node.func)
    return ast.copy_location(ast.Call(function, node.args, node.keywords), node)


def sum_for_mean(site: Site) -> Iterator[Proposal]:
    """sum for mean and mean for sum."""
    name = called(site.node)
    if name == "sum" and isinstance(site.node.func, ast.Attribute):
        yield Proposal(renamed(site.node, "mean"), "missing_mean", 0.0, "sum mean")
    elif name == "mean":
        yield Proposal(renamed(site.node, "sum"), "mean_twice", 0.0, "mean sum")


def axis(site: Site) -> Iterator[Proposal]:
    """The same call along another axis, along all, or with the axis kept."""
    node = site.node
    if called(node) not in REDUCTIONS:
        return
    keywords = {k.arg: k.value for k in node.keywords if k.arg}
    name = next((n for n in ("dim", "axis") if n in keywords), "")
    position = 0 if is_method(node) else 1
    current = keywords.get(name) if name else (node.args[position] if len(node.args) > position else None)
    keep = next((n for n in ("keepdim", "keepdims") if n in keywords), "")
    kept = ast.unparse(keywords[keep]) == "True" if keep else False
    old = constant(current)
    method_of = getattr(node.func, "value", None)
    numpy_like = (isinstance(method_of, ast.Name) and method_of.id in ("np", "numpy")) or keep == "keepdims"
    keepword = keep or ("keepdims" if numpy_like else "keepdim")
    for other in (0, 1, -1, 2, (0, 2, 3), (2, 3), (0, 1), None):
        for keeping in (kept, not kept):
            if (other == old and keeping == kept) or (isinstance(other, tuple) and old is not None and keeping != kept):
                continue
            if called(node).endswith("softmax") and (keeping != kept or other is None or isinstance(other, tuple)):
                continue
            more = isinstance(other, tuple) and old in other and site.reach.target in site.reach.inputs
            yield Proposal(
                _along(node, position, name, other, keepword, keeping),
                "bias_not_reduced" if more else "",
                (0.0 if other == old or keeping == kept else 0.4)
                + (0.5 if other is None or isinstance(other, tuple) else 0),
                f"{ast.unparse(current) if current is not None else None} {other} {keeping}",
            )


def _along(
    node: ast.Call, position: int, name: str, other: int | tuple[int, ...] | None, keepword: str, keeping: bool
) -> ast.expr:
    args = list(node.args[:position])
    keywords = [k for k in node.keywords if k.arg not in ("dim", "axis", "keepdim", "keepdims")]
    if other is not None:
        place = parsed(str(other)) if isinstance(other, tuple) else number(other, node)
        if name or keepword == "keepdims" or called(node) == "norm":  # whose first argument is no axis
            word = "axis" if keepword == "keepdims" else "dim"
            keywords.append(ast.copy_location(ast.keyword(name or word, place), node))
        else:
            args.append(place)
        if keeping:
            keywords.append(ast.copy_location(ast.keyword(keepword, parsed("True")), node))
    return ast.copy_location(ast.Call(node.func, args, keywords), node)


def reduce(site: Site) -> Iterator[Proposal]:
    """x.sum(axis) for x."""
    node = site.node
    if not site.in_arithmetic or constant(node) is not None:
        return
    shape = site.shape
    if site.known and (shape is None or not shape):
        return
    if isinstance(site.place.parent, ast.Attribute) or isinstance(node, ast.Dict | ast.Tuple | ast.List):
        return
    root = isinstance(site.place.parent, ast.Dict | ast.Assign)
    for where in (0, 1, -1):
        if shape is not None and not -len(shape) <= where < len(shape):
            continue
        keep = {"keepdims" if site.known and not hasattr(site.value, "new_zeros") else "keepdim": parsed("True")}
        cause = "bias_not_reduced" if root else "wrong_axis"
        yield Proposal(method(node, "sum", number(where, node)), cause, 0.0 if root else 0.8, f"sum {where}")
        if where != 0 or root:
            yield Proposal(
                method(node, "sum", number(where, node), **keep), cause, 0.3 if root else 0.6, f"sum {where} k"
            )
        if root and where == 0:
            yield Proposal(method(node, "mean", number(where, node)), cause, 1.2, f"mean {where}")
    if root and (shape is None or len(shape) >= 3):
        for axes in ("(0, 2, 3)", "(0, 1)", "(0, 2)"):
            yield Proposal(method(node, "sum", parsed(axes)), "bias_not_reduced", 0.6, f"sum {axes}")


def unwrap(site: Site) -> Iterator[Proposal]:
    """x for f(x), and x for x.f(...)."""
    node = site.node
    inner = operand(node)
    if inner is None or isinstance(site.place.parent, ast.Expr | ast.For):
        return
    name = called(node)
    causes = {
        "clamp": "clipped", "clip": "clipped", "round": "clipped", "clamp_": "clipped", "clamp_min": "clipped",
        "float32": "low_precision", "float16": "low_precision",
        "float": "low_precision", "half": "low_precision", "astype": "low_precision", "bfloat16": "low_precision",
        "sigmoid": "derivative_at_wrong_place", "tanh": "derivative_at_wrong_place", "exp": "derivative_at_wrong_place",
        "relu": "wrong_mask", "abs": "sign", "sum": "wrong_axis", "mean": "wrong_axis", "roll": "wrong_index",
        "flip": "wrong_index", "sign": "wrong_l2" if site.in_penalty else "wrong_factor",
        "t": "missing_transpose", "transpose": "missing_transpose", "detach": "missing_path",
    }  # fmt: skip
    if name in ("len", "range", "zip", "enumerate", "reversed", "view", "t"):
        return
    if name in ("relu", "sigmoid", "tanh", "exp") and isinstance(getattr(site.place.parent, "op", None), ast.MatMult):
        causes[name] = "wrong_operand"  # a factor of a weight's gradient, or the weight: no slope and no mask
    cause = causes.get(name) or ("clipped" if _clips(site.array, tensor(site.evaluated(inner))) else "")
    yield Proposal(inner, cause, 0.0 if name in causes else 0.5, f"no {name}")
    if name == "to" or name == "double":
        deeper = operand(inner) if isinstance(inner, ast.Call) else None
        if deeper is not None:
            yield Proposal(deeper, "low_precision", 0.2, "no cast")


def _clips(made: Tensor | None, inner: Tensor | None) -> bool:
    """Whether what a call makes is what it is given, but for what lies outside of some bounds."""
    if made is None or inner is None or made.shape != inner.shape or not made.numel() or torch.equal(made, inner):
        return False
    low, high = float(made.min()), float(made.max())
    within = made[(made > low) & (made < high)]
    return torch.equal(inner.clamp(low, high), made) and len(set(within.tolist())) > 2


def function(site: Site) -> Iterator[Proposal]:
    """Another function of the same family."""
    node = site.node
    name = called(node)
    bare = name.rstrip("_")
    for family in FAMILIES:
        if bare in family:
            for other in family:
                if other != bare:
                    products = bare in ("outer", "dot", "multiply", "mul", "mm", "matmul")
                    yield Proposal(
                        renamed(node, other), "elementwise_for_matmul" if products else "", 0.0, f"{name} {other}"
                    )


def wrap(site: Site) -> Iterator[Proposal]:
    """f(x) for x: an activation, a square, a root, a softmax along the last axis."""
    node = site.node
    if not site.in_arithmetic or constant(node) is not None or isinstance(node, ast.Call | ast.Dict | ast.Tuple):
        return
    if site.known and site.shape is None:
        return
    slope = site.in_slope or site.reach.target in names(node)  # that of a softplus is a sigmoid
    applied = "wrong_activation_derivative" if slope else "wrong_operand"
    for name in ("sigmoid", "tanh", "exp", "log", "sqrt", "sign"):
        cause = "wrong_l2" if site.in_penalty else applied
        yield Proposal(call(parsed(f"torch.{name}"), node), cause, 0.3, name)
    yield Proposal(call(parsed("torch.softmax"), node, number(-1, node)), "wrong_operand", 0.2, "softmax")
    for power in (2, 3, -1):
        raised = ast.copy_location(ast.BinOp(node, ast.Pow(), number(power, node)), node)
        cause = "wrong_factor" if power == -1 else "missing_factor"
        yield Proposal(raised, "wrong_activation_derivative" if site.in_slope else cause, 0.2, f"** {power}")


LOWER = ("float32", "float16", "half", "bfloat16", "float")


def precise(site: Site) -> Iterator[Proposal]:
    """float64 for a lower dtype, and x for `x.half()`; most of use everywhere at once."""
    node = site.node
    if isinstance(node, ast.Call):
        inner = operand(node)
        if is_method(node) and called(node) in LOWER and not node.args and inner is not None:
            yield Proposal(inner, "", 0.0, "precision")
    elif node.attr in LOWER and isinstance(node.value, ast.Name) and site.place.field != "func":
        yield Proposal(attribute(node.value, "float64"), "", 0.0, "precision")
