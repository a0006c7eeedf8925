"""The figures of the lecture's page, drawn with matplotlib. Nothing is told by colour alone: lines differ in dashes too."""

from __future__ import annotations

from typing import Any

from compare.lecture.statement import Language

INK = ("#1b3a6b", "#b03a12", "#1d6b3a", "#6b3fa0", "#555555")  # each at least 4.5 : 1 on white
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def draw_network(figure: Any, language: Language) -> None:
    """Figure 1: 3 inputs, 3 hidden units, 1 output."""
    axes = figure.add_subplot()
    axes.set_axis_off()
    columns = {0.0: 3, 1.0: 3, 2.0: 1}
    places = {(x, i): (x, (n - 1) / 2 - i) for x, n in columns.items() for i in range(n)}
    for (x, i), (left, y) in places.items():
        for (next_x, _), (right, other) in places.items():
            if next_x == x + 1:
                axes.plot((left, right), (y, other), color="#888888", linewidth=0.8, zorder=1)
        axes.scatter([left], [y], s=900, color="white", edgecolor=INK[0], linewidth=1.4, zorder=2)
        name = f"$x_{i + 1}$" if x == 0 else (f"$a^{{[2]}}_{i + 1}$" if x == 1 else "$a^{[3]}$")
        axes.text(left, y, name, ha="center", va="center", fontsize=11, zorder=3)
    axes.text(0.5, 1.45, "$W^{[2]}, b^{[2]}$", ha="center", fontsize=11)
    axes.text(1.5, 1.0, "$W^{[3]}, b^{[3]}$", ha="center", fontsize=11)
    titles = (
        ("layer 1: input", "layer 2", "layer 3: output")
        if language == "en"
        else ("camada 1: entrada", "camada 2", "camada 3: saída")
    )
    for x, title in enumerate(titles):
        axes.text(x, -1.75, title, ha="center", fontsize=9)
    axes.set_xlim(-0.5, 2.5)
    axes.set_ylim(-2.0, 1.8)
