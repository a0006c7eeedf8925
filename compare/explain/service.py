"""Explaining a report on a user's file: the file runs in a child, and what comes back are words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from compare.check.report import Report, Row
from compare.check.subject import find, find_backward, find_reference
from compare.child import load
from compare.explain.bench import Bench
from compare.explain.causes import CAUSES
from compare.explain.explanation import SECONDS, WRONG, explain
from compare.explain.function import explain_checked
from compare.explain.layer import explain_layer
from compare.explain.power import Mutant, Power, power
from compare.isolate import Child, Failure, Limits
from compare.wire import WireError

FIELDS = ("cause", "explanation", "repair", "line")
LONGEST = 2000  # characters of one text
GRACE = 10.0  # seconds to import the file


class Explain:
    """A service for `compare.isolate.Child`: it is the child in which the file, and edits of its backward, run."""

    def power(self, data: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """What the check of a file is worth, as data."""
        subject = find(load(data["path"]), data["name"])
        if subject.kind != "derivation":
            return asdict(Power((), why=f"a {subject.kind} has no backward of its own to plant mistakes in")), {}
        found = power(
            subject.parts["forward"],
            subject.parts["backward"],
            subject.parts["inputs"],
            seconds=data["seconds"],
            seed=data["seed"],
            bench=Bench(),
        )
        return asdict(found), {}

    def explain(self, data: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """The explained rows of `data["rows"]`: their cause, explanation, repair and line by name."""
        module = load(data["path"])
        subject = find_reference(module, data["name"]) if data["hand"] else find(module, data["name"])
        rows = tuple(
            Row(name, verdict, condition=c, explanation=e, line=at) for name, verdict, c, e, at in data["rows"]
        )
        limits = {"seconds": data["seconds"], "seed": data["seed"]}
        here = limits | {"language": data["language"], "bench": Bench()}
        parts = subject.parts
        if subject.kind == "layer":
            given = {name: parts[name] for name in ("y", "loss", "twin", "params")}
            report = explain_layer(Report(rows), parts["layer"], parts["x"], **given, **limits)
        elif subject.kind == "function":
            report = explain_checked(Report(rows), parts["function"], parts["reference"], parts["inputs"], **here)
        else:
            backward = parts["backward"]
            if data["hand"]:
                backward, _ = find_backward(load(data["hand"]), data["hand_name"])
            report = explain(Report(rows), parts["forward"], backward, parts["inputs"], **here)
        return _words(report), {}


def _words(report: Report) -> dict[str, dict[str, str]]:
    return {row.name: {field: getattr(row, field) for field in FIELDS} for row in report.rows}


def explain_file(
    report: Report,
    file: str | Path,
    name: str = "",
    *,
    hand: str | Path = "",
    hand_name: str = "",
    seconds: float = SECONDS,
    seed: int = 0,
    language: str = "en",
    memory: int = 4 * 2**30,
) -> Report:
    """`explain` for a report on a file: `hand` is the submission whose backward it is, where that is another file.

    The report as it is where nothing is wrong; with a note where the child gives no answer.
    """
    rows = [[r.name, r.verdict, r.condition, r.explanation, r.line] for r in report.rows if r.verdict in WRONG]
    if not rows:
        return report
    asked = {
        "path": str(Path(file).resolve()),
        "name": name,
        "hand": str(Path(hand).resolve()) if hand else "",
        "hand_name": hand_name,
        "rows": rows,
        "seconds": seconds,
        "seed": seed,
        "language": language,
    }
    try:
        with Child("compare.explain.service:Explain", Limits(memory=memory), threads=1) as child:
            answer, _ = child.call("explain", asked, seconds=seconds + GRACE)
    except (Failure, WireError) as error:
        return replace(report, notes=(*report.notes, f"no causes were found: {error}"))
    return replace(report, rows=tuple(_told(row, answer) for row in report.rows))


def power_of_file(
    file: str | Path, name: str = "", *, seconds: float = 60.0, seed: int = 0, memory: int = 4 * 2**30
) -> Power:
    """`power` for the derivation of a file, which runs in a child."""
    asked = {"path": str(Path(file).resolve()), "name": name, "seconds": seconds, "seed": seed}
    try:
        with Child("compare.explain.service:Explain", Limits(memory=memory), threads=1) as child:
            answer, _ = child.call("power", asked, seconds=seconds + GRACE)
        mutants = tuple(Mutant(**{k: _printable(str(v)) for k, v in each.items()}) for each in answer["mutants"])
        return Power(mutants, float(answer["seconds"]), _printable(answer["why"]), _printable(answer["stopped"]))
    except (Failure, WireError) as error:
        return Power((), why=str(error))
    except (TypeError, KeyError, ValueError, AttributeError):
        return Power((), why="the child's answer is malformed")


def _told(row: Row, answer: Any) -> Row:
    """A row with the words of a child that ran a user's code: short, printable, and a cause that there is."""
    told = answer.get(row.name) if isinstance(answer, dict) else None
    if not isinstance(told, dict) or told.get("cause") not in CAUSES or row.verdict not in WRONG:
        return row
    words = {field: told.get(field) for field in FIELDS}
    if not all(isinstance(text, str) for text in words.values()):
        return row
    cause, explanation, repair, line = (_printable(str(words[field])) for field in FIELDS)
    return replace(row, cause=cause, explanation=explanation, repair=repair, line=line)


def _printable(text: str) -> str:
    """A text that moves no cursor: other control characters than the end of a line become spaces."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text[:LONGEST])
