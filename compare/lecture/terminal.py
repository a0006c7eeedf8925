"""The lecture on the terminal, in 80 columns: one table of all statements, or one statement in full."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text as Styled

from compare.lecture.statement import Claim, Language, Table, Text, Verdict, failures
from compare.lecture.table import Judged
from compare.lecture.tex import plain

WIDTH = 80
VERDICTS: dict[Verdict, Text] = {
    "right": Text("right", "certo"),
    "slip": Text("slip", "lapso"),
    "broken": Text("BROKEN", "QUEBRADO"),
}
CLAIMS: dict[Verdict, Text] = {
    "right": Text("right", "certo"),
    "slip": Text("wrong (slip)", "errado (lapso)"),
    "broken": Text("BROKEN", "QUEBRADO"),
}
WHERE = Text("holds", "vale")
COLOURS: dict[Verdict, str] = {"right": "green", "slip": "yellow", "broken": "bold red"}
GREEK = (
    (r"\bdelta(?=\b|_)", "δ"),
    (r"\bsigma'", "σ′"),
    (r"\bsigma\b", "σ"),
    (r"\blambda\b", "λ"),
    (r"\blr\b", "α"),
    (r"\by\^(?!\w)", "ŷ"),
    (r"(?<=\d) x (?=\d)", " × "),
    (r"(?<=\d)x(?=\d)", "×"),
    (r"\|\|(\w)\|\|", r"‖\1‖"),
    (r"(?<=\[)l(?=[\]+-])|(?<=layer )l\b|(?<=camada )l\b|\bl(?=\+1\b)", "ℓ"),
)


def greek(text: str) -> str:
    """Names of symbols as symbols: delta, sigma', lambda, o, ..."""
    for pattern, symbol in GREEK:
        text = re.sub(pattern, symbol, text)
    return text


def claim_verdict(claim: Claim) -> Verdict:
    """Of one claim: right, a slip of the print, or broken."""
    return "broken" if not claim.as_expected else "right" if claim.should else "slip"


def show_all(console: Console, judged: Sequence[Judged], language: Language) -> None:
    """One table: statement, verdict, note; then the sum."""
    heads = ("statement", "verdict", "note") if language == "en" else ("enunciado", "veredicto", "nota")
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, width=min(WIDTH, console.width))
    grid.add_column(heads[0], no_wrap=True)
    grid.add_column(heads[1], no_wrap=True)
    grid.add_column(heads[2], ratio=1, overflow="fold")
    for each in judged:
        verdict = each.outcome.verdict
        note = failures(each.outcome, language) if verdict == "broken" else each.outcome.note[language]
        grid.add_row(
            each.statement.name,
            Styled(VERDICTS[verdict][language], style=COLOURS[verdict]),
            Styled(greek(note)),
        )
    console.print(grid)
    console.print(Styled(total(judged, language)), width=min(WIDTH, console.width))


def total(judged: Sequence[Judged], language: Language) -> str:
    """How many statements are right, slips and broken."""
    count = {verdict: sum(each.outcome.verdict == verdict for each in judged) for verdict in VERDICTS}
    many = "" if len(judged) == 1 else "s"
    if language == "en":
        return (
            f"{len(judged)} statement{many}: {count['right']} right, {count['slip']} with a slip, confirmed and "
            f"corrected, {count['broken']} broken"
        )
    return (
        f"{len(judged)} enunciado{many}: {count['right']} certos, {count['slip']} com lapso, confirmado e corrigido, "
        f"{count['broken']} quebrados"
    )


def show_one(console: Console, each: Judged, language: Language) -> None:
    """A statement in full: formulas, text, claims, numbers."""
    width = min(WIDTH, console.width)
    statement, outcome = each.statement, each.outcome

    def paragraph(text: str, style: str = "") -> None:
        console.print(Styled(greek(text), style=style), width=width)

    paragraph(statement.heading[language], "bold")
    for tex in statement.tex:
        console.print(Styled(f"    {plain(tex)}"), width=width)
    if statement.corrected:
        paragraph({"en": "as it must read:", "pt": "como deve ser:"}[language])
        for tex in statement.corrected:
            console.print(Styled(f"    {plain(tex)}"), width=width)
    if statement.where[language]:
        paragraph(f"{WHERE[language]}: {statement.where[language]}")
    for text in statement.text:
        console.print()
        paragraph(text[language])
    console.print()
    grid = Grid(box=None, pad_edge=False, show_header=False, width=width)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for claim in outcome.claims:
        verdict = claim_verdict(claim)
        details = [d for d in (claim.note[language], claim.evidence[language]) if d]
        told = Styled(greek(claim.what[language]))
        if claim.tex:
            told.append(f"\n{plain(claim.tex)}", style="cyan")
        if details:
            told.append("\n" + greek("; ".join(details)), style="dim")
        grid.add_row(Styled(CLAIMS[verdict][language], style=COLOURS[verdict]), told)
    console.print(grid)
    for table in outcome.tables:
        console.print()
        paragraph(table.caption[language])
        console.print(_numbers(table, language, width))
    for text in outcome.reasoning:
        console.print()
        paragraph(text[language])
    console.print()
    verdict = outcome.verdict
    paragraph(f"{VERDICTS[verdict][language]}: {outcome.note[language]}", COLOURS[verdict])


def _numbers(table: Table, language: Language, width: int) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.width = None
    for title in table.head:
        grid.add_column(greek(title[language]), overflow="fold")
    for row in table.rows:
        grid.add_row(*(Styled(greek(cell if isinstance(cell, str) else cell[language])) for cell in row))
    return grid
