"""Edits of whole statements: assigned or added, left out, copied first, one name for another throughout."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

import numpy as np
import torch

from compare.explain.edits_operators import too_many
from compare.explain.edits_places import cause_of_name
from compare.explain.named import plain, tensor
from compare.explain.site import Proposal, Site, penalty, updates
from compare.explain.syntax import base, call, method, names, negative, parsed, targets


def accumulate(site: Site) -> Iterator[Proposal]:
    """+= for =, = for +=."""
    node = site.node
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and not isinstance(node.targets[0], ast.Tuple):
        target = node.targets[0]
        if isinstance(target, ast.Name) and (more := _added_to(node.value, target.id)) is not None:
            only = ast.copy_location(ast.Assign([target], more), node)
            yield Proposal(only, "stale_state" if _used_after(site, target.id) else "path_twice", 0.3, "x + =")
        if not isinstance(target, ast.Name | ast.Attribute | ast.Subscript) or _reads(node.value, target):
            return
        added = ast.copy_location(ast.AugAssign(target, ast.Add(), node.value), node)
        if isinstance(target, ast.Subscript) and _whole(node.value, base(target)):
            yield Proposal(added, "special_case", 1.6, "= += own")  # made from all entries: it adds nothing up
            return
        lost = "missing_path" if isinstance(target, ast.Name) and _made_of(site, target.id) else "overwritten"
        yield Proposal(added, lost, 0.0 if site.inside(ast.For) else 0.6, "= +=")
        if isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Constant | ast.Slice):
            yield Proposal(_all_added(site, target, node.value), "overwritten", 0.8, "index_put_")
        if isinstance(target, ast.Name | ast.Subscript):
            total = ast.copy_location(ast.BinOp(parsed(ast.unparse(target)), ast.Add(), node.value), node.value)
            again = ast.Assign([target], total)
            yield Proposal(ast.copy_location(again, node), lost, 0.7, "= x +")
        if isinstance(target, ast.Subscript) and site.inside(ast.For) and not isinstance(target.slice, ast.Tuple):
            before = method(target.value, "get", target.slice, parsed("0"))
            total = ast.copy_location(ast.BinOp(before, ast.Add(), node.value), node.value)
            yield Proposal(ast.copy_location(ast.Assign([target], total), node), "overwritten", 0.1, "= get +")
    elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
        only = ast.copy_location(ast.Assign([node.target], node.value), node)
        shared = isinstance(node.target, ast.Name) and _aliases(site, node.target.id)
        stale = isinstance(node.target, ast.Name) and _used_after(site, node.target.id)
        cause = "modified_in_place" if shared else "stale_state" if stale else "path_twice"
        yield Proposal(only, cause, 0.3, "+= =")
        if isinstance(node.target, ast.Subscript) and not isinstance(node.target.slice, ast.Constant | ast.Slice):
            value = node.value if isinstance(node.op, ast.Add) else negative(node.value)
            yield Proposal(_all_added(site, node.target, value), "overwritten", 0.6, "index_put_")


def _added_to(value: ast.expr, name: str) -> ast.expr | None:
    """v of `name + v`, which does not read the name; None of anything else."""
    if not (isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add) and isinstance(value.left, ast.Name)):
        return None
    return value.right if value.left.id == name and name not in names(value.right) else None


def _made_of(site: Site, name: str) -> bool:
    """Whether what a statement assigns to a name is computed from what the name held, as a delta is handed on.

    What was there is not lost then: where it belongs to the sum as well, it is a path beside that one.
    """
    block = next((a for a in reversed(site.place.above) if isinstance(a, ast.For | ast.While)), None)
    beside = ast.walk(block) if block is not None else getattr(site.place.above[0], "siblings", ())
    made = [(base(s.targets[0]), names(s.value)) for s in beside if isinstance(s, ast.Assign) and s is not site.node]
    reads: set[str] = set()
    more = names(site.node.value)
    while more - reads:
        reads |= more
        more = {n for target, read in made if target in reads for n in read}
    return name in reads


def _used_after(site: Site, name: str) -> bool:
    """Whether the loop around a statement first reads there what it adds up: the sum holds what other rounds left.

    What is read before is handed on from the round before, and adding to it counts a path twice.
    """
    loop = next((a for a in reversed(site.place.above) if isinstance(a, ast.For)), None)
    own = {id(n) for n in ast.walk(site.node)}
    reads = [
        n.lineno
        for n in (ast.walk(loop) if loop is not None else ())
        if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) and id(n) not in own
    ]
    return bool(reads) and min(reads) >= site.node.lineno


def _whole(value: ast.expr, name: str) -> bool:
    """Whether a value is made from an array as a whole, not from entries of it."""
    entries = {id(n.value) for n in ast.walk(value) if isinstance(n, ast.Subscript)}
    return any(isinstance(n, ast.Name) and n.id == name and id(n) not in entries for n in ast.walk(value))


def _reads(value: ast.expr, target: ast.expr) -> bool:
    """Whether a value is made from what the target was: adding it to that would count it twice."""
    return any(
        isinstance(n, ast.Name | ast.Subscript) and ast.unparse(n) == ast.unparse(target) for n in ast.walk(value)
    )


def _all_added(site: Site, target: ast.Subscript, value: ast.expr) -> ast.stmt:
    """`x.index_put_((i,), value, accumulate=True)`, in NumPy `np.add.at(x, i, value)`: repeated indices add up."""
    inner = target.slice
    if isinstance(site.evaluated(target.value), np.ndarray):
        return ast.copy_location(ast.Expr(call(parsed("np.add.at"), target.value, inner, value)), target)
    places = inner if isinstance(inner, ast.Tuple) else ast.copy_location(ast.Tuple([inner], ast.Load()), inner)
    put = method(target.value, "index_put_", places, value, accumulate=parsed("True"))
    return ast.copy_location(ast.Expr(put), target)


def _aliases(site: Site, name: str) -> bool:
    """Whether `name` was made as another name of an array."""
    statements = getattr(site.place.above[0], "siblings", [])
    made = [s for s in statements if isinstance(s, ast.Assign) and name in {ast.unparse(t) for t in s.targets}]
    return any(isinstance(s.value, ast.Name) or len(s.targets) > 1 for s in made)


def leave_out(site: Site) -> Iterator[Proposal]:
    """Nothing in place of a statement that changes what another has made."""
    node = site.node
    if isinstance(node, ast.AugAssign):
        yield Proposal(None, _left_out(site, base(node.target), node), -0.4, "out")
    elif (
        isinstance(node, ast.Assign)
        and base(node.targets[0]) in names(node.value) | site.reach.inputs
        and not _keyed(node.targets[0])
    ):
        yield Proposal(None, _left_out(site, base(node.targets[0]), node), 0.0, "out")
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        key = _keyed(node.targets[0])
        cause = "updated_weight" if updates(node) else "unknown" if key else "special_case"
        yield Proposal(None, cause, 2.0 if key else -0.4, "out")
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        name = ast.unparse(node.value.func).rpartition(".")[2]
        yield Proposal(None, "clipped" if name.startswith("cl") else "modified_in_place", 0.2, "out")
    elif isinstance(node, ast.Return | ast.Break | ast.Continue) and site.inside(ast.For):
        yield Proposal(None, "some_samples", 0.0, "out")
    elif isinstance(node, ast.If):
        yield Proposal(None, "special_case", 0.8, "out")


def stored(site: Site) -> Iterator[Proposal]:
    """`dW[i] = v` for `db[i] = v`, `grads["W"] = v` for `grads["b"] = v`: what is computed goes somewhere else."""
    node, reach = site.node, site.reach
    target = targets(node)[0]
    old = base(target)
    key = target.slice if isinstance(target, ast.Subscript) else None
    if isinstance(target, ast.Subscript) and isinstance(key, ast.Constant) and isinstance(key.value, str):
        if key.value != reach.target and isinstance(target.value, ast.Name):
            own = ast.copy_location(ast.Constant(reach.target), target)
            new = ast.copy_location(ast.Subscript(target.value, own, ast.Store()), target)
            yield Proposal(_into(node, new), cause_of_name(site, key.value, reach.target), 0.0, f"[{key.value!r}] =")
        return
    known = reach.tensors.get(old)
    if known is None or old in reach.quantities or isinstance(target, ast.Tuple):
        return
    for other, value in reach.tensors.items():
        if other != old and other.isidentifier() and other not in reach.quantities and value.shape == known.shape:
            new = _Storing(old, other).visit(copy.deepcopy(target))
            yield Proposal(_into(node, new), cause_of_name(site, old, other), 0.0, f"{old} {other} =")


class _Storing(ast.NodeTransformer):
    """The name that is stored to, another one."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.new, node.ctx), node) if node.id == self.old else node


