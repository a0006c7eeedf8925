"""Each row of the table in docs/reliability.md, in its short form; `make soak` measures it in full."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reliability.__main__ import ROWS

ROOT = Path(__file__).parents[1]
UNPICKLES = re.compile(
    r"import pickle|(?<!safetensors\.)torch\.load\(|allow_pickle=True|\bnp\.load\(|joblib|cloudpickle|marshal|shelve"
)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_row(row: str, tmp_path: Path) -> None:
    """In a process of its own, which forks: with one thread."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.reliability", row, "--json"]
    if os.environ.get("MANUALBP_SOAK") == "full":
        command.append("--full")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    outcome = json.loads(done.stdout.splitlines()[-1])[row]
    assert outcome["ok"], f"{outcome['reached']}\n{done.stderr[-2000:]}"


def test_the_table_is_that_of_the_figures() -> None:
    from benchmarks.reliability.outcome import KEPT

    docs = (ROOT / "docs" / "reliability.md").read_text()
    for row, found in json.loads(KEPT.read_text()).items():
        assert row in ROWS
        assert found["reached"] in docs
        assert f"`{found['command']}`" in docs


def test_nothing_is_unpickled() -> None:
    """No module of the package loads pickles, and none calls what does."""
    for package in ("manualbp", "torch_ref", "compare"):
        for path in (ROOT / package).rglob("*.py"):
            found = UNPICKLES.search(path.read_text())
            assert found is None, f"{path}: {found}"
