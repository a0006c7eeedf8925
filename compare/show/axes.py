"""How the axes of every figure are labelled: whole epochs, decades, and a legend that hides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def whole_epochs(axes: Any) -> None:
    """The axis of epochs, once all is drawn: no halves."""
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    low, high = axes.get_xlim()
    if high - low < 1:  # a single one
        only = round((low + high) / 2)
        axes.set_xlim(only - 1, only + 1)
        axes.set_xticks([only])


def logarithmic(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic axis for these positive numbers; few decades get numbers between them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not values:
        return
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if max(values) < 100 * min(values):
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend(figure: Any, axes: Any, columns: int = 4) -> None:
    """Below the axes, where it hides no curve; its rows are about as long as each other."""
    handles, labels = axes.get_legend_handles_labels()
    columns = math.ceil(len(labels) / math.ceil(len(labels) / columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=10)
