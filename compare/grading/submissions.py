"""What was handed in: one Python file a student, or one folder a student."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compare.wire import one_line

MAX_BYTES = 4 * 2**20  # of one submission's Python files together


@dataclass(frozen=True)
class Submission:
    """One student's work. `refused` says, in one line, why there is nothing to grade."""

    student: str
    file: Path
    sources: tuple[Path, ...] = ()  # the file, and the Python files beside it in the student's own folder
    refused: str = ""

    def digest(self) -> str:
        """SHA-256 over the names and contents of the sources, or over the reason why there are none."""
        total = hashlib.sha256(self.refused.encode())
        for source in self.sources:
            content = source.read_bytes()
            total.update(f"{source.name}\0{len(content)}\0".encode(errors="surrogateescape"))
            total.update(content)
        return total.hexdigest()

    def copy_to(self, folder: Path) -> Path:
        """A copy of the sources, from which no other student's file can be imported; the path of the main one."""
        for source in self.sources:
            shutil.copyfile(source, folder / source.name)
        return folder / self.file.name


def submissions(folder: Path, *, named: str = "", beside: Sequence[Path] = ()) -> list[Submission]:
    """Every submission in `folder`, by student: `anna.py`, `anna/hw.py`, `anna/<named>`, and what cannot be graded.

    `beside` are files and folders of the teacher's in there. Raises ValueError where `folder` is no folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{one_line(str(folder), 300)} is no folder; name the folder of the submissions")
    teachers = {path.resolve() for path in beside}
    entries = sorted(folder.iterdir(), key=lambda path: path.name)
    entries = [e for e in entries if not e.name.startswith((".", "__")) and e.resolve() not in teachers]
    found = [(entry, each) for entry in entries if (each := _submission(entry, named)) is not None]
    for naming in (_by_entry, _by_digest):
        names = Counter(each.student for _, each in found)
        found = [
            (entry, each if names[each.student] == 1 else replace(each, student=naming(entry))) for entry, each in found
        ]
    return [each for _, each in found]


def _by_entry(entry: Path) -> str:
    """`anna.py` and `anna/`, where both are there."""
    return _student(entry.name, entry.is_dir())


def _by_digest(entry: Path) -> str:
    """A name of its own where two look alike in a table: `a  b.py` and `a b.py`, or the same 100 first characters."""
    digest = hashlib.sha256(os.fsencode(entry.name)).hexdigest()[:8]
    return f"{_by_entry(entry)} {digest}"


def _submission(entry: Path, named: str) -> Submission | None:
    """What an entry of the folder holds; None where it is none of the students'."""
    if entry.is_symlink():
        return _refused(entry, entry.stem, "is a link; hand in the file itself")
    if entry.is_dir():
        return _in_folder(entry, named)
    if entry.suffix == ".py" and not entry.is_file():
        return _refused(entry, entry.stem, "is no regular file; hand in the file itself")
    if entry.suffix == ".py":
        return _checked(Submission(_student(entry.stem), entry, (entry,)))
    return _notebook(entry, entry.stem) if entry.suffix == ".ipynb" else None


def _in_folder(folder: Path, named: str) -> Submission:
    sources = sorted(path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith("."))
    if any(path.is_symlink() or not path.is_file() for path in sources):
        return _refused(folder, folder.name, "holds a link or something that is no file; hand in the files themselves")
    chosen = [path for path in sources if path.name == named] if named else sources
    if len(chosen) == 1:
        return _checked(Submission(_student(folder.name), chosen[0], tuple(sources)))
    if named:
        return _refused(folder, folder.name, f"holds no {named}")
    notebooks = sorted(folder.glob("*.ipynb"))
    if notebooks and not sources:
        return _notebook(notebooks[0], folder.name)
    count = f"{len(sources)} Python files" if sources else "no Python file"
    return _refused(folder, folder.name, f"holds {count}; hand in one, or name the one to grade with --file")


def _notebook(file: Path, student: str) -> Submission:
    name = one_line(file.name, 100)
    return _refused(file, student, f"is a notebook; save it as a script: jupyter nbconvert --to script {name}")


def _refused(file: Path, student: str, why: str) -> Submission:
    return Submission(_student(student), file, refused=f"{one_line(file.name, 100)} {why}")


def _checked(submission: Submission) -> Submission:
    """The submission, or its refusal where it cannot be read or is too large to be a script."""
    try:
        size = sum(source.stat().st_size for source in submission.sources)
        for source in submission.sources:
            with open(source, "rb"):
                pass
    except OSError as error:
        return _refused(submission.file, submission.student, f"cannot be read ({os.strerror(error.errno or 0)})")
    if size > MAX_BYTES:
        why = f"holds {size:,} bytes of Python; at most {MAX_BYTES:,} are graded"
        return _refused(submission.file, submission.student, why)
    return submission


def _student(name: str, is_folder: bool = False) -> str:
    return one_line(name, 100) + ("/" if is_folder else "")
