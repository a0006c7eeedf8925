"""How far rounding alone can move a result: Monte Carlo arithmetic (Parker, 1997; Denis et al., 2016).

A computation is run again with each floating result moved by about an ulp, up or down at random. The largest
change that a result shows over a few such runs is its *floor*: what an equally valid order of the same operations
may differ by.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, _get_current_dispatch_mode

from compare.check.constants import POOL, PROBES
from compare.check.operations import Plan
from compare.check.restore import same_randomness

Jitter = Callable[[Any], Any]  # moves a floating tensor by an ulp an entry; leaves everything else alone
Run = Mapping[str, Tensor]  # named results of a computation

# Seeds of the noise begin far from those that inputs are drawn with: of the same stream, the noise would push each term
# by its own sign, and a sum of n terms by n ulps where it is uncertain by sqrt(n). (The generator reads 32 bits of it.)
SEEDS = 0x7F4A7C15

_PLANS: dict[Any, Plan] = {}


class _Arithmetic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation with its parts apart; `noisy`, each result is moved, and decisions are replayed."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is ever compiled, and the guard costs as much as the operation

    def __init__(self, decisions: list[Any], noise: torch.Generator | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.decisions = decisions  # results that are no floating numbers, in the order in which they came
        self.noise = noise
        self.position = 0
        self.coarsest = math.inf  # eps of the coarsest dtype that rounds by chance: see `deliberate_below`
        self.func: Any = None  # the operation under way

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        plan = _PLANS.get(func) or _PLANS.setdefault(func, Plan(func))
        if plan.parts is not None:
            with self:
                return plan.parts(*args, **kwargs)
        self.func = func
        if self.noise is None:
            out = func(*args, **kwargs)
            return self._each(out, self._keep) if plan.decides else out
        if plan.length is None:
            out = func(*args, **kwargs)
            if plan.casts and isinstance(out, Tensor) and out.is_floating_point():
                return self._narrowed(args[0], out)
            return self._each(out, self._replay if plan.exact else self._settle)
        out = self._summed(plan, func, args, kwargs)
        return self._each(out, self._replay) if plan.decides else out

    def _summed(self, plan: Plan, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A sum of n terms: its terms and its result are moved by sqrt(n) ulps."""
        assert plan.length is not None
        like = args[0] if plan.written else func(*args, **kwargs)
        results = like if isinstance(like, tuple | list) else (like,)
        first = next((r for r in results if isinstance(r, Tensor)), None)  # a gradient not asked for is None
        scale = 1.0 if first is None else math.sqrt(max(1.0, plan.length(args, first)))
        moved = [
            self._move(a.clone(), scale) if position >= plan.written and _is_float(a) else a
            for position, a in enumerate(args)
        ]
        return self._each(func(*moved, **kwargs), lambda entry: self._move(entry, scale))

    def _narrowed(self, before: Any, out: Tensor) -> Tensor:
        wider = isinstance(before, Tensor) and before.is_floating_point()
        if wider and torch.finfo(before.dtype).eps < torch.finfo(out.dtype).eps:
            return self._move(out)  # type: ignore[no-any-return]
        return out

    def _settle(self, entry: Any) -> Any:
        return self._move(entry) if _is_float(entry) else self._replay(entry)

    def _move(self, entry: Any, scale: float = 1.0) -> Any:
        """Multiply in place by 1 + or - `scale` ulp, at random an entry. Exact zeros stay, infinities too."""
        if not _is_float(entry) or entry.numel() == 0:
            return entry
        if entry.data_ptr() == 0:
            return entry  # autograd's symbolic zeros have no memory: writing there ends the process
        eps = torch.finfo(entry.dtype).eps
        return entry if eps > self.coarsest else entry.mul_(_factors(entry, scale, self.noise))

    def _keep(self, entry: Any) -> Any:
        if _is_decision(entry):
            self.decisions.append((self.func, entry.clone() if isinstance(entry, Tensor) else entry))
        return entry

    def _replay(self, entry: Any) -> Any:
        if not _is_decision(entry):
            return entry
        if self.position >= len(self.decisions) or self.decisions[self.position][0] is not self.func:
            return entry  # the code went another way than in the recorded run: its decisions are its own
        kept = self.decisions[self.position][1]
        self.position += 1
        if not isinstance(entry, Tensor):
            return kept if type(kept) is type(entry) else entry
        if isinstance(kept, Tensor) and kept.shape == entry.shape and kept.dtype == entry.dtype:
            return entry.copy_(kept) if entry.numel() and not _overlaps(entry) else entry
        return entry

    @staticmethod
    def _each(out: Any, do: Callable[[Any], Any]) -> Any:
        if isinstance(out, Tensor):
            return do(out)
        if isinstance(out, tuple | list):
            return type(out)(do(entry) for entry in out)
        return do(out)


