"""The parent's side of a check whose code runs in children: it asks, hands over, measures time, and judges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compare.check import codec
from compare.check.clock import waiting
from compare.check.collect import SECONDS, collect
from compare.check.conditions import Condition
from compare.check.derivation import checked
from compare.check.evaluation import Evaluation
from compare.check.hooks import ForwardFailed
from compare.check.precision import Loss
from compare.check.report import Report
from compare.isolate import Child, Failure, Limits
from compare.wire import WireError, one_line

REFERENCE = "compare.check.service:Reference"
HAND = "compare.check.service:Hand"


class CannotRun(ValueError):
    """User code that gave nothing to judge: one line that says what happened, where, and what to do."""

    def __init__(self, message: str, *, kind: str, side: str) -> None:
        super().__init__(message)
        self.kind, self.side = kind, side  # isolate's kind of failure; "reference" or "hand"


class Remote:
    """A check of one file's backward against a file's forward, each in a child of its own."""

    def __init__(
        self,
        reference: Child,
        hand: Child,
        *,
        file: str,
        hand_file: str | None = None,
        deadline: float = math.inf,
        allowed: Mapping[str, float] | None = None,
    ) -> None:
        self._reference, self._hand = reference, hand
        self._files = {"reference": file, "hand": hand_file or file}
        self._deadline = deadline  # by time.monotonic(), for everything together
        self._left = dict(allowed or {})  # seconds that are left to a side for its own answers; a side's absence: all
        self.fatal: CannotRun | None = None  # after which no further condition can be tried

    def evaluate(self, condition: Condition) -> Evaluation:
        """The evaluation under a condition. Raises ValueError where the forward does not run there."""
        evaluation = self._run("evaluate", condition)
        if not (isinstance(evaluation, Evaluation) and _shapes_agree(evaluation)):
            raise WireError("the evaluation is malformed")
        return evaluation

    def smallest(self, name: str, failing: Condition) -> str:
        """The smallest case at which the step that computes `name` is off, as a text."""
        return str(self._run("smallest", name, failing))

    def losses(self, condition: Condition, dtype: torch.dtype) -> dict[str, Loss]:
        """What each gradient loses in a dtype."""
        lost = self._run("losses", condition, dtype)
        return {str(name): loss for name, loss in lost.items() if isinstance(loss, Loss)}

    def _run(self, method: str, *arguments: Any) -> Any:
        """One of a `Runner`'s methods in the reference's child; the hand's child answers its questions."""
        if self.fatal is not None:
            raise self.fatal
        packed, tensors = codec.pack((method, arguments))
        data, tensors = self.ask("reference", "run", packed, tensors)
        while "ask" in data:
            try:
                data, tensors = self.ask("hand", "backward", data["ask"], tensors)
            except Raised as raised:
                data, tensors = {"raised": str(raised)}, {}
            data, tensors = self.ask("reference", "answer", data, tensors)
        if "raised" in data:
            text, where = (one_line(str(data["raised"].get(key, ""))) for key in ("message", "where"))
            text = text.removeprefix("ValueError: ") if data.get("usage") else text
            error = ValueError(f"{where or self._files['reference']}: {text}")
            raise ForwardFailed(error) if data.get("forward") else error
        return codec.unpack(data["result"], tensors)

    def judged(self, tried: Callable[[], Report]) -> Report:
        """A report that asks this object. Raises CannotRun, and not what it led to, where a child was ended."""
        try:
            report = tried()
        except ValueError:
            if self.fatal is not None:
                raise self.fatal from None
            raise
        if self.fatal is not None:
            raise self.fatal
        return report

    def finish(self, *sides: str) -> None:
        """Raises CannotRun where a child's torch or harness was changed: its numbers are not to be believed."""
        for side in sides:
            try:
                self.ask(side, "intact", None)
            except Raised as raised:
                raise CannotRun(raised.line, kind="raised", side=side) from None

    def ask(
        self, side: str, method: str, data: Any, tensors: Mapping[str, Tensor] | None = None
    ) -> tuple[Any, dict[str, Tensor]]:
        """One request to a child, within what is left of the time. Raises Raised, or CannotRun and keeps it."""
        child = self._reference if side == "reference" else self._hand
        began = time.monotonic()
        left = min(self._deadline - began, self._left.get(side, math.inf))
        try:
            reply, received = child.call(method, data, tensors, seconds=max(0.0, left))
            if not isinstance(reply, dict):
                raise WireError("the reply is malformed")
        except Failure as failure:
            if failure.kind == "raised":
                raise Raised(failure, self._files[side]) from None
            self.fatal = self._explained(failure, side, method)
            raise self.fatal from None
        except WireError as error:
            self.fatal = CannotRun(f"{self._files[side]}: {error}", kind="protocol", side=side)
            raise self.fatal from None
        finally:
            if side in self._left:
                self._left[side] -= time.monotonic() - began
        return reply, received

    def _explained(self, failure: Failure, side: str, method: str) -> CannotRun:
        code = "the file" if method == "load" else "backward" if method == "backward" else "forward"
        remedy = {
            "timeout": "look for an endless loop, or raise --timeout",
            "memory": "use smaller inputs, or raise --memory",
            "output": "remove its prints",
            "crash": "a forward and a backward return",
            "protocol": "leave the harness alone",
        }[failure.kind]
        message = failure.message
        if failure.kind == "timeout":
            message = "gave no answer within the time limit"
        return CannotRun(f"{self._files[side]}: {code}: {message}; {remedy}", kind=failure.kind, side=side)


