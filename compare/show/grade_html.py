"""Pages of a grading: one a student, and a summary of the class. Everything out of submissions is escaped."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from urllib.parse import quote

from compare.check.verdict import WORST_FIRST
from compare.grade import Graded
from compare.grading.marker import Outcome
from compare.grading.table import Grade
from compare.grading.weights import Weights
from compare.show.check_html import render
from compare.show.check_view import view


def student_page(grade: Grade, outcome: Outcome, weights: Weights) -> str:
    """A student's page: the score, what each quantity earned, and the report."""
    credits = [
        (name, verdict, f"{weights.credit[verdict]:g}", f"{weights.weights[name]:g}")
        for name, verdict in grade.verdicts.items()
    ]
    return render(
        "student.html",
        student=grade.student,
        score=f"{grade.score:g}",
        points=f"{weights.points:g}",
        failed=outcome.failed,
        first_wrong=grade.first_wrong,
        credits=credits,
        forward_note=outcome.forward_note,
        shown=view(outcome.report, grade.student) if outcome.report is not None else None,
    )


def summary_page(graded: Graded, title: str, page_of: Callable[[str], str]) -> str:
    """The class: how many points, which steps go wrong most often and for whom, and everybody's line."""
    scores = [grade.score for grade in graded.grades] or [0.0]

    def linked(grade: Grade) -> tuple[str, str]:
        return grade.student, quote(page_of(grade.student))

    counts = {name: Counter(grade.verdicts.get(name, "") for grade in graded.grades) for name in graded.quantities}
    seen = {verdict for each in counts.values() for verdict in each if verdict}
    verdicts = [v for v in (*reversed(WORST_FIRST), *sorted(seen - set(WORST_FIRST))) if v in seen]
    return render(
        "summary.html",
        title=title,
        count=len(graded.grades),
        mean=f"{statistics.mean(scores):.1f}",
        median=f"{statistics.median(scores):.1f}",
        points=f"{graded.points:g}",
        mistakes=[(step, [linked(grade) for grade in grades]) for step, grades in graded.commonest],
        verdicts=verdicts,
        quantities=[(name, [each[verdict] for verdict in verdicts]) for name, each in counts.items()],
        everybody=[(grade, quote(page_of(grade.student))) for grade in graded.grades],
    )
