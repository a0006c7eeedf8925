"""Who catches the mistakes of the corpus: this check beside the tools that people use, on the same cases.

    python benchmarks/check_corpus.py [--kind correct,control,wrong,mutant] [--limit N] [--seconds S]

The other tools get one draw of the inputs in float64, as they are used: torch.autograd.gradcheck (slow and fast) and
central differences (CS231n: h = 1e-5, relative error above 1e-5 fails) see J and the gradients of the inputs that the
backward returns; torch.testing.assert_close and torch.allclose, with their default tolerances, compare everything that
it returns with autograd's gradient. "steps" counts the cases in which what a tool names is exactly what is wrong.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from compare.check import check_derivation
from compare.check.backward import call
from compare.check.conditions import conditions, realise
from compare.check.derivation import Here, collect, default_dtype
from compare.check.hooks import trace
from compare.check.report import Report
from tests.derivations import Case, load
from tests.mutants import mutants

STEP = 1e-5
RELATIVE = 1e-5
RED = ("wrong", "invalid", "cancels", "imprecise")


@dataclass(frozen=True)
class Said:
    """What a tool says of one derivation."""

    alarm: bool
    steps: frozenset[str] = frozenset()


@dataclass
class Tally:
    """What a tool said of all of them."""

    wrong: int = 0
    caught: int = 0
    exact: int = 0
    right: int = 0
    alarms: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """A case at its first condition: inputs, what its backward returns there, and autograd's gradients."""

    case: Case
    inputs: Mapping[str, Any]
    given: Mapping[str, Tensor]
    invalid: frozenset[str]
    true: Mapping[str, Tensor]

    @property
    def leaves(self) -> dict[str, Tensor]:
        """Inputs whose gradient the backward returns."""
        return {n: v for n, v in self.inputs.items() if n in self.given and isinstance(v, Tensor)}

    @property
    def refused(self) -> frozenset[str]:
        """Inputs whose gradient is no gradient at all: of another shape, missing, or the backward raises."""
        return frozenset(n for n in self.invalid if n == "backward" or n in self.inputs)

    def J(self, moved: Mapping[str, Tensor]) -> Tensor:
        """The cost at other values of some inputs."""
        returned = self.case.forward(**{**self.inputs, **moved})[0]
        return returned.reshape(())


def drawn(case: Case) -> Drawn:
    condition = next(conditions(case.inputs))
    with default_dtype(torch.float64):
        inputs = realise(case.inputs, condition)
        omitted = frozenset()
        try:
            graph = trace(case.forward, inputs)
        except (RuntimeError, ValueError):  # torch refuses the gradient of an input that nobody asks for
            omitted = frozenset(n for n, v in inputs.items() if isinstance(v, Tensor) and n not in case.steps)
            graph = trace(case.forward, inputs, fixed=omitted)
        given = call(case.backward, graph.values(), graph.quantities)
        return Drawn(case, inputs, given.gradients, frozenset(given.invalid), graph.gradients({}))


def ours(seconds: float) -> Callable[[Drawn], Said]:
    def tool(it: Drawn) -> Said:
        return _told(check_derivation(it.case.forward, it.case.backward, it.case.inputs, seconds=seconds))

    return tool


def ours_in_float32(it: Drawn) -> Said | None:
    """The same comparison with everything in float32, where a small mistake may hide behind rounding."""
    if it.case.options.get("imprecise"):
        return None
    here = Here(it.case.forward, it.case.backward, it.case.inputs)
    lower = [replace(condition, dtype=torch.float32) for condition in conditions(it.case.inputs)]
    return _told(collect(here.evaluate, lower))


def _told(report: Report) -> Said:
    red = frozenset(row.name for row in report.rows if row.verdict in RED)
    return Said(bool(red), red)


def gradcheck(fast: bool) -> Callable[[Drawn], Said | None]:
    def tool(it: Drawn) -> Said | None:
        if it.refused:
            return Said(True, it.refused)
        if not it.leaves:
            return None
        names = list(it.leaves)

        class Derivation(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *values: Tensor) -> Tensor:
                ctx.save_for_backward(*values)
                return it.J(dict(zip(names, values, strict=True)))

            @staticmethod
            def backward(ctx: Any, dJ: Tensor) -> Any:
                values = dict(zip(names, ctx.saved_tensors, strict=True))
                graph = trace(it.case.forward, {**it.inputs, **values})
                given = call(it.case.backward, graph.values(), graph.quantities).gradients
                return tuple(dJ * given[name] for name in names)

        leaves = tuple(v.detach().clone().requires_grad_() for v in it.leaves.values())
        return Said(not torch.autograd.gradcheck(Derivation.apply, leaves, fast_mode=fast, raise_exception=True))

    return tool


