"""Mutants of a right backward: the table of edits run the other way. Child process only."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping

import torch

from compare.explain.candidate import Candidate
from compare.explain.search import Applied, Found, Search
from compare.explain.shown import shown
from compare.explain.trial import RESULT, Trial, gradient

PROPOSALS = 6  # of one edit at one place: enough to draw from


def mutants(trial: Trial, inputs: frozenset[str], quantities: frozenset[str], most: int, seed: int) -> list[Found]:
    """Edited backwards that still run, evenly over the kinds of edit; the same ones for the same seed."""
    snapshots = trial.snapshots()
    result = snapshots[-1].get(RESULT)
    if not isinstance(result, Mapping):
        return []
    kinds: dict[str, list[tuple[Search, Candidate]]] = defaultdict(list)
    for name, value in result.items():
        plain = gradient(value)
        if plain is None or name not in quantities:
            continue
        search = Search(trial, name, plain, inputs, quantities, frozenset())
        search.most = PROPOSALS
        for candidate in search.every(snapshots):
            kinds[candidate.edit.name].append((search, candidate))
    drawing = random.Random(seed)
    for group in kinds.values():
        drawing.shuffle(group)
    made: dict[tuple[str, str], Found] = {}
    while len(made) < most and any(kinds.values()):
        for group in kinds.values():
            while group and len(made) < most:
                search, candidate = group.pop()
                found = _mutant(trial, search, candidate)
                if found is None:
                    continue
                key = (str(found.shown[0].line), found.shown[0].new)
                if key not in made:
                    made[key] = found
                    break
    return list(made.values())


def _mutant(trial: Trial, search: Search, candidate: Candidate) -> Found | None:
    """A candidate that runs and returns gradients of the right shapes; others would be seen at a glance."""
    with Applied(search, candidate) as codes:
        if codes is None:
            return None
        try:
            result = trial.run(0, None, codes)
        except Exception:  # an edited backward may raise anything, also that it took too long
            return None
        if not isinstance(result, Mapping):
            return None
        value = gradient(result.get(search.target))
        if value is None or value.shape != search.expected.shape or not bool(torch.isfinite(value).all()):
            return None
        lines = shown(candidate.changes, trial)
        return Found(candidate.cause, candidate.key, lines, list(codes))
