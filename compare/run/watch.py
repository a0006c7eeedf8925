"""What TensorBoard shows of a run beside its curves: pictures, histograms, texts, the layout, hyper-parameters.

Histograms and pictures are made at a few evaluations of a run, evenly spread, and at its end: so they stay a small
part of its time. Which ones depends on the config and the number of samples alone. None of it changes either run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from compare.run.closeup import CloseUp, close_up, spacing
from compare.run.curves import NETWORKS
from compare.run.data import Data
from compare.run.equations import equations
from compare.run.layout import charts
from compare.run.network import Part, answers
from compare.run.record import RunRecord, drawn
from compare.run.steps import Mismatch
from compare.run.tags import GAPS, WORST, gap_tags, is_delta, mismatch_tags

if TYPE_CHECKING:
    from compare.run.loop import Loop

STEPS = 300  # of training, for each further look
LOOKS = (2, 12)  # evaluations at which pictures and histograms are made: at least, at most
FRAMES = 10  # of the decision boundary
SAMPLES = 12  # that are still wrong and shown
GRID = 60  # points a side of the decision boundary


class Watch:
    """Draws one run."""

    def __init__(self, record: RunRecord, data: Data) -> None:
        self.record, self.data = record, data
        self._worst: dict[str, float] = {}  # gap of each delta so far, by tag
        self._looked = -1
        self._looks: set[int] = set()  # epochs at which it looks closely
        self._frames: set[int] = set()  # and at which the decision boundary is drawn

    def started(self, loop: Loop, config: Mapping[str, Any]) -> None:
        """The layout, the hyper-parameters, the config and the equations."""
        from compare.run.derived import settings, verbatim
        from compare.run.summaries import layout, session

        record = self.record
        deltas = [name for name in loop.names.outputs.values() if is_delta(name)]
        page = layout(charts((*deltas, *loop.names.parameters.values())))
        config_file = (record.path / "config.toml").read_text(encoding="utf-8")
        record.drawing("gap", 0, page, settings(config_file))
        for run in NETWORKS:
            record.drawing(run, 0, *session(config, record.path.name, run, classes=bool(self.data.classes)))
        pair = loop.pair
        lines = equations(pair.net, pair.params, loop.names, pair.loss, l2=pair.l2)
        record.text("what is computed", verbatim("\n".join(lines)))

    def evaluated(self, loop: Loop) -> dict[str, float]:
        """Look closely if this evaluation is one of those; the gaps of the deltas are logged with it, in "gap"."""
        if not self._looks:
            self._looks = self._schedule(loop, self._affordable(loop))
            is_drawn = self.data.classes and loop.training.x.shape[1] == 2
            self._frames = self._schedule(loop, FRAMES) if is_drawn else set()
        tags = self._look(loop) if loop.epoch in self._looks else {}
        if loop.epoch in self._frames:
            self._draw_boundary(loop)
        return tags

    def mismatched(self, loop: Loop, mismatch: Mismatch) -> None:
        """The last point of every gap chart: at the step whose gradients are not equal."""
        from compare.run.derived import MISMATCH_GAPS

        seen = close_up(loop.pair, loop.names, mismatch.step.part)
        gaps, epoch = seen.gaps(), mismatch.step.epoch
        self._draw_seen(loop, seen, epoch)
        self.record.table(epoch, MISMATCH_GAPS, ("quantity", "ulp", "relative"), [(n, *gap) for n, gap in gaps.items()])
        so_far = loop.curves.latest("gap") | self._worst
        self._draw_scalars(epoch, mismatch_tags(gaps, so_far))

    def ended(self, loop: Loop, *, well: bool) -> None:
        """The last look, Figure 2, and the end of the hyper-parameters' session."""
        from compare.run.derived import figure_2
        from compare.run.summaries import session_ended

        if loop.curves.epochs and loop.curves.epochs[-1] > self._looked:
            self._draw_scalars(loop.epoch, self._look(loop))
        self._draw_answers(loop)
        if len(loop.curves.epochs) > 1:
            curves = (loop.curves.history["manual"]["loss/train"], loop.curves.history["manual"]["loss/val"])
            self.record.drawing("manual", loop.epoch, figure_2(loop.curves.epochs, *curves))
        for run in NETWORKS:
            self.record.drawing(run, loop.epoch, session_ended(well=well))

    def state(self) -> dict[str, float]:
        """What a continued run's charts depend on, in JSON's types."""
        return dict(self._worst)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._worst = {str(tag): float(value) for tag, value in state.items()}

    def _affordable(self, loop: Loop) -> int:
        """More for a run of more steps, which can afford them."""
        rows, size = len(loop.training.x), loop.config.batch_size
        batches = {"batch": 1, "stochastic": rows}.get(loop.config.update, math.ceil(rows / (size or rows)))
        return min(max(loop.config.epochs * batches // STEPS, LOOKS[0]), LOOKS[1])

    def _schedule(self, loop: Loop, looks: int) -> set[int]:
        every, last = loop.config.log_every, loop.config.epochs
        evaluated = [epoch for epoch in range(last + 1) if epoch % every == 0 or epoch == last]
        end = len(evaluated) - 1
        return {evaluated[round(k * end / (looks - 1))] for k in range(looks)}

    def _look(self, loop: Loop) -> dict[str, float]:
        """Draw parameters, deltas and errors; the gaps of the deltas."""
        seen = close_up(loop.pair, loop.names, loop.training)
        self._draw_seen(loop, seen, loop.epoch)
        deltas = {name: gap for name, gap in seen.gaps().items() if is_delta(name)}
        tags = gap_tags(GAPS["deltas"], deltas, self._worst)
        self._worst = {tag: value for tag, value in tags.items() if tag.endswith(WORST)}
        return tags

    def _draw_seen(self, loop: Loop, seen: CloseUp, epoch: int) -> None:
        """Histograms of the parameters and deltas by hand, and of how far both sides are apart."""
        from compare.run.summaries import histogram

        self._looked = epoch
        values = {loop.names.parameters[path]: value for path, value in loop.pair.weights("manual").items()}
        shown = {f"parameters/{name}": value for name, value in values.items()}
        shown |= {f"deltas/{name}": delta for name, delta in seen.ours.items() if is_delta(name)}
        self.record.drawing("manual", epoch, *(histogram(tag, value) for tag, value in shown.items()))
        self._draw_errors(seen, epoch)

    def _draw_errors(self, seen: CloseUp, epoch: int) -> None:
        """Both sides' difference: a histogram of each delta and gradient, a picture of each matrix's gradient."""
        from compare.run.pictures import heat_map
        from compare.run.summaries import histogram, picture

        made = []
        for name, (own, expected) in seen.pairs().items():
            if epoch and torch.equal(own, expected):  # equal bit for bit: the first of these pictures says so
                continue
            error = (own - expected).abs()
            made.append(histogram(f"error in ulps/{name}", error / spacing(expected)))
            if own.ndim >= 2 and not is_delta(name):
                made.append(picture(f"difference of the gradients/{name}", heat_map(error, expected)))
        self.record.drawing("gap", epoch, *made)

    def _draw_scalars(self, epoch: int, tags: Mapping[str, float]) -> None:
        from compare.run.summaries import scalars

        if tags:
            self.record.drawing("gap", epoch, scalars(drawn(tags)))

    def _draw_answers(self, loop: Loop) -> None:
        """What the hand-written network answers on the validation part: confusion matrix, wrong samples."""
        from compare.run.derived import CONFUSION, confusion

        if not self.data.classes or not loop.curves.epochs:
            return
        epoch, part, classes = loop.epoch, loop.validation, self.data.classes
        part = Part(part.x[:4096], part.y[:4096])
        with torch.no_grad():
            z = loop.pair.net.forward(loop.pair.params, part.x)[0]
        said, true = (each.cpu() for each in answers(loop.pair.loss, z, part.y))
        n = len(classes)
        counts = torch.bincount(true * n + said, minlength=n * n).reshape(n, n).tolist()
        head, rows = ["true", *classes], [[c, *row] for c, row in zip(classes, counts, strict=True)]
        self.record.table(epoch, CONFUSION, head, rows)
        if (image := confusion(head, rows)) is not None:
            self.record.drawing("manual", epoch, image)
        self._draw_wrong(epoch, part, said, true)

    def _draw_wrong(self, epoch: int, part: Part, said: torch.Tensor, true: torch.Tensor) -> None:
        from compare.run.derived import STILL_WRONG, still_wrong
        from compare.run.pictures import samples
        from compare.run.summaries import picture

        classes, (wrong,) = self.data.classes, torch.nonzero(said != true, as_tuple=True)
        shown = wrong[:SAMPLES].tolist()
        titles = [f"{classes[true[i]]}, said {classes[said[i]]}" for i in shown]
        if titles and self.data.images_val is not None:
            images = self.data.images_val[wrong[:SAMPLES]]
            self.record.drawing("manual", epoch, picture("still wrong/validation", samples(images, titles)))
        elif titles:
            features = self.data.features[:6]
            values = part.x[wrong[:SAMPLES], : len(features)].tolist()
            head = ["sample", "true, said", *features]
            rows = [
                [i, title, *(f"{v:.3g}" for v in each)] for i, title, each in zip(shown, titles, values, strict=True)
            ]
            self.record.table(epoch, STILL_WRONG, head, rows)
            self.record.drawing("manual", epoch, still_wrong(head, rows))

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
