"""check_derivation: a forward with named intermediates, and a hand-written backward, under every condition."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

import torch

from compare.check.backward import Backward
from compare.check.conditions import Condition, Inputs, conditions, realise
from compare.check.evaluate import Evaluation, evaluate
from compare.check.hooks import Forward
from compare.check.report import Report, Row, Tried
from compare.check.verdict import WORST_FIRST, Judgement, judge

SECONDS = 10.0  # after which no further condition is begun


def check_derivation(
    forward: Forward, backward: Backward, inputs: Inputs, *, seed: int = 0, seconds: float = SECONDS
) -> Report:
    """Compare a hand-written backward with autograd, step by step. Never raises on a mismatch.

    `forward(**inputs) -> (J, {name: intermediate})`, in plain torch. `backward` gets, by parameter name, any inputs
    and intermediates that it lists, detached (with **kwargs: all of them), and returns {name: dJ/dname} for any of
    them, as torch tensors or NumPy arrays. `inputs` are tensors, a function from a seed to tensors, or
    specifications such as real("m", "d").

    Every formula runs in float64, with torch's default dtype set to it. Raises ValueError where there is nothing to
    compare with: a forward that torch cannot differentiate, that is not deterministic, or that fails.
    """

    def evaluator(condition: Condition) -> Evaluation:
        with default_dtype(condition.dtype):
            return evaluate(forward, backward, realise(inputs, condition), seed=condition.seed)

    return collect(evaluator, conditions(inputs, seed), seconds=seconds)


def collect(
    evaluator: Callable[[Condition], Evaluation],
    tried_at: Iterable[Condition],
    *,
    seconds: float = SECONDS,
    subject: str = "derivation",
) -> Report:
    """Evaluate under every condition, and keep the worst verdict of each quantity."""
    started = time.monotonic()
    rows: dict[str, tuple[Judgement, str]] = {}
    tried: list[Tried] = []
    notes: dict[str, None] = {}
    first_failure: Exception | None = None
    stopped = ""
    for position, condition in enumerate(tried_at):
        name = str(condition)
        if position and time.monotonic() - started > seconds:
            stopped = f"; stopped after {seconds:g} s, the others were not tried"
            tried.append(Tried(name, "not tried: out of time"))
            continue
        try:
            evaluation = evaluator(condition)
        except Exception as error:
            first_failure = first_failure or error
            tried.append(Tried(name, f"forward does not run here: {_one_line(error)}"))
            continue
        judged = judge(evaluation)
        if condition.keeps_values and "backward" in evaluation.invalid and any(t.status == "ok" for t in tried):
            notes[f"{condition.name}: {evaluation.invalid['backward']}"] = None
            tried.append(Tried(name, "the backward does not take this layout"))
            continue
        notes |= dict.fromkeys(evaluation.notes)
        for quantity, judgement in judged.items():
            kept = rows.get(quantity)
            if kept is None or _rank(judgement) < _rank(kept[0]):
                rows[quantity] = (judgement, name)
        bad = any(judgement.verdict in ("invalid", "wrong", "cancels", "imprecise") for judgement in judged.values())
        tried.append(
            Tried(name, "failed" if bad else (evaluation.failed and f"reference failed: {evaluation.failed}") or "ok")
        )
    if not rows and first_failure is not None:
        raise ValueError(_one_line(first_failure)) from first_failure
    return Report(
        tuple(_row(name, *found) for name, found in rows.items()),
        tuple(tried),
        tuple(notes),
        seconds=time.monotonic() - started,
        subject=subject,
        stopped=stopped,
    )


def _rank(judgement: Judgement) -> int:
    """Worst first; "undecided" counts only where nothing else was found."""
    return len(WORST_FIRST) if judgement.verdict == "undecided" else WORST_FIRST.index(judgement.verdict)


def _row(name: str, j: Judgement, condition: str) -> Row:
    return Row(
        name,
        j.verdict,
        j.max_rel,
        j.max_ulp,
        j.worst_index,
        j.expected,
        j.got,
        condition,
        explanation=j.explanation,
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype: code that says torch.zeros(4, 3) then computes in the dtype of the run."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


__all__ = ["check_derivation", "collect"]
