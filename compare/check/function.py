"""check_function: an autograd.Function, kernel or module against the same function in plain torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from compare.check.bounded import batch_size, first_rows, fitting
from compare.check.calls import Arranged, CallFailed, Side, cast, differentiable, gradients
from compare.check.conditions import Condition, Inputs, conditions, has_specs, realise
from compare.check.cotangents import OTHER_VALUES, as_laid_out
from compare.check.derivation import default_dtype
from compare.check.properties import Refused, properties, second_order
from compare.check.report import Report, Row, Tried
from compare.check.truth import (
    ReferenceFailed,
    Results,
    Setting,
    judged,
    numbers,
    output_names,
    prepare,
    results,
    rms,
    told_apart,
)
from compare.check.usages import Usage, usages
from compare.check.verdict import OK, WORST_FIRST, Judgement

SECONDS = 20.0  # after which no further condition is begun
MAX_BYTES = 2 * 2**30  # that the float64 reference may take
LOWER = (torch.float32, torch.bfloat16, torch.float16)
FINE = (*OK, "undecided")


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

    Never raises on a mismatch. Raises ValueError where there is nothing to compare: no floating input, a reference
    that does not run in float64 or has no gradient, different numbers of inputs or outputs.
    """
    bound = _bound(fn, reference, inputs)
    return _Check(*bound, seed, seconds, max_bytes).report()


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
    """One check: what was tried, and the worst verdict of each row so far."""

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
        self.started = time.monotonic()
        self.exact = Side(reference, torch.float64)
        self.rows: dict[str, tuple[Judgement, str]] = {}
        self.tried: list[Tried] = []
        self.notes: dict[str, None] = {}
        self.passed = ""  # the first place where everything was right
        self.example = ""
        self.formulas = ""  # the dtype in which formulas are judged

    def report(self) -> Report:
        """Try everything in order, within the time."""
        places = [c for c in conditions(self.inputs, self.seed) if not c.strided]
        with default_dtype(torch.float64):
            given = self._validated(places[0])
        runs = self._runs(given)
        supported = [run for run in runs if self._supported(places[0], run)]
        stopped = ""
        for position, (condition, run, variant) in enumerate(self._plan(places, supported)):
            name = f"{variant or condition}, {run.name}"
            if position and self._late():
                stopped = f"; stopped after {self.seconds:g} s, the others were not tried"
                self.tried.append(Tried(name, "not tried: out of time"))
                continue
            self._at(condition, run, variant, name, full=condition is places[0])
        self.notes["not tried: autocast, vmap, forward-mode derivatives, torch.compile"] = None
        names = [n for n in self.rows if n.startswith("output")] + [n for n, _ in numbers(given)]
        order = list(dict.fromkeys([n for n in names if n in self.rows] + list(self.rows)))
        return Report(
            tuple(_row(name, *self.rows[name]) for name in order),
            tuple(self.tried),
            tuple(self.notes),
            example=self.example,
            seconds=time.monotonic() - self.started,
            subject="function",
            stopped=stopped,
        )

    def _late(self) -> bool:
        return time.monotonic() - self.started > self.seconds

    def _validated(self, first: Condition) -> dict[str, Any]:
        """The first inputs in float64; ValueError where they cannot be used."""
        values = realise(self.inputs, first)
        if not numbers(values):
            raise ValueError(f"inputs hold no floating tensor to differentiate for; got {', '.join(values) or 'none'}")
        values, note = fitting(self.exact.fn, values, self.max_bytes)
        self.notes |= {note: None} if note else {}
        try:
            call = self.exact(values)
        except CallFailed as error:
            raise ValueError(
                f"reference does not run in float64 on ({', '.join(values)}): {error}; hand over every tensor that it "
                "needs as an input"
            ) from error
        if not any(o is not None and o.requires_grad for o in call.outputs):
            raise ValueError("reference has no differentiable output; write it in plain torch, without detach or no_grad")
        return values

    def _runs(self, given: Mapping[str, Any]) -> list[_Run]:
        """float64 for the formulas, then the dtypes of the inputs, then the others."""
        source = self.inputs(self.seed) if callable(self.inputs) else self.inputs
        kinds = {n: v.dtype for n, v in source.items() if differentiable(v) and n in given}
        real = {n: k if k.is_floating_point else k.to_real() for n, k in kinds.items()}
        asked = set(real.values())
        free = not callable(self.inputs) and has_specs(self.inputs)
        runs = [_Run("float64", torch.float64, free or torch.float64 in asked)]
        if len(asked) > 1:
            lowest = max(asked, key=lambda dtype: torch.finfo(dtype).eps)
            runs.append(_Run("dtypes as given", lowest, True, kinds))
        for dtype in sorted(LOWER, key=lambda dtype: dtype not in asked):
            runs.append(_Run(str(dtype).removeprefix("torch."), dtype, free or asked == {dtype}))
        return runs

    def _supported(self, condition: Condition, run: _Run) -> bool:
        """Whether the function runs in a dtype. If not: invalid where it was asked for, a note elsewhere."""
        values = run.values(self._values(condition))
        try:
            call = Side(self.fn, None if run.kinds else run.dtype)(values)
            gradients([(call, [None if o is None else torch.ones_like(o) for o in call.outputs])])
        except CallFailed as error:
            given_so = run.asked and not (not callable(self.inputs) and has_specs(self.inputs))
            if "positional argument" in str(error):
                raise ValueError(f"fn does not take what reference takes ({', '.join(values)}): {error}") from error
            self.notes[f"fn does not run in {run.name}: {error}"] = None
            if given_so:
                self._all_invalid(values, str(error), f"{condition}, {run.name}")
            return False
        return True

    def _all_invalid(self, values: Mapping[str, Any], why: str, where: str) -> None:
        for name, _ in numbers(values):
            self._keep(name, Judgement("invalid", explanation=why), where)

    def _values(self, condition: Condition) -> dict[str, Any]:
        with default_dtype(torch.float64):
            return fitting(self.exact.fn, realise(self.inputs, condition), self.max_bytes)[0]

    def _plan(self, places: list[Condition], runs: list[_Run]) -> Iterator[tuple[Condition, _Run, str]]:
        """Every dtype at the first condition, then every condition in the highest precision, then a few in others."""
        if not runs:
            reason = next((note for note in self.notes if "does not run" in note), "fn does not run")
            self._all_invalid(self._values(places[0]), reason.partition(": ")[2], str(places[0]))
            return
        first, *others = places
        formula, *lower = runs
        self.formulas = formula.name
        yield from ((first, run, "") for run in runs)
        yield from ((condition, formula, "") for condition in others)
        tensors = callable(self.inputs) or not has_specs(self.inputs)
        for run in (formula, *[run for run in lower if run.asked][:1]):
            yield from ((first, run, variant) for variant in (*OTHER_VALUES, *(["first row only"] if tensors else [])))
        few = [c for c in others if c.name == "larger" or c.name.endswith(" = 1")][:2]
        yield from ((condition, run, "") for run in lower for condition in few)

    def _at(self, condition: Condition, run: _Run, variant: str, name: str, *, full: bool) -> None:
        """Try one set of inputs in one dtype, in every usage."""
        wide = self._values(condition)
        arranged: Arranged = {}
        if variant == "first row only":
            if batch_size(wide) < 2:
                return
            wide = first_rows(wide, batch_size(wide), 1)
        elif variant:
            changed = {n: t for n, v in numbers(wide) if v.numel() and (t := OTHER_VALUES[variant](v)) is not None}
            if not changed:
                return
            wide |= changed
        setting = self._setting(run, run.values(wide))
        if variant in OTHER_VALUES:
            arranged = {n: as_laid_out(_relaid(wide[n], setting.values[n])) for n in changed}
        with default_dtype(torch.float64 if run.dtype is torch.float64 else torch.get_default_dtype()):
            try:
                prepare(setting, full=full and not variant)
            except ReferenceFailed as error:
                self.tried.append(Tried(name, f"not applicable: reference {error}"))
                return
            except CallFailed as error:
                self._failed(setting, str(error), name)
                return
            if arranged:
                self._laid_out(setting, arranged, name)
            else:
                self._judge(setting, run, name, full=full and not variant)

    def _setting(self, run: _Run, values: dict[str, Any]) -> Setting:
        own = None if run.kinds else run.dtype
        return Setting(Side(self.fn, own), self.exact, Side(self.reference, own), values, run.dtype, self.seed)

    def _failed(self, setting: Setting, why: str, name: str) -> None:
        """The function raised: invalid, unless the reference rejects these inputs as well."""
        try:
            setting.twin(setting.values)
        except CallFailed:
            self.tried.append(Tried(name, "not applicable: the reference does not take these inputs either"))
            return
        self._all_invalid(setting.values, why, name)
        self.tried.append(Tried(name, "failed"))

    def _judge(self, s: Setting, run: _Run, name: str, *, full: bool) -> None:
        for output, why in s.mismatched.items():
            self._keep(output, Judgement("invalid", explanation=why), name)
        if s.mismatched:
            for row, _ in numbers(s.values):
                self._keep(row, Judgement("undecided", explanation="not compared: the outputs do not correspond"), name)
            self.tried.append(Tried(name, "failed"))
            return
        base = judged(s, s.runs[0], {"u": 1.0})
        for row in s.unsettled:
            later = next(j for run in reversed(s.runs) if (j := judged(s, run, {"u": 1.0}))[row].verdict not in FINE)
            base[row] = replace(later[row], verdict="wrong", explanation=_LATER)
        good = self._record(base, run, name, self._why(s, base, name))
        self._example(s, base, name)
        if s.spread and not s.unsettled:
            self.notes[
                f"run to run, results differ by up to {s.spread:.1g} of their RMS ({run.name}): that joins the floor"
            ] = None
        if run.name == self.formulas and run.dtype is not torch.float64 and full:
            self.notes[
                f"formulas are judged in {run.name}, the highest precision that fn takes: a mistake in one entry shows from about {told_apart(s):.1g} of the gradient's RMS"
            ] = None
        if not any(row in good for row, _ in numbers(s.values)):
            return
        self.passed = self.passed or name
        for usage in usages(s, full=full):
            self._use(s, run, usage, name, good)
        if full:
            self._properties(s, name)
            if not any(j.verdict == "subgradient" for j in base.values()):  # at a kink there is no second derivative
                self._second_order(s, name)

    def _use(self, s: Setting, run: _Run, usage: Usage, name: str, good: set[str]) -> None:
        where = f"{name}: {usage.name}"
        try:
            got = usage.run()
        except CallFailed as error:
            if usage.layout and error.stage == "forward":
                self.tried.append(Tried(where, f"fn does not take this layout: {error}"))
                return
            for row, _ in numbers(s.values):
                self._keep(row, Judgement("invalid", explanation=f"{usage.blame}; {error}"), where)
            self.tried.append(Tried(where, "failed"))
            return
        found = {row: j for row, j in judged(s, got, usage.combination, plain=False).items() if row in good}
        self._record(found, run, where, dict.fromkeys(found, usage.blame))

    def _laid_out(self, s: Setting, arranged: Arranged, name: str) -> None:
        """Values that share memory: they count where the function is right at the same values apart."""
        plain = judged(s, s.runs[0], {"u": 1.0})
        if s.mismatched or s.fn.in_place or any(j.verdict not in FINE for j in plain.values()):
            self.tried.append(Tried(name, "not applicable: these values do not suit the function"))
            return

        def run() -> Results:
            call = s.fn(s.values, arranged=arranged)
            return results(call, gradients([(call, s.draws["u"])]))

        blame = "wrong where entries of an input share memory: do not make the gradient with the input's strides"
        usage = Usage("shared memory", {"u": 1.0}, run, blame, layout=True)
        self._use(s, _Run("", s.dtype, True), usage, name, set(plain))

    def _properties(self, s: Setting, name: str) -> None:
        try:
            for finding, why in properties(s):
                self.tried.append(Tried(f"{name}: {finding}", "failed" if why else "ok"))
                if why:
                    self._keep(finding, Judgement("invalid", explanation=why), name)
        except CallFailed as error:
            self._keep("properties", Judgement("invalid", explanation=str(error)), name)

    def _second_order(self, s: Setting, name: str) -> None:
        try:
            why_not = second_order(s)
        except Refused as error:
            self.notes[f"double backward is refused: {error}"] = None
            self.tried.append(Tried(f"{name}: double backward", "ok"))
            return
        if why_not is not None:
            self.tried.append(Tried(f"{name}: double backward", "failed" if why_not else "ok"))
            verdict = "wrong" if why_not else "right"
            self._keep("double backward", Judgement(verdict, explanation=why_not), name)

    def _record(self, found: Mapping[str, Judgement], run: _Run, where: str, why: Mapping[str, str]) -> set[str]:
        """Keep the verdicts of one usage; the rows that are fine are returned."""
        bad = False
        for row, j in found.items():
            if j.verdict in FINE:
                self._keep(row, j, where)
                continue
            if not run.asked and j.verdict != "wrong":
                self.notes[f"{row} is {j.verdict} in {run.name}, in which no input was given"] = None
                continue
            bad = True
            explanation = "; ".join(text for text in (j.explanation, why.get(row, "")) if text)
            self._keep(row, replace(j, explanation=explanation), where)
        self.tried.append(Tried(where, "failed" if bad else "ok"))
        return {row for row, j in found.items() if j.verdict in FINE}

    def _keep(self, row: str, j: Judgement, where: str) -> None:
        kept = self.rows.get(row)
        if kept is None or _rank(j) < _rank(kept[0]):
            self.rows[row] = (j, where)

    def _why(self, s: Setting, found: Mapping[str, Judgement], name: str) -> dict[str, str]:
        """What can be told about rows that are wrong at the plain random cotangent."""
        wrong = [row for row, _ in numbers(s.values) if row in found and found[row].verdict == "wrong"]
        why = {}
        for row in wrong:
            if not bool((s.runs[0][row] != 0).any()):
                why[row] = "is zero or None, where the reference's is not"
            elif row not in s.unsettled:
                why[row] = _nonlinear(s, row)
            if not why.get(row) and self.passed:
                why[row] = f"right at {self.passed}, wrong at {name}"
        return why | {
            row: "loses digits that the reference keeps in the same dtype"
            for row, j in found.items()
            if j.verdict == "imprecise"
        }

    def _example(self, s: Setting, found: Mapping[str, Judgement], name: str) -> None:
        """The inputs and the cotangent of the smallest failing case so far, if they can be read at a glance."""
        shown = {n: v for n, v in s.values.items() if isinstance(v, Tensor)}
        row = next((n for n, _ in numbers(s.values) if n in found and found[n].verdict == "wrong"), None)
        if row is None or sum(v.numel() for v in shown.values()) > 40:
            return
        lines = [f"at {name}:"]
        lines += [f"  {n} = {_numbers(v)}" for n, v in shown.items()]
        lines += [f"  cotangent = {_numbers(c)}" for c in s.draws["u"] if c is not None]
        lines += [f"  gradient of {row} is        {_numbers(s.runs[0][row])}"]
        lines += [f"  gradient of {row} should be {_numbers(s.exact[f'u|{row}'])}"]
        text = "\n".join(lines)
        if not self.example or len(text) < len(self.example):
            self.example = text


