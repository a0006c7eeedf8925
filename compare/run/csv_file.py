"""CSV files: a header, one sample a row, numbers in every column but the target.

Read as a stream: one line of text is held at a time, and 8 bytes for each number. Rows are counted as an editor
shows lines, the header being row 1.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import math
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from compare.run.refusal import escaped, limit, listed, place, refusal, shown
from compare.run.table import Table

MAX_CLASSES = 10_000
LONGEST_LINE = 2**24  # characters; a file without line ends must not be read whole as one line
DELIMITERS = ",;\t"
UNDECODED = re.compile("[\ud800-\udfff]")  # what "surrogateescape" reads bytes as that are not UTF-8


def read_csv(path: Path, target: str | None, task: str, max_bytes: int) -> Table:
    """The table in a CSV file whose column `target` is what the others are to predict.

    UTF-8 with or without a byte-order mark; any line ends; quoted cells; a comma, semicolon or tab between cells,
    whichever the header has most of. Blanks around a cell do not count. Blank lines are allowed at the end only.
    The target is numbers, or class names where a cell is text. A column of numbers with a few texts in it is a
    mistake rather than classes, unless `task` is "binary" or "classes".
    Raises `ValueError`, with row and column, for everything else.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        lines = _lines(stream, path)
        header = next(lines, "")
        reader = csv.reader(
            itertools.chain((header,), lines), delimiter=_delimiter(header), skipinitialspace=True, strict=True
        )
        try:
            return _table(path, _records(reader, path), target, task, max_bytes)
        except csv.Error as error:
            where = place(path, reader.line_num)
            raise refusal(where, f"is not CSV ({error})", "check the quotes in and above this row") from None


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    """The lines of the file, each checked to be text of a reasonable length."""
    for number in itertools.count(1):
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        where = place(path, number)
        if len(line) == LONGEST_LINE:
            raise refusal(where, f"is longer than {LONGEST_LINE:,} characters", "check that the file is CSV")
        if not line.isascii() and UNDECODED.search(line):
            raise refusal(where, "is not UTF-8 text", "save the file as CSV in UTF-8")
        if "\0" in line:
            raise refusal(where, "holds a NUL byte, so it is not text", "save the file as CSV in UTF-8")
        yield line


