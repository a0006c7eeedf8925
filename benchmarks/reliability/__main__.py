"""The command: measure rows, and write the table of the figures last reached into docs/reliability.md."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import textwrap
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability.outcome import KEPT, Outcome

DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- python -m benchmarks.reliability --table writes what follows -->", "<!-- end -->"
ATTACKS = "<!-- and the list of attacks -->"


@dataclass(frozen=True)
class Row:
    """What is tried, how often in full, how often in the short form that the slow tests run, and what "full" counts."""

    tried: str
    full: int
    short: int
    counted: str = ""

    def measure(self, name: str, count: int) -> Outcome:
        measured: Outcome = importlib.import_module(f"benchmarks.reliability.{name}").measure(count)
        return measured


ROWS = {
    "kills": Row("kill -9 at random moments, also inside the writing of a checkpoint, then `resume`", 200, 12),
    "faults": Row(
        "every system call of a save failing in turn, or the process killed before or after it",
        60,
        5,
        "all calls, and 60 runs",
    ),
    "disks": Row("a disk that fills up in the middle of a run", 20, 3, "20 and 20 runs"),
    "flips": Row(
        "random bit flips and 64 truncations, of checkpoints, metrics and event files each",
        1000,
        60,
        "1,000 + 64 of each",
    ),
    "inputs": Row("mutated CSV, NPZ, IDX and TOML files (hypothesis)", 10_000, 600),
    "pickles": Row(
        "hostile pickles as data (.npy, .npz, .pt, ...), options, checkpoints and bundles", 6, 1, "each, by 6 protocols"
    ),
    "attacks": Row(
        "adversarial derivation files, under limits of time, memory, output and processes",
        1000,
        4,
        "all that are listed",
    ),
    "writers": Row("two processes on one run", 100, 8),
    "steps": Row("small steps with logging and checkpoints", 1_000_000, 4_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="rows to measure; all by default")
    parser.add_argument("--full", action="store_true", help="as often as the table asks for")
    parser.add_argument("--count", type=int, help="so often instead")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON; keep nothing")
    parser.add_argument("--table", action="store_true", help="write the table of the figures last kept into the docs")
    chosen = parser.parse_args()
    if chosen.table and not chosen.rows:
        return write_table()
    warnings.simplefilter("ignore", RuntimeWarning)  # full disks warn, as they should
    outcomes = {}
    for name in chosen.rows or ROWS:
        row = ROWS[name]
        count = chosen.count or (row.full if chosen.full else row.short)
        start = time.process_time()
        outcomes[name] = outcome = row.measure(name, count)
        if not chosen.json:
            verdict = "ok" if outcome.ok else "FAILED"
            print(f"{name}: {verdict}: {outcome.reached} [{time.process_time() - start:.0f} s]", flush=True)
            outcome.keep(name, f"python -m benchmarks.reliability {name} --count {count}")
    if chosen.json:
        print(json.dumps({name: {"ok": outcome.ok, "reached": outcome.reached} for name, outcome in outcomes.items()}))
    if chosen.table:
        write_table()
    return 0 if all(outcome.ok for outcome in outcomes.values()) else 1


def write_table() -> int:
    """The table between the marks in docs/reliability.md."""
    figures = json.loads(KEPT.read_text())
    lines = ["| what is tried | asked for | reached | command |", "|---|---|---|---|"]
    for name, row in ROWS.items():
        if name in figures:
            found = figures[name]
            failed = "" if found["ok"] else "**not reached**: "
            asked = row.counted or f"{row.full:,}"
            fewer = "" if row.counted or found["count"] >= 0.99 * row.full else f"**{found['count']:,} so far**: "
            lines.append(f"| {row.tried} | {asked} | {failed}{fewer}{found['reached']} | `{found['command']}` |")
    before, _, rest = DOCS.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    before_list, _, rest = after.partition(ATTACKS)
    after = f"{before_list}{ATTACKS}\n\n{_attacks()}\n{rest[rest.index(END) :]}"
    DOCS.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")
    return 0


def _attacks() -> str:
    """The names of all attacks, as a list."""
    from tests import attacks, false_passes

    on_child = (name.replace("_", " ") for name in (*attacks.ENDED, *attacks.ANSWERED))
    lines = ""
    for where, names in (
        ("- on the verdict (`tests/false_passes.py`): ", false_passes.ATTACKS),
        ("- on the child (`tests/attacks.py`): ", on_child),
    ):
        text = f"{where}{'; '.join(names)}."
        lines += textwrap.fill(text, 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) + "\n"
    return lines


if __name__ == "__main__":
    sys.exit(main())
