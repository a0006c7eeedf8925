"""How well mistakes are explained: every wrong derivation of the corpus, its cause, its repair and the time it took.

    python benchmarks/explain_corpus.py [--only PART] [--limit N] [--seconds S]

Printed per case: whether the cause named first is the one that the corpus records, the repair, and the seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections import Counter

import torch

from compare.check.derivation import check_derivation
from compare.explain import explain
from tests.derivations import Case, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the name of the cases to run")
    parser.add_argument("--skip", type=int, default=1, help="every n-th case only")
    parser.add_argument("--kind", default="wrong")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", default="")
    parser.add_argument("--check-seconds", type=float, default=3.0, help="time of the check itself, not counted")
    parser.add_argument("--debug", action="store_true")
    options = parser.parse_args()
    if options.debug:
        logging.basicConfig(level=logging.DEBUG)
    torch.set_num_threads(1)
    cases = [c for c in load() if c.kind == options.kind and options.only in c.name][:: options.skip]
    outcomes: list[dict[str, object]] = []
    for case in cases:
        outcomes.append(_outcome(case, options.seconds, options.check_seconds))
        print(_line(outcomes[-1]), flush=True)
    _summary(outcomes)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(outcomes, file, indent=1)


def _outcome(case: Case, seconds: float, check_seconds: float) -> dict[str, object]:
    report = check_derivation(case.forward, case.backward, case.inputs, seconds=check_seconds)
    started = time.monotonic()
    explained = explain(report, case.forward, case.backward, case.inputs, seconds=seconds)
    took = time.monotonic() - started
    wanted = case.cause.split(" + ")
    rows = {row.name: row for row in explained.rows}
    steps = [step for step in case.steps if step in rows]
    first = explained.first_wrong or next((row for row in explained.rows if not row.ok), None)
    got = first.cause if first is not None else ""
    named = [rows[step].cause for step in steps]
    right = got == wanted[0] if len(wanted) == 1 else got in wanted
    return {
        "name": case.name,
        "wanted": case.cause,
        "verdict": first.verdict if first is not None else "right",
        "step": first.name if first is not None else "",
        "steps": list(case.steps),
        "got": got,
        "named": named,
        "right": right,
        "confidently_wrong": bool(got) and got != "unknown" and not right,
        "repair": first.repair if first is not None else "",
        "explanation": first.explanation if first is not None else "",
        "seconds": took,
    }


def _line(outcome: dict[str, object]) -> str:
    mark = "ok  " if outcome["right"] else ("WRONG" if outcome["confidently_wrong"] else "-   ")
    repair = str(outcome["repair"]).replace("\n", " ; ")[:150]
    return f"{mark} {outcome['seconds']:4.1f}s {outcome['name']} [{outcome['wanted']}] {outcome['got']} | {repair}"


def _summary(outcomes: list[dict[str, object]]) -> None:
    n = len(outcomes)
    if not n:
        return
    counts = Counter(
        {
            "cause right first": sum(bool(o["right"]) for o in outcomes),
            "confidently wrong": sum(bool(o["confidently_wrong"]) for o in outcomes),
            "repair shown": sum(bool(o["repair"]) for o in outcomes),
            "cause named": sum(o["got"] not in ("", "unknown") for o in outcomes),
        }
    )
    for what, count in counts.items():
        print(f"{what:<20} {count:4d} of {n}  {100 * count / n:5.1f} %")
    times = sorted(float(str(o["seconds"])) for o in outcomes)
    print(f"seconds: median {statistics.median(times):.2f}, 90 % {times[int(0.9 * (n - 1))]:.2f}, most {times[-1]:.2f}")


if __name__ == "__main__":
    main()
