"""How long a class takes: generates small submissions with one to three mistakes each, grades them, and prints times.

python benchmarks/grading.py [--submissions 200] [--processes N] [--no-explain]
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from compare.grade import Job, cores, grade
from compare.grading.marker import Settings
from compare.show.grade_html import student_page

TEACHER = """
import torch
from compare import binary, real

inputs = {
    "x": real("m", "d"), "y": binary("m", "k"),
    "W2": real("h", "d"), "b2": real("h"), "W3": real("p", "h"), "b3": real("p"), "W4": real("k", "p"), "b4": real("k"),
}

def forward(x, y, W2, b2, W3, b3, W4, b4):
    z2 = x @ W2.T + b2
    a2 = torch.sigmoid(z2)
    z3 = a2 @ W3.T + b3
    a3 = torch.tanh(z3)
    z4 = a3 @ W4.T + b4
    J = (torch.logaddexp(z4, torch.zeros_like(z4)) - y * z4).sum() / len(x)
    return J, {"z2": z2, "a2": a2, "z3": z3, "a3": a3, "z4": z4}
"""
BACKWARD = """
def backward(x, y, W3, W4, a2, a3, z4):
    m = len(x)
    dz4 = (torch.sigmoid(z4) - y) / m
    dW4 = dz4.T @ a3
    db4 = dz4.sum(0)
    da3 = dz4 @ W4
    dz3 = da3 * (1 - a3 * a3)
    dW3 = dz3.T @ a2
    db3 = dz3.sum(0)
    da2 = dz3 @ W3
    dz2 = da2 * a2 * (1 - a2)
    dW2 = dz2.T @ x
    db2 = dz2.sum(0)
    return {
        "z4": dz4, "W4": dW4, "b4": db4, "a3": da3, "z3": dz3, "W3": dW3, "b3": db3, "a2": da2,
        "z2": dz2, "W2": dW2, "b2": db2,
    }
"""
EDITS = [  # text, replacement: what people do, and other right ways to write it
    ("- y) / m", "- y)"),
    ("(torch.sigmoid(z4) - y)", "(y - torch.sigmoid(z4))"),
    ("(torch.sigmoid(z4) - y)", "(z4 - y)"),
    ("dz4.T @ a3", "dz4.T @ a3 / m"),
    ("dz4.T @ a3", "dz4.T @ torch.tanh(a3)"),
    ("db4 = dz4.sum(0)", "db4 = dz4.mean(0)"),
    ("db4 = dz4.sum(0)", "db4 = dz4.sum()"),
    ("da3 = dz4 @ W4", "da3 = -dz4 @ W4"),
    ("(1 - a3 * a3)", "(1 - a3)"),
    ("(1 - a3 * a3)", "(1 - a3) * a3"),
    ("(1 - a3 * a3)", "(1 + a3 * a3)"),
    ("dW3 = dz3.T @ a2", "dW3 = dz3.T @ a2 * m"),
    ("dW3 = dz3.T @ a2", "dW3 = a2.T @ dz3"),
    ("db3 = dz3.sum(0)", "db3 = dz3.sum(0) / m"),
    ("da2 = dz3 @ W3", "da2 = dz3 @ W3.T"),
    ("da2 = dz3 @ W3", "da2 = dz3 @ W3 * 0.5"),
    ("a2 * (1 - a2)", "(1 - a2)"),
    ("a2 * (1 - a2)", "a2"),
    ("a2 * (1 - a2)", "a2 * (1 - a2) ** 2"),
    ("dW2 = dz2.T @ x", "dW2 = (x.T @ dz2)"),
    ("dW2 = dz2.T @ x", "dW2 = (x.T @ dz2).T"),
    ("dW2 = dz2.T @ x", "dW2 = torch.einsum('mi,mj->ij', dz2, x)"),
    ("db2 = dz2.sum(0)", "db2 = torch.ones(m) @ dz2"),
    ("db2 = dz2.sum(0)", "db2 = dz2.max(0).values"),
]


def sources(count: int) -> list[str]:
    """Distinct backwards: the right one, each edit, then pairs and triples of edits in a fixed random order."""
    pairs = [*itertools.combinations(EDITS, 2), *itertools.combinations(EDITS, 3)]
    random.Random(0).shuffle(pairs)
    found: dict[str, None] = {BACKWARD: None}
    for edits in [*((edit,) for edit in EDITS), *pairs]:
        source = BACKWARD
        for text, replacement in edits:
            source = source.replace(text, replacement)
        found[source] = None
        if len(found) == count:
            break
    return list(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--no-explain", action="store_true", help="as `manualbp grade --no-explain`: verdicts alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "teacher.py").write_text(TEACHER + BACKWARD)
        (folder / "handed_in").mkdir()
        for i, source in enumerate(sources(options.submissions)):
            (folder / "handed_in" / f"student{i:03}.py").write_text(f"import torch\n{source}")
        job = Job(
            folder / "handed_in",
            Settings(folder / "teacher.py", explain=0.0 if options.no_explain else Settings.explain),
            folder / "grades.csv",
            processes=options.processes,
        )
        start = time.monotonic()
        graded = grade(job, student_page, lambda grade, done, total: print(f"\r{done}/{total}", end="", flush=True))
        seconds = time.monotonic() - start
        print(f"\r{graded.new} submissions in {seconds:.0f} s on {options.processes} processes", end="")
        print(f" ({seconds / graded.new:.2f} s each)")
        verdicts = Counter(verdict for each in graded.grades for verdict in each.verdicts.values())
        print(", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
        for first, count in Counter(each.first_wrong.partition(" ")[0] for each in graded.grades).most_common():
            print(f"{count:4} first wrong: {first or 'nothing'}")


if __name__ == "__main__":
    main()
