"""The parent's side of a check whose code runs in children: it asks, hands over, measures time, and judges."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from compare.check import codec
from compare.check.conditions import Condition
from compare.check.derivation import SECONDS, collect
from compare.check.evaluate import Evaluation
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
        hand: Child | None,
        *,
        file: str,
        hand_file: str | None = None,
        deadline: float,
    ) -> None:
        self._reference, self._hand = reference, hand
        self._files = {"reference": file, "hand": hand_file or file}
        self.deadline = deadline  # by time.monotonic(), for everything together
        self.fatal: CannotRun | None = None  # after which no further condition can be tried

    def evaluate(self, condition: Condition) -> Evaluation:
        """The evaluation under a condition. Raises ValueError where the forward does not run there."""
        if self.fatal is not None:
            raise self.fatal
        packed, tensors = codec.pack(condition)
        data, tensors = self.ask("reference", "evaluate", packed, tensors)
        while "ask" in data:
            try:
                data, tensors = self.ask("hand", "backward", data["ask"], tensors)
            except Raised as raised:
                data, tensors = {"raised": str(raised)}, {}
            data, tensors = self.ask("reference", "answer", data, tensors)
        if "raised" in data:
            text, where = (one_line(str(data["raised"].get(key, ""))) for key in ("message", "where"))
            text = text.removeprefix("ValueError: ") if data.get("usage") else text
            raise ValueError(f"{where or self._files['reference']}: {text}")
        evaluation = codec.unpack(data["evaluation"], tensors)
        if not (isinstance(evaluation, Evaluation) and _shapes_agree(evaluation)):
            raise WireError("the evaluation is malformed")
        return evaluation

    def finish(self) -> None:
        """Raises CannotRun where the numbers are not to be believed: a child was ended, or its torch was changed."""
        if self.fatal is not None:
            raise self.fatal
        for side in ("reference", "hand") if self._hand is not None else ("reference",):
            try:
                self.ask(side, "intact", None)
            except Raised as raised:
                raise CannotRun(raised.line, kind="raised", side=side) from None

    def ask(
        self, side: str, method: str, data: Any, tensors: Mapping[str, Tensor] | None = None
    ) -> tuple[Any, dict[str, Tensor]]:
        """One request to a child, within what is left of the time. Raises Raised, or CannotRun and keeps it."""
        child = self._reference if side == "reference" else self._hand
        assert child is not None
        try:
            reply, received = child.call(method, data, tensors, seconds=max(0.0, self.deadline - time.monotonic()))
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
            loaded, tensors = remote.ask("reference", "load", source)
            lines: Mapping[str, str] = {}
            if loaded["kind"] == "derivation":
                lines = _words(remote.ask("hand", "load", source)[0].get("lines"))
            tried: Sequence[Condition] = codec.unpack(loaded["conditions"], tensors)
            if loaded["kind"] == "function":
                report = codec.unpack(*remote.ask("reference", "check_function", {"seed": seed, "seconds": seconds}))
        except Raised as raised:
            raise CannotRun(raised.line, kind="raised", side="reference") from None
        if loaded["kind"] != "function":
            report = collect(remote.evaluate, tried, seconds=seconds, subject=loaded["kind"])
        remote.finish()
    return with_lines(report, lines)


def _words(found: Any) -> dict[str, str]:
    return {str(k): one_line(str(v), 100) for k, v in found.items()} if isinstance(found, dict) else {}


def with_lines(report: Report, lines: Mapping[str, str]) -> Report:
    """The report with the source line of each quantity that has one."""
    rows = tuple(dataclasses.replace(row, line=lines.get(row.name, row.line)) for row in report.rows)
    return dataclasses.replace(report, rows=rows)
