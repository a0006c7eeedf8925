"""Grading: every submission of a folder against a reference, in parallel, each line kept as soon as it is known."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compare.grading.marker import Marker, Outcome, Settings
from compare.grading.score import grade_of
from compare.grading.submissions import Submission, submissions
from compare.grading.suspects import suspects
from compare.grading.table import Grade, Table
from compare.grading.weights import FORWARD, Weights
from compare.wire import one_line

SUMMARY = "summary.html"  # the page of the class, beside the students'
Page = Callable[[Grade, Outcome, Weights], str]  # makes a student's page


@dataclass(frozen=True)
class Job:
    """What is to be graded, by what, into which files."""

    folder: Path
    settings: Settings
    out: Path
    weights: Weights = dataclasses.field(default_factory=Weights)
    named: str = ""  # the file to grade in a folder that holds several
    processes: int = 1

    @property
    def pages(self) -> Path:
        """Folder of the students' pages."""
        return self.out.with_name(f"{self.out.stem}-pages")

    def page_of(self, student: str) -> Path:
        """A student's page; its name is safe in any file system, and no two students share one."""
        plain = "".join(c if (c.isascii() and c.isalnum()) or c in "-_" else "_" for c in student)[:60]
        is_free = plain == student.lower() and plain != SUMMARY.removesuffix(".html")
        tag = "" if is_free else f"-{hashlib.sha256(student.encode()).hexdigest()[:8]}"
        return self.pages / f"{plain}{tag}.html"


@dataclass(frozen=True)
class Graded:
    """Everybody's grades, and how many of them are of this run."""

    grades: tuple[Grade, ...]
    quantities: tuple[str, ...]
    points: float
    new: int

    @property
    def commonest(self) -> list[tuple[str, list[Grade]]]:
        """First wrong steps with the students who made them, the commonest first."""
        steps: dict[str, list[Grade]] = {}
        for each in self.grades:
            if each.first_wrong:
                steps.setdefault(each.step, []).append(each)
        return sorted(steps.items(), key=lambda item: (-len(item[1]), item[0]))


def grade(job: Job, page: Page, finished: Callable[[Grade, int, int], None]) -> Graded:
    """Grade every submission that has no line yet for its present content, reference and weights.

    `page(grade, outcome, weights)` makes a student's page, `finished(grade, done, total)` is told of each. Raises
    ValueError, in one line, for a reference, weights or table that cannot be used.
    """
    found = _found(job)
    first = Marker(job.settings)
    try:
        first.start()
        job = dataclasses.replace(job, weights=_weighted(first, job))
        table = Table(job.out, tuple(job.weights.weights))
        kept, tags = _kept(table, found, job)
        job.pages.mkdir(exist_ok=True)
        table.write(kept.values())
    except BaseException:
        first.close()
        raise
    weights = job.weights
    todo = [each for each in found if each.student not in kept]
    total = len(found)

    def keep(submission: Submission, outcome: Outcome) -> Grade:
        remark = suspects(submission.file.read_text("utf-8", "replace")) if submission.sources else ""
        graded = grade_of(submission.student, outcome, weights, tags[submission.student], remark)
        job.page_of(submission.student).write_text(page(graded, outcome, weights), encoding="utf-8")
        table.add(graded)
        return graded

    done = dict(kept)
    for graded in _in_parallel(todo, first, job, keep):
        done[graded.student] = graded
        finished(graded, len(done), total)
    everybody = tuple(done[student] for student in sorted(done))
    table.write(everybody)
    return Graded(everybody, tuple(weights.weights), weights.points, len(todo))


def _found(job: Job) -> list[Submission]:
    """The submissions. Raises ValueError where there are none."""
    found = submissions(job.folder, named=job.named, beside=(job.settings.reference, job.pages))
    if not found:
        raise ValueError(f"{one_line(str(job.folder), 300)} holds no submission: no .py file and no folder")
    return found


def _kept(table: Table, found: Sequence[Submission], job: Job) -> tuple[dict[str, Grade], dict[str, str]]:
    """The lines that need not be made again, and everybody's fingerprint now. Raises ValueError for another's table."""
    known = table.read()
    tags = {each.student: _fingerprint(each, job) for each in found}
    if known and known.keys().isdisjoint(tags):
        raise ValueError(
            f"{one_line(str(job.out), 300)} holds the grades of others ({min(known)} and {len(known) - 1} more), "
            "which would be lost; choose another --out"
        )
    kept = {
        student: known[student]
        for student, tag in tags.items()
        if student in known and known[student].fingerprint == tag and job.page_of(student).exists()
    }
    return kept, tags


def _weighted(marker: Marker, job: Job) -> Weights:
    """The weights, of every quantity alike unless they are given. The reference's own backward must be right."""
    teacher = one_line(job.settings.reference.name, 100)
    order = [str(name) for name in marker.graded["order"]]
    names = marker.graded["listed"]
    if marker.graded["backward"]:
        own = Submission("reference", job.settings.reference, (job.settings.reference,))
        mine = Marker(dataclasses.replace(job.settings, hand_name=job.settings.name))
        try:
            outcome = mine.mark(own)
        finally:
            mine.close()
        if outcome.report is None:
            raise ValueError(f"{teacher}: its own backward cannot be used: {outcome.failed}")
        bad = next((row for row in outcome.report.rows if not row.ok), None)
        if bad is not None:
            raise ValueError(f"{teacher}: its own backward is not right: {bad.name} is {bad.verdict}; mend it first")
        names = names if names is not None else [row.name for row in outcome.report.rows]
    if job.weights.weights:
        names = list(job.weights.weights)
    if not names:
        raise ValueError(
            f"{teacher} has no backward, and lists no quantities to grade; add: quantities = {order!r} (or fewer)"
        )
    for name in names:
        if name not in order and name != FORWARD:
            raise ValueError(f"{one_line(str(name), 60)!r} cannot be graded: on the path to J are {', '.join(order)}")
    given = job.weights.weights
    return dataclasses.replace(job.weights, weights={str(name): given.get(name, 1.0) for name in names})


def _fingerprint(submission: Submission, job: Job) -> str:
    """Sixteen hex digits of everything that a grade depends on."""
    settings = job.settings
    parts = [
        submission.digest(),
        hashlib.sha256(settings.reference.read_bytes()).hexdigest(),
        repr(
            (
                settings.name,
                settings.hand_name,
                settings.seed,
                settings.seconds,
                settings.timeout,
                settings.explain,
                job.weights,
            )
        ),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _in_parallel(
    todo: Sequence[Submission], first: Marker, job: Job, keep: Callable[[Submission, Outcome], Grade]
) -> Iterator[Grade]:
    """The grades as they come. A worker mostly waits for its children; if the process is stopped, it ends with it."""
    waiting: queue.SimpleQueue[Submission] = queue.SimpleQueue()
    graded: queue.SimpleQueue[Grade | BaseException] = queue.SimpleQueue()
    for submission in todo:
        waiting.put(submission)

    def work(marker: Marker) -> None:
        try:
            while True:
                submission = waiting.get_nowait()
                graded.put(keep(submission, marker.mark(submission)))
        except queue.Empty:
            pass
        except BaseException as error:  # the main thread raises it
            graded.put(error)
        finally:
            marker.close()

    markers = [first] + [Marker(job.settings) for _ in range(min(job.processes, len(todo)) - 1)]
    for marker in markers:
        threading.Thread(target=work, args=(marker,), daemon=True).start()
    for _ in todo:
        result = graded.get()
        if isinstance(result, BaseException):
            raise result
        yield result


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
