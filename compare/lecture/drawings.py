"""The figures of the lecture's page, drawn with matplotlib.

Nothing is told by colour alone: lines differ in dashes too.
"""

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


def _style(axes: Any, x: str, y: str = "") -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_section_3(figure: Any, language: Language, curves: Any, points: Any) -> None:
    """Cost of the three updates against steps, epochs and seconds; variance of the gradient against the batch size."""
    english = language == "en"
    (steps, epochs), (seconds, noise) = figure.subplots(2, 2)
    titles = ("steps", "epochs", "seconds") if english else ("passos", "épocas", "segundos")
    for k, curve in enumerate(curves):
        style = {"color": INK[k], "linestyle": DASHES[k], "label": curve.name[language]}
        steps.plot(curve.at, curve.cost, **style)
        epochs.plot([n / curve.per_epoch for n in curve.at], curve.cost, **style)
        seconds.plot(curve.seconds, curve.cost, **style)
    for axes, title in zip((steps, epochs, seconds), titles, strict=True):
        _style(axes, title, "training cost J" if english else "custo de treino J")
    steps.set_xscale("symlog", linthresh=1)
    seconds.set_xscale("symlog", linthresh=0.0001)
    seconds.minorticks_off()
    epochs.legend(fontsize=8)
    sizes = [p.B for p in points]
    noise.loglog(sizes, [p.expected for p in points], color=INK[0], label="Var(1) / B")
    measured = ("measured", "measured, no repeats") if english else ("medida", "medida, sem repetição")
    noise.loglog(sizes, [p.measured for p in points], "o", color=INK[1], markersize=5, label=measured[0])
    noise.loglog(
        sizes, [p.different for p in points], "s", color=INK[2], markersize=5, fillstyle="none", label=measured[1]
    )
    _style(noise, "B", "variance of the gradient" if english else "variância do gradiente")
    noise.legend(fontsize=8)
    figure.tight_layout()


def draw_overfitting(figure: Any, language: Language, result: Any) -> None:
    """Training and validation loss, the best epoch and the one where overfitting begins."""
    english = language == "en"
    axes = figure.subplots()
    curves = result.history["manual"]
    labels = ("training", "validation") if english else ("treino", "validação")
    for k, (tag, label) in enumerate(zip(("loss/train", "loss/val"), labels, strict=True)):
        axes.plot(result.epochs, curves[tag], color=INK[k], linestyle=DASHES[k], marker=".", label=label)
    best, since = result.best_epoch, result.overfitting_epoch
    axes.axvline(best, color=INK[4], linewidth=0.9)
    axes.text(best - 0.1, max(curves["loss/val"]), "best" if english else "melhor", fontsize=8, ha="right", va="top")
    axes.axvspan(since, result.epochs[-1], color="#b03a12", alpha=0.08, linewidth=0)
    axes.text(since + 0.1, max(curves["loss/val"]), "overfitting", fontsize=8, va="top")
    _style(axes, "epoch" if english else "época", "mean log-loss" if english else "log-loss média")
    axes.legend(fontsize=8, loc="lower left")
    figure.tight_layout()


def draw_sweep(figure: Any, language: Language, sweep: Any, norms: list[float]) -> None:
    """Both losses for each lambda, and the weights' norm."""
    english = language == "en"
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for k, (lam, result) in enumerate(sweep):
        curves = result.history["manual"]
        left.plot(result.epochs, curves["loss/val"], color=INK[k], linestyle=DASHES[k], label=f"$\\lambda$ = {lam:g}")
        left.plot(result.epochs, curves["loss/train"], color=INK[k], linestyle=DASHES[k], linewidth=0.8, alpha=0.7)
    left.set_ylim(top=0.72)
    left.legend(fontsize=8)
    both = "thick: validation, thin: training" if english else "grosso: validação, fino: treino"
    _style(left, f"{'epoch' if english else 'época'} ({both})", "mean log-loss" if english else "log-loss média")
    right.bar([f"{lam:g}" for lam, _ in sweep], norms, color=INK[0])
    _style(right, "$\\lambda$", "||W||")
    figure.tight_layout()


def draw_symmetry(figure: Any, language: Language, starts: Any) -> None:
    """Cost and rank of W[2] from three starts."""
    english = language == "en"
    left, right = figure.subplots(1, 2)
    for k, start in enumerate(starts):
        left.plot(start.cost, color=INK[k], linestyle=DASHES[k], label=start.name[language])
        right.plot(start.rank, color=INK[k], linestyle=DASHES[k], label=start.name[language])
    _style(left, "epoch" if english else "época", "cost J" if english else "custo J")
    _style(right, "epoch" if english else "época", "rank of $W^{[2]}$" if english else "posto de $W^{[2]}$")
    right.set_yticks([0, 1, 2])
    left.legend(fontsize=8)
    figure.tight_layout()
