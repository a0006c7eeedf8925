"""Who catches the mistakes of the corpus: this check beside the tools that people use, on the same cases.

    python -m benchmarks.check_corpus                                   # everything, in one process: hours
    python -m benchmarks.check_corpus --shard 3/40 --json corpus.jsonl  # a part; what the file holds is not done again
    python -m benchmarks.check_corpus --table corpus.jsonl              # the parts as one table

"first" counts the cases in which the step that is named first is a wrong one, "steps" those in which what a tool names
is exactly what is wrong, "both" the cases with two mistakes in which both are named. The other tools:
`benchmarks/other_checkers.py`. Times are of the processor.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.check_corpus_table import table
from benchmarks.other_checkers import OTHERS, Drawn, drawn
from compare.check.collect import collect
from compare.check.conditions import conditions
from compare.check.derivation import Here, check_derivation, default_dtype
from compare.check.report import Report
from tests.derivations import Case, load
from tests.mutants import mutants_of

KINDS = ("correct", "control", "wrong", "mutant")
MUTANTS = 7  # of each right derivation
RED = ("wrong", "invalid", "cancels", "imprecise")


def ours(case: Case) -> Report:
    """The check as users run it, but without a limit of time."""
    return check_derivation(case.forward, case.backward, case.inputs, seconds=float("inf"))


def in_float32(case: Case) -> Report | None:
    """The same comparison with everything in float32, where a small mistake may hide behind rounding."""
    if case.options.get("imprecise"):
        return None
    here = Here(case.forward, case.backward, case.inputs)
    lower = [replace(condition, dtype=torch.float32) for condition in conditions(case.inputs)]
    return collect(here.evaluate, lower, seconds=float("inf"))


def said(report: Report | None) -> dict[str, Any] | None:
    if report is None:
        return None
    red = [row.name for row in report.rows if row.verdict in RED and row.name != "backward"]
    return {"alarm": not report.ok, "steps": red}


def _others(name: str) -> Callable[[Drawn], dict[str, Any] | None]:
    def tool(it: Drawn) -> dict[str, Any] | None:
        found = OTHERS[name](it)
        return None if found is None else {"alarm": found.alarm, "steps": sorted(found.steps)}

    return tool


TOOLS: dict[str, Callable[[Drawn], dict[str, Any] | None]] = {
    "manualbp": lambda it: said(ours(it.case)),
    "manualbp, in float32 alone": lambda it: said(in_float32(it.case)),
} | {name: _others(name) for name in OTHERS}


def cases(kinds: Iterable[str], shard: int, of: int) -> Iterator[tuple[str, Case]]:
    """The cases of one part, each with its kind. A mutant is in the part of the derivation that it was made from."""
    everything = load()
    for kind in kinds:
        chosen = [case for case in everything if case.kind == ("correct" if kind == "mutant" else kind)]
        for case in chosen[shard::of]:
            if kind != "mutant":
                yield kind, case
            elif not case.options:
                yield from (("mutant", mutant) for mutant in mutants_of(case, MUTANTS))


def line(kind: str, case: Case, tool: str, it: Drawn) -> dict[str, Any]:
    """What a tool says of a case; a tool that fails on it raises an alarm."""
    started = time.process_time()
    try:
        with default_dtype(torch.float32 if "float32" in tool else torch.float64):
            found = TOOLS[tool](it)
    except Exception:
        found = {"alarm": True, "steps": []}
    seconds = time.process_time() - started
    known = {"case": case.name, "kind": kind, "wrong": list(case.steps), "two": " + " in case.cause}
    return {**known, "tool": tool, "said": found, "seconds": round(seconds, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=",".join(KINDS))
    parser.add_argument("--without", default="nothing", help="leave out the tools whose name contains this")
    parser.add_argument("--shard", default="0/1", help="part i of n")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further case after this time")
    parser.add_argument("--json", type=Path, help="file to add a line to for each case and tool")
    parser.add_argument("--table", type=Path, nargs="+", help="print the table of what is in these files, and stop")
    options = parser.parse_args()
    if options.table:
        print(table(_read(options.table)))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    shard, of = map(int, options.shard.split("/"))
    lines = _read([options.json]) if options.json and options.json.exists() else []
    done = {(each["case"], each["tool"]) for each in lines}
    tools = [name for name in TOOLS if options.without not in name]
    started = time.monotonic()
    for kind, case in cases(options.kind.split(","), shard, of):
        if time.monotonic() - started > options.seconds:
            print("out of time: say the same again to go on")
            break
        todo = [tool for tool in tools if (case.name, tool) not in done]
        if todo:
            it = drawn(case)
            new = [line(kind, case, tool, it) for tool in todo]
            lines += new
            if options.json:
                with options.json.open("a") as file:
                    file.write("".join(json.dumps(each) + "\n" for each in new))
    print(table(lines))


def _read(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Every line; of those for one case and tool, the last."""
    lines = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    return list({(each["case"], each["tool"]): each for each in lines}.values())


if __name__ == "__main__":
    main()
