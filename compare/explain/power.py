"""What a pass of the check is worth: how many mistakes, planted in the user's own backward, this very check catches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from compare.check.conditions import Condition, Inputs, conditions, distinct_sizes, has_specs, realise
from compare.check.derivation import default_dtype
from compare.check.evaluate import evaluate
from compare.check.hooks import Forward
from compare.check.inputs import dimension_names
from compare.check.scale import Convention
from compare.check.verdict import OK, judge
from compare.explain.bench import Bench
from compare.explain.observe import Observation, alike, observe
from compare.explain.searcher import Searcher

SECONDS = 60.0
MUTANTS = 60
LARGER = 9  # least size of the dimensions of the conditions that are tried for a survivor


@dataclass(frozen=True)
class Mutant:
    """One planted mistake and what became of it."""

    line: str  # `hw.py:41`
    old: str
    new: str
    fate: str  # caught, survived or equivalent
    why: str = ""  # the condition that caught it, or the reason why none did


@dataclass(frozen=True)
class Power:
    """How many planted mistakes were caught; `why` says why none could be planted."""

    mutants: tuple[Mutant, ...]
    seconds: float = 0.0
    why: str = ""
    stopped: str = ""

    def count(self, fate: str) -> int:
        """How many mutants ended so."""
        return sum(mutant.fate == fate for mutant in self.mutants)

    def __str__(self) -> str:
        if not self.mutants:
            return f"no mistake could be planted: {self.why}"
        caught, survived, equivalent = map(self.count, ("caught", "survived", "equivalent"))
        lines = [f"{caught} of {caught + survived} planted mistakes caught, in {self.seconds:.1f} s{self.stopped}"]
        if equivalent:
            lines.append(f"{equivalent} more edits change no number: they are no mistakes")
        for mutant in self.mutants:
            if mutant.fate == "survived":
                lines += [f"{mutant.line}  {mutant.old}  ->  {mutant.new}", f"  survives: {mutant.why}"]
        return "\n".join(lines)


def power(
    forward: Forward,
    backward: Callable[..., Any],
    inputs: Inputs,
    *,
    mutants: int = MUTANTS,
    seconds: float = SECONDS,
    seed: int = 0,
    bench: Bench | None = None,
) -> Power:
    """Plant mistakes in a backward one by one, and run the check on each.

    Mutants come from the table of edits, evenly over its kinds, and run in a child process. A mutant is caught at the
    first condition whose verdict is not ok. One that gives the same numbers everywhere is equivalent; for the others
    that survive, larger sizes and other seeds are tried to tell what would catch them. `bench` is where mutants run in
    a process that is a child.
    """
    started = time.monotonic()
    everywhere = list(conditions(inputs, seed))
    plain = observe(forward, backward, inputs, everywhere[0], Convention())
    if plain is None:
        return Power((), why="the forward does not run")
    with Searcher(backward, bench) as searcher:
        asked = {
            "values": plain.values,
            "inputs": sorted(plain.inputs),
            "quantities": sorted(plain.quantities),
            "most": mutants,
            "seed": seed,
        }
        answer = searcher.call("mutants", asked, seconds)
        if answer is None or not answer[0]:
            return Power((), time.monotonic() - started, searcher.why or "its statements allow none")
        made: list[Mutant] = []
        stopped = ""
        for which, described in enumerate(answer[0]):
            if time.monotonic() - started > seconds:
                stopped = f"; stopped after {seconds:g} s, {len(answer[0]) - which} mutants were not tried"
                break
            file, line, old, new = described["lines"][0]
            fate, why = _fate(which, searcher, forward, backward, inputs, everywhere)
            made.append(Mutant(f"{file}:{line}", old, new or "(left out)", fate, why))
    return Power(tuple(made), time.monotonic() - started, stopped=stopped)


def _fate(
    which: int,
    searcher: Searcher,
    forward: Forward,
    backward: Callable[..., Any],
    inputs: Inputs,
    everywhere: list[Condition],
) -> tuple[str, str]:
    """What becomes of a mutant, and why."""
    edited = _edited(searcher, which)
    convention = Convention()
    seen: list[str] = []
    for condition in everywhere:
        verdicts = _verdicts(forward, edited, inputs, condition, convention)
        if any(verdict not in (*OK, "undecided") for verdict in verdicts):
            return "caught", str(condition)
        seen += verdicts
    convention = Convention()
    differs = [c for c in everywhere if _differs(observe(forward, backward, inputs, c, convention), searcher, which)]
    if not differs:
        return "equivalent", "it gives the same numbers under every condition"
    if "rescaled" in seen:
        return "survived", "a constant factor that is undone later: parameters' gradients are right"
    if "subgradient" in seen:
        return "survived", "another valid choice at a kink"
    for condition in _larger(inputs):
        verdicts = _verdicts(forward, edited, inputs, condition, Convention())
        if any(verdict not in (*OK, "undecided") for verdict in verdicts):
            return "survived", f"caught only at {condition}: give the check more samples or larger sizes"
    return "survived", f"within what rounding explains, at {differs[0]} for one"


def _edited(searcher: Searcher, which: int) -> Callable[..., Any]:
    def edited(**values: Any) -> dict[str, Tensor]:
        gradients = searcher.run(which, values)
        if gradients is None:
            raise RuntimeError(searcher.why)
        return gradients

    return edited


def _verdicts(
    forward: Forward, edited: Callable[..., Any], inputs: Inputs, condition: Condition, convention: Convention
) -> list[str]:
    try:
        with default_dtype(condition.dtype):
            values = realise(inputs, condition)
            evaluation = evaluate(forward, edited, values, seed=condition.seed, convention=convention)
    except Exception:  # the forward does not run under this condition: nothing is learnt there
        return []
    return [judgement.verdict for judgement in judge(evaluation).values()]


def _differs(seen: Observation | None, searcher: Searcher, which: int) -> bool:
    if seen is None:
        return False
    gradients = searcher.run(which, seen.values)
    if gradients is None:
        return True
    return any(n not in gradients or not alike(gradients[n], g, 1e-12) for n, g in seen.given.items())


def _larger(inputs: Inputs) -> list[Condition]:
    if callable(inputs):
        return [Condition(f"seed {seed}", seed) for seed in range(100, 104)]
    if not has_specs(inputs):
        return []
    names = dimension_names(inputs)
    return [Condition("larger still", seed, distinct_sizes(names, seed, least=LARGER)) for seed in (100, 101)]