def close(compare: Callable[[Tensor, Tensor], bool]) -> Callable[[Drawn], Said]:
    def tool(it: Drawn) -> Said:
        off = {name for name, gradient in it.given.items() if not compare(gradient, it.true[name])}
        off |= it.invalid
        return Said(bool(off), frozenset(off))

    return tool


def assert_close(a: Tensor, b: Tensor) -> bool:
    try:
        torch.testing.assert_close(a, b)
    except AssertionError:
        return False
    return True


def cs231n(it: Drawn) -> Said | None:
    """Central differences of J, entry by entry; |a - n| / max(|a|, |n|) at most 1e-5."""
    if it.refused:
        return Said(True, it.refused)
    if not it.leaves:
        return None
    off = set()
    for name, value in it.leaves.items():
        numeric = torch.zeros_like(value)
        for k in range(value.numel()):
            high, low = value.clone().contiguous(), value.clone().contiguous()
            high.view(-1)[k] += STEP
            low.view(-1)[k] -= STEP
            numeric.view(-1)[k] = (it.J({name: high}) - it.J({name: low})) / (2 * STEP)
        error = (it.given[name] - numeric).abs() / torch.maximum(it.given[name].abs(), numeric.abs()).clamp(min=1e-300)
        if not bool((error <= RELATIVE).all()):
            off.add(name)
    return Said(bool(off), frozenset(off))


LARGE = 5000  # entries from which differences, one entry after another, are left out


def tools(seconds: float) -> dict[str, Callable[[Drawn], Said | None]]:
    return {
        "manualbp": ours(seconds),
        "manualbp, in float32 alone": ours_in_float32,
        "gradcheck, slow": gradcheck(False),
        "gradcheck, fast": gradcheck(True),
        "torch.testing.assert_close": close(assert_close),
        "torch.allclose": close(lambda a, b: torch.allclose(a, b)),
        "CS231n, 1e-5": cs231n,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="correct,control,wrong,mutant")
    parser.add_argument("--limit", type=int, default=0, help="only so many cases of a kind, spread evenly")
    parser.add_argument("--seconds", type=float, default=10.0, help="of this check, for one derivation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cases = [(case.kind, case) for case in load()] + (
        [("mutant", case) for case in mutants()] if "mutant" in options.kind else []
    )
    tally = {name: Tally() for name in tools(options.seconds)}
    for kind in options.kind.split(","):
        chosen = [case for each, case in cases if each == kind]
        if options.limit:
            chosen = chosen[:: max(1, len(chosen) // options.limit)][: options.limit]
        for case in chosen:
            _count(case, tally, options.seconds)
        print(f"{kind}: {len(chosen)} cases", flush=True)
    _print(tally)


def _count(case: Case, tally: dict[str, Tally], seconds: float) -> None:
    it = drawn(case)
    entries = sum(value.numel() for value in it.leaves.values())
    for name, tool in tools(seconds).items():
        if entries > LARGE and name.startswith(("gradcheck, slow", "CS231n")):
            continue
        started = time.monotonic()
        try:
            with default_dtype(torch.float64) if "float32" not in name else default_dtype(torch.float32):
                said = tool(it)
        except Exception:  # a tool that fails on a derivation raises an alarm
            said = Said(True)
        mine = tally[name]
        mine.seconds += time.monotonic() - started
        if said is None:
            continue
        if case.kind == "wrong":
            mine.wrong += 1
            mine.caught += said.alarm
            mine.exact += said.steps == frozenset(case.steps)
            mine.missed += [] if said.alarm else [case.name]
        else:
            mine.right += 1
            mine.alarms += [case.name] if said.alarm else []


def _print(tally: dict[str, Tally]) -> None:
    print(f"\n{'':28} {'wrong':>5} {'caught':>7} {'steps':>7}   {'right':>5} {'false alarms':>12}  {'s a case':>8}")
    for name, each in tally.items():
        caught = f"{each.caught / each.wrong:.1%}" if each.wrong else "-"
        exact = f"{each.exact / each.wrong:.1%}" if each.wrong else "-"
        took = each.seconds / max(each.wrong + each.right, 1)
        print(f"{name:28} {each.wrong:5} {caught:>7} {exact:>7}   {each.right:5} {len(each.alarms):12}  {took:8.2f}")
    for name, each in tally.items():
        for what, names in (("missed", each.missed), ("false alarms", each.alarms)):
            if names:
                print(f"\n{name}, {what} ({len(names)}):")
                print("\n".join(f"  {case}" for case in names))


if __name__ == "__main__":
    main()
