"""manualbp check."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from compare.processes import prepare


@dataclass(frozen=True)
class Check:
    """Is a hand-written backward right, and if not, which step is wrong?

    FILE defines inputs, forward and backward; or, under NAME, a class, object or dict that holds these three; a Layer
    with a batch NAME_x beside it (NAME_y, NAME_loss and NAME_twin if wanted); or a torch.autograd.Function with
    NAME_reference, the same in plain torch, and NAME_inputs beside it. NAME can be left out where there is only one.

    The file runs in child processes under limits; they return numbers, which are judged here.
    """

    target: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE[:NAME]")]
    """The Python file, and the name in it: FILE or FILE:NAME."""
    report: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """Write the report as well to this file: .html, .md or .json."""
    json: bool = False
    """Print the report as JSON on standard output, and nothing else."""
    quiet: bool = False
    """Print the verdict alone."""
    seconds: float = 10.0
    """Begin no further condition after this time."""
    timeout: float = 60.0
    """End the whole check after this time."""
    memory: int = 4096
    """MiB of memory that each child may hold."""
    seed: int = 0
    """Seed of the values that are drawn."""
    explain: bool = True
    """Look for the cause and the repair of each wrong step."""
    explain_seconds: float = 10.0
    """Spend at most about this time on explaining."""
    language: Literal["en", "pt"] = "en"
    """Language of the explanations."""
    power: bool = False
    """Plant mistakes in a backward that is right, and tell how many of them this check catches."""
    power_seconds: float = 60.0
    """Plant no further mistake after this time."""

    def __call__(self) -> int:
        """Check, print, and return 0, or 1 where a verdict is not ok."""
        for flag, value in (
            ("seconds", self.seconds),
            ("timeout", self.timeout),
            ("memory", self.memory),
            ("explain-seconds", self.explain_seconds),
            ("power-seconds", self.power_seconds),
        ):
            if not value > 0:
                raise ValueError(f"--{flag} is {value}; it must be above 0")
        file, name = split_target(self.target)
        if self.report is not None:
            require_report_path(self.report)
        prepare()

        from compare.check.remote import check_file
        from compare.show.check_terminal import print_report
        from compare.show.check_view import to_json

        report = check_file(
            file,
            name,
            seed=self.seed,
            seconds=self.seconds,
            timeout=self.timeout,
            memory=self.memory * 2**20,
        )
        memory = self.memory * 2**20
        if self.explain and not report.ok:
            from compare.explain.service import explain_file

            report = explain_file(
                report,
                file,
                name,
                seconds=self.explain_seconds,
                seed=self.seed,
                language=self.language,
                memory=memory,
            )
        planted = None
        if self.power and report.ok:
            from compare.explain.service import power_of_file

            planted = power_of_file(file, name, seconds=self.power_seconds, seed=self.seed, memory=memory)
            report = replace(report, notes=(*report.notes, *str(planted).splitlines()))
        elif self.power:
            report = replace(report, notes=(*report.notes, "no mistakes were planted: the derivation is not right"))
        title = Path(file).name + (f":{name}" if name else "")
        if self.report is not None:
            write_report(self.report, report, title)
        if self.json:
            data = to_json(report, title)
            print(json.dumps(data | {"power": asdict(planted)} if planted is not None else data))
        else:
            print_report(report, title, quiet=self.quiet)
        return 0 if report.ok else 1


def split_target(target: str) -> tuple[str, str]:
    """FILE and NAME of FILE:NAME. A path that exists is a path, whatever is in it."""
    file, colon, name = target.rpartition(":")
    if colon and file and not Path(target).exists():
        if not all(step.isidentifier() for step in name.split(".")):
            raise ValueError(f"{target}: {name!r} is no name in a Python file; write FILE or FILE:NAME")
        return file, name
    return target, ""


def require_report_path(path: str) -> None:
    """Refuse, before anything runs, a report that could not be written."""
    if Path(path).suffix not in (".html", ".md", ".json"):
        raise ValueError(f"--report is {path!r}; it must end in .html, .md or .json")
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"--report is {path!r}; its folder does not exist: create it first")


def write_report(path: str, report: object, title: str) -> None:
    """Write a report in the form that the suffix names."""
    from compare.check.report import Report
    from compare.show.check_html import html
    from compare.show.check_markdown import markdown
    from compare.show.check_view import to_json

    assert isinstance(report, Report)
    suffix = Path(path).suffix
    text = html(report, title) if suffix == ".html" else markdown(report, title) if suffix == ".md" else ""
    Path(path).write_text(text or json.dumps(to_json(report, title), indent=2) + "\n", encoding="utf-8")
