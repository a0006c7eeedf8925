"""Shadow arithmetic: a forward runs in float64 as always, and beside each number a second one has hundreds of digits.

Shadows lie by storage, so that views and in-place writes need no rule. An operation that has no rule, a decision on
which float64 and the digits disagree, and a number that left the graph raise `Unknown`: never a wrong value.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from compare.check.shadow_entries import Array, Unknown
from compare.check.shadow_parts import SHADOW_PARTS
from compare.check.shadow_rules import DECISIONS, FRESH, RULES

ENTRIES = 20_000  # of a tensor, at most


@dataclass(frozen=True)
class Place:
    """Where an intermediate gets its last value: the result of a call, and how the tensor lies in its storage."""

    call: int
    result: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class Shadow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation twice: by torch, and on objects of an arbitrary-precision context `c`.

    Each shadow is moved by a little more than its last place at random. What is too small for the digits to hold
    thus leaves noise instead of a clean wrong number, and two runs of different precision disagree.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is ever compiled

    def __init__(self, c: Any, seed: int, tie: float, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.c = c
        self.tie = tie  # shadows this close are equal where float64 has them equal
        self.deadline = deadline
        self.calls = 0
        self.failed = False
        self.armed = False  # inside the forward
        self.depth = 0  # inside the parts of an operation, where autograd is off
        self.alive: list[Any] = []  # so that no storage and no identity is used twice
        self.made: dict[int, tuple[int, int]] = {}  # by identity: the call and the position of the result
        self.written: dict[int, list[int]] = {}  # by storage: the calls that changed it
        self.shadows: dict[int, Array] = {}  # by storage
        self.moved: set[int] = set()  # storages that depend on what was moved
        self.place: Place | None = None
        self.move: Array | None = None
        self.stale: set[int] = set()  # tensors that share memory with the moved one and are not it
        draw = random.Random(seed)
        unit = c.ldexp(c.mpf(1), 24 - c.prec)
        factors = [1 + unit * draw.uniform(-1, 1) for _ in range(97)]
        self.factors = itertools.cycle(factors)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        try:
            if self.failed:
                raise Unknown("an earlier operation")
            return self._each(func, args, kwargs)
        except Unknown:
            self.failed = True  # the forward may swallow the error and go another way
            raise

    def _each(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.watch()
        schema = func._schema
        name = schema.name.partition("::")[2]
        part = SHADOW_PARTS.get(name) if func._overloadname == "default" else None
        tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
        floats = [t for t in tensors if t.is_floating_point()]
        depends = [t for t in floats if _storage(t) in self.moved]
        if any(t.is_complex() for t in tensors) or any(id(t) in self.stale for t in tensors):
            raise Unknown(name)
        # what is detached, or made inside no_grad or an autograd.Function, is for autograd no function of x
        followed = not depends or (torch.is_grad_enabled() and all(t.requires_grad for t in depends))
        if self.armed and not self.depth and name != "detach" and not followed:
            raise Unknown(f"{name} of a detached tensor")
        if part is not None:
            self.depth += 1
            try:
                with self:
                    return part(*args, **kwargs)
            finally:
                self.depth -= 1
        self.calls += 1
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
        if views:
            out = func(*args, **kwargs)
            if "dtype" in func._overloadname:
                raise Unknown(name)
            self._register(out, schema.is_mutable, bool(depends))
            return out
        values = self._shadows(func, name, args, kwargs, floats)
        out = func(*args, **kwargs)
        results = [r for r in _listed(out) if isinstance(r, Tensor) and r.is_floating_point()]
        if values is None:  # exact by meaning: the float64 numbers themselves
            values = [self.exact(r) for r in results]
        if len(values) != len(results):
            raise Unknown(name)
        for result, value in zip(results, values, strict=True):
            self._write(result, value)
        constant = name.removesuffix("_") in FRESH
        self._register(out, schema.is_mutable, bool(depends) and not constant)
        return out

    def _shadows(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], floats: list[Tensor]
    ) -> list[Array] | None:
        plain = name.removesuffix("_") if func._schema.is_mutable else name
        if func._schema.is_mutable and "out" in kwargs:
            raise Unknown(name)
        if plain in FRESH and not (plain == "fill" and floats[1:]):
            return None
        rule = RULES.get(plain)
        if rule is not None:
            return rule(self, func, args, kwargs)
        if (floats and plain not in DECISIONS) or any(bool(t.isnan().any()) for t in floats):
            raise Unknown(name)
        return []

    def _register(self, out: Any, mutable: bool, depends: bool) -> None:
        """Note what made which tensor, and move the one to be moved."""
        self.alive.append(out)
        for position, result in enumerate(_listed(out)):
            if not isinstance(result, Tensor) or not result.is_floating_point():
                continue
            storage = _storage(result)
            if depends:
                self.moved.add(storage)
            if mutable:
                self.written.setdefault(storage, []).append(self.calls)
            else:
                self.made[id(result)] = (self.calls, position)
            place = self.place
            if place is not None and self.move is not None and (place.call, place.result) == (self.calls, position):
                if not mutable:
                    self.stale = {
                        id(t)
                        for each in self.alive
                        for t in _listed(each)
                        if t is not result and isinstance(t, Tensor) and _storage(t) == storage
                    }
                where = _indices(place.shape, place.stride, place.offset)
                store = self._store(result)
                if self.move.shape != where.shape:
                    raise Unknown("an intermediate of another shape")
                store[where] = store[where] + self.move
                self.moved.add(storage)

    def find(self, tensor: Tensor) -> Place:
        """Where this tensor, named at the end of the forward, got its value. Raises Unknown."""
        call, result = self.made.get(id(tensor), (0, 0))
        later = [each for each in self.written.get(_storage(tensor), []) if each > call]
        if call == 0 or (later and tensor._is_view()):
            raise Unknown("an intermediate that no single operation makes")
        if later:
            call, result = later[-1], 0
        return Place(call, result, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def watch(self) -> None:
        """Raise Unknown when time is up."""
        if time.process_time() > self.deadline:
            raise Unknown("time")

    def read(self, value: Any) -> Array:
        """The shadow of a tensor or a scalar."""
        if not isinstance(value, Tensor):
            return _boxed(None if value is None else self.c.mpf(value))
        if not value.is_floating_point():
            return self.exact(value)
        store = self._store(value)
        found: Array = _boxed(store[_indices(tuple(value.shape), value.stride(), int(value.storage_offset()))])
        return found

    def put(self, tensor: Tensor, change: Array) -> None:
        """Move a tensor's shadow away from its float64 numbers."""
        self._write(tensor, self.read(tensor) + change)
        self.moved.add(_storage(tensor))
        self.alive.append(tensor)

    def exact(self, tensor: Tensor) -> Array:
        """The numbers of a tensor as they are."""
        self._small(tensor.numel())
        flat = np.empty(tensor.numel(), dtype=object)
        numbers = tensor.detach().reshape(-1)
        flat[:] = [self.c.mpf(v) for v in (numbers.double() if tensor.is_floating_point() else numbers).tolist()]
        return flat.reshape(tuple(tensor.shape))

    def elementwise(self, f: Callable[..., Any], arrays: list[Any], extra: tuple[Any, ...] = ()) -> Array:
        """f(c, *entries) by broadcasting, each result moved by the noise."""
        grids = np.broadcast_arrays(*arrays, *extra)
        self._small(grids[0].size)
        out = np.empty(grids[0].shape, dtype=object)
        flat = out.reshape(-1)
        for i, entries in enumerate(zip(*(g.reshape(-1) for g in grids), strict=True)):
            flat[i] = self.noisy(f, *entries)
        return out

    def noisy(self, f: Callable[..., Any], *entries: Any) -> Any:
        """f(c, *entries), moved; NaN where it is no real number."""
        self.watch()
        try:
            value = f(self.c, *entries)
        except (ZeroDivisionError, ValueError, OverflowError):  # poles and points outside of a domain
            return self.c.nan
        if not isinstance(value, self.c.mpf):
            return self.c.nan
        return value * next(self.factors) if value else value

    def side(self, a: Any, b: Any, a64: float, b64: float) -> int:
        """The sign of a - b, as float64 decides it. Raises Unknown where the digits decide otherwise."""
        if not (a64 == a64 and b64 == b64 and a == a and b == b):
            raise Unknown("a decision on NaN")
        by64 = int(a64 > b64) - int(a64 < b64)
        precise = int(a > b) - int(a < b)
        if by64 == precise or (by64 == 0 and abs(a - b) <= self.tie):
            return by64
        raise Unknown("a decision that float64 gets wrong")

    def _store(self, tensor: Tensor) -> Array:
        storage = _storage(tensor)
        if storage not in self.shadows:
            whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
            self.shadows[storage] = self.exact(whole)
            self.alive.append(tensor)
        return self.shadows[storage]

    def _write(self, tensor: Tensor, values: Array) -> None:
        storage = _storage(tensor)
        if storage not in self.shadows:
            size = tensor.untyped_storage().nbytes() // tensor.element_size()
            self._small(size)
            self.shadows[storage] = np.full(size, self.c.nan, dtype=object)
        where = _indices(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))
        self.shadows[storage][where] = np.broadcast_to(values, where.shape)

    def _small(self, entries: int) -> None:
        if entries > ENTRIES:
            raise Unknown("so many entries")


def _storage(tensor: Tensor) -> int:
    # every empty tensor has address 0: harmless, since it has no entries
    return tensor.untyped_storage().data_ptr()


def _listed(out: Any) -> tuple[Any, ...]:
    return tuple(out) if isinstance(out, tuple | list) else (out,)


def _boxed(value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    box = np.empty((), dtype=object)
    box[()] = value
    return box


def _indices(shape: tuple[int, ...], stride: tuple[int, ...], offset: int) -> NDArray[np.int64]:
    where = np.asarray(offset, dtype=np.int64)
    for size, step in zip(shape, stride, strict=True):
        where = where[..., None] + np.arange(size, dtype=np.int64) * step
    return where
