"""What is logged at an evaluation: losses, norms and gaps, by run and tag."""

from __future__ import annotations

from collections.abc import Mapping

from compare.names import Names
from compare.run.agreement import Agreement
from compare.run.curves import NETWORKS, Curves
from compare.run.evaluate import Score, evaluate, penalties
from compare.run.network import Part
from compare.run.norms import Norms
from compare.run.pair import Pair
from compare.run.steps import Steps
from compare.run.tags import GAPS, gap_tags, overfitting_tags, update_tags


class Scorer:
    """Scores both networks of a run on both parts of its data."""

    def __init__(self, pair: Pair, names: Names, training: Part, validation: Part, *, classes: bool) -> None:
        self.pair, self.names, self.classes = pair, names, classes
        self.training, self.validation = training, validation
        self.norms = Norms(names)

    def score(self, epoch: int, steps: Steps, curves: Curves) -> dict[str, dict[str, float]]:
        """The numbers after an epoch, which `curves` gets too."""
        on_training = evaluate(self.pair, self.training, classes=self.classes)
        on_validation = evaluate(self.pair, self.validation, classes=self.classes)
        weights = self.pair.weights("manual"), self.pair.weights("autograd")
        sizes = self.norms(steps.last, weights)
        curves.begin(epoch)
        scores: dict[str, dict[str, float]] = {}
        for i, (run, penalty) in enumerate(zip(NETWORKS, penalties(self.pair), strict=True)):
            tags = _losses(on_training[i], on_validation[i], penalty)
            scores[run] = tags | sizes[i] | update_tags(sizes[i], self.pair.lr)
        if steps.agreement.checked:
            scores["gap"] = self._gap(steps.agreement, curves.latest("gap"))
        for run, tags in scores.items():
            curves.add(run, tags)
        for run in NETWORKS:
            late = overfitting_tags(curves.overfitting[run], scores[run]["loss/val"])
            curves.add(run, late)
            scores[run] |= late
        return scores

    def _gap(self, agreement: Agreement, so_far: Mapping[str, float]) -> dict[str, float]:
        """The largest gap since the last evaluation, and the worst so far, over all parameters and of each."""
        each = agreement.gap.each(self.pair.paths)
        named = {self.names.parameters[path]: gap for path, gap in each.items()}
        tags: dict[str, float] = {}
        for unit, largest in zip(("ulp", "relative"), agreement.take_gap(), strict=True):
            worst = f"gap/{unit} worst so far"
            tags |= {f"gap/{unit} largest": largest, worst: max(so_far.get(worst, 0.0), largest)}
        return tags | gap_tags(GAPS["parameters"], named, so_far)


def _losses(training: Score, validation: Score, penalty: float) -> dict[str, float]:
    tags = {"loss/train": training.loss, "loss/val": validation.loss, "cost/train": training.loss + penalty}
    for which, score in (("train", training), ("val", validation)):
        if score.accuracy is not None:
            tags[f"accuracy/{which}"] = score.accuracy
    return tags
