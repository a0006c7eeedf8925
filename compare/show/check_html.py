"""A check's report as one HTML file that needs no other, with everything out of the user's file escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from compare.check.report import Report
from compare.show.check_view import view


def render(template: str, **values: Any) -> str:
    """A page of `compare/show/templates`; every value in it is escaped."""
    environment = Environment(
        loader=PackageLoader("compare.show", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def html(report: Report, title: str) -> str:
    """The report as a page."""
    return render("check.html", shown=view(report, title))
