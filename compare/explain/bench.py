"""The child's side of an explanation: holds one program, searches its repairs, and runs them on other values."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from compare.check.codec import unpack
from compare.explain.candidate import Elsewhere
from compare.explain.facts import Facts
from compare.explain.mutants import mutants
from compare.explain.program import Piece, Program
from compare.explain.revive import Revival
from compare.explain.search import Found, Search
from compare.explain.shown import Shown
from compare.explain.trial import TooSlow, Trial, gradient


class Bench:
    """A service for `compare.isolate.Child`: the only place where edited code runs."""

    def __init__(self) -> None:
        torch.set_default_dtype(torch.float64)
        self.found: list[Found] = []
        self.trial: Trial | None = None
        self.program: Program | None = None

    def load(self, data: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Takes a program."""
        sent = unpack(data, tensors)
        pieces = [Piece(*piece) for piece in sent["pieces"]]
        modules, constants = dict(sent["modules"]), dict(sent["constants"])
        custom = sent["context"], sent["returns"], sent["deltas"]
        self.program = Program(pieces[0], tuple(pieces[1:]), modules, constants, *custom)
        return None, {}

    def search(self, data: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Repairs of one step on the values of one condition, likeliest first."""
        assert self.program is not None
        asked = unpack(data, tensors)
        trial = Trial(self.program, asked["values"])
        self.trial = trial
        started = time.monotonic()
        given = asked.get("given")
        result = trial.run()
        target = asked["target"]
        if not isinstance(result, Mapping) or target not in result:
            return {"found": [], "why": "the source returns no such gradient", "tried": 0}, {}
        again = gradient(result[target])
        if given is not None and (
            again is None or again.shape != given.shape or not torch.allclose(again, given, rtol=1e-6, equal_nan=True)
        ):
            return {"found": [], "why": "the source does not give the same numbers again", "tried": 0}, {}
        search = Search(
            trial,
            target,
            asked["expected"],
            frozenset(asked["inputs"]),
            frozenset(asked["quantities"]),
            frozenset(asked["deltas"]),
            [Elsewhere(dict(values), expected.double(), floor) for values, expected, floor in asked["others"]],
        )
        smaller = (Elsewhere(dict(values), wanted.double(), floor) for values, wanted, floor in asked["smaller"])
        search.smaller = list(smaller)
        search.after = {name: expected.double() for name, expected in asked["after"].items()}
        search.floor, (search.flowing, search.off) = asked["floor"], asked["flowing"]
        search.together, search.decay = set(asked["together"]), asked["decay"]
        search.facts = Facts.received(asked["facts"])
        self.found = search.find(asked["seconds"], asked["like"])
        answer = {
            "found": [_described(each) for each in self.found],
            "why": "",
            "tried": search.tried,
            "hint": [search.hint.file, search.hint.line, search.hint.old] if search.hint is not None else [],
            "seconds": time.monotonic() - started,
        }
        return answer, {}

    def revive(self, data: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Repairs of a program that raises on the values of one condition, likeliest first."""
        assert self.program is not None
        asked = unpack(data, tensors)
        self.trial = Trial(self.program, asked["values"])
        inputs, quantities = frozenset(asked["inputs"]), frozenset(asked["quantities"])
        search = Revival(self.trial, asked["expected"], inputs, quantities, list(asked["others"]))
        search.floor, search.facts = asked["floor"], Facts.received(asked["facts"])
        self.found = search.find(asked["seconds"], [])
        return [_described(each) for each in self.found], {}

    def mutants(self, data: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Edited backwards, evenly over the kinds of edit; `run` runs them."""
        assert self.program is not None
        asked = unpack(data, tensors)
        self.trial = Trial(self.program, asked["values"])
        inputs, quantities = frozenset(asked["inputs"]), frozenset(asked["quantities"])
        self.found = mutants(self.trial, inputs, quantities, asked["most"], asked["seed"])
        return [_described(each) for each in self.found], {}

    def run(self, data: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """The gradients that the repair number `which` returns for other values; None for those that are no arrays."""
        assert self.trial is not None
        asked = unpack(data, tensors)
        self.trial.values = dict(asked["values"])
        found = self.found[asked["which"]]
        try:
            result = self.trial.run(0, None, found.codes)
        except TooSlow:
            raise RuntimeError("the repaired backward takes too long") from None
        kept = {n: gradient(v) for n, v in result.items()} if isinstance(result, Mapping) else {}
        return None, {n: v for n, v in kept.items() if v is not None}


def _described(found: Found) -> dict[str, Any]:
    lines = [[s.file, s.line, s.old, s.new] for s in _unique(found.shown)]
    return {"cause": found.cause, "key": found.key, "lines": lines, "pair": found.pair, "general": found.general} | (
        {"says": found.says, "diz": found.diz} if found.says else {}
    )


def _unique(lines: list[Shown]) -> list[Shown]:
    return list(dict.fromkeys(lines))
