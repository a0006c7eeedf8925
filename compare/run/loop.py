"""The epochs of a run: batches, evaluations, early stopping, and how it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import manualbp as mbp
from compare.names import Names
from compare.run.config import TrainConfig
from compare.run.curves import NETWORKS, Curves
from compare.run.ending import Ending, verdict
from compare.run.engine_steps import EngineSteps
from compare.run.finite import entries_finite, first_not_finite
from compare.run.history import EpochReport
from compare.run.keeper import Keeper
from compare.run.mismatch import save_bundle, tell
from compare.run.network import Part
from compare.run.pair import Pair
from compare.run.record import RunRecord
from compare.run.scores import Scorer
from compare.run.steps import READ_EVERY, Diverged, Mismatch, Step, Steps
from compare.run.stops import StopAsked, Stops
from compare.run.watch import Watch
from manualbp.engines import Engine

ORDER_SEED = 2**32  # the order of samples has a stream of its own: it does not depend on the network


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
        keeper: Keeper,
        watch: Watch,
        classes: bool,
        engine: Engine | None = None,
    ) -> None:
        self.watch = watch
        self.config, self.pair, self.names, self.record = config, pair, names, record
        self.keeper = keeper
        self.training, self.validation = training, validation
        self.scorer = Scorer(pair, names, training, validation, classes=classes)
        self.steps = Steps(pair, names, read_every=READ_EVERY if training.x.is_cuda else 1)
        self.by_engine = EngineSteps(self.steps, engine, config.matmul) if engine is not None else None
        self.order = torch.Generator().manual_seed(ORDER_SEED + config.seed)
        self.order_before = self.order.get_state()  # as it was when the order of this epoch was drawn
        self.epoch = 0  # under way, or the last whole one
        self.position = 0  # steps done in the epoch under way; 0 between epochs
        self.done = 0  # steps
        self.curves = Curves()
        self.seconds_before = 0.0  # of a run that is continued
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long the run has taken so far, pauses apart."""
        return self.seconds_before + time.perf_counter() - self._started

    def run(self, on_epoch: Callable[[EpochReport], None], *, own_net: bool) -> Ending:
        """Train to the end, or to what ends it earlier: Ctrl-C or SIGTERM, which wait for the step under way, too."""
        try:
            with Stops() as stops:
                self._train(on_epoch, stops)
        except Mismatch as mismatch:
            told = tell(self.pair, self.names, mismatch)
            try:
                kept = (
                    f"kept in {save_bundle(self.record.path, self.config, self.pair, mismatch, told, own_net=own_net)}"
                )
            except OSError as error:
                kept = f"it could not be kept for a replay ({error.strerror or error})"
            self.record.text("mismatch", str(told), step=mismatch.step.epoch)
            self.watch.mismatched(self, mismatch)
            return Ending("mismatch", f"mismatch at {told.headline}; {kept}", 1, told.report)
        except Diverged as diverged:
            step = diverged.step
            text = (
                f"diverged at step {step.number}, epoch {step.epoch}: {diverged.where} is not finite; "
                f"lower --lr {self.config.lr:g}"
            )
            return Ending("diverged", text, 4)
        except KeyboardInterrupt as stop:
            so_far = self._verdict()
            text = f"stopped in epoch {self.epoch} after {self.done} steps; until then {so_far.text}"
            return Ending(so_far.verdict, text, getattr(stop, "exit_status", 130))
        return self._verdict()

    def _train(self, on_epoch: Callable[[EpochReport], None], stops: Stops) -> None:
        """Every epoch that is left; a loop that was put into the state of a checkpoint goes on from there."""
        if not self.curves.epochs:
            on_epoch(self._evaluated())
            self.keeper.save(self)
        while self.position or not self._ended():
            self.epoch += not self.position
            self.order_before = self.order.get_state()
            self._epoch(stops)
            if self.epoch % self.config.log_every == 0 or self.epoch >= self.config.epochs:
                on_epoch(self._evaluated())
            self._pause(stops)
        self.keeper.save(self)

    def _epoch(self, stops: Stops) -> None:
        """The steps of this epoch that are left."""
        rows = self._rows()
        try:
            while self.position < len(rows):
                if self.position:  # between two steps of an epoch; what is between two epochs comes after it
                    self._pause(stops)
                taken = self._step(rows) if self.by_engine is None else self._span(self.by_engine, rows)
                self.done += taken
                self.position += taken
            self.steps.look()
        except (Mismatch, Diverged) as failure:
            self._back_to(failure.step)
            raise
        self.position = 0

    def _rows(self) -> Sequence[Tensor]:
        """The samples of each step of this epoch, on the device."""
        rows = mbp.batches(self.config.update, len(self.training.x), self.config.batch_size, self.order)
        if self.training.x.is_cuda:  # one transfer an epoch
            rows = torch.split(torch.cat(rows).to(self.training.x.device), [len(batch) for batch in rows])
        return rows

    def _part(self, rows: Tensor) -> Part:
        x, y = self.training.x, self.training.y
        return self.training if self.config.update == "batch" else Part(x[rows], y[rows])

    def _step(self, rows: Sequence[Tensor]) -> int:
        """The next step. Returns how many that were."""
        first = self.position == 0
        checked = self.config.checked(self.done, first)
        part = self._part(rows[self.position])
        self.steps.take(Step(self.done, self.epoch, part, checked, checked and (self.done < 2 or first)))
        return 1

    def _span(self, by_engine: EngineSteps, rows: Sequence[Tensor]) -> int:
        """The next steps by the engine, the epoch's first compared unless checking is off. Returns how many."""
        start, checked = self.position, self.position == 0 and self.config.check == "epoch"
        end = by_engine.end(start, len(rows), self.keeper.rhythm.left(self.done))
        step = Step(self.done, self.epoch, self._part(rows[start]), checked, calibrate=checked)
        order = torch.cat(tuple(rows[start:end]))
        by_engine.take(step, self.training, order, len(rows[0]), shown=end == len(rows))
        return end - start

    def _ended(self) -> bool:
        return self.epoch >= self.config.epochs or self._out_of_patience()

    def _pause(self, stops: Stops) -> None:
        """Between two steps: save if that is due, or if the run has been asked to stop. Raises `StopAsked`."""
        try:
            stops.raise_if_asked()
        except StopAsked:
            self.steps.look()
            self.keeper.save(self)
            raise
        if self.keeper.due(self):
            self.steps.look()
            self.keeper.save(self)

    def _back_to(self, step: Step) -> None:
        """Keep the state before a step that failed; the networks have gone back to it already."""
        since = self.done - step.number
        self.done, self.position = self.done - since, self.position - since
        if not self.position:  # between two epochs: its order has not been drawn yet
            self.epoch -= 1
            self.order.set_state(self.order_before)
        self.keeper.save(self)

    def _evaluated(self) -> EpochReport:
        """Score both networks, and log."""
        scores = self.scorer.score(self.epoch, self.steps, self.curves)
        seconds = self.seconds
        if deltas := self.watch.evaluated(self):
            self.record.scalars(self.epoch, scores | {"gap": scores.get("gap", {}) | deltas})
        else:
            self.record.scalars(self.epoch, scores)
        self.record.timing(self.epoch, {"seconds": seconds, "steps": self.done})
        finite = entries_finite(tensor for _, tensor in mbp.named(self.pair.params))
        for which, part, tag in (
            ("training", self.training, "loss/train"),
            ("validation", self.validation, "loss/val"),
        ):
            if not finite or not all(math.isfinite(scores[run][tag]) for run in NETWORKS):
                where = first_not_finite(self.pair, self.names, part, {}) or "the loss"
                last = Step(max(self.done - 1, 0), self.epoch, part, checked=False, calibrate=False)
                raise Diverged(last, f"after it, on the {which} part, {where}")
        return EpochReport(self.epoch, self.config.epochs, self.done, scores, seconds)

    def _verdict(self) -> Ending:
        return verdict(self.steps.agreement, self.names, self.curves, self.done)

    def _out_of_patience(self) -> bool:
        best = self.curves.best
        return best is not None and 0 < self.config.patience <= self.curves.epochs[-1] - best
