"""grades.csv: one line a student, written as soon as it is known, and read again to go on where grading stopped."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compare.small_file import read_small
from compare.wire import one_line

MAX_BYTES = 2**28  # of a table of grades

FIRST, LAST = ("student", "score"), ("first wrong", "note", "fingerprint")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run


@dataclass(frozen=True)
class Grade:
    """One line of the table. `fingerprint` is of the submission, the reference and the weights together."""

    student: str
    score: float
    verdicts: Mapping[str, str]  # by quantity
    first_wrong: str
    note: str
    fingerprint: str

    @property
    def step(self) -> str:
        """The first wrong step without its line, which differs from file to file: `z2: wrong`."""
        return re.sub(r" \([^()]*:\d+\)(?=:)", "", self.first_wrong)


class Table:
    """The file. Every line is written whole, in one call, and is on the disk when `add` returns."""

    def __init__(self, path: Path, quantities: Sequence[str]) -> None:
        self.path = path
        self.quantities = tuple(quantities)
        self._lock = threading.Lock()

    @property
    def header(self) -> list[str]:
        """The columns."""
        return [*FIRST, *self.quantities, *LAST]

    def read(self) -> dict[str, Grade]:
        """What is there already, by student; a line that a crash cut off counts as absent.

        Raises ValueError where the file is another table.
        """
        try:
            text = read_small(self.path, MAX_BYTES).decode("utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{self._name} cannot be read as a table of grades; choose another --out") from None
        if not text:
            return {}
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.reader(io.StringIO(whole, newline=""), strict=False))
        if not rows or [_plain(cell) for cell in rows[0]] != self.header:
            raise ValueError(
                f"{self._name} has other columns than this grading ({', '.join(self.header)}); "
                "choose another --out, or move it away"
            )
        grades = (self._grade([_plain(cell) for cell in row]) for row in rows[1:] if len(row) == len(self.header))
        return {grade.student: grade for grade in grades if grade is not None}

    def write(self, grades: Iterable[Grade]) -> None:
        """Replace the whole file, at once: whoever reads sees the old one or the new one."""
        text = "".join(_line(row) for row in [self.header, *map(self._row, grades)])
        with tempfile.NamedTemporaryFile("wb", dir=self.path.absolute().parent, delete=False) as file:
            try:
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                os.replace(file.name, self.path)
            except BaseException:
                os.unlink(file.name)
                raise

    def add(self, grade: Grade) -> None:
        """Append one line."""
        data = _line(self._row(grade)).encode("utf-8", "backslashreplace")
        with self._lock:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, data)
                os.fsync(file)
            finally:
                os.close(file)

    @property
    def _name(self) -> str:
        return one_line(str(self.path), 300)

    def _row(self, grade: Grade) -> list[str]:
        verdicts = [grade.verdicts.get(name, "") for name in self.quantities]
        return [
            grade.student,
            f"{grade.score:.2f}",
            *verdicts,
            grade.first_wrong,
            grade.note,
            grade.fingerprint,
        ]

    def _grade(self, cells: list[str]) -> Grade | None:
        student, score, *verdicts = cells[: 2 + len(self.quantities)]
        try:
            points = float(score)
        except ValueError:
            return None
        return Grade(student, points, dict(zip(self.quantities, verdicts, strict=True)), *cells[-3:])


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([_cell(cell) for cell in cells])
    return out.getvalue()


def _cell(text: str) -> str:
    """`text` on one printable line, with an apostrophe before what a spreadsheet would take for a formula."""
    text = one_line(text, 1000)
    return f"'{text}" if text.startswith(FORMULA) else text


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
