"""Edits of order: reversed, exchanged, unpacked or reshaped the other way round, not wrapped, begun from zero."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator

import numpy as np

from compare.explain.edits_calls import called, is_method, operand
from compare.explain.named import plain
from compare.explain.site import Proposal, Site
from compare.explain.syntax import call, constant, method, number, parsed

UNPACKED = 6  # names that are unpacked at once
RESHAPES = ("view", "reshape", "unflatten")


def turned(site: Site) -> Iterator[Proposal]:
    """x.flip(...) for x, along the last axis or the last two; along other axes where it is turned already."""
    node = site.node
    if isinstance(node, ast.Call) and called(node) == "flip":
        now = [constant(axis) for axis in node.args]
        for other in ((2, 3), (-2, -1), (0, 1)):
            if now != list(other) and is_method(node):
                changed = ast.copy_location(ast.Call(node.func, [number(k, node) for k in other], []), node)
                yield Proposal(changed, "", -1.0, f"flip {other}")
        return
    shape = site.shape
    if not shape or not site.in_arithmetic or not isinstance(node, ast.Name | ast.Call | ast.Subscript | ast.Attribute):
        return
    if isinstance(site.place.parent, ast.Attribute) and site.place.parent.attr != "transpose":
        return
    for axes in ((-2, -1), (-1,), (0,)):
        if len(axes) > len(shape) or (axes == (-2, -1) and len(shape) < 3) or (axes == (0,) and len(shape) == 1):
            continue
        if isinstance(site.value, type(site.array)):
            yield Proposal(method(node, "flip", *(number(k, node) for k in axes)), "", 0.0, f"flip {axes}")
        else:
            yield Proposal(call(parsed("np.flip"), node, parsed(str(axes))), "", 0.2, f"flip {axes}")


def unpacked(site: Site) -> Iterator[Proposal]:
    """`b, a = ...` for `a, b = ...`: two of the names that a statement unpacks into, exchanged."""
    node = site.node
    target = node.targets[0]
    if not isinstance(target, ast.Tuple) or not 2 <= len(target.elts) <= UNPACKED:
        return
    for i in range(len(target.elts)):
        for j in range(i + 1, len(target.elts)):
            changed = copy.deepcopy(node)
            names = changed.targets[0].elts
            names[i], names[j] = names[j], names[i]
            yield Proposal(changed, "", 0.0 if len(target.elts) == 2 else 0.3, f"{i} {j}")


def reshaped(site: Site) -> Iterator[Proposal]:
    """x.view(a, c, b).transpose(1, 2) for x.view(a, b, c): axes parted in the order in which they lie in memory."""
    node = site.node
    if called(node) not in RESHAPES or not is_method(node):
        return
    inner = operand(node)
    whole = site.evaluated(inner) if inner is not None else None
    in_numpy = isinstance(whole, np.ndarray)
    exchange = "swapaxes" if in_numpy else "transpose"
    if inner is not None and len(node.args) < (dims := getattr(whole, "ndim", 0)) and dims > 2:
        for axis in range(1, dims - 1):
            axes = number(axis, node), number(-1, node)
            last = call(parsed("np.moveaxis"), inner, *axes) if in_numpy else method(inner, "movedim", *axes)
            yield Proposal(method(last, called(node), *node.args), "", 0.2, f"axis {axis} last")
        for axis in range(dims - 1):
            other = method(inner, exchange, number(axis, node), number(axis + 1, node))
            yield Proposal(method(other, called(node), *node.args), "", 0.3, f"axes {axis} exchanged first")
    if len(node.args) < 3:
        return
    for i in range(len(node.args) - 1):
        args = list(node.args)
        args[i], args[i + 1] = args[i + 1], args[i]
        laid = ast.copy_location(ast.Call(node.func, args, node.keywords), node)
        yield Proposal(method(laid, exchange, number(i, node), number(i + 1, node)), "", 0.0, f"axes {i}")
        if inner is not None:
            first = method(inner, exchange, number(i, node), number(i + 1, node))
            yield Proposal(method(first, called(node), *node.args), "", 0.4, f"axes {i} first")


def wrapped(site: Site) -> Iterator[Proposal]:
    """`x[i - 1] if i > 0 else first` for `x[i - 1]`, which is the last entry at i = 0, and for `x[i]`."""
    node = site.node
    inner = node.slice
    yield from _neighbour(site)
    if not (isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub) and isinstance(inner.left, ast.Name)):
        return
    if not isinstance(node.ctx, ast.Load) or constant(inner.right) != 1 or not isinstance(node.value, ast.Name):
        return
    whole = site.reach.tensors.get(node.value.id)
    entry = next((v.shape for n, v in site.reach.tensors.items() if n.startswith(f"{node.value.id}[")), None)
    shape = whole.shape[1:] if whole is not None and whole.ndim else entry
    if shape is None:
        return
    for text, value in site.reach.tensors.items():
        if value.shape == shape and not text.startswith(f"{node.value.id}["):
            test = ast.Compare(inner.left, [ast.Gt()], [number(0, node)])
            chosen = ast.IfExp(ast.copy_location(test, node), node, parsed(text))
            yield Proposal(ast.copy_location(chosen, node), "", 0.2, f"first {text}")


def _neighbour(site: Site) -> Iterator[Proposal]:
    """The entry before or after in place of `x[i]` and `x[:, i]`: the first state, or zeros, where there is none."""
    node = site.node
    entries = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    names = [e.id for e in entries if isinstance(e, ast.Name) and e.id in site.reach.counts]
    if not isinstance(node.ctx, ast.Load) or len(names) != 1 or not site.shape or not site.inside(ast.For):
        return
    i, whole = names[0], ast.unparse(node.value)

    def entry(moved: str) -> str:
        return f"{whole}[{', '.join(moved if ast.unparse(e) == i else ast.unparse(e) for e in entries)}]"

    numpy_like = not hasattr(site.value, "new_zeros")
    zeros = f"{'np' if numpy_like else 'torch'}.zeros_like({ast.unparse(node)})"
    states = [
        n for n, v in site.reach.tensors.items() if tuple(v.shape) == site.shape and plain(n) in site.reach.inputs
    ]
    last = f"{whole}.shape[{[ast.unparse(e) for e in entries].index(i)}]" if len(entries) > 1 else f"len({whole})"
    for moved, test, instead, cost in (
        *((f"{i} - 1", f"{i} > 0", state, 0.2) for state in states),
        (f"{i} - 1", f"{i} > 0", zeros, 0.6),
        (f"{i} + 1", f"{i} + 1 < {last}", zeros, 0.6),
    ):
        chosen = copy.copy(parsed(f"{entry(moved)} if {test} else {instead}"))
        yield Proposal(ast.copy_location(chosen, node), "", cost, f"neighbour {moved} {instead}")


def exponent(site: Site) -> Iterator[Proposal]:
    """x ** (n - 1) for x ** n, and the reverse, where n is no plain number."""
    node = site.node
    if not isinstance(node.op, ast.Pow) or constant(node.right) is not None:
        return
    one = number(1, node)
    if isinstance(node.right, ast.BinOp) and isinstance(node.right.op, ast.Add | ast.Sub):
        yield Proposal(ast.copy_location(ast.BinOp(node.left, node.op, node.right.left), node), "", 0.2, "n")
    for op in (ast.Sub(), ast.Add()):
        moved = ast.copy_location(ast.BinOp(node.right, op, one), node)
        yield Proposal(ast.copy_location(ast.BinOp(node.left, node.op, moved), node), "", 0.0, f"n {type(op).__name__}")


def accumulated(site: Site) -> Iterator[Proposal]:
    """`x.flip(0).cumsum(0).flip(0)` for `x.cumsum(0)`, and the reverse: sums from the other end."""
    node = site.node
    inner = operand(node)
    axis = _axis(node)
    if called(node) == "cumsum" and inner is not None and axis is not None:
        turn = parsed("torch.flip")
        axes = ast.Tuple([axis], ast.Load())
        there = copy.copy(node)
        if is_method(node):
            there.func = ast.Attribute(call(turn, inner, axes), "cumsum", ast.Load())
        else:
            there.args = [call(turn, inner, axes), *node.args[1:]]
        yield Proposal(ast.fix_missing_locations(ast.copy_location(call(turn, there, axes), node)), "", 0.0, "cumsum")
    elif called(node) == "gather" and is_method(node) and len(node.args) == 2:
        axis, where = node.args
        inverse = call(parsed("torch.argsort"), where, axis)
        yield Proposal(ast.copy_location(ast.Call(node.func, [axis, inverse], []), node), "", 0.0, "gather inverse")


def _axis(node: ast.Call) -> ast.expr | None:
    """The axis that a call is given, by its place or by its name."""
    named = next((k.value for k in node.keywords if k.arg in ("dim", "axis")), None)
    at = 0 if is_method(node) else 1
    return named if named is not None else node.args[at] if len(node.args) > at else None


def subscripts(site: Site) -> Iterator[Proposal]:
    """Another letter in the subscripts of einsum: one for another, or two exchanged in one operand."""
    node = site.node
    if called(node) != "einsum" or not node.args or not isinstance(node.args[0], ast.Constant):
        return
    text = str(node.args[0].value).replace(" ", "")
    letters = sorted({c for c in text if c.isalpha()})
    seen = {text}
    for at, letter in enumerate(text):
        for other in letters if letter.isalpha() else ():
            changed = text[:at] + other + text[at + 1 :]
            if changed not in seen and _sound(changed):
                seen.add(changed)
                yield Proposal(_spelt(node, changed), "", 0.2, f"{letter} {other}")
    pieces = re.split(r"(,|->)", text)
    for k, piece in enumerate(pieces):
        for i in range(len(piece)):
            for j in range(i + 1, len(piece)):
                moved = list(piece)
                moved[i], moved[j] = moved[j], moved[i]
                changed = "".join([*pieces[:k], "".join(moved), *pieces[k + 1 :]])
                if changed not in seen and piece[i].isalpha() and piece[j].isalpha():
                    seen.add(changed)
                    yield Proposal(_spelt(node, changed), "", 0.0, f"exchange {i} {j}")


def _sound(text: str) -> bool:
    """Whether no operand has a letter twice, and the result has only letters that the operands have."""
    operands, arrow, result = text.partition("->")
    pieces = [*operands.split(","), result]
    return all(len(set(p)) == len(p) for p in pieces) and (not arrow or set(result) <= set(operands))


def _spelt(node: ast.Call, text: str) -> ast.expr:
    changed = ast.copy_location(ast.Constant(text), node)
    return ast.copy_location(ast.Call(node.func, [changed, *node.args[1:]], node.keywords), node)


def listed(site: Site) -> Iterator[Proposal]:
    """[b, a] for [a, b]: two entries of a list or tuple that is read, exchanged."""
    node = site.node
    if not isinstance(node.ctx, ast.Load) or not 2 <= len(node.elts) <= UNPACKED:
        return
    if isinstance(site.place.parent, ast.Subscript) or all(constant(each) is not None for each in node.elts):
        return
    for i in range(len(node.elts)):
        for j in range(i + 1, len(node.elts)):
            changed = copy.copy(node)
            changed.elts = list(node.elts)
            changed.elts[i], changed.elts[j] = changed.elts[j], changed.elts[i]
            yield Proposal(changed, "", 0.0 if j == i + 1 else 0.2, f"{i} {j}")