_LATER = "another answer to the same inputs in a later call: state is left over from an earlier one, or it is random"


def _nonlinear(s: Setting, row: str) -> str:
    """Whether the function's own gradient is no linear function of the cotangent."""
    u = s.draws["u"]
    try:
        ahead, back, double = (
            gradients([(s.fn(s.values), [None if c is None else k * c for c in u])])[row].double() for k in (1, -1, 2)
        )
    except CallFailed:
        return ""
    size = 1e-2 * rms(ahead)
    if float((ahead + back).abs().max()) > size:
        return "not linear in the cotangent: g(-u) is not -g(u) (relu, abs or a square of it?)"
    if float((2 * ahead - double).abs().max()) > size:
        return "not linear in the cotangent: g(2u) is not 2 g(u)"
    return ""


def _relaid(like: Tensor, value: Tensor) -> Tensor:
    """The value in the strides of `like`, whose entries share memory."""
    extent = sum((size - 1) * stride for size, stride in zip(like.shape, like.stride(), strict=True)) + 1
    places = sum(
        (torch.arange(n).reshape(-1, *[1] * (like.ndim - 1 - d)) * k for d, (n, k) in enumerate(zip(like.shape, like.stride(), strict=True))),
        start=torch.zeros((), dtype=torch.int64),
    )
    base = value.new_zeros(extent)
    base[places.reshape(-1).to(value.device)] = value.reshape(-1)
    return base.as_strided(tuple(like.shape), like.stride())


def _numbers(t: Tensor) -> str:
    return str([round(v, 4) for v in t.tolist()] if t.ndim == 1 else _rounded(t.tolist()))


def _rounded(value: Any) -> Any:
    return [_rounded(v) for v in value] if isinstance(value, list) else round(value, 4) if value == value else value


def _rank(j: Judgement) -> int:
    """Worst first; "undecided" counts only where nothing else was found."""
    return len(WORST_FIRST) if j.verdict == "undecided" else WORST_FIRST.index(j.verdict)


def _row(name: str, j: Judgement, where: str) -> Row:
    return Row(
        name, j.verdict, j.max_rel, j.max_ulp, j.worst_index, j.expected, j.got, where, explanation=j.explanation
    )


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


__all__ = ["check_function", "output_names"]
