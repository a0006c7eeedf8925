"""The parent's side of the child that runs edited code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compare.check.backward import Backward
from compare.check.codec import pack
from compare.check.hooks import Forward
from compare.explain.bench import Bench
from compare.explain.custom import Custom
from compare.explain.observe import Observation
from compare.explain.program import NotReadable, Program, read
from compare.isolate import Child, Failure, Limits
from compare.wire import WireError

GRACE = 2.0  # seconds that a request may take beyond what it was given
MEMORY = 2 * 2**30
LOADING = 20.0  # seconds
RUN = 5.0  # seconds for one run of one edited backward


class Searcher:
    """The child that searches repairs; started when it is first needed, and only where the source can be read."""

    def __init__(
        self,
        backward: Backward,
        bench: Bench | None = None,
        forward: Forward | None = None,
        custom: Custom | None = None,
    ) -> None:
        self.bench = bench  # where this process is a child already
        self.why = ""
        self.child: Child | None = None
        self.program: Program | None = None
        self.tried = 0
        self.waiting: list[str] = []  # other wrong steps, which are still to be explained
        self.mended: list[str] = []  # those of them that the repair accepted last makes right as well
        self.hint: list[Any] = []  # file, line and text of the first line that is suspect, for the last step
        if custom is not None:
            self.program, self.why = custom.program, custom.why
            return
        try:
            self.program = read(backward, forward)
        except NotReadable as error:
            self.why = str(error)

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.child is not None:
            self.child.close()

    def start(self, seconds: float = LOADING) -> None:
        """Start the child, unless it is there, and give it the program."""
        try:
            if self.program is not None and self.child is None and self.bench is None:
                self.child = Child("compare.explain.bench:Bench", Limits(memory=MEMORY, seconds=seconds), threads=1)
                self._ask("load", self._sent(), seconds)
            elif self.program is not None and self.bench is not None and self.bench.program is None:
                self._ask("load", self._sent(), seconds)
        except (Failure, WireError) as error:
            self.why = str(error)
            self.program = None

    def call(self, method: str, asked: dict[str, Any], seconds: float) -> tuple[Any, dict[str, Tensor]] | None:
        """The child's answer; None where there is none. A child that was ended is not started again."""
        self.start()
        if self.program is None:
            return None
        try:
            return self._ask(method, asked, seconds)
        except (Failure, WireError) as error:
            self.why = str(error)
            if not (isinstance(error, Failure) and error.kind == "raised"):
                self.program = None
            return None

    def _sent(self) -> dict[str, Any]:
        p = self.program
        assert p is not None
        pieces = tuple((q.source, q.file, q.line) for q in (p.main, *p.helpers))
        custom = {"context": p.context, "returns": p.returns, "deltas": p.deltas}
        return {"pieces": pieces, "modules": p.modules, "constants": p.constants} | custom

    def _ask(self, method: str, asked: dict[str, Any], seconds: float) -> tuple[Any, dict[str, Tensor]]:
        data, tensors = pack(asked)
        if self.child is not None:
            return self.child.call(method, data, tensors, seconds=seconds)
        try:
            answer: tuple[Any, dict[str, Tensor]] = getattr(self.bench, method)(data, tensors)
        except Exception as error:
            raise Failure("raised", f"{type(error).__name__}: {error}") from error
        return answer

    def repairs(
        self,
        seen: Observation,
        others: list[Observation],
        target: str,
        like: list[str],
        seconds: float,
        together: Sequence[str] = (),
        smaller: Sequence[Observation] = (),
    ) -> list[dict[str, Any]]:
        """Repairs of a step that hold under one condition and these others, and mend those in `together` as well.

        Those that hold at `smaller` sizes too are `general`, and come first.
        """
        self.hint, self.mended = [], []
        asked = self._known(seen) | {
            "target": target,
            "expected": seen.local[target],
            "given": seen.given.get(target),
            "deltas": seen.deltas(target),
            "after": seen.after(target) | {n: seen.local[n] for n in together},
            "together": list(together),
            "decay": seen.decay(target),
            "flowing": seen.flowing,
            "like": like,
            "others": [(o.values, o.local[target], o.floor) for o in others if target in o.local],
            "smaller": [(o.values, o.local[target], o.floor) for o in smaller if target in o.local],
            "seconds": seconds,
        }
        answer = self.call("search", asked, seconds + GRACE)
        if answer is None:
            return []
        self.why = answer[0]["why"] or self.why
        self.hint = answer[0].get("hint", [])
        self.tried += answer[0]["tried"]
        return list(answer[0]["found"])

    def revivals(self, seen: Observation, others: list[Observation], seconds: float) -> list[dict[str, Any]]:
        """Edits after which a backward that raises runs, and is right in all it returns, here and there."""
        asked = self._known(seen) | {
            "expected": seen.local,
            "others": [(o.values, o.local, o.floor) for o in others],
            "seconds": seconds,
        }
        answer = self.call("revive", asked, seconds + GRACE)
        return [] if answer is None else list(answer[0])

    def _known(self, seen: Observation) -> dict[str, Any]:
        """What the child is told of the forward."""
        return {
            "values": seen.values,
            "inputs": sorted(seen.inputs),
            "quantities": sorted(seen.quantities),
            "facts": seen.facts.sent(),
            "floor": seen.floor,
        }

    def run(self, which: int, values: dict[str, Any]) -> dict[str, Tensor] | None:
        """What the edited backward number `which` returns for these values."""
        answer = self.call("run", {"values": values, "which": which}, RUN)
        return None if answer is None else answer[1]

    def holds(self, which: int, target: str, seen: Observation, together: Sequence[str] = ()) -> bool:
        """Whether a repair makes the step right here too, with those in `together`, and leaves its deltas alone.

        Where the step itself overflows (0 / 0 of saturated outputs), nothing can be told of its repair.
        """
        given = seen.given.get(target)
        if given is not None and not bool(torch.isfinite(given).all()):
            return True
        gradients = self.run(which, seen.values)
        if gradients is None:
            return False
        if not all(n in gradients and seen.alike(gradients[n], seen.local[n]) for n in (target, *together)):
            return False
        return all(n in gradients and seen.alike(gradients[n], seen.given[n]) for n in seen.deltas(target))

    def harmless(self, which: int, target: str, seen: Observation) -> bool:
        """Whether every step that was right, given its deltas, is right given the mended ones."""
        gradients = self.run(which, seen.values)
        if gradients is None:
            return False
        new = seen.given | {n: g for n, g in gradients.items() if n in seen.local and g.shape == seen.local[n].shape}
        expected = seen.expect(new)
        return all(seen.alike(new[n], expected[n]) for n in seen.right if n != target and n in expected)

    def mends(self, which: int, observations: Sequence[Observation]) -> list[str]:
        """Of the steps that wait, those that are wrong here and that a repair makes right as well."""
        mended, told = set(self.waiting), set()
        for seen in observations if mended else ():
            gradients = self.run(which, seen.values)
            if gradients is None:
                return []
            new = {n: g for n, g in gradients.items() if n in seen.local and g.shape == seen.local[n].shape}
            expected = seen.expect(seen.given | new)
            mended = {n for n in mended if n in new and n in expected and seen.alike(new[n], expected[n])}
            told |= {n for n in mended if n in seen.given and not seen.alike(seen.given[n], seen.local[n])}
        return [name for name in self.waiting if name in mended & told]