def _records(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each record's first row and its cells, without blanks around them and blank lines at the end."""
    row, blank = 1, 0
    for record in reader:
        cells = [cell.strip() for cell in record]
        if cells in ([], [""]):
            blank = blank or row
        elif blank:
            raise refusal(place(path, blank), "is blank, with rows below it", "delete the line")
        else:
            yield row, cells
        row = reader.line_num + 1


def _delimiter(header: str) -> str:
    """The one of comma, semicolon and tab that stands most often in the header, quoted cells apart."""
    bare = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def _table(
    path: Path, records: Iterator[tuple[int, list[str]]], target: str | None, task: str, max_bytes: int
) -> Table:
    names = _header(path, next(records, (1, []))[1])
    position = _position(path, names, target)
    features = names[:position] + names[position + 1 :]
    column = _TargetColumn(path, names[position])
    x, rows = array("d"), array("q")
    for row, cells in records:
        if len(cells) != len(names):
            what = f"{_count(len(cells), 'cell')} in a table of {_count(len(names), 'column')}"
            raise refusal(place(path, row), what, "correct the row; quote a cell that holds the delimiter")
        column.add(row, cells.pop(position))
        numbers = _numbers(cells)
        if numbers is None:
            raise _not_numbers(path, row, features, cells)
        x.extend(numbers)
        rows.append(row)
        if 8 * (len(x) + 3 * len(rows)) > max_bytes:  # three: number and class of the target, and the row
            where = place(path, row)
            raise refusal(where, "its numbers take too many bytes", f"{limit(max_bytes)} or take fewer rows")
    if not rows:
        raise refusal(place(path), "has a header but no rows below it", "add rows of data")
    y, classes = column.values(task, len(rows))
    return Table(
        source=place(path),
        name=escaped(path.stem),
        x=np.frombuffer(x, dtype=np.float64).reshape(len(rows), len(features)),
        y=y,
        features=tuple(features),
        target=names[position],
        classes=classes,
        row=lambda sample: f"row {rows[sample]}",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _header(path: Path, cells: list[str]) -> list[str]:
    """The names of the columns: none blank, no two equal, not all of them numbers."""
    names = [escaped(cell) for cell in cells]
    where = place(path, 1)
    if not names:
        raise refusal(where, "has no header", "name the columns in the first line")
    if all(_number(name) is not None for name in names):
        raise refusal(where, "holds numbers, not names of columns", "add a header as the first line")
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            remedy = "name it, or save the file without its row index"
            raise refusal(where, f"column {number} has no name", remedy)
        if first.setdefault(name, number) != number:
            what = f"columns {first[name]} and {number} are both named {shown(name)}"
            raise refusal(where, what, "rename one of them")
    return names


def _position(path: Path, names: list[str], target: str | None) -> int:
    """Where the target stands among the columns."""
    if len(names) == 1:
        what = f"has a single column, {shown(names[0])}"
        raise refusal(place(path, 1), what, "a table needs a target and at least one input beside it")
    choice = f"choose one of its columns with --target: {listed(names)}"
    if target is None:
        raise refusal(place(path), "the target is not named", choice)
    name = escaped(target.strip())
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        what = f"has no column {shown(target)}" + (f" (but {shown(near[0])})" if near else "")
        raise refusal(place(path), what, choice)
    return names.index(name)


def _number(cell: str) -> float | None:
    """The number in a cell, None for text. Python reads 1_000 as a number; in a file it is more likely a name."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _numbers(cells: list[str]) -> list[float] | None:
    """The finite numbers in the cells, None if one of them is anything else."""
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return None
    finite = math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))  # the sum alone may overflow
    return numbers if finite and "_" not in "".join(cells) else None


def _not_numbers(path: Path, row: int, features: list[str], cells: list[str]) -> ValueError:
    """What is wrong with the first cell that holds no finite number."""
    name, cell = next((n, c) for n, c in zip(features, cells, strict=True) if _numbers([c]) is None)
    where = place(path, row, name)
    if _number(cell) is None and _number(cell.replace(",", ".", 1)) is not None:
        return refusal(where, f"{shown(cell)} has a decimal comma", "write decimals with a point")
    if not cell or _number(cell) is not None:
        return refusal(where, _blank_or_infinite(cell), "fill it in, or delete the row")
    return refusal(where, f"{shown(cell)} is not a number", "write it as a number, or remove the column")


def _blank_or_infinite(cell: str) -> str:
    return f"{shown(cell)} is not a finite number" if cell else "the cell is blank"


class _TargetColumn:
    """The target as it is read: as numbers, and as classes as long as there are few enough of them."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.numbers, self.codes = array("d"), array("q")
        self.code_of: dict[str, int] = {}
        self.texts = 0
        self.first_text = (0, "")

    def add(self, row: int, cell: str) -> None:
        """Takes the target of the next row."""
        number = _number(cell)
        if not cell or (number is not None and not math.isfinite(number)):
            where = place(self.path, row, self.name)
            raise refusal(where, _blank_or_infinite(cell), "fill it in, or delete the row")
        if number is not None:
            self.numbers.append(number)
        else:
            self.first_text = self.first_text if self.texts else (row, cell)
            self.texts += 1
        if len(self.code_of) <= MAX_CLASSES:
            self.codes.append(self.code_of.setdefault(cell, len(self.code_of)))
        elif self.texts:
            raise self._too_many()

    def _too_many(self) -> ValueError:
        remedy = f"correct it, or choose another target: classes may have {MAX_CLASSES:,} names at most"
        return self._text("is not a number", remedy)

    def _text(self, what: str, remedy: str) -> ValueError:
        row, cell = self.first_text
        return refusal(place(self.path, row, self.name), f"{shown(cell)} {what}", remedy)

    def values(self, task: str, rows: int) -> tuple[NDArray[Any], tuple[str, ...] | None]:
        """Numbers (m,) and None, or class indices (m,) and the class names in sorted order."""
        if not self.texts:
            return np.frombuffer(self.numbers, dtype=np.float64), None
        if task == "regression":
            raise self._text("is not a number", "regression needs numbers: correct it, or drop --task")
        if task == "auto" and 2 * self.texts < rows:
            remedy = "correct it, or say --task classes if it is the name of a class"
            raise self._text("is not a number as most of the column is", remedy)
        if len(self.codes) < rows:
            raise self._too_many()
        names = sorted(self.code_of)
        rank = np.empty(len(names), dtype=np.int64)
        rank[[self.code_of[name] for name in names]] = np.arange(len(names))
        return rank[np.frombuffer(self.codes, dtype=np.int64)], tuple(escaped(name) for name in names)
