"""What a notebook shows of a report or a result: the same as the pages, without the page around it."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from compare.check.report import Report
from compare.run.past import read_folder
from compare.show.check_html import render
from compare.show.check_view import view
from compare.show.drawing import svg
from compare.show.figures import losses
from compare.show.run_html import facts


def report_fragment(report: Report) -> str:
    """A check's report."""
    return render("notebook_check.html", shown=view(report, report.subject))


def run_fragment(folder: Path) -> str:
    """A run's verdict, facts and losses."""
    run = read_folder(folder)
    drawing = losses(run) if run.epochs else None
    return render(
        "notebook_run.html",
        run=run,
        facts=facts(run),
        figure=Markup(svg(drawing)) if drawing is not None else "",
    )
