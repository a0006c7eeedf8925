"""Ways in which autograd uses a function: each must give the same outputs and the same gradients.

Each usage is a condition of its own in the report. What it should give follows from the truth at the random cotangents
u and v, since gradients are linear in the cotangent.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.check.custom.calls import Arranged, CallFailed, Cotangents, accumulate, gradients, weighed
from compare.check.custom.cotangents import LARGE, LARGE_OTHERWISE, SAME_VALUES, every_other, padded_rows, transposed
from compare.check.custom.setting import Combination, Results, Setting, numbers, output_rows, results

SUBSETS = 3  # up to this many inputs, every subset of them is tried as those that need a gradient


@dataclass(frozen=True)
class Usage:
    """One way to call a function and its backward."""

    name: str
    combination: Combination  # of the draws: the gradients that it should give
    run: Callable[[], Results]
    blame: str  # what is wrong where only this usage fails
    layout: bool = False  # of the inputs: a function may refuse it, in its forward


def usages(s: Setting, *, full: bool) -> Iterator[Usage]:
    """Every usage at a setting; if not `full`, those that other values or sizes can make a difference to."""
    made = [_cotangent_values(s)]
    if full:
        made += [_cotangent_scales(s), _cotangent_layouts(s), _input_layouts(s), _needs(s), _graphs(s)]
    for usage in itertools.chain.from_iterable(made):
        if all(draw in s.draws for draw in usage.combination):
            yield usage


def _plain(s: Setting, cotangents: Cotangents, *, arranged: Arranged | None = None) -> Results:
    call = s.fn(s.values, arranged=arranged)
    return results(call, gradients([(call, cotangents)]))


def _cotangent_values(s: Setting) -> Iterator[Usage]:
    yield _linear(s, "another random cotangent", {"v": 1.0}, "")
    yield _linear(s, "negated cotangent", {"u": -1.0}, ": g(-u) is not -g(u)")


def _cotangent_scales(s: Setting) -> Iterator[Usage]:
    large = LARGE.get(s.dtype, LARGE_OTHERWISE)
    yield _linear(s, "sum of two cotangents", {"mix": 1.0}, ": g(2u - 3v) is not 2 g(u) - 3 g(v)")
    yield _linear(s, "zero cotangent", {"u": 0.0}, ": zeros must give zeros")
    yield _linear(s, f"cotangent x {large:g}", {"u": large}, ": a large one gives another multiple (clipped?)")
    yield _linear(s, f"cotangent / {large:g}", {"u": 1 / large}, ": a small one gives another multiple (rounded?)")
    for k in range(len(s.draws["u"])):
        combination = {f"only {k}": 1.0}
        yield Usage(f"only output {k} used", combination, functools.partial(_combined, s, combination), _unused(k))


def _linear(s: Setting, name: str, combination: Combination, how: str) -> Usage:
    blame = f"backward is not linear in the cotangent{how}"
    return Usage(name, combination, functools.partial(_combined, s, combination), blame)


def _combined(s: Setting, combination: Combination) -> Results:
    return _plain(s, s.cotangents(combination))


def _unused(k: int) -> str:
    return (
        f"wrong where output {k} alone is used: the others' cotangents are zeros, or None with "
        "set_materialize_grads(False)"
    )


def _cotangent_layouts(s: Setting) -> Iterator[Usage]:
    repair = "call .contiguous() on it, or index with strides"
    for name, lay_out in (
        ("non-contiguous cotangent", transposed),
        ("cotangent in every other place of memory", every_other),
        ("cotangent in padded rows", padded_rows),
    ):
        ready = s.ready("u")
        laid_out = [None if u is None else lay_out(u) for u in ready]
        if any(t is not None for t in laid_out):
            made = [u if t is None else t for t, u in zip(laid_out, ready, strict=True)]
            yield Usage(
                name,
                {"u": 1.0},
                lambda made=made: _plain(s, made),  # type: ignore[misc]
                f"wrong for a non-contiguous cotangent: {repair}",
            )
    for name, draw in (("cotangent of a sum (stride 0)", "sum"), ("cotangent expanded along rows", "row")):
        yield Usage(
            name,
            {draw: 1.0},
            lambda draw=draw: _plain(s, s.ready(draw)),  # type: ignore[misc]
            f"wrong for an expanded cotangent (stride 0, as from .sum()): {repair}",
        )


def _input_layouts(s: Setting) -> Iterator[Usage]:
    for name, lay_out in SAME_VALUES.items():
        tensors = {n: v for n, v in s.values.items() if isinstance(v, Tensor) and v.numel()}
        arranged = {n: functools.partial(lay_out, v) for n, v in tensors.items() if lay_out(v) is not None}
        if not arranged or s.fn.in_place:
            continue
        yield Usage(
            f"inputs laid out in memory: {name}",
            {"u": 1.0},
            lambda arranged=arranged: _plain(s, s.draws["u"], arranged=arranged),  # type: ignore[misc]
            "wrong for inputs that are not contiguous: call .contiguous() on them, or index with strides",
            layout=True,
        )


def _needs(s: Setting) -> Iterator[Usage]:
    names = [name for name, _ in numbers(s.values)]
    sizes = range(1, len(names)) if len(names) <= SUBSETS else sorted({1, len(names) - 1})
    for needs in itertools.chain.from_iterable(itertools.combinations(names, size) for size in sizes):

        def run(needs: tuple[str, ...] = needs) -> Results:
            call = s.fn(s.values, needs=needs)
            return results(call, gradients([(call, s.draws["u"])]))

        which = ", ".join(needs)
        yield Usage(
            f"only {which} {'need gradients' if len(needs) > 1 else 'needs a gradient'}",
            {"u": 1.0},
            run,
            f"wrong where only {which} need{'s' * (len(needs) == 1)} gradients: see ctx.needs_input_grad",
        )

    def none() -> Results:
        with torch.no_grad():
            return output_rows(s.fn(s.values, needs=()))

    yield Usage("no gradient needed", {"u": 1.0}, none, "the forward gives another value where no gradient is needed")


def _graphs(s: Setting) -> Iterator[Usage]:
    u, v = s.draws["u"], s.draws["v"]

    def interleaved() -> Results:
        first = s.fn(s.values)
        other = {n: t.flip(0) if isinstance(t, Tensor) and t.ndim else t for n, t in s.values.items()}
        try:
            s.fn(other)
        except CallFailed:
            s.fn(s.values)  # the order of the rows means something here
        return results(first, gradients([(first, u)]))

    def twice() -> Results:
        call = s.fn(s.values)
        gradients([(call, u)], retain_graph=True)
        return results(call, gradients([(call, u)]))

    def after_layer() -> Results:
        call = s.fn(s.values, after_layer=True)
        return results(call, gradients([(call, u)]))

    def before_layer() -> Results:
        call = s.fn(s.values)
        J = weighed(call, u)
        return results(call, gradients([(J, [torch.ones((), dtype=torch.float64)])]))

    def shared() -> Results:
        first = s.fn(s.values)
        second = s.fn.again(first)
        return results(first, gradients([(first, u), (second, v)]))

    def accumulated() -> Results:
        call = s.fn(s.values)
        accumulate(call, u, retain_graph=True)
        accumulate(call, u)
        return results(call, {n: torch.zeros_like(x) if x.grad is None else x.grad for n, x in call.leaves.items()})

    yield Usage(
        "two forwards before the backward",
        {"u": 1.0},
        interleaved,
        "a second forward changes what the first one's backward gives: keep state in ctx, one call each",
    )
    yield Usage(
        "backward twice (retain_graph)",
        {"u": 1.0},
        twice,
        "wrong in a second backward of the same forward: backward changes or drops what forward saved",
    )
    yield Usage(
        "a layer before it",
        {"u": 0.5},
        after_layer,
        "wrong with a layer before it: return the gradient; do not set .grad, and do not rely on a leaf",
    )
    yield Usage("a layer after it", {"u": 1.0}, before_layer, "wrong with a layer after it")
    yield Usage(
        "an input used twice",
        {"u": 1.0, "v": 1.0},
        shared,
        "wrong where two calls share an input: gradients of the calls must be separate tensors",
    )
    yield Usage(
        "accumulated into .grad",
        {"u": 2.0},
        accumulated,
        "wrong where .grad adds up two backwards: each must return a tensor of its own",
    )
