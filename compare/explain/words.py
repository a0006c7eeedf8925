"""What is told of a mistake in words: its name, the lines that mend it, in English and Portuguese."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compare.check.report import Row
from compare.explain.causes import CAUSES

SEPARATOR = "\0"  # between the sentences of two languages


def mended(row: Row, repair: dict[str, Any]) -> Row:
    """The row with a repair: its cause, its lines, and the sentence for the learner in both languages."""
    lines = [f"{file}:{line}  {old}  ->  {new or '(left out)'}" for file, line, old, new in repair["lines"]]
    first = repair["lines"][0]
    says, diz = (_sentence(repair, language) for language in ("en", "pt"))
    if row.verdict == "invalid" and row.explanation:
        says, diz = f"{row.explanation}; {says}", f"{row.explanation}; {diz}"
    return replace(
        row,
        cause=repair["cause"],
        explanation=f"{says}{SEPARATOR}{diz}",
        repair="\n".join(lines),
        line=f"{first[0]}:{first[1]}",
    )


def mended_at_once(rows: Sequence[Row], repair: dict[str, Any] | None = None) -> dict[str, Row]:
    """Rows that one repair mends, told in the first already if it is not given: the others refer to it."""
    first = mended(rows[0], repair) if repair is not None else rows[0]
    if len(rows) == 1:
        return {first.name: first}
    others = ", ".join(row.name for row in rows[1:])
    says, _, diz = first.explanation.partition(SEPARATOR)
    words = f"{says} This one edit mends {others} as well.{SEPARATOR}{diz} Esta única edição corrige também {others}."
    told = {rows[0].name: replace(first, explanation=words)}
    for row in rows[1:]:
        same = f"the same mistake as in {first.name}{SEPARATOR}o mesmo erro que em {first.name}"
        told[row.name] = replace(row, cause=first.cause, explanation=same, line=first.line)
    return told


def _sentence(repair: dict[str, Any], language: str) -> str:
    """What the mistake is, as the edit says it where it is that edit's own, and how to do it right."""
    cause = CAUSES[repair["cause"]]
    own, title, mend = ("says", cause.title, cause.mend) if language == "en" else ("diz", cause.titulo, cause.frase)
    return f"{repair.get(own) or title}. {mend}"


def in_language(language: str, row: Row) -> Row:
    """The row with its explanation in one language; what is told from numbers alone, by its cause's own sentence."""
    says, _, diz = row.explanation.partition(SEPARATOR)
    if language == "pt" and row.cause not in ("", "unknown"):
        says = diz or CAUSES[row.cause].titulo
    return replace(row, explanation=says)


def told_once(rows: Sequence[Row], like: Mapping[str, str]) -> tuple[Row, ...]:
    """Rows of one mistake that is made in several steps: the first shows every line, the others refer to it.

    `like` has the mended steps, each with the key of its edit.
    """
    same: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.name in like:
            same.setdefault((row.cause, like[row.name]), []).append(row)
    told = {row.name: row for row in rows}
    for group in same.values():
        first, *others = group
        names = ", ".join(row.name for row in others)
        lines = dict.fromkeys(line for row in group for line in row.repair.splitlines())
        if others:
            also = f"{first.explanation} The same in {names}."
            told[first.name] = replace(first, explanation=also, repair="\n".join(lines))
        for row in others:
            told[row.name] = replace(row, explanation=f"the same mistake as in {first.name}", repair="")
    return tuple(told.values())
