"""The corpus: derivations that are right, wrong or right in an unusual way, each with what the check must say.

A module of this package holds forwards, their inputs and, decorated, the backwards. The decorated function is
the derivation under check, written as a user would write it; the decorator is what is known about it.

    @correct(forward, inputs)                        every quantity right
    @control(forward, inputs)                        right, though unusual: must pass as well
    @wrong(forward, inputs, steps=("z2",))           wrong in the named steps, nearest to J first
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One derivation and what is known about it."""

    name: str
    kind: str  # correct, control or wrong
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: Any
    steps: tuple[str, ...] = ()  # the quantities whose step is wrong, nearest to J first
    cause: str = ""  # what the mistake is, in a word or two (for the explanations)
    source: str = ""  # how people come to make it, or where it was seen
    options: Mapping[str, Any] = field(default_factory=dict)


CASES: list[Case] = []
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _add(kind: str, forward: Callable[..., Any], inputs: Any, **known: Any) -> Decorator:
    def register(backward: Callable[..., Any]) -> Callable[..., Any]:
        module = backward.__module__.rpartition(".")[2]
        name = known.pop("name", None) or backward.__name__
        CASES.append(Case(f"{module}.{name}", kind, forward, backward, inputs, **known))
        return backward

    return register


def correct(forward: Callable[..., Any], inputs: Any, **known: Any) -> Decorator:
    """A right derivation in its plainest form; the corpus of edits starts from these."""
    return _add("correct", forward, inputs, **known)


def control(forward: Callable[..., Any], inputs: Any, **known: Any) -> Decorator:
    """A right derivation in an unusual form or at unusual values: an alarm here is a false alarm."""
    return _add("control", forward, inputs, **known)


def wrong(forward: Callable[..., Any], inputs: Any, *, steps: tuple[str, ...], **known: Any) -> Decorator:
    """A wrong derivation: `steps` are the wrong quantities, nearest to J first."""
    return _add("wrong", forward, inputs, steps=steps, **known)


def load() -> list[Case]:
    """Every case of the corpus, in a fixed order."""
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    names = [case.name for case in CASES]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"names of cases must be unique, got twice: {sorted(twice)}")
    return list(CASES)
