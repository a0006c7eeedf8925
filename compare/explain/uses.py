"""Uses of a quantity that a wrong gradient forgets, counts twice, or holds alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from compare.explain.numbers import Candidate, Numbers, multiple, same
from compare.explain.observe import CLOSE, alike
from compare.explain.paths import contributions

TIMES = (2.0, 3.0, 4.0, 0.5)  # how often a contribution may be counted
ALONG_AXIS = ("softmax", "logsoftmax", "logsumexp", "sum", "mean", "cumsum")
MOST_USES = 40  # of one quantity that are told apart


class Uses(Numbers):
    """What each use of a quantity sends back to it, and which of them make the given gradient."""

    def paths(self) -> Iterator[Candidate]:
        """One use of the quantity left out, or counted twice, or the only one that counts."""
        if self.given is None or self.given.shape != self.expected.shape:
            return
        scale = self.seen.scale.get(self.target, 1.0)
        found = contributions(self.seen.graph, self.target, dict(self.seen.given))
        parts = [(part.double() * scale, operation) for part, operation in found]
        if len(parts) < 2:
            return
        own = self.reach.tensors.get(self.target) if self.target in self.seen.inputs else None
        decays = own is not None and own.numel() > 1 and multiple(self.error, own) is not None  # a penalty is left out
        for index, (part, operation) in enumerate(parts):
            which = f"use {index + 1} of {len(parts)} of {self.target}, in {operation},"
            if alike(part, part * 0):
                if alike(self.given, part):  # it tells nothing here, and contradicts nothing
                    yield Candidate(f"only {index}", "missing_path", f"only {which} counts; add the others")
                    for n in TIMES:
                        yield Candidate(f"only {index} times {n:.3g}", "missing_path", f"{which} {n} times")
                continue
            if own is not None and own.numel() > 1 and (c := multiple(part, own)) is not None:  # the penalty's
                if alike(self.error, part) or alike(self.given, part):
                    kind = "missing_l2" if alike(self.error, part) else "missing_path"
                    yield Candidate(f"penalty {kind}", kind, f"add {c:.6g} * {self.target}, the penalty's gradient")
                elif alike(-self.error, part):
                    yield Candidate("penalty twice", "wrong_l2", f"take the penalty's {c:.6g} * {self.target} out once")
            elif alike(self.error, part):
                yield Candidate(f"path {index}", "missing_path", f"add the gradient of {which[:-1]}")
            elif alike(-self.error, part):
                yield Candidate(f"twice {index}", "path_twice", f"take the gradient of {which} out once")
            elif alike(self.given, part) and not decays:
                kind = "overwritten" if self._steps([operation for _, operation in parts]) else "missing_path"
                yield Candidate(f"only {index}", kind, f"only {which} counts; add the others")
                yield Candidate(f"only {index - len(parts)}", kind, f"only {which} counts; add the others")
            elif self._several(part) and not self._cut_out and (times := self._times(part)) is not None:
                words = f"it is {times:.3g} times the gradient of {which[:-1]}; add the others, as often as each counts"
                one_axis = times == len(parts) and operation in ALONG_AXIS  # for all of them, the axis of this one
                cause = "wrong_axis" if one_axis else "missing_path"
                yield Candidate(f"only {index} times {times:.3g}", cause, words)
        yield from self._counted([part for part, _ in parts])

    def _counted(self, parts: list[Tensor]) -> Iterator[Candidate]:
        """Several of many uses left out or counted twice, as the steps of a loop that ends early."""
        told = [part for part in parts if not alike(part, part * 0)]
        if len(told) < 3 or len(told) > MOST_USES or 2 * len(told) > self.expected.numel():
            return
        assert self.given is not None
        columns = torch.stack([part.reshape(-1) for part in told], 1)
        if int(torch.linalg.matrix_rank(columns)) < len(told):
            return
        times = torch.linalg.lstsq(columns, self.given.double().reshape(-1, 1)).solution[:, 0]
        whole = times.round()
        if not bool(((times - whole).abs() < 1e-6).all()) or not alike(columns @ whole, self.given.double().flatten()):
            return
        counts = sorted({int(n) for n in whole.tolist()})
        if counts in ([0, 1], [1, 2]):
            cause, words = ("missing_path", "are left out") if counts[0] == 0 else ("path_twice", "are counted twice")
            some = int((whole != 1).sum())
            yield Candidate(f"several {cause}", cause, f"{some} of the {len(parts)} uses of {self.target} {words}")

    def _steps(self, operations: Sequence[str]) -> bool:
        """Whether the uses are those of a parameter in the steps of a loop: the last to be stored is what is left."""
        return self.target in self.seen.inputs and len(operations) > 2 and len(set(operations)) == 1

    @cached_property
    def _cut_out(self) -> bool:
        """Whether the given gradient is right wherever it is not zero: that is a mask, and no path."""
        assert self.given is not None
        given = self.given.double()
        close = CLOSE * float(self.expected.square().mean().sqrt())
        cut = (given.abs() <= close) & (self.expected.abs() > close)
        return bool(cut.any()) and bool((cut | ((given - self.expected).abs() <= close)).all())

    def _times(self, part: Tensor) -> float | None:
        """How often a contribution makes the given gradient, where that is a plain number."""
        assert self.given is not None
        times = multiple(self.given.double(), part)
        return times if times is not None and any(same(times, n) for n in TIMES) else None

    def _several(self, part: Tensor) -> bool:
        """Whether a contribution has entries that no single number makes another's, and is not all there is."""
        return part.numel() > 1 and multiple(self.expected, part) is None

    def _cut(self) -> Iterator[Candidate]:
        """A path through one or two named quantities left out, or counted twice."""
        if self.target not in self.seen.order or self.given is None or alike(self.given, self.given * 0):
            return  # of a gradient to which nothing was added, any cut is true
        before = self.seen.order[: self.seen.order.index(self.target)]
        through = [n for n in before if n not in self.seen.inputs][-6:]
        for some in [*((n,) for n in through), *itertools.combinations(through, 2)]:
            self.in_time()
            for factor, cause, words in ((0.0, "missing_path", "add"), (2.0, "path_twice", "take out once")):
                moved = {n: g * factor for n, g in self.seen.local.items() if n in some}
                changed = self.seen.expect(self.seen.given | moved)[self.target]
                if self.given is not None and not alike(changed, self.expected) and alike(self.given, changed):
                    yield Candidate(f"{words} {some}", cause, f"{words} what comes through {' and '.join(some)}")

    def _no_penalty(self, own: Tensor, known: bool) -> bool:
        """Whether the given gradient has no share of its own weight: what J's data part alone would give."""
        parts = contributions(self.seen.graph, self.target, dict(self.seen.given))
        alone = self.given is not None and any(alike(self.given, p.double()) for p, _ in parts)
        return alone or (len(parts) < 2 and known)
