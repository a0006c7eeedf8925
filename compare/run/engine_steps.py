"""An epoch by an engine: the hand-written network many steps a call, its twin a step at a time, compared at the start.

The two runs are not the same bit for bit, so that at the first step of an epoch autograd is evaluated once more, at the
hand-written weights; neither run is overwritten. Gradient and update are then judged by a floor measured there.

An engine keeps no state between two calls, so that where an epoch is cut into spans changes no bit: they are as long
as a signal or a checkpoint may wait.
"""

from __future__ import annotations

import dataclasses
import time

import torch
from torch import Tensor

from compare.check.noise import Jitter, Measured, measure
from compare.check.verdict import match
from compare.run.agreement import Difference, described
from compare.run.finite import first_not_finite
from compare.run.network import Part
from compare.run.rounded import OPERANDS, widened
from compare.run.steps import Diverged, Mismatch, Step, Steps
from compare.twin import nested
from manualbp.engines import Engine, Matmul, build
from manualbp.params import named

SHORT, LONG = 0.1, 0.5  # seconds: how long a span should take


class EngineSteps:
    """Does a span of steps by an engine, and the same steps of the twin by autograd."""

    def __init__(self, steps: Steps, engine: Engine, matmul: Matmul = "ieee") -> None:
        self.steps, self.engine, self.pair = steps, engine, steps.pair
        self.matmul = matmul  # of the engine's products
        self.span = 64  # steps; a first guess

    def end(self, position: int, steps: int, until_saved: int | None) -> int:
        """Where a span that starts at a `position` of an epoch ends: at the latest where a checkpoint is due.

        The last step of an epoch is a span of its own: the curves show its gradient, as in a run of the reference.
        """
        if position == steps - 1:
            return steps
        return min(position + min(self.span, until_saved or self.span), steps - 1)

    def take(self, step: Step, data: Part, order: Tensor, size: int, *, shown: bool) -> None:
        """One step for each `size` rows of `order`; `step` is the first of them, compared if it is `checked`.

        `shown`: its gradients are those that the curves show. Raises `Mismatch`, before the update of that step, or
        `Diverged`.
        """
        started = time.monotonic()
        order = order.to(data.x.device)
        gradients: dict[str, Tensor] = {}
        if step.checked or shown:
            gradients = dict(
                named(self.engine.gradients(self.pair.params, step.part.x, step.part.y, l2=self.pair.l2)[1])
            )
        if step.checked:
            self._compare(step, gradients)
        before = self.pair.state()
        losses = self._train(data, order, size)
        twin_losses = []
        for position, rows in enumerate(torch.split(order, size)):
            J, theirs = self.pair.autograd(Part(data.x[rows], data.y[rows]))
            if shown and position == 0:
                self.steps.last = (gradients, {path: gradient.clone() for path, gradient in theirs.items()})
            self.pair.update_twin()
            twin_losses.append(J)
        finite = torch.isfinite(losses) & torch.isfinite(torch.stack(twin_losses))
        if not bool(finite.all()):
            self._find(step, data, order, size, before, int((~finite).nonzero()[0]))
        if len(order) >= self.span * size:
            took = time.monotonic() - started
            self.span = self.span * 2 if took < SHORT else max(self.span // 2, 1) if took > LONG else self.span

    def _train(self, data: Part, order: Tensor, size: int) -> Tensor:
        return self.engine.train(self.pair.params, data.x, data.y, order, size, lr=self.pair.lr, l2=self.pair.l2)

    def _compare(self, step: Step, ours: dict[str, Tensor]) -> None:
        """The gradients with autograd's, the update with the reference's. Rounded operands: see rounded.py."""
        pair, part = self.pair, step.part
        theirs = {path: g.clone() for path, g in pair.autograd_at_manual(part)[1].items()}
        engine = self.engine
        if self.matmul != "ieee":
            measured = widened(pair.measured(part), lambda: pair.manual(part)[1], OPERANDS[self.matmul])
            wrong = _beyond(measured, ours, "gradient") or self._wrong_updates(engine, part, OPERANDS[self.matmul])
            if wrong:
                raise Mismatch(step, wrong, ours, theirs)
            engine = build(self.engine.name, pair.net, pair.loss, device=part.x.device, dtype=part.x.dtype)  # type: ignore[arg-type]
            ours = dict(named(engine.gradients(pair.params, part.x, part.y, l2=pair.l2)[1]))
        self.steps.agreement.differ(ours, theirs)  # widens the gap
        self.steps.examine(step, ours, theirs)
        wrong = self._wrong_updates(engine, part)
        if wrong:
            raise Mismatch(step, wrong, ours, theirs)
        self.steps.agreement.checked += 1

    def _wrong_updates(self, engine: Engine, part: Part, operands: float = 0.0) -> list[Difference]:
        """Parameters that one step of the engine leaves where rounding does not put them."""
        pair, rows = self.pair, torch.arange(len(part.x), device=part.x.device)
        values = dict(named(pair.params))
        reference = build("reference", pair.net, pair.loss, device=part.x.device, dtype=part.x.dtype)

        def one(engine: Engine, moved: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
            params = nested(pair.params, moved)
            engine.train(params, x, y, rows, len(x), lr=pair.lr, l2=pair.l2)
            return dict(named(params))

        def run(jitter: Jitter) -> dict[str, Tensor]:
            moved = {path: jitter(tensor).clone() for path, tensor in values.items()}
            return one(reference, moved, jitter(part.x), jitter(part.y))

        measured = measure(run)
        if operands:
            measured = widened(measured, lambda: run(lambda value: value), operands)
        ours = one(engine, {path: tensor.clone() for path, tensor in values.items()}, part.x, part.y)
        return _beyond(measured, ours, "update")

    def _find(self, step: Step, data: Part, order: Tensor, size: int, before: dict[str, Tensor], at: int) -> None:
        """Go back to the span's start, do the steps before the one that is not finite, and say where it is not."""
        self.pair.restore(before)
        for rows in torch.split(order[: at * size], size):
            if len(rows):
                self.pair.autograd(Part(data.x[rows], data.y[rows]))
                self.pair.update_twin()
        if at:
            self._train(data, order[: at * size], size)
        rows = order[at * size : (at + 1) * size]
        part = Part(data.x[rows], data.y[rows])
        failed = Step(step.number + at, step.epoch, part, checked=False, calibrate=False)
        where = first_not_finite(self.pair, self.steps.names, part, {})
        raise Diverged(failed, where or "autograd's loss, where the hand-written one is finite")


def _beyond(measured: Measured, ours: dict[str, Tensor], quantity: str) -> list[Difference]:
    found = []
    for path, expected in measured.values.items():
        seen = match((ours[path],), expected, measured.floors[path])
        if not seen.ok:
            off = described(path, ours[path], expected, (ours[path] - expected).abs(), seen.excess)
            found.append(dataclasses.replace(off, quantity=quantity))
    return found
