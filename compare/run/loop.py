"""The epochs of a run: batches, evaluations, early stopping, and how it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

import manualbp as mbp
from compare.check.report import Report
from compare.names import Names
from compare.run.config import TrainConfig
from compare.run.engine_steps import EngineSteps
from compare.run.evaluate import evaluate, gradient_norms, penalties
from compare.run.finite import first_not_finite, layer_of
from compare.run.history import EpochReport, History, Verdict
from compare.run.mismatch import save_bundle, tell
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.record import RunRecord
from compare.run.steps import READ_EVERY, Diverged, Mismatch, Step, Steps
from manualbp.engines import Engine

ORDER_SEED = 2**32  # the order of samples has a stream of its own: it does not depend on the network


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    verdict: Verdict
    text: str
    exit_status: int
    report: Report | None = None


class Loop:
    """One run from its start to its end."""

    def __init__(
        self,
        config: TrainConfig,
        pair: Pair,
        names: Names,
        training: Part,
        validation: Part,
        record: RunRecord,
        *,
        classes: bool,
        engine: Engine | None = None,
    ) -> None:
        self.config, self.pair, self.names, self.record = config, pair, names, record
        self.training, self.validation = training, validation
        self.classes = classes
        self.steps = Steps(pair, names, read_every=READ_EVERY if training.x.is_cuda else 1)
        self.by_engine = EngineSteps(self.steps, engine) if engine is not None else None
        self.order = torch.Generator().manual_seed(ORDER_SEED + config.seed)
        self.epoch = 0
        self.done = 0  # steps
        self.epochs: list[int] = []
        self.history: History = {"manual": {}, "autograd": {}, "gap": {}}
        self._worst = (0.0, 0.0)
        self._started = time.perf_counter()

    def run(self, on_epoch: Callable[[EpochReport], None], *, own_net: bool) -> Ending:
        """Train to the end, or to what ends it earlier; a Ctrl-C or a signal that raises ends it too."""
        try:
            for epoch in range(self.config.epochs + 1):
                self.epoch = epoch
                if self.by_engine is not None and epoch > 0:
                    self._whole_epoch(self.by_engine)
                for step in self._batches() if self.by_engine is None else ():
                    self.steps.take(step)
                    self.done += 1
                self.steps.look()
                if self.epoch % self.config.log_every and self.epoch < self.config.epochs:
                    continue
                on_epoch(self._evaluated())
                if self._out_of_patience():
                    break
        except Mismatch as mismatch:
            told = tell(self.pair, self.names, mismatch)
            try:
                kept = (
                    f"kept in {save_bundle(self.record.path, self.config, self.pair, mismatch, told, own_net=own_net)}"
                )
            except OSError as error:
                kept = f"it could not be kept for a replay ({error.strerror or error})"
            self.record.text("mismatch", str(told), step=mismatch.step.epoch)
            return Ending("mismatch", f"mismatch at {told.headline}; {kept}", 1, told.report)
        except Diverged as diverged:
            step = diverged.step
            text = (
                f"diverged at step {step.number}, epoch {step.epoch}: {diverged.where} is not finite; "
                f"lower --lr {self.config.lr:g}"
            )
            return Ending("diverged", text, 4)
        except KeyboardInterrupt as stop:
            verdict = self._verdict()
            text = f"stopped in epoch {self.epoch} after {self.done} steps; until then {verdict.text}"
            return Ending(verdict.verdict, text, getattr(stop, "exit_status", 130))
        return self._verdict()

    def _whole_epoch(self, by_engine: EngineSteps) -> None:
        """All steps of this epoch by the engine, the first compared unless checking is off."""
        m = len(self.training.x)
        size = mbp.batch_rows(self.config.update, m, self.config.batch_size)
        order = mbp.visited(self.config.update, m, self.order)
        first = order[:size].to(self.training.x.device)
        part = Part(self.training.x[first], self.training.y[first])
        checked = self.config.check == "epoch"
        by_engine.take(Step(self.done, self.epoch, part, checked, calibrate=checked), self.training, order, size)
        self.done += -(-m // size)

    def _batches(self) -> Iterator[Step]:
        """The steps of this epoch; epoch 0 has none."""
        if self.epoch == 0:
            return
        x, y = self.training.x, self.training.y
        rows = mbp.batches(self.config.update, len(x), self.config.batch_size, self.order)
        if x.is_cuda:  # one transfer an epoch
            rows = torch.split(torch.cat(rows).to(x.device), [len(batch) for batch in rows])
        for position, batch in enumerate(rows):
            number = self.done
            part = self.training if self.config.update == "batch" else Part(x[batch], y[batch])
            checked = self.config.checked(number, position == 0)
            yield Step(number, self.epoch, part, checked, checked and (number < 2 or position == 0))

    def _evaluated(self) -> EpochReport:
        """Score both networks, and log."""
        on_training = evaluate(self.pair, self.training, classes=self.classes)
        on_validation = evaluate(self.pair, self.validation, classes=self.classes)
        scores: dict[str, dict[str, float]] = {}
        layers = {path: layer_of(name) for path, name in self.names.parameters.items()}
        for i, (run, penalty) in enumerate(zip(("manual", "autograd"), penalties(self.pair), strict=True)):
            tags = {
                "loss/train": on_training[i].loss,
                "loss/val": on_validation[i].loss,
                "cost/train": on_training[i].loss + penalty,
            }
            for which, score in (("train", on_training[i]), ("val", on_validation[i])):
                if score.accuracy is not None:
                    tags[f"accuracy/{which}"] = score.accuracy
            scores[run] = tags | gradient_norms(self.steps.last[i], layers)
        if self.steps.agreement.checked:
            scores["gap"] = self._gap()
        self.epochs.append(self.epoch)
        for run, tags in scores.items():
            for tag, value in tags.items():
                self.history[run].setdefault(tag, []).append(value)
        seconds = time.perf_counter() - self._started
        self.record.scalars(self.epoch, scores)
        self.record.timing(self.epoch, {"seconds": seconds, "steps": self.done})
        for which, part, both in (
            ("training", self.training, on_training),
            ("validation", self.validation, on_validation),
        ):
            if not all(math.isfinite(score.loss) for score in both):
                where = first_not_finite(self.pair, self.names, part, {}) or "the loss"
                last = Step(max(self.done - 1, 0), self.epoch, part, checked=False, calibrate=False)
                raise Diverged(last, f"after it, on the {which} part, {where}")
        return EpochReport(self.epoch, self.config.epochs, self.done, scores, seconds)

    def _gap(self) -> dict[str, float]:
        """The largest gap since the last evaluation, and the worst so far."""
        ulps, relative = self.steps.agreement.take_gap()
        self._worst = (max(self._worst[0], ulps), max(self._worst[1], relative))
        return {
            "gap/ulp largest": ulps,
            "gap/ulp worst so far": self._worst[0],
            "gap/relative largest": relative,
            "gap/relative worst so far": self._worst[1],
        }

    def _out_of_patience(self) -> bool:
        losses = self.history["manual"]["loss/val"]
        best = min(range(len(losses)), key=lambda i: losses[i])
        return 0 < self.config.patience <= self.epochs[-1] - self.epochs[best]

    def _verdict(self) -> Ending:
        """The verdict on the gradients of all steps so far."""
        agreement = self.steps.agreement
        if not agreement.checked:
            return Ending("not checked", "not checked: no gradient was compared", 0)
        at = f"all {self.done} steps" if agreement.checked == self.done else f"{agreement.checked} of {self.done} steps"
        if agreement.exact:
            return Ending("equal bit for bit", f"equal bit for bit: every gradient at {at}, 0 ulp apart", 0)
        if agreement.undecided:
            which = ", ".join(self.names.parameters.get(path, path) for path in agreement.undecided)
            text = f"undecided: rounding would explain any gradient of {which}; use --dtype float64"
            return Ending("undecided", text, 1)
        ulps, relative = self.steps.agreement.take_gap()
        ulps, relative = max(self._worst[0], ulps), max(self._worst[1], relative)
        text = f"within the noise floor: every gradient at {at}, at most {relative:.1e} of its RMS apart"
        return Ending("within the noise floor", text, 0)