@contextlib.contextmanager
def deliberate_below(dtype: torch.dtype) -> Iterator[None]:
    """Inside, dtypes of fewer digits than `dtype` get no noise: to compute in them is a choice, not rounding."""
    mode = _get_current_dispatch_mode()
    if not isinstance(mode, _Arithmetic):
        yield
        return
    before, mode.coarsest = mode.coarsest, torch.finfo(dtype).eps
    try:
        yield
    finally:
        mode.coarsest = before


def _is_float(entry: Any) -> bool:
    return isinstance(entry, Tensor) and (entry.is_floating_point() or entry.is_complex())


def _is_decision(entry: Any) -> bool:
    if isinstance(entry, Tensor):
        return not (entry.is_floating_point() or entry.is_complex())
    return isinstance(entry, bool | int)


def _overlaps(entry: Tensor) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(entry.stride(), entry.shape, strict=True))


def _factors(like: Tensor, scale: float, noise: torch.Generator | None) -> Tensor:
    """1 + or - scale eps, at random, of the shape of `like`; drawn on the CPU, so that devices agree."""
    dtype = torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.real.dtype
    step = scale * torch.finfo(like.dtype).eps
    signs = torch.empty(like.shape, dtype=dtype).bernoulli_(0.5, generator=noise)
    return signs.mul_(2 * step).add_(1 - step).to(device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Measured:
    """Results of a computation, and for each entry how far rounding alone can move it."""

    values: dict[str, Tensor]
    floors: dict[str, Tensor]


def measure(run: Callable[[Jitter], Run], *, plain: Run | None = None, probes: int = PROBES, seed: int = 0) -> Measured:
    """Run a computation plainly and under noise; return its plain values and the floor of each entry.

    `run(jitter)` computes named tensors and passes its own floating inputs through `jitter` first. It runs once
    plainly (unless what that gives is handed over as `plain`), once to record discrete decisions (a spread between
    these two, as of atomic additions, joins the floor), and `probes` times with noise. Random state is rewound before
    each run and restored at the end.
    """
    with same_randomness() as rewind:
        flat = _Flat(run(lambda value: value) if plain is None else plain)
        decisions: list[Any] = []
        rewind()
        with _Arithmetic(decisions, None):
            base = run(lambda value: value)
        recorded = flat.flatten(base)
        spread = _change(recorded, flat.values)
        for probe in range(probes):
            noise = torch.Generator().manual_seed(SEEDS + 1_000_003 * seed + probe)
            rewind()
            jitter = _jitter(noise)
            with _Arithmetic(decisions, noise):
                moved = run(jitter)
            spread = torch.maximum(spread, _change(flat.flatten(moved), recorded))
    values, spreads = flat.split(flat.values), flat.split(spread)
    return Measured(values, {name: pooled(spreads[name], values[name]) for name in values})


class _Flat:
    """Named tensors end to end in one, so that comparing two runs is one operation and not one a name."""

    def __init__(self, named: Run) -> None:
        self.named = named
        self.shapes = {name: value.shape for name, value in named.items()}
        self.values = self.flatten(named)

    def flatten(self, named: Run) -> Tensor:
        parts = []
        for name, shape in self.shapes.items():
            value = named.get(name)
            if value is None or value.shape != shape:  # a user's code may fail in one run: that run says nothing
                value = self.named[name]
            parts.append(value.detach().reshape(-1))
        return torch.cat(parts) if parts else torch.zeros(0)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self.shapes.values()]
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), torch.split(flat, sizes), strict=True)
        }


def _change(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|; 0 where both are the same infinity or both NaN, infinite where only one is finite."""
    change = (a - b).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    return change.masked_fill((a == b) | (a.isnan() & b.isnan()), 0.0)


def _jitter(noise: torch.Generator) -> Jitter:
    def move(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        with _disable_current_modes():  # moving an input is no part of the computation: no noise, no decisions
            return torch.where(exact_by_meaning(value), value, value * _factors(value, 1.0, noise))

    return move


def exact_by_meaning(value: Tensor) -> Tensor:
    """Zeros, ones, counts, masks: whole numbers, unless they are so large that every number is whole."""
    return (value == value.round()) & (value.abs() * torch.finfo(value.dtype).eps < 1 / 8)


def pooled(spread: Tensor, values: Tensor) -> Tensor:
    """The floor of each entry: its own spread, a share of its row's and column's, two ulps, one subnormal."""
    info = torch.finfo(values.dtype)
    floor = torch.maximum(spread, values.abs().nan_to_num(posinf=0.0) * info.eps).clamp(
        min=info.smallest_normal * info.eps
    )
    for dims in _rows_and_columns(spread):
        floor = torch.maximum(floor, (POOL * _rms(spread, dims)).expand_as(spread))
    return floor


def _rows_and_columns(t: Tensor) -> list[tuple[int, ...]]:
    if t.ndim == 0 or t.numel() == 0:
        return []
    if t.ndim == 1:
        return [(0,)]
    return [(t.ndim - 1,), tuple(range(t.ndim - 1))]


def _rms(t: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Root mean square, without overflow or underflow of the squares."""
    largest = t.abs().amax(dims, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    return (t / scale).square().mean(dims, keepdim=True).sqrt() * scale
