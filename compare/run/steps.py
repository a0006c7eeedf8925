"""The steps of a run: both networks on one batch, compared, then both updated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compare.names import Names
from compare.run.agreement import Agreement, Difference, Gap, comparable, wrong_updates
from compare.run.finite import entries_finite, first_not_finite, sums_not_finite
from compare.run.network import Part
from compare.run.pair import Gradients, Pair
from manualbp import at, named

READ_EVERY = 64  # steps between two looks at the flag that a GPU keeps


@dataclass(frozen=True)
class Step:
    """One step to be done: its number from 0, its epoch from 1, its samples, and what is asked of it."""

    number: int
    epoch: int
    part: Part
    checked: bool
    calibrate: bool  # look closely: at the update, and at the floor once the runs are not equal bit for bit


class Mismatch(Exception):
    """The hand-written gradient is not autograd's. Raised before the update of that step."""

    def __init__(self, step: Step, differences: list[Difference], ours: Gradients, theirs: Gradients) -> None:
        super().__init__(f"step {step.number}")
        self.step, self.differences, self.ours, self.theirs = step, differences, ours, theirs


class Diverged(Exception):
    """A number is no longer finite. Raised before the update of that step."""

    def __init__(self, step: Step, where: str) -> None:
        super().__init__(f"step {step.number}: {where}")
        self.step, self.where = step, where


@dataclass(frozen=True)
class Snapshot:
    """What a run goes back to."""

    weights: dict[str, Tensor]
    gap: Gap
    checked: int


class Steps:
    """Does one step after the other.

    With `read_every` above 1, as on CUDA, failures gather in a flag on the device that is read every so many steps:
    nothing waits for the device in between. When it is raised, parameters go back to the state after the last look
    and the steps since are done again, looking at each, so that the very step that failed is the one reported.
    """

    def __init__(self, pair: Pair, names: Names, *, read_every: int = 1) -> None:
        self.pair, self.names = pair, names
        self.read_every = read_every
        self.waits = read_every == 1
        self.agreement = Agreement(pair, waits=self.waits)
        self.last: tuple[Gradients, Gradients] = ({}, {})  # gradients of the last step, hand-written and autograd's
        self._since: list[Step] = []  # steps since the last look
        self._flag: Tensor | None = None
        self._snapshot: Snapshot | None = None

    def take(self, step: Step) -> None:
        """One step. Raises `Mismatch` or `Diverged`, perhaps for an earlier step since the last look."""
        if self.read_every == 1 or step.calibrate:
            self.look()
            self._look_and_update(step)
            return
        if self._snapshot is None:
            self._snapshot = Snapshot(self.pair.state(), self.agreement.gap.copy(), self.agreement.checked)
        ours, theirs, failed = self._evaluate(step)
        self._since.append(step)
        flag = torch.as_tensor(failed, device=step.part.x.device)
        self._flag = flag if self._flag is None else self._flag | flag
        if not comparable(ours, theirs):  # nothing to update with
            self.look()
            return
        self._update(step, ours)
        if len(self._since) >= self.read_every:
            self.look()

    def look(self) -> None:
        """Read the flag. If it is raised, do the steps since the last look again, one by one."""
        since, flag, snapshot = self._since, self._flag, self._snapshot
        self._since, self._flag, self._snapshot = [], None, None
        if snapshot is None or flag is None or not bool(flag):
            return
        self.pair.restore(snapshot.weights)
        self.agreement.gap, self.agreement.checked = snapshot.gap, snapshot.checked
        for step in since:
            self._look_and_update(step)

    def _look_and_update(self, step: Step) -> None:
        ours, theirs, failed = self._evaluate(step)
        if bool(failed) or (step.calibrate and not self.agreement.exact):
            self.examine(step, ours, theirs)
        self._update(step, ours)

    def _update(self, step: Step, ours: Gradients) -> None:
        before = self.pair.state() if step.calibrate else {}
        self.pair.update(ours)
        if step.calibrate:
            start = {path: before[f"manual {path}"] for path in ours}
            wrong = wrong_updates(start, ours, {path: at(self.pair.params, path) for path in ours}, self.pair.lr)
            if wrong:
                self.pair.restore(before)
                raise Mismatch(step, wrong, ours, self.last[1])
        self.agreement.checked += step.checked

    def _evaluate(self, step: Step) -> tuple[Gradients, Gradients, bool | Tensor]:
        """Both gradients, and whether this step must be looked at: not finite, or not equal."""
        J, ours = self.pair.manual(step.part)
        twin_J, own = self.pair.autograd(step.part)
        self.last = (ours, own)
        numbers = [J, twin_J, *ours.values(), *(tensor for _, tensor in named(self.pair.params))]
        if not step.checked:
            return ours, own, sums_not_finite([*numbers, *own.values()], waits=self.waits)
        theirs = own if self.agreement.exact else self.pair.autograd_at_manual(step.part)[1]
        differ = self.agreement.differ(ours, theirs)
        # a NaN or infinity of autograd's alone differs
        return ours, theirs, _either(differ, sums_not_finite(numbers, waits=self.waits))

    def examine(self, step: Step, ours: Gradients, theirs: Gradients) -> None:
        """Find out what made this step stand out. Raises `Mismatch` or `Diverged`, or returns where all is well."""
        part = step.part
        J, expected = self.pair.autograd_at_manual(part)
        expected = {path: gradient.clone() for path, gradient in expected.items()}
        where = first_not_finite(self.pair, self.names, part, ours)
        if not entries_finite([J, *expected.values()]):
            raise Diverged(step, where or "autograd's gradient, where the hand-written one is finite")
        if not entries_finite([*theirs.values()]):
            raise Diverged(step, "autograd's gradient at its own weights")
        if where and (not step.checked or not entries_finite(tensor for _, tensor in named(self.pair.params))):
            raise Diverged(step, where)  # also a bias of -inf below a ReLU, which no gradient shows
        if not step.checked:
            return
        same = self.agreement.exact and self.pair.same_weights() and not bool(self.agreement.differ(ours, expected))
        if same and not where:
            return
        differences = self.agreement.judge(part, ours)
        if differences:
            raise Mismatch(step, differences, ours, expected)
        self.agreement.exact = False


def _either(one: bool | Tensor, other: bool | Tensor) -> bool | Tensor:
    if isinstance(one, bool):
        return one or other
    return one | other
