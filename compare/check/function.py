"""check_function: an autograd.Function, kernel or module against the same function in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compare.check.clock import Clock
from compare.check.conditions import Condition, Inputs, conditions, has_specs, realise
from compare.check.custom.bounded import batch_size, first_rows, fitting
from compare.check.custom.calls import Arranged, CallFailed, Side, cast, differentiable, gradients
from compare.check.custom.cotangents import OTHER_VALUES, shared
from compare.check.custom.findings import Findings
from compare.check.custom.setting import Setting, numbers
from compare.check.custom.trial import LATE, Place, attempt
from compare.check.derivation import default_dtype
from compare.check.report import Report, Tried

SECONDS = 20.0  # after which no further condition is begun
MAX_BYTES = 2 * 2**30  # that the float64 reference may take
LOWER = (torch.float32, torch.bfloat16, torch.float16)
FIRST_ROW = "first row only"


def check_function(
    fn: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Inputs,
    *,
    seed: int = 0,
    seconds: float = SECONDS,
    max_bytes: int = MAX_BYTES,
) -> Report:
    """Compare outputs and gradients of `fn` with those of `reference`, in every way in which autograd may use it.

    `fn` is MyFunction.apply, a module, or any callable of tensors with a backward of its own; `reference` is the same
    function in plain torch. Both get the values of `inputs` by position, in order; `inputs` are as in
    check_derivation: tensors, a function from a seed to tensors, or specifications. What is no tensor is handed over as
    it is. They return a tensor or several; outputs that are no floating tensors are not compared. Two modules whose
    parameters bear the same names and shapes are compared at fn's parameters, which get rows too.

    The truth is the reference in float64. The function runs in every dtype that it takes: in float64 its formulas are
    judged, in lower ones also its precision, which may be 4 times worse than the reference's own in that dtype. An
    input whose gradient is not meant to be computed is detached in the reference. Where the float64 reference would
    take more than `max_bytes`, the first rows of the inputs stand for all.

    Never raises on a mismatch. Raises ValueError where there is nothing to compare: no floating input or no entry, a
    reference that does not run in float64, has no gradient or is random, different numbers of inputs or outputs.
    """
    return _Check(*_bound(fn, reference, inputs), seed, seconds, max_bytes).report()


@dataclass(frozen=True)
class _Run:
    """A dtype to run in."""

    name: str
    dtype: torch.dtype  # the lowest precision of the inputs
    asked: bool  # whether inputs were given in it, or may be drawn in any
    kinds: Mapping[str, torch.dtype] | None = None  # where inputs are given in several dtypes: each one's own

    def values(self, wide: Mapping[str, Any]) -> dict[str, Any]:
        """The values in this dtype."""
        if self.kinds is None:
            return cast(wide, self.dtype)
        return {n: v.to(self.kinds[n]) if n in self.kinds and isinstance(v, Tensor) else v for n, v in wide.items()}


class _Check:
    """What to try, in which order."""

    def __init__(
        self,
        fn: Callable[..., Any],
        reference: Callable[..., Any],
        inputs: Inputs,
        seed: int,
        seconds: float,
        max_bytes: int,
    ) -> None:
        self.fn, self.reference, self.inputs, self.seed = fn, reference, inputs, seed
        self.seconds, self.max_bytes = seconds, max_bytes
        self.drawn = not callable(inputs) and has_specs(inputs)  # values and sizes can be drawn anew
        self.exact = Side(reference, torch.float64)
        self.found = Findings()

    def report(self) -> Report:
        """Try everything in order, within the time."""
        clock = Clock()
        places = [c for c in conditions(self.inputs, self.seed) if not c.strided]  # other layouts are usages here
        given = self._validated(places[0])
        runs = self._supported(places[0], given)
        for position, (condition, run, variant) in enumerate(self._plan(places, runs)):
            name = f"{variant or condition}, {run.name}"
            full = condition is places[0] and not variant
            at = Place(name, run.name, run.asked, full, run is runs[0], self.seconds, clock)
            if position and at.late:
                self.found.tried.append(Tried(name, LATE))
            else:
                self._try(condition, run, variant, at)
        self.found.note("not tried: autocast, vmap, forward-mode derivatives, torch.compile")
        stopped = any(tried.status == LATE for tried in self.found.tried)
        return Report(
            self.found.report_rows([name for name, _ in numbers(given)]),
            tuple(self.found.tried),
            tuple(self.found.notes),
            example=self.found.example,
            seconds=clock.wall,
            subject="function",
            stopped=f"; stopped after {clock.wall:.0f} s, the others were not tried" if stopped else "",
        )

    def _values(self, condition: Condition) -> dict[str, Any]:
        """The inputs in float64, cut to what memory allows."""
        with default_dtype(torch.float64):
            values = {n: v.detach() if isinstance(v, Tensor) else v for n, v in realise(self.inputs, condition).items()}
            values, note = fitting(self.exact.fn, values, self.max_bytes)
        if note:
            self.found.note(note)
        return values

    def _validated(self, first: Condition) -> dict[str, Any]:
        """The first inputs; ValueError where nothing can be compared at them."""
        values = self._values(first)
        if not numbers(values):
            raise ValueError(f"inputs hold no floating tensor to differentiate for; got {', '.join(values) or 'none'}")
        if not any(value.numel() for _, value in numbers(values)):
            raise ValueError(
                f"inputs hold no entry ({', '.join(values)}): nothing can be compared; give a row at least"
            )
        try:
            with default_dtype(torch.float64):
                call = self.exact(values)
        except CallFailed as error:
            raise ValueError(
                f"reference does not run in float64 on ({', '.join(values)}): {error}; hand over every tensor that it "
                "needs as an input"
            ) from error
        if not any(o is not None and o.requires_grad for o in call.outputs):
            raise ValueError("reference has no differentiable output; write it in plain torch, without detach")
        return values

    def _runs(self, given: Mapping[str, Any]) -> Iterator[_Run]:
        """float64 for the formulas, then the dtypes of the inputs, then the others."""
        source = self.inputs(self.seed) if callable(self.inputs) else self.inputs
        kinds = {n: v.dtype for n, v in source.items() if differentiable(v) and n in given}
        asked = {kind.to_real() if kind.is_complex else kind for kind in kinds.values()}
        yield _Run("float64", torch.float64, self.drawn or torch.float64 in asked)
        if len(asked) > 1:
            yield _Run("dtypes as given", max(asked, key=lambda dtype: torch.finfo(dtype).eps), True, kinds)
        for dtype in sorted(LOWER, key=lambda dtype: dtype not in asked):
            yield _Run(str(dtype).removeprefix("torch."), dtype, self.drawn or asked == {dtype})

    def _supported(self, first: Condition, given: Mapping[str, Any]) -> list[_Run]:
        """The dtypes in which the function runs; a note says why not in others, a verdict where it was asked for."""
        runs, refused = [], []
        for run in self._runs(given):
            values = run.values(given)
            try:
                call = Side(self.fn, None if run.kinds else run.dtype)(values)
                gradients([(call, [None if o is None else torch.ones_like(o) for o in call.outputs])])
                runs.append(run)
            except CallFailed as error:
                if "positional argument" in str(error):
                    raise ValueError(f"fn does not take what reference takes ({', '.join(given)}): {error}") from error
                refused.append(f"fn does not run in {run.name}: {error}")
                if run.asked and not self.drawn:
                    self.found.invalid(values, str(error), f"{first}, {run.name}")
        if runs:
            for text in refused:
                self.found.note(text)
        else:
            self.found.invalid(given, refused[0], str(first))
        return runs

    def _plan(self, places: list[Condition], runs: list[_Run]) -> Iterator[tuple[Condition, _Run, str]]:
        """Every dtype at the first condition, every condition in the highest precision, a few in the others."""
        if not runs:
            return
        first, *others = places
        formula, *lower = runs
        yield from ((first, run, "") for run in runs)
        yield from ((condition, formula, "") for condition in others)
        for run in (formula, *[run for run in lower if run.asked][:1]):
            yield from ((first, run, variant) for variant in (*OTHER_VALUES, *([] if self.drawn else [FIRST_ROW])))
        few = [c for c in others if c.name == "larger" or c.name.endswith(" = 1")][:2]
        yield from ((condition, run, "") for run in lower for condition in few)

    def _try(self, condition: Condition, run: _Run, variant: str, at: Place) -> None:
        """One set of inputs, as drawn, cut to a row or with entries that share memory."""
        try:
            wide = self._values(condition)
        except ValueError as error:  # a predicate that no draw meets at these sizes
            self.found.tried.append(Tried(at.name, f"not applicable: {error}"))
            return
        lay_out = OTHER_VALUES.get(variant)
        if variant == FIRST_ROW:
            if batch_size(wide) < 2:
                return
            wide = first_rows(wide, batch_size(wide), 1)
        changed: dict[str, Tensor] = {}
        if lay_out is not None:
            changed = {n: laid for n, v in numbers(wide) if v.numel() and (laid := lay_out(v)) is not None}
            if not changed:
                return
        values = run.values(
            wide | {n: laid.clone(memory_format=torch.contiguous_format) for n, laid in changed.items()}
        )
        arranged: Arranged = {n: shared(values[n], laid.stride()) for n, laid in changed.items()}
        own = None if run.kinds else run.dtype
        setting = Setting(Side(self.fn, own), self.exact, Side(self.reference, own), values, run.dtype, self.seed)
        with default_dtype(torch.float64 if run.dtype is torch.float64 else torch.get_default_dtype()):
            attempt(setting, self.found, at, arranged)


class _Bound(nn.Module):
    """A module as a function of its inputs and parameters."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *arguments: Any) -> Any:
        cut = len(arguments) - len(self.names)
        bound = dict(zip(self.names, arguments[cut:], strict=True))
        return torch.func.functional_call(self.module, bound, arguments[:cut])


def _bound(
    fn: Callable[..., Any], reference: Callable[..., Any], inputs: Inputs
) -> tuple[Callable[..., Any], Callable[..., Any], Inputs]:
    """Two modules with the same parameters become functions of them; the parameters join the inputs."""
    if not (isinstance(fn, nn.Module) and isinstance(reference, nn.Module)):
        return fn, reference, inputs
    own = {n: p.detach() for n, p in fn.named_parameters()}
    if not own or {n: p.shape for n, p in own.items()} != {n: p.shape for n, p in reference.named_parameters()}:
        return fn, reference, inputs
    names = list(own)
    joined: Inputs = (lambda seed: {**inputs(seed), **own}) if callable(inputs) else {**inputs, **own}
    return _Bound(fn, names), _Bound(reference, names), joined
