"""What a line of a run's logs must look like to be used: a checksum tells that it is whole, not who wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compare.run.folder import RUNS

STEPS = range(2**63)  # that an event can hold


def is_line(line: Mapping[str, Any]) -> bool:
    """Whether a line of metrics.jsonl is one of numbers by run and tag, as everything that `scalars` logs."""
    tables = [line.get(name, {}) for name in RUNS]
    return is_step(line.get("step")) and all(
        isinstance(table, dict) and all(map(is_number, table.values())) for table in tables
    )


def is_text(line: Mapping[str, Any]) -> bool:
    """Whether a line of text.jsonl holds a text; that of a table does too."""
    return is_step(line.get("step")) and isinstance(line.get("tag"), str) and isinstance(line.get("text"), str)


def is_table(text: Mapping[str, Any]) -> bool:
    """Whether a text has the numbers behind a picture with it."""
    rows, head = text.get("rows"), text.get("head")
    return isinstance(head, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows)


def is_timing(line: Mapping[str, Any]) -> bool:
    """Whether a line of timing.jsonl says when how many steps were done."""
    return is_step(line.get("step")) and is_number(line.get("seconds")) and is_step(line.get("steps"))


def is_step(step: Any) -> bool:
    """Whether it can be a step of TensorBoard's."""
    return isinstance(step, int) and step in STEPS


def is_number(value: Any) -> bool:
    """Whether it is a number that float64 can hold."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1023)
