"""Explaining a wrong autograd.Function: its backward as a derivation, of the cost that weighs its outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from compare.check.conditions import Inputs, conditions, realise
from compare.check.derivation import default_dtype
from compare.check.function import SECONDS as CHECK_SECONDS
from compare.check.function import check_function
from compare.check.report import Report, Row
from compare.explain.bench import Bench
from compare.explain.custom import Custom
from compare.explain.explanation import SECONDS, explain, safely
from compare.explain.program import NotReadable, plain_value, read

OUTPUT = "output"


def explain_function(
    fn: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Inputs,
    *,
    seed: int = 0,
    check_seconds: float = CHECK_SECONDS,
    seconds: float = SECONDS,
    language: str = "en",
) -> Report:
    """`check_function`, with the cause, line and repair of every gradient that is wrong in float64.

    In a test: `explain_function(MyFunction.apply, reference, inputs).raise_if_wrong()`.
    """
    report = check_function(fn, reference, inputs, seed=seed, seconds=check_seconds)
    return explain_checked(report, fn, reference, inputs, seed=seed, seconds=seconds, language=language)


def explain_checked(
    report: Report,
    fn: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Inputs,
    *,
    seed: int = 0,
    seconds: float = SECONDS,
    language: str = "en",
    bench: Bench | None = None,
) -> Report:
    """The report of `check_function` with the cause of every gradient that is wrong in float64.

    The cost is sum(c * output) for fixed c, so that dJ/d(output) = c is what the backward is handed. Edits of it are
    tried where it can be read; else its numbers are looked at. Rows of which the check says itself what is wrong, and
    those that are wrong in lower precision alone, stay as they are; so does the report on what is no `apply` of an
    autograd.Function.
    """
    cls = getattr(fn, "__self__", None)
    if not (isinstance(cls, type) and issubclass(cls, Function)):
        return report
    rows = tuple(row for row in report.rows if not _told(row))

    def explained() -> Report:
        with default_dtype(torch.float64):
            names = list(realise(inputs, next(iter(conditions(inputs, seed)))))
        derivation = _Derivation(cls, reference, names)
        return explain(
            Report(rows),
            derivation.forward,
            derivation.backward,
            inputs,
            seed=seed,
            seconds=seconds,
            language=language,
            bench=bench,
            custom=derivation.custom,
        )

    by_name = {row.name: row for row in safely(explained, report).rows}
    return replace(report, rows=tuple(by_name.get(row.name, row) for row in report.rows))


def _told(row: Row) -> bool:
    """Whether the check says itself what is wrong: not linear in the cotangent, state between calls, a layout."""
    return bool(row.explanation) and row.verdict != "invalid"


class _Derivation:
    """A function's reference as the forward of a derivation, and its own backward."""

    def __init__(self, cls: Any, reference: Callable[..., Any], names: list[str]) -> None:
        self.cls, self.reference, self.names = cls, reference, names

    def forward(self, **given: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """J = sum(c * output), and the outputs."""
        outputs = _outputs(self.reference(*(given[n] for n in self.names)))
        J = sum(((o * _weights(o, k)).sum() for k, o in enumerate(outputs) if o is not None), torch.zeros(()))
        return J, {_name(k): o for k, o in enumerate(outputs) if o is not None}

    def backward(self, **given: Any) -> dict[str, Any]:
        """dJ/dx of each input, by the backward of the function itself, and c."""
        context, weights = self._handed(given)
        with torch.no_grad():
            found = self.cls.backward(context, *weights)
        gradients = dict(zip(self.names, found if isinstance(found, tuple) else (found,), strict=False))
        return gradients | {_name(k): c for k, c in enumerate(weights) if c is not None}

    def _handed(self, given: Mapping[str, Any]) -> tuple[_Context, list[Tensor | None]]:
        """What the backward is called with: the context as the forward leaves it, and the c of each output."""
        values = [v.clone() if isinstance(v := given[n], Tensor) else v for n in self.names]  # it may change them
        context = _Context(len(values))
        with torch.no_grad():
            if self.cls.setup_context is Function.setup_context:
                returned = self.cls.forward(context, *values)
            else:
                returned = self.cls.forward(*values)
                self.cls.setup_context(context, tuple(values), returned)
        return context, [None if o is None else _weights(o, k) for k, o in enumerate(_outputs(returned))]

    @cached_property
    def custom(self) -> Custom:
        """Its own backward, where that can be read."""
        method = inspect.unwrap(self.cls.backward)
        parameters = list(inspect.signature(method).parameters)

        def handed(values: Mapping[str, Any]) -> dict[str, Any]:
            """The context, and dJ/d(output) by the names that the backward has for them."""
            context, weights = self._handed(values)
            kept = {n: v for n, v in vars(context).items() if plain_value(v)}
            return dict(zip(parameters, [kept, *weights], strict=False))

        try:
            program = read(method, context=parameters[0] if parameters else "")
        except NotReadable as error:
            return Custom(None, str(error), lambda values: {})
        deltas = tuple((_name(k), parameter) for k, parameter in enumerate(parameters[1:]))
        return Custom(replace(program, returns=tuple(self.names), deltas=deltas), "", handed)


class _Context:
    """What a forward saves for its backward."""

    def __init__(self, inputs: int) -> None:
        self.needs_input_grad = (True,) * inputs
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """As torch's."""
        self.saved_tensors = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """As torch's; says nothing of a formula."""

    mark_non_differentiable = set_materialize_grads = save_for_forward = mark_dirty


def _name(number: int) -> str:
    return f"{OUTPUT}{number + 1}" if number else OUTPUT


def _outputs(returned: Any) -> list[Tensor | None]:
    """The floating outputs, None in place of others."""
    every = returned if isinstance(returned, tuple | list) else [returned]
    return [o if isinstance(o, Tensor) and o.is_floating_point() else None for o in every]


def _weights(output: Tensor, number: int) -> Tensor:
    """The c of an output: always the same of its shape, and none like another."""
    generator = torch.Generator().manual_seed(1000 + number)
    drawn = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    return drawn.to(output.device, output.dtype)
