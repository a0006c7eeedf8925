"""What a function must leave alone, and its second derivatives: properties that no single gradient shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.check.custom.calls import Call, CallFailed, Side, accumulate, cast, comparable, gradients, reached
from compare.check.custom.setting import Results, Setting
from compare.check.evaluation import Comparison, Evaluation
from compare.check.noise import Jitter, measure
from compare.check.verdict import Judgement, judge

Finding = tuple[str, str]  # name of the property, and why it does not hold: empty if it does


def properties(s: Setting) -> Iterator[Finding]:
    """What the function leaves alone: its inputs, the cotangent, results that it gave, memory that is not its own."""
    yield from _unchanged(s)
    yield "results kept", _results_kept(s)
    yield "no hidden alias", _hidden_alias(s)


def _unchanged(s: Setting) -> Iterator[Finding]:
    call = s.fn(s.values)
    before = {n: (t, t._version) for n, t in call.arguments.items() if isinstance(t, Tensor)}
    returned = {id(o) for o in call.outputs if o is not None}  # an input that is changed and returned: mark_dirty
    changed = _changed(s, call, returned, "forward")
    cotangents = [None if c is None else c.clone() for c in s.ready("u")]
    versions = [0 if c is None else c._version for c in cotangents]
    gradients([(call, cotangents)])
    if not changed:
        changed = _changed(s, call, returned, "backward") or next(
            (
                f"backward changes {n} in place: what else needs it sees the change"
                for n, (t, version) in before.items()
                if t._version != version and id(t) not in returned
            ),
            "",
        )
    yield "inputs unchanged", changed
    same = all(
        c is None or (c._version == version and torch.equal(c, u))  # type: ignore[arg-type]
        for c, version, u in zip(cotangents, versions, s.ready("u"), strict=True)
    )
    yield (
        "cotangent unchanged",
        "" if same else "backward changes its cotangent in place: other paths to J share that tensor; clone it first",
    )


def _changed(s: Setting, call: Call, returned: set[int], stage: str) -> str:
    for name, argument in call.arguments.items():
        if not isinstance(argument, Tensor) or id(argument) in returned:
            continue
        if not _same(argument, s.values[name]):
            return f"{stage} changes {name} in place; work on a copy, or return {name} itself and call ctx.mark_dirty"
        if argument._version > (1 if s.fn.in_place else 0) and name not in call.leaves:
            return f"{stage} writes into {name} and restores it: autograd then refuses what saved {name}"
    return ""


def _results_kept(s: Setting) -> str:
    u = s.ready("u")
    first = s.fn(s.values)
    outputs = [None if o is None else o.detach().clone() for o in first.outputs]
    found = gradients([(first, u)])
    kept = {name: gradient.clone() for name, gradient in found.items()}
    second = s.fn({n: t * 0.5 if n in found else t for n, t in s.values.items()})
    gradients([(second, [None if c is None else -c for c in u])])
    for before, now in zip(outputs, first.outputs, strict=True):
        if before is not None and not _same(before, now):
            return "a second call overwrites the output of the first: return a tensor of its own each time"
    for name, gradient in kept.items():
        if not _same(gradient, found[name]):
            return f"a second backward overwrites the first one's gradient of {name}: return a tensor of its own"
    return ""


def _hidden_alias(s: Setting) -> str:
    """Whether writing to an output changes an input without autograd's knowledge."""
    call = s.fn(s.values)
    inputs = {n: t for n, t in call.arguments.items() if isinstance(t, Tensor)}
    for output in call.outputs:
        for name, argument in inputs.items():
            if output is None or output is argument or not _share(output, argument):
                continue
            before = argument.detach().clone()
            version = argument._version
            try:
                with torch.no_grad():
                    output.add_(1)
            except RuntimeError:
                continue  # autograd knows: it refuses the write
            if argument._version == version and not _same(before, argument):
                return (
                    f"an output shares its memory with {name} behind autograd's back (.data?): "
                    "writing to it changes the input; return a copy"
                )
    return ""


def _share(a: Tensor, b: Tensor) -> bool:
    return bool(a.numel() and b.numel()) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _same(a: Any, b: Any) -> bool:
    return bool(torch.equal(a.detach().nan_to_num(), b.detach().nan_to_num()))


class Refused(RuntimeError):
    """A function refuses to be differentiated twice."""


def second_order(s: Setting) -> Judgement | None:
    """The verdict on the gradients' own derivatives; None if the reference has none.

    Raises Refused, with the reason, where the function says that it has none (once_differentiable, for example).
    """
    wide = cast(s.values, torch.float64)
    needs = reached(s.reference(wide), s.draws["u"])  # the others are detached in the reference
    generator = torch.Generator().manual_seed(s.seed)
    weights = {
        n: torch.randn(v.shape, generator=generator, dtype=torch.float64).to(s.dtype).double().to(v.device)
        for n, v in s.values.items()
        if n in needs and v.is_floating_point()
    }

    def second(side: Side, values: Mapping[str, Any]) -> Results:
        call = side(values, needs=needs)
        cotangents = [None if c is None else c.clone().requires_grad_() for c in s.draws["u"]]
        first = gradients([(call, cotangents)], create_graph=True)
        total = [(g * weights[n].to(g)).sum().double() for n, g in first.items() if n in weights and g.requires_grad]
        wanted = call.leaves | {f"cotangent {k}": c for k, c in enumerate(cotangents) if c is not None}
        # not autograd.grad: it passes by the error that once_differentiable leaves in the graph
        if total:
            accumulate(Call(wanted, {}, [torch.stack(total).sum()]), [torch.ones((), dtype=torch.float64)])
        return {name: comparable(torch.zeros_like(t) if t.grad is None else t.grad) for name, t in wanted.items()}

    try:
        exact = second(s.reference, wide)
    except CallFailed:
        return None
    try:
        got = second(s.fn, s.values)
    except CallFailed as error:
        raise Refused(str(error)) from error

    def run(jitter: Jitter) -> Results:
        moved = {name: jitter(value) for name, value in s.values.items()}
        theirs = second(s.reference, cast(moved, torch.float64))
        try:
            own = second(s.fn, moved)
        except CallFailed:
            return theirs
        return theirs | {f"error {name}": own[name] - theirs[name] for name in theirs}

    measured = measure(run, seed=s.seed)
    eps = torch.finfo(s.dtype).eps
    worst = Judgement("right")
    for name, value in exact.items():
        floor = torch.maximum(measured.floors[name], value.abs() * eps)
        floor = torch.maximum(floor, measured.floors.get(f"error {name}", floor).nan_to_num(posinf=0.0))
        j = judge(Evaluation([name], comparisons={name: Comparison((got[name],), value, value, floor, floor, s.dtype)}))
        if j[name].verdict not in ("right", "undecided") and j[name].max_rel >= worst.max_rel:
            why = (
                f"second derivatives are silently wrong, in that of {name}: save only inputs and outputs and compute "
                "the rest in backward, or mark backward @once_differentiable"
            )
            worst = replace(j[name], explanation=why)
    return worst
