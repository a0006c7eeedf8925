"""manualbp grade."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from compare.processes import prepare


@dataclass(frozen=True)
class GradeFolder:
    """Grade a folder of submissions against a teacher's reference.

    A submission is a Python file in DIR, or a folder in DIR that holds one; it defines backward, which gets the
    reference's inputs and intermediates by name, as in `manualbp check`. If it defines forward as well, that is
    compared with the reference's, and noted. Each runs in processes of its own, apart from the reference.

    The reference defines inputs and forward, and a backward whose quantities are graded (or the list: quantities).
    Beside OUT stands a folder of pages, one a student, and summary.html. Grading that was stopped goes on where it was:
    a line is kept while its submission, the reference and the weights are unchanged. Exit status 0 once all are graded.
    """

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DIR")]
    """Folder of the submissions."""
    reference: Annotated[str, tyro.conf.arg(metavar="FILE[:NAME]")]
    """The teacher's file, and the name of the derivation in it."""
    out: Annotated[str, tyro.conf.arg(metavar="OUT.csv")] = "grades.csv"
    """Table to write."""
    weights: Annotated[str | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """Weights of the quantities and credit of the verdicts; without it all quantities count alike."""
    file: Annotated[str, tyro.conf.arg(metavar="NAME.py")] = ""
    """The file to grade where a student's folder holds several."""
    name: str = ""
    """Name of the class, object or dict in a submission that holds backward; the file itself if not given."""
    processes: int = 0
    """Submissions that are graded at one time; 0: one a core."""
    seconds: float = 30.0
    """Begin no further condition of a submission after this time."""
    timeout: float = 60.0
    """End a submission after this time."""
    memory: int = 2048
    """MiB of memory that each child may hold."""
    seed: int = 0
    """Seed of the values that are drawn."""
    explain: bool = True
    """Look for the cause and the repair of each wrong step."""
    explain_seconds: float = 10.0
    """Spend at most about this time on explaining a submission."""
    quiet: bool = False
    """Print the result alone."""

    def __call__(self) -> int:
        """Grade, write the table and the pages, and return 0."""
        from compare.commands.check import split_target

        limits = {"seconds": self.seconds, "timeout": self.timeout, "memory": self.memory}
        for flag, value in (limits | {"explain-seconds": self.explain_seconds}).items():
            if not value > 0:
                raise ValueError(f"--{flag} is {value}; it must be above 0")
        if self.processes < 0:
            raise ValueError(f"--processes is {self.processes}; it must be at least 0")
        out = Path(self.out)
        if out.suffix != ".csv" or not out.absolute().parent.is_dir():
            raise ValueError(f"--out is {self.out!r}; it must be a .csv file in a folder that exists")
        reference, name = split_target(self.reference)
        if not Path(reference).is_file():
            raise ValueError(f"--reference is {reference!r}: no such file; check the path")
        prepare()

        from compare.grade import SUMMARY, Job, cores, grade
        from compare.grading.marker import Settings
        from compare.grading.weights import Weights, read_weights
        from compare.show.grade_html import student_page, summary_page
        from compare.show.grade_terminal import Progress

        settings = Settings(
            Path(reference),
            name,
            self.name,
            seconds=self.seconds,
            timeout=self.timeout,
            memory=self.memory * 2**20,
            seed=self.seed,
            explain=self.explain_seconds if self.explain else 0.0,
        )
        weights = Weights() if self.weights is None else read_weights(self.weights)
        job = Job(Path(self.folder), settings, out, weights, self.file, self.processes or cores())
        with Progress(quiet=self.quiet) as progress:
            graded = grade(job, student_page, progress.finished)
        summary = job.pages / SUMMARY
        title = f"{Path(self.folder).resolve().name} against {settings.reference.name}"
        summary.write_text(summary_page(graded, title, lambda student: job.page_of(student).name), encoding="utf-8")
        progress.ended(graded, out, summary)
        return 0
