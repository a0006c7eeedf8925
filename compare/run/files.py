"""Data out of files: which reader a file is for."""

from __future__ import annotations

from pathlib import Path

from compare.run.csv_file import read_csv
from compare.run.idx_file import GZIP_MAGIC, read_idx
from compare.run.npz_file import read_npz
from compare.run.refusal import escaped, place, refusal, require_regular_file
from compare.run.table import Table

CSV_SUFFIXES = (".csv", ".tsv", ".txt")


def read_file(path: Path, *, target: str | None, labels: str | None, task: str, max_bytes: int) -> Table:
    """The table in a file: CSV by its suffix (.csv, .tsv, .txt), NPZ by its suffix, IDX by its first bytes.

    `target` names a column and is for CSV, `labels` a file and is for IDX. The file, and its numbers as float64,
    may take `max_bytes` each. Raises `ValueError` of one line, whatever the bytes are.
    """
    suffix = path.suffix.lower()
    kind = "CSV" if suffix in CSV_SUFFIXES else "NPZ" if suffix == ".npz" else "IDX"
    try:
        require_regular_file(path, max_bytes)
        if kind == "IDX":
            _require_idx(path)
        if target is not None and kind != "CSV":
            remedy = {"NPZ": "name the array of targets y", "IDX": "use --labels FILE"}[kind]
            raise refusal(place(path), f"--target names a column of CSV, this is {kind}", remedy)
        if labels is not None and kind != "IDX":
            remedy = {"NPZ": "name the array of targets y", "CSV": "use --target COLUMN"}[kind]
            raise refusal(place(path), f"--labels is a file for IDX, this is {kind}", remedy)
        if kind == "CSV":
            return read_csv(path, target, task, max_bytes)
        if kind == "NPZ":
            return read_npz(path, max_bytes)
        return read_idx(path, None if labels is None else Path(labels), max_bytes)
    except OSError as error:
        reason = escaped(error.strerror or type(error).__name__)
        where = place(path if error.filename is None else Path(error.filename))  # it may be the labels
        raise refusal(where, f"cannot be read ({reason})", "check the file and its permissions") from None


def _require_idx(path: Path) -> None:
    """Raises `ValueError` unless the name or the first bytes say that the file is IDX."""
    with path.open("rb") as stream:
        start = stream.read(2)
    if start not in (b"\0\0", GZIP_MAGIC) and "idx" not in path.name:
        remedy = "convert it to CSV (.csv, .tsv or .txt), NPZ (.npz) or IDX"
        raise refusal(place(path), "is of no known kind", remedy)