def _into(node: ast.Assign | ast.AugAssign, target: ast.Name | ast.Attribute | ast.Subscript) -> ast.stmt:
    """The statement with another target."""
    if isinstance(node, ast.Assign):
        return ast.copy_location(ast.Assign([target], node.value), node)
    return ast.copy_location(ast.AugAssign(target, node.op, node.value), node)


def _keyed(target: ast.expr) -> bool:
    """Whether a target is an entry of a dictionary, not of an array."""
    if not isinstance(target, ast.Subscript):
        return False
    return isinstance(target.slice, ast.JoinedStr) or isinstance(getattr(target.slice, "value", None), str)


def _left_out(site: Site, name: str, node: ast.stmt) -> str:
    """What is wrong with a statement that does not belong there, by what it does to what is its own or another's."""
    if name in site.reach.inputs or updates(node) or _holds_input(site, node):
        return "updated_weight"
    if isinstance(getattr(node, "target", None), ast.Subscript):
        return "special_case"
    if not isinstance(node, ast.AugAssign):
        return "unknown"
    if name in site.reach.quantities or _aliases(site, name):
        return "modified_in_place"
    if isinstance(node.op, ast.Add | ast.Sub):
        return "wrong_l2" if penalty(node.value, site.reach) else "path_twice"
    return too_many(site, node.value, node.op)


