"""How well mistakes are explained: every wrong derivation of the corpus, its cause, its repair and the time it took.

    python benchmarks/explain_corpus.py [--kind wrong,mutant] [--skip N --offset K] [--only PART] [--json FILE] ...
    python benchmarks/explain_corpus.py --table shard0.json shard1.json ...

Those written by hand (`wrong`) and those made by an edit of a right one (`mutant`, see tests/mutants.py) are counted
apart. By hand, the cause named first has to be the one that the corpus records (of a case with two mistakes, one of the
two); of an edit, one that fits that kind of edit, listed below. "Confidently wrong" is another cause; `unknown` is
neither. A repair is counted only where it is shown, and it is shown only where it makes the step right everywhere.
`--skip 5 --offset 2` runs every fifth case from the third on, so that the corpus can be measured in parts.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from compare.check.derivation import check_derivation
from compare.explain import explain
from tests.derivations import Case, load
from tests.mutants import mutants

FACTOR = {"wrong_factor", "missing_mean", "mean_twice", "wrong_count", "missing_factor", "extra_derivative", "wrong_l2"}
SLOPE = {"missing_activation_derivative", "wrong_activation_derivative", "derivative_at_wrong_place"}
OTHER = {"wrong_operand", "wrong_layer", "wrong_index", "wrong_mask", "updated_weight", "modified_in_place"}
PLACE = {"wrong_index", "wrong_axis", "special_case", "some_samples", "wrong_count", "clipped", "wrong_epsilon"}
FITS = {  # how the name of a mutant ends: the causes that fit such an edit
    "Sub for Add": {"sign", "wrong_l2", "path_twice", "wrong_index"} | SLOPE,
    "Add for Sub": {"sign", "wrong_l2", "path_twice", "missing_path", "wrong_index"} | SLOPE,
    "Div for Mult": FACTOR | SLOPE,
    "Mult for Div": FACTOR | SLOPE,
    "Add for Mult": {"order_of_operations", "missing_factor", "wrong_l2", "wrong_index"} | SLOPE,
    "Mult for MatMult": {"elementwise_for_matmul"},
    "operand left out": FACTOR | SLOPE | {"missing_path", "missing_l2", "wrong_mask", "order_of_operations"} | PLACE,
    "operands exchanged": {"sign", "missing_transpose", "order_of_operations"},
    "a sign": {"sign", "wrong_l2"},
    "no sign": {"sign", "wrong_l2", "wrong_index", "wrong_layer"},
    "no transpose": {"missing_transpose"},
    "mean for sum": {"mean_twice", "wrong_count", "wrong_factor"},
    "sum for mean": {"missing_mean", "wrong_count", "wrong_factor"},
    "another comparison": {"wrong_mask", "special_case", "swapped_branches"},
    "by number": FACTOR | SLOPE | PLACE | {"wrong_mask"},
    "by function": SLOPE | {"wrong_operand"},
    "by name": OTHER | SLOPE | FACTOR | PLACE,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="wrong", help="wrong, mutant, or both with a comma between")
    parser.add_argument("--only", default="", help="part of the name of the cases to run")
    parser.add_argument("--skip", type=int, default=1, help="every n-th case only")
    parser.add_argument("--offset", type=int, default=0, help="begin at this case")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--check-seconds", type=float, default=1.0, help="of the check itself, which is not counted")
    parser.add_argument("--json", default="", help="write what was found to this file")
    parser.add_argument("--table", nargs="+", default=(), help="print the table of earlier --json files, run nothing")
    parser.add_argument("--debug", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table([outcome for file in options.table for outcome in json.loads(Path(file).read_text())]))
        return
    if options.debug:
        logging.basicConfig(level=logging.DEBUG)
    torch.set_num_threads(1)
    kinds = options.kind.split(",")
    cases = [case for case in load() if case.kind == "wrong"] if "wrong" in kinds else []
    cases += mutants() if "mutant" in kinds else ()
    cases = [case for case in cases if options.only in case.name][options.offset :: options.skip]
    outcomes = []
    for case in cases:
        outcomes.append(outcome_of(case, options.seconds, options.check_seconds))
        print(_line(outcomes[-1]), flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps(outcomes, indent=1))
    print(table(outcomes))


def outcome_of(case: Case, seconds: float, check_seconds: float = 1.0) -> dict[str, Any]:
    """What the explanation of one wrong derivation says first, and whether that is so."""
    report = check_derivation(case.forward, case.backward, case.inputs, seconds=check_seconds)
    if report.ok:  # seen at a later condition only
        report = check_derivation(case.forward, case.backward, case.inputs, seconds=60.0)
    started = time.monotonic()
    explained = explain(report, case.forward, case.backward, case.inputs, seconds=seconds)
    took = time.monotonic() - started
    first = explained.first_wrong or next((row for row in explained.rows if not row.ok), None)
    named = first.cause if first is not None else ""
    wanted = set(case.cause.split(" + ")) if case.cause else fits(case.name)
    return {
        "name": case.name,
        "kind": "wrong" if case.cause else "mutant",
        "wanted": case.cause or case.name.partition(": ")[2],
        "step": first.name if first is not None else "",
        "cause": named,
        "right": named in wanted,
        "confidently wrong": named not in ("", "unknown") and named not in wanted,
        "repair": first.repair if first is not None else "",
        "explanation": first.explanation if first is not None else "",
        "seconds": took,
    }


def fits(mutant: str) -> set[str]:
    """The causes that fit an edit, by the name of the mutant."""
    edit = mutant.partition(": ")[2].rpartition(", ")[0]
    for ending, causes in FITS.items():
        if edit.endswith(ending):
            return causes
    new = edit.partition(" for ")[0]
    if new.lstrip("-").replace(".", "", 1).isdigit():
        return FITS["by number"]
    return FITS["by function"] if new in ("sigmoid", "tanh", "expm1", "log_softmax", "sin", "cos") else FITS["by name"]


def _line(outcome: dict[str, Any]) -> str:
    mark = "ok   " if outcome["right"] else "WRONG" if outcome["confidently wrong"] else "-    "
    shown = (outcome["repair"] or f"~ {outcome['explanation']}").replace("\n", " ; ")[:150]
    return f"{mark} {outcome['seconds']:4.1f}s {outcome['name']} [{outcome['wanted']}] {outcome['cause']} | {shown}"


def table(outcomes: list[dict[str, Any]]) -> str:
    """The results as a table in Markdown, by hand and by edits apart and together."""
    rows = [
        "| mistakes | cases | cause right first | confidently wrong | repair shown | median | 95 % | most |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    groups = {"by hand": ("wrong",), "by an edit": ("mutant",), "all": ("wrong", "mutant")}
    for title, kinds in groups.items():
        some = [outcome for outcome in outcomes if outcome["kind"] in kinds]
        if not some or (title == "all" and len({outcome["kind"] for outcome in some}) < 2):
            continue
        shares = [
            f"{100 * sum(bool(outcome[key]) for outcome in some) / len(some):.1f} %"
            for key in ("right", "confidently wrong", "repair")
        ]
        times = sorted(outcome["seconds"] for outcome in some)
        spent = [statistics.median(times), times[int(0.95 * (len(times) - 1))], times[-1]]
        rows.append(f"| {title} | {len(some)} | {' | '.join(shares)} | {' | '.join(f'{s:.1f} s' for s in spent)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
