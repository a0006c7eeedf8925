"""A drawing as a file or as part of a page, made with matplotlib without a display."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from compare.show.theme import THEMES, Theme, themed

ROWS = 40  # of the table behind a figure; the record of truth is metrics.jsonl
DPI = 160


@dataclass(frozen=True)
class Drawing:
    """What to draw, what it shows in words for those who do not see it, and the numbers behind it."""

    name: str  # of its file
    title: str
    alt: str
    draw: Callable[[Any, Theme], None]  # on a matplotlib figure
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    size: tuple[float, float] = (6.4, 4.0)


def svg(drawing: Drawing, theme: Theme = THEMES["light"]) -> str:
    """The figure as an SVG element for a page, described by its `alt`; several may stand on one page."""
    text = render(drawing, "svg", theme).decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{drawing.name}-", text)  # ids are the page's own
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(drawing.alt, quote=True)}"', 1)


def render(drawing: Drawing, form: str, theme: Theme) -> bytes:
    """The figure as a file of the form "png" or "svg"."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with themed(theme), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box, 1e308 without a tick
        figure = Figure(figsize=drawing.size, layout="constrained")
        FigureCanvasAgg(figure)
        drawing.draw(figure, theme)
        out = io.BytesIO()
        about: dict[str, Any] = {"Title": drawing.title, "Description": drawing.alt} | (
            {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        )
        figure.savefig(out, format=form, dpi=DPI, metadata=about)
    return out.getvalue()


def table(
    epochs: Sequence[int], columns: Sequence[Sequence[float]], form: str, *, keep: Sequence[int | None] = ()
) -> tuple[tuple[str, ...], ...]:
    """Rows for at most about `ROWS` epochs, evenly spread, with the first, the last and those of `keep`."""
    last = len(epochs) - 1
    chosen = set(range(last + 1)) if last < ROWS else {round(k * last / (ROWS - 1)) for k in range(ROWS)}
    chosen |= {epochs.index(epoch) for epoch in keep if epoch in epochs}
    return tuple(
        (str(epochs[i]), *("" if column[i] != column[i] else format(column[i], form) for column in columns))
        for i in sorted(chosen)
    )
