"""How every figure looks: colours that colour-blind eyes tell apart, dashes and markers for those that see none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Name = Literal["light", "dark"]
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Theme:
    """Colours of paper and ink, and of curves (after Okabe and Ito)."""

    paper: str
    ink: str
    soft: str
    grid: str
    tint: str
    curves: tuple[str, ...]


THEMES: dict[str, Theme] = {
    "light": Theme(
        "#ffffff", "#1c1c1c", "#555555", "#dddddd", "#fbe8dc",
        ("#0072b2", "#b34700", "#00714f", "#8a3f73", "#1c1c1c", "#7a5c00"),
    ),
    "dark": Theme(
        "#14171c", "#ececec", "#b4b4b4", "#3a3f47", "#43291c",
        ("#6cb8ee", "#f0935a", "#4ccfa3", "#dfa3cb", "#ececec", "#e5c34b"),
    ),
}  # fmt: skip


@contextlib.contextmanager
def themed(theme: Theme) -> Iterator[None]:
    """matplotlib's settings for one figure; nothing of them stays."""
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the figure is the same everywhere
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.soft,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.8,
        "legend.frameon": False,
        "svg.hashsalt": "manualbp",  # the same numbers give the same file
    }
    with matplotlib.rc_context(settings):
        yield
