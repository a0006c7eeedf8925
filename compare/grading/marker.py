"""One worker's hold on the reference: it has submission after submission judged against the same child."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from compare.check import codec
from compare.check.clock import waiting
from compare.check.conditions import Condition
from compare.check.derivation import checked
from compare.check.remote import HAND, REFERENCE, CannotRun, Raised, Remote, words
from compare.check.report import Report
from compare.check.verdict import match
from compare.explain.service import explain_file
from compare.grading.submissions import Submission
from compare.isolate import Child, Limits
from compare.wire import one_line

REFERENCE_SECONDS = 300.0  # for all that the reference computes for one submission: an endless loop ends, no more


@dataclass(frozen=True)
class Settings:
    """How submissions are judged."""

    reference: Path
    name: str = ""  # of the derivation in the reference
    hand_name: str = ""  # of the derivation in a submission; empty: the file itself
    seconds: float = 30.0
    timeout: float = 60.0
    memory: int = 2 * 2**30
    seed: int = 0
    explain: float = 10.0  # seconds that are spent on the causes of a submission's mistakes; 0: none


@dataclass(frozen=True)
class Outcome:
    """What became of a submission: a report, or why there is none; and how its own forward compares."""

    report: Report | None = None
    failed: str = ""
    cheated: bool = False  # it changed torch or the harness
    forward: str = ""  # "right", "wrong", or empty where it has none
    forward_note: str = ""


class Marker:
    """Holds a child with the reference loaded, and starts it again when it has been lost."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = Limits(seconds=settings.timeout, memory=settings.memory)
        self.graded: dict[str, Any] = {}  # see Reference.graded
        self._reference: Child | None = None
        self._loaded: dict[str, Any] = {}
        self._values: dict[str, Any] = {}  # of the reference's forward at the first condition

    def close(self) -> None:
        """End the child."""
        if self._reference is not None:
            self._reference.close()
            self._reference = None

    def mark(self, submission: Submission) -> Outcome:
        """Judge a submission. Raises ValueError only for what is wrong with the reference.

        A reference that fails is started once more: a child that has served a class may have printed too much, or run
        out of memory. A second failure is its own; unless its process was ended from outside, as a submission can do.
        """
        if submission.refused:
            return Outcome(failed=submission.refused)
        with tempfile.TemporaryDirectory(prefix="manualbp-") as folder:
            file = submission.copy_to(Path(folder))
            for is_last in (False, True):
                reference = self._started()
                with Child(HAND, self.limits, threads=1) as hand:
                    remote = self._remote(reference, hand, file.name)
                    try:
                        outcome = self._marked(remote, file)
                    except CannotRun as failure:
                        if failure.side == "hand":
                            return Outcome(failed=one_line(str(failure)), cheated=" replaces " in str(failure))
                        self.close()  # it was ended, or hangs in a forward
                        if not is_last:
                            continue
                        if failure.kind == "crash":
                            return Outcome(failed=f"the reference's process was ended while this ran: {failure}")
                        raise ValueError(one_line(str(failure))) from None
                return self._explained(outcome, file)
        raise AssertionError("the last attempt returns or raises")

    def _marked(self, remote: Remote, file: Path) -> Outcome:
        source = {"path": str(file), "name": self.settings.hand_name, "complete": False}
        try:
            loaded, _ = remote.ask("hand", "load", source)
            lines = words(loaded.get("lines"))
            remote.ask("reference", "begin", None)
        except Raised as raised:
            raise CannotRun(raised.line, kind="raised", side="hand") from None
        tried: Sequence[Condition] = self._loaded["conditions"]
        dtype = self._loaded["dtype"]
        try:
            report = remote.judged(
                lambda: checked(remote, tried, dtype=dtype, lines=lines, seconds=self.settings.seconds, clock=waiting())
            )
        except CannotRun:
            raise
        except ValueError as error:
            raise CannotRun(str(error), kind="raised", side="reference") from None
        verdict, note = self._forward(remote, tried[0]) if loaded.get("forward") else ("", "")
        remote.finish("hand")
        return Outcome(report, forward=verdict, forward_note=note)

    def _explained(self, outcome: Outcome, file: Path) -> Outcome:
        """The outcome with the causes of its mistakes; its verdicts stay as they are."""
        settings = self.settings
        if outcome.report is None or outcome.report.ok or not settings.explain:
            return outcome
        report = explain_file(
            outcome.report,
            settings.reference,
            settings.name,
            hand=file,
            hand_name=settings.hand_name,
            seconds=settings.explain,
            seed=settings.seed,
            memory=settings.memory,
        )
        return replace(outcome, report=report)

    def _forward(self, remote: Remote, condition: Condition) -> tuple[str, str]:
        """The submission's own forward against the reference's values: a verdict and, where wrong, a note."""
        if not self._values:
            self._values = codec.unpack(*remote.ask("reference", "values", *codec.pack(condition)))
        question = {"inputs": self._values["inputs"], "dtype": condition.dtype}
        try:
            own = codec.unpack(*remote.ask("hand", "forward", *codec.pack(question)))
        except Raised as raised:
            return "wrong", f"its own forward: {raised.line}"
        return compared_values(own, self._values["values"], self._values["floors"])

    def _remote(self, reference: Child, hand: Child, file: str) -> Remote:
        """The time limit is the submission's; the reference, which works several times as much, has its own."""
        allowed = {"hand": self.settings.timeout, "reference": max(REFERENCE_SECONDS, self.settings.timeout)}
        return Remote(reference, hand, file=self.settings.reference.name, hand_file=file, allowed=allowed)

    def _started(self) -> Child:
        """The child with the reference, loaded. Raises ValueError where that cannot be used."""
        if self._reference is not None:
            return self._reference
        child = Child(REFERENCE, self.limits, threads=1)
        remote = self._remote(child, child, self.settings.reference.name)
        source = {
            "path": str(self.settings.reference.resolve()),
            "name": self.settings.name,
            "seed": self.settings.seed,
            "complete": False,
        }
        try:
            self._loaded = codec.unpack(*remote.ask("reference", "load", source))
            self.graded, _ = remote.ask("reference", "graded", {"seed": self.settings.seed})
        except Raised as raised:
            child.close()
            raise ValueError(raised.line) from None
        except BaseException:
            child.close()
            raise
        self._reference = child
        return child

    def start(self) -> None:
        """Load the reference now; `graded` is then known."""
        self._started()


def compared_values(own: Any, values: Mapping[str, Tensor], floors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Whether the values that bear the same names are the same, up to rounding; the first that is not, in words."""
    if not isinstance(own, dict):
        return "wrong", "its own forward gives nothing that can be compared"
    for name in (*(n for n in values if n != "J"), "J"):
        mine = own.get(name)
        if not isinstance(mine, Tensor):
            continue
        value = values[name]
        if name == "J":
            mine = mine.reshape(value.shape) if mine.numel() == value.numel() else mine
        if mine.shape != value.shape:
            return (
                "wrong",
                f"its own forward: {name} has shape {tuple(mine.shape)}, the reference's {tuple(value.shape)}",
            )
        seen = match((mine.to(value.dtype),), value, floors[name])
        if not seen.ok:
            at = tuple(int(i) for i in (seen.excess == seen.excess.max()).nonzero()[0])
            index = str(list(at)) if at else ""
            return "wrong", f"its own forward: {name}{index} is {mine[at]:.6g}, the reference's {value[at]:.6g}"
    return "right", ""
