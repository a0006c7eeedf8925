"""What a check of a 3-layer MLP costs, in process and by the command: everything that it tries by default.

    python -m benchmarks.check_time [--threads 2] [--repeat 3]

Seconds by the clock on the wall, the least of the repetitions; the command starts an interpreter, imports torch and
runs the user's code in children.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.grading import BACKWARD, TEACHER
from compare.check import check_derivation

WRONG = BACKWARD.replace("(1 - a3 * a3)", "(1 - a3)")


def in_process(source: str) -> str:
    defined: dict[str, Any] = {}
    exec(source, defined)
    report = check_derivation(defined["forward"], defined["backward"], defined["inputs"])
    return str(report).rstrip().splitlines()[-1]


def by_command(source: str, threads: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hw.py"
        file.write_text(source)
        command = [sys.executable, "-m", "compare.cli", "check", str(file)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return done.stdout.rstrip().splitlines()[-1] if done.stdout else done.stderr.strip()


def least(run: Callable[[], str], repeat: int) -> tuple[float, str]:
    seconds, said = [], ""
    for _ in range(repeat):
        start = time.perf_counter()
        said = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for what, backward in (("right", BACKWARD), ("wrong", WRONG)):
        source = TEACHER + backward
        for how, run in (
            ("in process", lambda source=source: in_process(source)),
            ("by the command", lambda source=source: by_command(source, options.threads)),
        ):
            seconds, said = least(run, options.repeat)
            print(f"{what}, {how}: {seconds:.2f} s ({said})", flush=True)


if __name__ == "__main__":
    main()
