"""The lines of `check_corpus` as a Markdown table, and by name every case that a tool is wrong about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]
RIGHT = ("correct", "control")


def table(lines: Sequence[Line]) -> str:
    tools = list(dict.fromkeys(each["tool"] for each in lines))
    counts = {kind: len({each["case"] for each in lines if each["kind"] == kind}) for kind in _kinds(lines)}
    rows = [
        ", ".join(f"{count} {kind}" for kind, count in counts.items()),
        "",
        "| | wrong | caught | first | steps | both | right | false alarms | s a case |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_row(tool, [each for each in lines if each["tool"] == tool]) for tool in tools),
    ]
    for tool in tools:
        mine = [each for each in lines if each["tool"] == tool and each["said"] is not None]
        rows += _named(f"{tool}: missed", [e["case"] for e in mine if _wrong(e) and not e["said"]["alarm"]])
        rows += _named(f"{tool}: false alarms", [e["case"] for e in mine if not _wrong(e) and e["said"]["alarm"]])
        if tool.startswith("manualbp"):
            rows += _named(f"{tool}: another step first", [_blamed(e) for e in mine if _wrong(e) and not _first(e)])
            rows += _named(f"{tool}: one of two", [_blamed(e) for e in mine if e["two"] and not _both(e)])
    return "\n".join(rows)


def _kinds(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(each["kind"] for each in lines))


def _row(tool: str, lines: Sequence[Line]) -> str:
    judged = [each for each in lines if each["said"] is not None]
    wrong = [each for each in judged if _wrong(each)]
    right = [each for each in judged if not _wrong(each)]
    caught = [each for each in wrong if each["said"]["alarm"]]
    two = [each for each in wrong if each["two"]]
    alarms = sum(each["said"]["alarm"] for each in right)
    exact = sum(set(each["said"]["steps"]) == set(each["wrong"]) for each in wrong)
    cells = [
        str(len(wrong)),
        _share(len(caught), len(wrong)),
        _share(sum(map(_first, wrong)), len(wrong)) if tool.startswith("manualbp") else "",
        _share(exact, len(wrong)),
        _share(sum(map(_both, two)), len(two)),
        str(len(right)),
        str(alarms),
        f"{sum(each['seconds'] for each in judged) / max(len(judged), 1):.2f}",
    ]
    return f"| {tool} | {' | '.join(cells)} |"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"


def _wrong(line: Line) -> bool:
    return line["kind"] not in RIGHT


def _first(line: Line) -> bool:
    """Whether the step named first is a wrong one. A backward that only raises somewhere names no step, nor can it."""
    steps = line["said"]["steps"]
    return bool(steps) and steps[0] in line["wrong"]


def _both(line: Line) -> bool:
    return set(line["wrong"]) <= set(line["said"]["steps"])


def _blamed(line: Line) -> str:
    said = ", ".join(line["said"]["steps"]) or ("no step" if line["said"]["alarm"] else "nothing")
    return f"{line['case']}: wrong in {', '.join(line['wrong'])}; named: {said}"


def _named(title: str, names: Sequence[str]) -> list[str]:
    return ["", f"{title} ({len(names)}):", "", *(f"- {name}" for name in names)] if names else []
