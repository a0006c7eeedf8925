"""What each operation does to shadows: sums, products, selections; entry by entry in `shadow_entries`.

Signatures are ATen's. A selection (index, gather, cat, where, ...) runs once more on the numbers of the entries, and
the shadows follow them; no selection needs a rule of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from compare.check.shadow_entries import ENTRY_RULES, Array, Rule, Unknown, decided, float64, maximum, minimum

if TYPE_CHECKING:
    from compare.check.shadow import Shadow

# Results that are the float64 numbers themselves, whatever they were made from.
FRESH = frozenset(
    """zeros zeros_like ones ones_like full full_like new_zeros new_ones new_full new_empty new_empty_strided empty
    empty_like empty_strided arange linspace eye scalar_tensor rand rand_like randn randn_like uniform normal
    bernoulli fill zero round floor ceil trunc""".split()
)

# Results that are no floating numbers, though made from some: decisions, taken as float64 takes them.
DECISIONS = frozenset("argmax argmin argsort searchsorted bucketize".split())

SELECTIONS = """clone copy _unsafe_view cat stack index index_select gather where masked_fill masked_select take flip
    roll constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d repeat tril triu
    embedding diag_embed select_scatter slice_scatter diagonal_scatter scatter index_copy index_put index_fill fill
    repeat_interleave im2col lift_fresh_copy""".split()
_RAW = frozenset(("condition", "mask", "index", "indices", "repeats"))  # arguments that select


def _rows(x: Array, dims: Any, keepdim: bool) -> tuple[Array, tuple[int, ...]]:
    """Entries to be reduced as rows, and the shape of the result."""
    axes = tuple(d % x.ndim for d in ([dims] if isinstance(dims, int) else dims or range(x.ndim))) if x.ndim else ()
    keep = tuple(d for d in range(x.ndim) if d not in axes)
    shape = tuple(1 if d in axes else n for d, n in enumerate(x.shape) if keepdim or d not in axes)
    length = math.prod(x.shape[d] for d in axes)
    return x.transpose(keep + axes).reshape(-1 if length else math.prod(shape), length), shape


def _reduced(f: Callable[..., Any]) -> Rule:
    def rule(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
        x = s.read(args[0])
        dims = args[1] if len(args) > 1 else kwargs.get("dim")
        rows, shape = _rows(x, dims, bool(args[2] if len(args) > 2 else kwargs.get("keepdim", False)))
        plain, _ = _rows(np.asarray(float64(args[0])), dims, False)
        out = np.empty(len(rows), dtype=object)
        for i, row in enumerate(rows):
            out[i] = s.noisy(lambda c, row=row, p=plain[i]: f(s, list(row), p))
        return [out.reshape(shape)]

    return rule


def _sum(s: Shadow, row: list[Any], plain: Any) -> Any:
    return s.c.fsum(row)


def _mean(s: Shadow, row: list[Any], plain: Any) -> Any:
    return s.c.fsum(row) / len(row)


def _variance(root: bool) -> Rule:
    def rule(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
        correction = kwargs.get("correction")

        def variance(s: Shadow, row: list[Any], plain: Any) -> Any:
            mean = _mean(s, row, plain)
            square = s.c.fsum((v - mean) ** 2 for v in row) / (len(row) - (1 if correction is None else correction))
            return s.c.sqrt(square) if root else square

        return _reduced(variance)(s, func, args, kwargs)

    return rule


def _largest(sign: int) -> Callable[..., Any]:
    """The mean of the largest entries: autograd shares a tie evenly."""

    def largest(s: Shadow, row: list[Any], plain: Any) -> Any:
        top = int((sign * plain).argmax())
        ties = [
            v
            for v, p in zip(row, plain, strict=True)
            if s.side(sign * v, sign * row[top], sign * p, sign * plain[top]) == 0
        ]
        return s.c.fsum(ties) / len(ties)

    return largest


def _extreme(sign: int) -> Rule:
    whole = _reduced(_largest(sign))

    def rule(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
        if func._overloadname in ("default", ""):
            return whole(s, func, args, kwargs)
        if func._overloadname != "dim":
            return decided(maximum if sign > 0 else minimum, "")(s, func, args, kwargs)
        whole(s, func, args, kwargs)  # the digits agree on which is largest
        indices = func(*args, **kwargs).indices
        keep = bool(args[2] if len(args) > 2 else kwargs.get("keepdim", False))
        x = s.read(args[0])
        at = indices.cpu().numpy() if keep or not x.ndim else indices.unsqueeze(args[1]).cpu().numpy()
        picked = np.take_along_axis(x, at, args[1]) if x.ndim else x
        return [picked if keep or not x.ndim else picked.squeeze(args[1])]

    return rule


def _matmul(s: Shadow, a: Array, b: Array) -> Array:
    """(..., n, k) times (..., k, m), each sum exact until it is rounded once."""
    out = np.empty((*a.shape[:-1], b.shape[-1]), dtype=object)
    columns = np.swapaxes(b, -1, -2)
    for where in np.ndindex(out.shape):
        row, column = a[where[:-1]], columns[(*where[:-2], where[-1])]
        out[where] = s.noisy(lambda c, row=row, column=column: c.fdot(row, column))
    return out


def _product(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
    a, b = s.read(args[0]), s.read(args[1])
    left, right = a.ndim == 1, b.ndim == 1
    out = _matmul(s, a[None] if left else a, b[:, None] if right else b)
    out = out[..., 0] if right else out
    return [out[0] if left and not right else out.reshape(()) if left else out]


def _added_product(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
    (product,) = _product(s, func, args[1:], {})
    beta, alpha = s.c.mpf(kwargs.get("beta", 1)), s.c.mpf(kwargs.get("alpha", 1))
    return [s.elementwise(lambda c, x, y: beta * x + alpha * y, [s.read(args[0]), product])]


def _selected(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
    """Run the operation on the numbers of the entries; number 0 is a zero, which padding and masks write."""
    pool: list[Any] = [s.c.mpf(0)]

    def numbered(value: Any, name: str) -> Any:
        if isinstance(value, tuple | list) and name not in _RAW:
            return [numbered(each, name) for each in value] if any(isinstance(v, Tensor) for v in value) else value
        if isinstance(value, Tensor) and name not in _RAW:
            entries = s.read(value)
            start = len(pool)
            pool.extend(entries.reshape(-1).tolist())
            numbers = torch.arange(start, len(pool), dtype=torch.float64, device=value.device)
            return numbers.reshape(value.shape)
        if name == "value" and isinstance(value, bool | int | float):
            pool.append(s.c.mpf(value))
            return float(len(pool) - 1)
        return value

    if args[-1] is True or kwargs.get("accumulate") or "reduce" in func._overloadname:
        raise Unknown(str(func))
    names = [a.name for a in func._schema.arguments]
    own = [numbered(a, n) for a, n in zip(args, names[: len(args)], strict=True)]
    out = func(*own, **{k: numbered(v, k) for k, v in kwargs.items() if k not in ("dtype", "memory_format")})
    if not isinstance(out, Tensor) or (isinstance(args[0], Tensor) and not _is_floating(args)):
        return []
    return [np.array(pool, dtype=object)[out.long().cpu().numpy()].reshape(tuple(out.shape))]


def _is_floating(args: Any) -> bool:
    return any(
        (isinstance(a, Tensor) and a.is_floating_point()) or (isinstance(a, tuple | list) and _is_floating(a))
        for a in args
    )


def _cast(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
    """A narrower dtype rounds float64 only; a cast to integers is a decision."""
    dtype = kwargs.get("dtype") or args[0].dtype
    if dtype.is_complex:
        raise Unknown("complex numbers")
    if not dtype.is_floating_point and args[0].is_floating_point() and bool(args[0].isnan().any()):
        raise Unknown("a decision on NaN")
    return [s.read(args[0])] if dtype.is_floating_point else []


def _finite(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
    """isnan, isinf, isfinite: float64 can be trusted where it is finite."""
    if not bool(args[0].isfinite().all()):
        raise Unknown("a decision on a number that is not finite")
    return []


def _item(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
    if args[0].is_floating_point():
        raise Unknown("a number that leaves torch")
    return []


RULES: dict[str, Rule] = (
    ENTRY_RULES
    | dict.fromkeys(SELECTIONS, _selected)
    | dict.fromkeys("isnan isinf isfinite".split(), _finite)
    | dict.fromkeys("mm bmm mv dot vdot".split(), _product)
    | dict.fromkeys("addmm addmv baddbmm".split(), _added_product)
    | {
        "sum": _reduced(_sum),
        "mean": _reduced(_mean),
        "var": _variance(False),
        "std": _variance(True),
        "amax": _reduced(_largest(1)),
        "amin": _reduced(_largest(-1)),
        "max": _extreme(1),
        "min": _extreme(-1),
        "_to_copy": _cast,
        "_local_scalar_dense": _item,
    }
)
