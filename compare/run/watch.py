"""What TensorBoard shows of a run beside its curves: pictures, histograms, texts, the layout, hyper-parameters.

Histograms and pictures are made at a few evaluations of a run, evenly spread, and at its end: so they stay a small
part of its time. Which ones depends on the config and the number of samples alone. None of it changes either run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from compare.names import Names
from compare.run.closeup import CloseUp, close_up, is_delta
from compare.run.data import Data
from compare.run.equations import equations
from compare.run.finite import layer_of
from compare.run.history import best_epoch, overfitting_epoch
from compare.run.network import Part, answers
from compare.run.record import RunRecord, drawn
from compare.run.steps import Mismatch
from compare.run.tags import GAPS, gap_tags

if TYPE_CHECKING:
    from compare.run.loop import Loop

STEPS = 150  # of training, for each further look
LOOKS = (2, 12)  # evaluations at which pictures and histograms are made: at least, at most
FRAMES = 10  # of the decision boundary
SAMPLES = 12  # that are still wrong and shown
CLASSES = 20  # at most, of a confusion matrix that can be read
GRID = 60  # points a side of the decision boundary
OPTIONS = (
    *("data", "hidden", "activation", "loss", "init", "update", "batch_size", "epochs", "lr", "l2", "dtype", "device"),
    "seed",
)
METRICS = ("loss/val", "loss/train", "accuracy/val", "overfitting/since epoch")
LAYOUT: dict[str, dict[str, list[str]]] = {
    "manual vs autograd": {
        "loss: training and validation of both runs": ["^loss/train$", "^loss/val$"],
        "gap of all gradients, log10 relative (-20: none at all)": ["^gap/log10 relative (largest|worst so far)$"],
        "overfitting: since which epoch (0: not)": ["^overfitting/since epoch$"],
        "overfitting: validation loss above its least": ["^overfitting/validation loss above its least$"],
    },
    "layers": {
        "gradient norm: vanishing or exploding": ["^gradient norm/"],
        "weight norm": ["^weight norm/"],
        "size of an update relative to the weights": ["^update to weight/"],
    },
}

WHERE = "where the gap is, layer by layer from the output on (log10 relative; -20: none, -2: 1 %)"
CHARTS = 12  # of layers; deeper networks get one for all


class Watch:
    """Draws one run. Deltas' worst gap so far is that since the process was started."""

    def __init__(self, record: RunRecord, data: Data) -> None:
        self.record, self.data = record, data
        self._worst: dict[str, list[float]] = {}
        self._looked = -1

    def started(self, loop: Loop, config: Mapping[str, Any]) -> None:
        """The layout, the hyper-parameters, the config and the equations."""
        from compare.run.summaries import hyperparameters, layout, text

        record, epoch = self.record, 0
        record.drawing("gap", epoch, layout(_charts(loop.names)))
        options = {name: _plain(config[name]) for name in OPTIONS}
        metrics = [tag for tag in METRICS if self.data.classes or not tag.startswith("accuracy")]
        for run in ("manual", "autograd"):
            record.drawing(
                run, epoch, *hyperparameters(options | {"gradient": run}, metrics, f"{record.path.name} {run}")
            )
        settings = (record.path / "config.toml").read_text(encoding="utf-8")
        record.drawing("gap", epoch, text("what it ran with", _code(settings)))
        pair = loop.pair
        lines = equations(pair.net, pair.params, loop.names, pair.loss, l2=pair.l2)
        record.text("what is computed", _code("\n".join(lines)))

    def evaluated(self, loop: Loop) -> None:
        """After an evaluation was logged: look closely if it is one of those."""
        if loop.epoch in self._schedule(loop, self._looks(loop)):
            self._look(loop)
        if self.data.classes and loop.training.x.shape[1] == 2 and loop.epoch in self._schedule(loop, FRAMES):
            self._draw_boundary(loop)

    def mismatched(self, loop: Loop, mismatch: Mismatch) -> None:
        """The last point of every gap chart: at the step whose gradients are not equal."""
        seen = close_up(loop.pair, loop.names, mismatch.step.part)
        self._draw_gaps(loop, seen, mismatch.step.epoch)
        gaps = {name: gap for name, gap in seen.gaps().items() if not is_delta(name)}
        tags = gap_tags(GAPS["parameters"], gaps, loop.history["gap"])
        largest = {unit: max(gap[k] for gap in gaps.values()) for k, unit in enumerate(("ulp", "relative")) if gaps}
        for unit, value in largest.items():
            tags |= {f"gap/{unit} largest": value, f"gap/{unit} worst so far": value}
        self._draw_scalars(mismatch.step.epoch, tags)

    def ended(self, loop: Loop, *, well: bool) -> None:
        """The last look, Figure 2, and the end of the hyper-parameters' session."""
        from compare.run.chart import losses
        from compare.run.summaries import picture, session_ended

        if loop.epochs and loop.epochs[-1] != self._looked:
            self._look(loop)
        self._draw_answers(loop)
        if len(loop.epochs) > 1:
            curves = (loop.history["manual"]["loss/train"], loop.history["manual"]["loss/val"])
            found = (best_epoch(loop.epochs, curves[1]), overfitting_epoch(loop.epochs, *curves))
            self.record.drawing(
                "manual", loop.epoch, picture("curves/loss (Figure 2)", losses(loop.epochs, *curves, *found))
            )
        for run in ("manual", "autograd"):
            self.record.drawing(run, loop.epoch, session_ended(well=well))

    def _looks(self, loop: Loop) -> int:
        """More for a run of more steps, which can afford them."""
        rows, size = len(loop.training.x), loop.config.batch_size
        batches = {"batch": 1, "stochastic": rows}.get(loop.config.update, math.ceil(rows / (size or rows)))
        return min(max(loop.config.epochs * batches // STEPS, LOOKS[0]), LOOKS[1])

    def _schedule(self, loop: Loop, looks: int) -> set[int]:
        every, last = loop.config.log_every, loop.config.epochs
        evaluated = [epoch for epoch in range(last + 1) if epoch % every == 0 or epoch == last]
        end = len(evaluated) - 1
        return {evaluated[round(k * end / (looks - 1))] for k in range(looks)}

    def _look(self, loop: Loop) -> None:
        from compare.run.summaries import histogram

        self._looked = loop.epoch
        seen = close_up(loop.pair, loop.names, loop.training)
        values = {loop.names.parameters[path]: value for path, value in loop.pair.weights("manual").items()}
        shown = {f"parameters/{name}": value for name, value in values.items()}
        shown |= {f"deltas/{name}": delta for name, delta in seen.ours.items() if is_delta(name)}
        self.record.drawing("manual", loop.epoch, *(histogram(tag, value) for tag, value in shown.items()))
        self._draw_gaps(loop, seen, loop.epoch)

    def _draw_gaps(self, loop: Loop, seen: CloseUp, epoch: int) -> None:
        """Both sides' difference: of each delta as a number, of each gradient as a histogram and a picture."""
        from compare.run.pictures import heat_map
        from compare.run.summaries import histogram, picture

        deltas = {name: gap for name, gap in seen.gaps().items() if is_delta(name)}
        tags = gap_tags(GAPS["deltas"], deltas, self._worst)
        self._worst |= {tag: [value] for tag, value in tags.items()}
        self._draw_scalars(epoch, tags)
        for name, own in seen.ours.items():
            expected = seen.theirs.get(name)
            if expected is None or own.shape != expected.shape or own.dtype != expected.dtype:
                continue
            error = (own - expected).abs()
            if epoch and not bool(error.any()):  # equal bit for bit: the first of these pictures says so
                continue
            spacing = torch.nextafter(expected.abs(), torch.full_like(expected, torch.inf)) - expected.abs()
            self.record.drawing("gap", epoch, histogram(f"error in ulps/{name}", error / spacing))
            if own.ndim >= 2 and not is_delta(name):
                image = heat_map(error, expected)
                self.record.drawing("gap", epoch, picture(f"difference of the gradients/{name}", image))

    def _draw_scalars(self, epoch: int, tags: Mapping[str, float]) -> None:
        from compare.run.summaries import scalars

        self.record.drawing("gap", epoch, scalars(drawn(tags)))

    def _draw_answers(self, loop: Loop) -> None:
        """What the hand-written network answers on the validation part: confusion matrix, wrong samples, boundary."""
        from compare.run.pictures import confusion_matrix
        from compare.run.summaries import picture

        if not self.data.classes or not loop.epochs:
            return
        epoch, part, classes = loop.epoch, loop.validation, self.data.classes
        part = Part(part.x[:4096], part.y[:4096])
        with torch.no_grad():
            z = loop.pair.net.forward(loop.pair.params, part.x)[0]
        said, true = (each.cpu() for each in answers(loop.pair.loss, z, part.y))
        n = len(classes)
        counts = torch.bincount(true * n + said, minlength=n * n).reshape(n, n).tolist()
        self.record.table(
            epoch, "confusion matrix", ["true", *classes], [[c, *row] for c, row in zip(classes, counts, strict=True)]
        )
        if n <= CLASSES:
            self.record.drawing(
                "manual", epoch, picture("confusion matrix/validation", confusion_matrix(counts, classes))
            )
        self._draw_wrong(epoch, part, said, true)

    def _draw_wrong(self, epoch: int, part: Part, said: torch.Tensor, true: torch.Tensor) -> None:
        from compare.run.pictures import samples
        from compare.run.summaries import picture, text

        classes, (wrong,) = self.data.classes, torch.nonzero(said != true, as_tuple=True)
        titles = [f"{classes[true[i]]}, said {classes[said[i]]}" for i in wrong[:SAMPLES].tolist()]
        if titles and self.data.images_val is not None:
            images = self.data.images_val[wrong[:SAMPLES]]
            self.record.drawing("manual", epoch, picture("still wrong/validation", samples(images, titles)))
        elif titles:
            features = self.data.features[:6]
            head = f"| sample | true, said | {' | '.join(features)} |\n|{'---|' * (len(features) + 2)}\n"
            rows = [
                f"| {i} | {title} | {' | '.join(f'{v:.3g}' for v in part.x[i, : len(features)].tolist())} |"
                for i, title in zip(wrong.tolist(), titles, strict=False)
            ]
            self.record.drawing("manual", epoch, text("what is still wrong", head + "\n".join(rows)))

    def _draw_boundary(self, loop: Loop) -> None:
        from compare.run.pictures import boundary
        from compare.run.summaries import picture

        x = loop.training.x
        low, high = x.min(0).values, x.max(0).values
        low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
        sides = [
            torch.linspace(0, 1, GRID, dtype=x.dtype, device=x.device) * (high[k] - low[k]) + low[k] for k in (0, 1)
        ]
        up, right = torch.meshgrid(sides[1], sides[0], indexing="ij")
        with torch.no_grad():
            z = loop.pair.net.forward(loop.pair.params, torch.stack((right, up), -1).reshape(-1, 2))[0]
            a = loop.pair.loss.predict(z)
        field = a[:, 0] if a.shape[1] == 1 else a.argmax(1) / (a.shape[1] - 1)
        shown, (y,) = x[:200].cpu().double().numpy(), answers(loop.pair.loss, z[:1], loop.training.y[:200])[1:]
        image = boundary(
            field.reshape(GRID, GRID).cpu().double().clamp(0, 1).numpy(),
            shown,
            y.cpu().numpy(),
            low.cpu().numpy(),
            high.cpu().numpy(),
        )
        self.record.drawing("manual", loop.epoch, picture("decision boundary/training", image))


def _charts(names: Names) -> dict[str, dict[str, list[str]]]:
    """The layout for one network: its layers stand apart, so that the one that is wrong is seen without a legend."""
    layers: dict[str, list[str]] = {}
    deltas = [name for name in names.outputs.values() if is_delta(name)]
    for name in (*deltas, *names.parameters.values()):
        layers.setdefault(layer_of(name), []).append(name)
    charts = {}
    for layer, its in reversed(layers.items()):
        charts[f"{layer}: {', '.join(its)}; worst so far"] = [
            f"^gap of (parameters|deltas)/log10 relative ({'|'.join(map(re.escape, its))}) worst so far$"
        ]
    if len(charts) > CHARTS:
        charts = {"every parameter and delta; worst so far": ["^gap of (parameters|deltas)/log10 relative .* worst"]}
    charts["every parameter, largest since the last point"] = ["^gap of parameters/log10 relative [^ ]+$"]
    charts["every parameter in ulps, largest since the last point"] = ["^gap of parameters/ulp [^ ]+$"]
    first, *others = LAYOUT
    return {first: LAYOUT[first], WHERE: charts} | {title: LAYOUT[title] for title in others}


def _plain(option: Any) -> Any:
    return option if isinstance(option, bool | int | float | str) else "-".join(map(str, option or ())) or "none"


def _code(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())
