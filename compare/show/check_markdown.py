"""A check's report as Markdown, for an issue, a pull request or a notebook."""

from __future__ import annotations

import re

from compare.check.report import Report
from compare.show.check_view import view


def markdown(report: Report, title: str) -> str:
    """The report; text out of the user's file is escaped, so that it is shown and never interpreted."""
    shown = view(report, title)
    rows = [
        f"| {_text(r.quantity)} | {'' if r.ok else '**'}{r.verdict}{'' if r.ok else '**'} | {r.error} | {r.ulps} "
        f"| {_text(r.condition)} | {_text(r.line)} |"
        for r in shown.rows
    ]
    parts = [
        f"# {_text(shown.title)}",
        f"**{_text(shown.headline)}**",
        "\n".join(["| quantity | verdict | rel. error | ulps | seen at | line |", "|---|---|--:|--:|---|---|", *rows]),
        "\n".join(f"- {_text(text)}" for text in shown.findings),
        "\n".join(f"- note: {_text(note)}" for note in shown.notes),
        "\n".join(["```text", *(line.replace("```", "'''") for line in shown.example), "```"]) if shown.example else "",
        _text(shown.summary),
        "\n".join(f"- {_text(name)}: {_text(status)}" for name, status in shown.conditions),
        "\n".join(f"- *{verdict}*: {_text(meaning)}" for verdict, meaning in shown.meanings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    """`text` with every character that Markdown or HTML could take for markup escaped."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#~!])", r"\\\1", text)
