"""Edits of indices: off by one, other bounds of a slice, axes exchanged, the entry of another layer."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator

from compare.explain.edits_places import cause_of_name
from compare.explain.site import Proposal, Site
from compare.explain.syntax import binary, call, constant, negative, number, parsed


def index(site: Site) -> Iterator[Proposal]:
    """Another index by one, a slice's bound taken out or moved, the axes of an index exchanged, rows for columns."""
    node = site.node
    inner = node.slice
    if isinstance(inner, ast.Slice):
        for field in ("lower", "upper", "step"):
            bound = getattr(inner, field)
            if bound is None:
                continue
            yield Proposal(_sliced(node, inner, field, None), "", 0.2, f"no {field}")
            yield Proposal(_sliced(node, inner, field, _moved(bound, 1)), "", 0.3, f"{field} + 1")
            yield Proposal(_sliced(node, inner, field, _moved(bound, -1)), "", 0.3, f"{field} - 1")
    elif isinstance(inner, ast.Tuple):
        if len(inner.elts) == 2:
            swapped = ast.copy_location(ast.Tuple([inner.elts[1], inner.elts[0]], inner.ctx), inner)
            yield Proposal(_subscript(node, swapped), "", 0.3, "swap")
        yield from _cut_otherwise(site, node, inner)
        for at, entry in enumerate(inner.elts):
            if isinstance(entry, ast.Slice) and entry.lower is None and entry.upper is None:
                rows = [*inner.elts]
                rows[at] = parsed(f"range(len({ast.unparse(node.value)}))")
                changed = ast.copy_location(ast.Tuple(rows, inner.ctx), inner)
                yield Proposal(_subscript(node, changed), "", 0.5, "range")
    elif isinstance(inner, ast.JoinedStr):
        yield from _spelt(site, node, inner)
    elif (made := _number_in_key(inner)) is not None:
        for by in (1, -1):
            yield Proposal(_subscript(node, made(_moved, by)), "", 0.0, f"key {by:+}")
    elif not isinstance(inner, ast.Constant | ast.JoinedStr) or isinstance(getattr(inner, "value", None), int):
        if isinstance(node.ctx, ast.Load) and isinstance(inner, ast.Constant):
            yield Proposal(ast.copy_location(_summed(node.value), node), "some_samples", 0.6, "sum")
        yield Proposal(_subscript(node, _moved(inner, 1)), "", 0.4, "+ 1")
        yield Proposal(_subscript(node, _moved(inner, -1)), "", 0.4, "- 1")
        if isinstance(node.ctx, ast.Load):
            yield Proposal(node.value, "", 1.0, "no index")
            order = site.reach.whole.get(ast.unparse(inner))
            if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
                several = (t.text for t in site.reach.sizes if "//" in t.text)
                yield from (Proposal(parsed(text), "wrong_count", 0.0, f"counts {text}") for text in several)
            if order is None or order.ndim == 1:
                inverse = call(parsed("torch.argsort"), inner)
                yield Proposal(_subscript(node, inverse), "", 0.6, "inverse")


def _cut_otherwise(site: Site, node: ast.Subscript, inner: ast.Tuple) -> Iterator[Proposal]:
    """Other bounds of one slice among several axes, or of all the slices that read alike."""
    texts = [ast.unparse(entry) if isinstance(entry, ast.Slice) else "" for entry in inner.elts]
    for text in dict.fromkeys(t for t in texts if t.strip(":")):
        places_of = [at for at, other in enumerate(texts) if other == text]
        some = [[at] for at in places_of] + ([places_of] if len(places_of) > 1 else [])
        old = inner.elts[places_of[0]]
        assert isinstance(old, ast.Slice)
        for new in (*_bounds(old), *_at_both_ends(site, old)):
            ast.copy_location(new, old)
            for chosen in some:
                entries = [new if at in chosen else entry for at, entry in enumerate(inner.elts)]
                cost = 0.3 if len(chosen) == len(places_of) else 0.6
                changed = ast.copy_location(ast.Tuple(entries, inner.ctx), inner)
                yield Proposal(_subscript(node, changed), "", cost, f"{text} {ast.unparse(new)}")


