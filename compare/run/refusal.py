"""How an input is refused: one printable line that says what is wrong, where, and what to do about it."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

LONGEST_PATH = 300  # characters of a path in a message; its end says more than its start


def escaped(text: str) -> str:
    r"""`text` with every unprintable character as its Python escape (`\n`, `\x1b`, `\u202e`).

    Text out of a file can then neither move the cursor of a terminal nor hide in a line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(text: str, longest: int = 60) -> str:
    """`text` from a file as it stands in a message: escaped, quoted and at most `longest` characters."""
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    return f"'{escaped(text)}'"


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first `most` names with commas between them, and how many more there are."""
    line = ", ".join(shown(name)[1:-1] for name in names[:most])
    return line if len(names) <= most else f"{line} and {len(names) - most:,} more"


def place(path: Path, row: int | None = None, column: str | None = None) -> str:
    """The file, and the row and column in it where they are known: `data.csv, row 3, column 'age'`."""
    where = escaped(str(path))
    if len(where) > LONGEST_PATH:
        where = f"...{where[-LONGEST_PATH:]}"
    if row is not None:
        where += f", row {row}"
    if column is not None:
        where += f", column {shown(column)}"
    return where


def refusal(where: str, what: str, remedy: str) -> ValueError:
    """The error to raise: the place, the invariant and what was received, and the remedy, on one line."""
    return ValueError(f"{where}: {what}; {remedy}")


def require_regular_file(path: Path, max_bytes: int) -> int:
    """The size of `path` in bytes, before anything is read from it.

    Raises `ValueError` unless it is a regular file that holds 1 to `max_bytes` bytes: a device or a pipe has no
    end, and opening one can wait for ever.
    """
    where = place(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise refusal(where, "no such file", "check the path") from None
    except (OSError, ValueError) as error:  # no permission, a loop of links, too long, a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(where, f"cannot be opened ({reason})", "check the path and its permissions") from None
    if stat.S_ISDIR(status.st_mode):
        raise refusal(where, "is a folder", "name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise refusal(where, "is not a regular file", "save what it yields as a file")
    if status.st_size == 0:
        raise refusal(where, "is empty", "check how the file was saved or copied")
    if status.st_size > max_bytes:
        raise refusal(where, f"holds {status.st_size:,} bytes", f"{limit(max_bytes)} or take fewer rows")
    return status.st_size


def limit(max_bytes: int) -> str:
    """The limit on what is read and how it is raised, as the start of a remedy."""
    return f"the limit is {max_bytes:,}: raise it with --max-bytes"