class Raised(ValueError):
    """An exception of a user's code, after which its process still answers."""

    def __init__(self, failure: Failure, file: str) -> None:
        super().__init__(failure.message)
        self.line = str(failure) if failure.where or file in failure.message else f"{file}: {failure.message}"


def _shapes_agree(evaluation: Evaluation) -> bool:
    return all(
        len({t.shape for t in (*c.given, c.local, c.chained, c.local_floor, c.chained_floor, *(c.hull or ()))}) == 1
        and c.given
        for c in evaluation.comparisons.values()
    )


def words(found: Any) -> dict[str, str]:
    """Names and texts from a child, each on one printable line."""
    return {str(k): one_line(str(v), 100) for k, v in found.items()} if isinstance(found, dict) else {}


def check_file(
    path: str | Path,
    name: str = "",
    *,
    seed: int = 0,
    seconds: float = SECONDS,
    timeout: float = 60.0,
    memory: int = 4 * 2**30,
    threads: int | None = None,
) -> Report:
    """Check what a file defines, in children; see `compare.check.subject` for what that can be.

    `seconds` is when no further condition is begun, `timeout` when everything is ended, `memory` in bytes for each
    child. Raises ValueError, in one line, where the file or its forward cannot be used or exceeds a limit.
    """
    file = Path(path).name
    limits = Limits(seconds=timeout, memory=memory)
    deadline = time.monotonic() + timeout
    source = {"path": str(Path(path).resolve()), "name": name, "seed": seed, "complete": True}
    with Child(REFERENCE, limits, threads=threads) as reference, Child(HAND, limits, threads=threads) as hand:
        remote = Remote(reference, hand, file=file, deadline=deadline)
        try:
            loaded = codec.unpack(*remote.ask("reference", "load", source))
            kind, tried = loaded["kind"], loaded["conditions"]
            remote.ask("reference", "begin", None)
            if kind == "function":
                report = codec.unpack(*remote.ask("reference", "check_function", {"seed": seed, "seconds": seconds}))
            elif kind == "layer":
                report = remote.judged(
                    lambda: collect(remote.evaluate, tried, subject="layer", seconds=seconds, clock=waiting())
                )
            else:
                lines = words(remote.ask("hand", "load", source)[0].get("lines"))
                report = remote.judged(
                    lambda: checked(remote, tried, dtype=loaded["dtype"], lines=lines, seconds=seconds, clock=waiting())
                )
        except Raised as raised:
            raise CannotRun(raised.line, kind="raised", side="reference") from None
        remote.finish("reference", "hand")
    if not isinstance(report, Report):
        raise CannotRun(f"{file}: the report is malformed", kind="protocol", side="reference")
    return report