def _at_both_ends(site: Site, old: ast.Slice) -> Iterator[ast.Slice]:
    """x[p:-p] for x[:-2 * p]: what was put on at both ends is not taken off at one."""
    cut = site.evaluated(old.upper) if old.lower is None and old.upper is not None else None
    if isinstance(cut, int) and cut < 0 and cut % 2 == 0:
        text = next((n for n, v in site.reach.scalars.items() if v == -cut / 2 and n.isidentifier()), str(-cut // 2))
        yield ast.Slice(parsed(text), parsed(f"-{text}"), old.step)


def _bounds(old: ast.Slice) -> Iterator[ast.Slice]:
    """A slice moved by one at one end or at both, without one of its bounds, or cut alike at both ends."""
    lower, upper, step = old.lower, old.upper, old.step
    for by in (1, -1):
        if lower is not None:
            yield ast.Slice(_moved(lower, by), upper, step)
        if upper is not None:
            yield ast.Slice(lower, _moved(upper, by), step)
        if lower is not None and upper is not None:
            yield ast.Slice(_moved(lower, by), _moved(upper, by), step)
    if lower is not None:
        yield ast.Slice(None, upper, step)
        if upper is None and step is None:
            yield ast.Slice(None, negative(lower), None)
            yield ast.Slice(lower, negative(lower), None)
            half = constant(lower)
            if isinstance(half, int) and half > 1 and half % 2 == 0:
                yield ast.Slice(number(half // 2, lower), number(-(half // 2), lower), None)
    if upper is not None:
        yield ast.Slice(lower, None, step)
        if lower is None and step is None and isinstance(upper, ast.UnaryOp):
            yield ast.Slice(upper.operand, None, None)
            yield ast.Slice(upper.operand, upper, None)
            half = constant(upper)
            if isinstance(half, int) and half < -1 and half % 2 == 0:
                yield ast.Slice(number(-half // 2, upper), number(half // 2, upper), None)


def _spelt(site: Site, node: ast.Subscript, inner: ast.JoinedStr) -> Iterator[Proposal]:
    """`v[f'A{l - 1}']` or `v[f'Z{l}']` for `v[f'A{l}']`: another layer's entry, or another kind of entry."""
    if not isinstance(node.ctx, ast.Load) or len(inner.values) != 2:
        return
    word, number_of = inner.values
    if not isinstance(word, ast.Constant) or not isinstance(number_of, ast.FormattedValue):
        return
    kind = str(word.value)
    for by in (1, -1):
        shifted = ast.FormattedValue(_moved(number_of.value, by), -1)
        yield Proposal(_subscript(node, ast.JoinedStr([word, shifted])), "wrong_layer", 0.0, f"f {by}")
    words = dict.fromkeys(
        m[1] for n in site.reach.tensors if (m := re.fullmatch(r"\w+\[['\"]([A-Za-z_]+)\d+['\"]\]", n))
    )
    words |= dict.fromkeys(m[1] for n in site.reach.quantities if (m := re.fullmatch(r"([A-Za-z_]+)\d+", n)))
    for other in words:
        if other != kind:
            cause = cause_of_name(site, f"{kind}1", f"{other}1")
            yield Proposal(_subscript(node, ast.JoinedStr([ast.Constant(other), number_of])), cause, 0.2, f"f {other}")


def _summed(node: ast.expr) -> ast.expr:
    return ast.Call(ast.copy_location(ast.Attribute(node, "sum", ast.Load()), node), [number(0, node)], [])


def _number_in_key(key: ast.expr) -> Callable[[Callable[[ast.expr, int], ast.expr], int], ast.expr] | None:
    """How to make a key such as `'W%d' % l` or `'W' + str(l)` with its number moved; None of another one."""
    if not isinstance(key, ast.BinOp):
        return None
    if isinstance(key.op, ast.Mod) and isinstance(key.left, ast.Constant) and not isinstance(key.right, ast.Tuple):
        return lambda moved, by: binary(key.left, key.op, moved(key.right, by))
    made = key.right
    if isinstance(key.op, ast.Add) and isinstance(made, ast.Call) and ast.unparse(made.func) == "str" and made.args:
        return lambda moved, by: binary(key.left, key.op, call(made.func, moved(made.args[0], by)))
    return None


def _moved(node: ast.expr, by: int) -> ast.expr:
    value = constant(node)
    if value is not None:
        return number(value + by, node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        step = constant(node.right)
        if step is not None:
            signed = (step if isinstance(node.op, ast.Add) else -step) + by
            if signed == 0:
                return node.left
            return binary(node.left, ast.Add() if signed > 0 else ast.Sub(), number(abs(signed), node))
    return binary(node, ast.Add() if by > 0 else ast.Sub(), number(abs(by), node))


def _sliced(node: ast.Subscript, old: ast.Slice, field: str, bound: ast.expr | None) -> ast.expr:
    changed = ast.Slice(old.lower, old.upper, old.step)
    setattr(changed, field, bound)
    return _subscript(node, ast.copy_location(changed, old))


def _subscript(node: ast.Subscript, inner: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Subscript(node.value, inner, node.ctx), node)


def strided(site: Site) -> Iterator[Proposal]:
    """`x[i * s : i * s + n]` for `x[i : i + n]`: windows that lie apart by a number in reach."""
    node = site.node
    if not isinstance(node.lower, ast.Name) or node.upper is None:
        return
    for text, value in site.reach.scalars.items():
        if value > 1 and value.is_integer() and text in site.reach.counts | site.reach.packed:
            moved = binary(node.lower, ast.Mult(), parsed(text))
            upper = _Times(node.lower.id, moved).visit(copy.deepcopy(node.upper))
            new = ast.copy_location(ast.Slice(moved, upper, node.step), node)
            yield Proposal(new, "", 0.0, f"windows {value:g}")


class _Times(ast.NodeTransformer):
    """Another expression for every occurrence of a name."""

    def __init__(self, name: str, new: ast.expr) -> None:
        self.name, self.new = name, new

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.new if node.id == self.name else node