def _holds_input(site: Site, node: ast.stmt) -> bool:
    """Whether what a statement assigns to held an input's values before, as an entry of a table of weights does."""
    before = tensor(site.evaluated(parsed(ast.unparse(targets(node)[0]))))
    inputs = [site.reach.tensors[n] for n in site.reach.inputs if n in site.reach.tensors]
    return before is not None and before.numel() > 1 and any(torch.equal(before, value) for value in inputs)


def copied(site: Site) -> Iterator[Proposal]:
    """`x = y.clone()` for `x = y`, where y is a name or a view of one; NumPy says `y.copy()`."""
    node = site.node
    if isinstance(node.value, ast.Name | ast.Subscript) and len(node.targets) == 1:
        copies = "copy" if isinstance(site.evaluated(node.value), np.ndarray) else "clone"
        own = ast.copy_location(ast.Assign(node.targets, method(node.value, copies)), node)
        shared = {base(node.value), base(node.targets[0])} & _changed(site)
        yield Proposal(own, "modified_in_place", -1.3 if shared else 0.0, "clone")


def _changed(site: Site) -> set[str]:
    """The names whose arrays are changed in place beside a statement."""
    inner = [s for each in getattr(site.place.above[0], "siblings", ()) for s in ast.walk(each)]
    added = {base(s.target) for s in inner if isinstance(s, ast.AugAssign)}
    stored = {base(t) for s in inner if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Subscript)}
    called = {base(s.func) for s in inner if isinstance(s, ast.Call) and ast.unparse(s.func).endswith("_")}
    return added | stored | called


class _Renaming(ast.NodeTransformer):
    def __init__(self, old: str, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        if (
            isinstance(node, ast.Name | ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and ast.unparse(node) == self.old
        ):
            return ast.copy_location(copy.deepcopy(self.new), node)
        visited: ast.AST = super().visit(node)
        return visited


def renamed(site: Site) -> Iterator[Proposal]:
    """Another name for every occurrence of one in a statement where it occurs more than once."""
    node, reach = site.node, site.reach
    if isinstance(node, ast.stmt):
        if not isinstance(node, ast.Assign | ast.AugAssign | ast.Return | ast.Expr):
            return
        if isinstance(getattr(node, "value", None), ast.Dict):
            return  # its entries are looked at one by one
    elif not isinstance(site.place.parent, ast.Dict) or isinstance(node, ast.Name | ast.Constant | ast.Dict):
        return
    loads = [n for n in ast.walk(node) if isinstance(n, ast.Name | ast.Subscript) and isinstance(n.ctx, ast.Load)]
    texts = [ast.unparse(n) for n in loads]
    for old in sorted({t for t in texts if texts.count(t) > 1}):
        known = reach.tensors.get(old)
        if known is None:
            continue
        turned = _Renaming(old, negative(ast.parse(old, mode="eval").body)).visit(copy.deepcopy(node))
        yield Proposal(turned, "sign", 0.8, f"-{old} all")
        for other, value in reach.tensors.items():
            if other == old or value.ndim != known.ndim:
                continue
            new = _Renaming(old, ast.parse(other, mode="eval").body).visit(copy.deepcopy(node))
            cost = 0.0 if value.shape == known.shape else 0.8
            cost += {"activation": 0.0, "layer": 0.1}.get(reach.relation(old, other), 0.3)
            cost += 0.0 if plain(other) in reach.quantities else 0.3
            yield Proposal(new, cause_of_name(site, old, other), cost, f"{old} {other} all")
