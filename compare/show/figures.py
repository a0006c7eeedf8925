"""Figures of runs: curves, the gap, the flow of gradients, several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from compare.run.past import PastRun
from compare.run.record import LOG10_FLOOR, log10_gap
from compare.show.axes import legend, logarithmic, whole_epochs
from compare.show.drawing import Drawing, table
from compare.show.theme import DASHES, MARKERS, Theme

MARKED = 12  # markers on a curve, about
COMPARED = 6  # runs that one figure tells apart
LONGEST_NAME = 32  # letters of a run's name


def of_run(run: PastRun) -> list[Drawing]:
    """Everything that there is to draw of one run."""
    drawings = [losses(run)]
    if run.tags("gap", "gap"):
        drawings.append(gap(run))
    if run.tags("manual", "gradient norm"):
        drawings.append(gradient_flow(run))
    return drawings


def losses(run: PastRun) -> Drawing:
    """The lecture's Figure 2: both runs' training and validation loss, and since when the run overfits."""
    best, since = run.best_epoch, run.overfitting_epoch
    curves = {(r, t): run.curve(r, f"loss/{t}") for r in ("manual", "autograd") for t in ("train", "val")}

    def draw(figure: Any, theme: Theme) -> None:
        axes = figure.subplots()
        last = run.epochs[-1]
        if since is not None:
            axes.axvspan(since, max(last, since + 0.2), color=theme.tint, linewidth=0)
            axes.text(since, 0.98, " overfitting", transform=axes.get_xaxis_transform(), va="top", color=theme.soft)
        if best is not None:
            axes.axvline(best, color=theme.soft, linewidth=1)
            axes.text(best, 0.98, "best ", transform=axes.get_xaxis_transform(), ha="right", va="top", color=theme.soft)
        for k, (tag, name) in enumerate((("train", "training"), ("val", "validation"))):
            axes.plot(
                run.epochs, curves["manual", tag], color=theme.curves[k], linestyle=DASHES[k], label=f"{name}, by hand"
            )
            step = max(1, len(run.epochs) // MARKED)
            axes.plot(
                run.epochs[::step], curves["autograd", tag][::step], linestyle="none", marker=MARKERS[k], markersize=6,
                markerfacecolor="none", markeredgecolor=theme.curves[k], label=f"{name}, autograd",
            )  # fmt: skip
        whole_epochs(axes)
        axes.set_ylabel("loss")
        axes.set_title(f"{_named(run)}: loss")
        legend(figure, axes, columns=2)

    said = "no overfitting" if since is None else f"overfitting since epoch {since}"
    first, final = (curves["manual", "val"][i] for i in (0, -1))
    alt = (
        f"Loss over {run.epochs[-1]} epochs. The validation loss goes from {first:.4g} to {final:.4g}, its least is at "
        f"epoch {best}; {said}. The curves by hand and by autograd {'coincide' if run.ok else 'are both drawn'}."
    )
    head = ("epoch", "training, by hand", "training, autograd", "validation, by hand", "validation, autograd")
    columns = [curves[r, t] for t in ("train", "val") for r in ("manual", "autograd")]
    return Drawing("curves", "Loss", alt, draw, head, table(run.epochs, columns, ".6f", keep=(best, since)))


def gap(run: PastRun) -> Drawing:
    """How far the gradients by hand and by autograd are apart."""
    largest = [log10_gap(v) if v == v else v for v in run.curve("gap", "gap/relative largest")]
    worst = [log10_gap(v) if v == v else v for v in run.curve("gap", "gap/relative worst so far")]
    ulps, epochs = run.curve("gap", "gap/ulp largest"), list(run.epochs)
    if run.mismatch is not None:  # what stopped the run came after its last evaluation
        at, size = run.mismatch
        epochs.append(at)
        largest.append(log10_gap(size))
        worst.append(max([log10_gap(size), *(v for v in worst if v == v)]))
        ulps = [*ulps, math.nan]
    exact = all(v == LOG10_FLOOR or v != v for v in worst)

    def draw(figure: Any, theme: Theme) -> None:
        axes = figure.subplots()
        axes.plot(epochs, worst, color=theme.curves[1], linestyle=DASHES[1], label="worst so far")
        axes.plot(
            epochs,
            largest,
            color=theme.curves[0],
            marker="o",
            markersize=4,
            linewidth=1,
            label="since the last point",
        )
        for height, name in (
            (-20, "equal bit for bit"),
            (-16, "rounding of float64"),
            (-7, "rounding of float32"),
            (-2, "1 %"),
        ):
            axes.axhline(height, color=theme.soft, linewidth=0.8, linestyle=(0, (2, 3)))
            axes.text(0.01, height + 0.45, name, color=theme.soft, fontsize=10, transform=axes.get_yaxis_transform())
        if run.mismatch is not None:
            axes.annotate(
                f"mismatch, epoch {epochs[-1]} ", (epochs[-1], largest[-1]), xytext=(-8, -14),
                textcoords="offset points", ha="right", va="top",
            )  # fmt: skip
        axes.set_ylim(-21, 1)
        axes.set_yticks(range(-20, 1, 4))
        whole_epochs(axes)
        axes.set_ylabel("log10 of the relative gap")
        axes.set_title(f"{_named(run)}: gap of the gradients")
        legend(figure, axes)

    top = max((v for v in worst if v == v), default=LOG10_FLOOR)
    alt = "Gap between the gradients by hand and by autograd over the epochs: " + (
        "none at any step, they are equal bit for bit."
        if exact
        else f"at most 10 to the power {top:.1f} of their size."
    )
    head = ("epoch", "largest, ulps", "largest, log10 relative", "worst so far, log10 relative")
    return Drawing("gap", "Gap of the gradients", alt, draw, head, table(epochs, [ulps, largest, worst], ".4g"))


def gradient_flow(run: PastRun) -> Drawing:
    """The size of each layer's gradient, and of its updates relative to its parameters."""
    layers = [tag.partition("/")[2] for tag in run.tags("manual", "gradient norm")]
    sizes = {layer: run.curve("manual", f"gradient norm/{layer}") for layer in layers}
    updates = {layer: run.curve("manual", f"update to weight/{layer}") for layer in layers}

    def draw(figure: Any, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        for axes, curves, title in ((left, sizes, "gradient norm"), (right, updates, "update / weight")):
            for k, layer in enumerate(layers):
                style = {"color": theme.curves[k % 6], "linestyle": DASHES[k % 6], "marker": MARKERS[k % 6]}
                every = max(1, len(run.epochs) // 8)
                axes.plot(run.epochs, curves[layer], **style, markersize=5, markevery=(k, every), label=layer)
            logarithmic(axes, [v for curve in curves.values() for v in curve if 0 < v < math.inf])
            axes.set_title(title)
            whole_epochs(axes)
        figure.suptitle(f"{_named(run)}: gradients by layer", x=0.01, ha="left", fontsize=12)
        legend(figure, left)

    final = {layer: _last(sizes[layer]) for layer in layers}
    least, most = min(final, key=lambda x: final[x]), max(final, key=lambda x: final[x])
    alt = (
        f"Norm of each layer's gradient over the epochs, and of its updates relative to its parameters. At the "
        f"end the norm is least in {least}, {final[least]:.3g}, and largest in {most}, {final[most]:.3g}."
    )
    head = (
        "epoch",
        *(f"gradient norm, {layer}" for layer in layers),
        *(f"update / weight, {layer}" for layer in layers),
    )
    return Drawing(
        "gradient-flow", "Gradients by layer", alt, draw, head,
        table(run.epochs, [*sizes.values(), *updates.values()], ".4g"), size=(7.2, 4.0),
    )  # fmt: skip


def comparison(runs: Sequence[PastRun]) -> Drawing:
    """The losses of several runs on one chart. Raises `ValueError` for more than can be told apart."""
    if len(runs) > COMPARED:
        raise ValueError(f"{len(runs)} runs are given; one figure tells at most {COMPARED} apart: name fewer")

    def draw(figure: Any, theme: Theme) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, tag, title in ((left, "loss/train", "training loss"), (right, "loss/val", "validation loss")):
            for k, run in enumerate(runs):
                every = max(1, len(run.epochs) // 8)
                axes.plot(
                    run.epochs, run.curve("manual", tag), color=theme.curves[k], linestyle=DASHES[k], marker=MARKERS[k],
                    markersize=5, markevery=(k, every), label=_named(run),
                )  # fmt: skip
            axes.set_title(title)
            whole_epochs(axes)
        legend(figure, right, columns=2)

    best = {run.name: min(run.curve("manual", "loss/val"), default=math.nan) for run in runs}
    listed = "; ".join(f"{name} {value:.5g}" for name, value in best.items())
    epochs = sorted({epoch for run in runs for epoch in run.epochs})
    places = [dict(zip(run.epochs, run.curve("manual", "loss/val"), strict=True)) for run in runs]
    columns = [[place.get(epoch, math.nan) for epoch in epochs] for place in places]
    head = ("epoch", *(f"validation loss, {run.name}" for run in runs))
    alt = f"Training and validation loss of {len(runs)} runs. Least validation loss: {listed}."
    return Drawing("comparison", "Runs compared", alt, draw, head, table(epochs, columns, ".6f"), size=(7.2, 4.0))


def _named(run: PastRun) -> str:
    """The run's name as matplotlib prints it, as long as there is room: a dollar begins no formula."""
    name = run.name if len(run.name) <= LONGEST_NAME else f"{run.name[: LONGEST_NAME - 1]}…"
    return name.replace("$", r"\$")


def _last(curve: Sequence[float]) -> float:
    return next((v for v in reversed(curve) if v == v), math.nan)
