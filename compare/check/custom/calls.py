"""Calling a function under check: fresh leaves of its inputs in any memory layout, its outputs, its gradients."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Cotangents = Sequence[Tensor | None]  # one an output, None where the output is left unused
Arranged = Mapping[str, Callable[[], Tensor]]  # fresh copies of some inputs, in a memory layout of their own

_COMPLEX = {torch.float64: torch.complex128}
_LEAF = "leaf Variable that requires grad"  # autograd's words for an in-place operation on a leaf


class CallFailed(RuntimeError):
    """A function under check raised; `stage` says where: "forward" or "backward"."""

    def __init__(self, stage: str, error: Exception) -> None:
        self.stage = stage
        super().__init__(f"{stage} {reason(error)}")


@dataclass(frozen=True)
class Call:
    """One forward pass: the leaves to differentiate with respect to, the arguments, the floating outputs."""

    leaves: dict[str, Tensor]
    arguments: dict[str, Any]
    outputs: list[Tensor | None]  # None where an output is no floating tensor


class Side:
    """A function and how it is called. A module is copied to `dtype` first, with its parameters and buffers."""

    def __init__(self, fn: Callable[..., Any], dtype: torch.dtype | None = None) -> None:
        self.fn = copy.deepcopy(fn).to(dtype) if isinstance(fn, nn.Module) and dtype is not None else fn
        self.in_place = False  # changes an input that it returns: it cannot be handed a leaf

    def __call__(
        self,
        values: Mapping[str, Any],
        *,
        needs: Collection[str] | None = None,
        arranged: Arranged | None = None,
        after_layer: bool = False,
    ) -> Call:
        """Call with fresh copies of the values; those in `needs` (all floating ones if None) require gradients.

        `after_layer` hands over half of a leaf that holds twice the values: the same numbers, from a layer before.
        """
        try:
            return self._called(values, needs, arranged or {}, after_layer)
        except Exception as error:
            if self.in_place or _LEAF not in str(error):
                raise CallFailed("forward", error) from error
            self.in_place = True
            return self(values, needs=needs, arranged=arranged, after_layer=after_layer)

    def _called(
        self, values: Mapping[str, Any], needs: Collection[str] | None, arranged: Arranged, after_layer: bool
    ) -> Call:
        leaves: dict[str, Tensor] = {}
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            arguments[name] = value
            if not isinstance(value, Tensor):
                continue
            own = arranged[name]() if name in arranged else value.detach().clone()
            arguments[name] = own
            if differentiable(own) and (needs is None or name in needs):
                leaves[name] = (own * 2 if after_layer else own).requires_grad_()
                if after_layer or self.in_place:
                    arguments[name] = leaves[name] * 0.5 if after_layer else leaves[name].clone()
        return Call(leaves, arguments, list(_flat(self.fn(*arguments.values()))))

    def again(self, call: Call) -> Call:
        """Call once more with the very leaves of an earlier call, as a network does that uses an input twice."""
        arguments = call.arguments | {n: x.clone() if self.in_place else x for n, x in call.leaves.items()}
        try:
            return Call(call.leaves, arguments, list(_flat(self.fn(*arguments.values()))))
        except Exception as error:
            raise CallFailed("forward", error) from error


def gradients(
    calls: Sequence[tuple[Call, Cotangents]], *, retain_graph: bool = False, create_graph: bool = False
) -> dict[str, Tensor]:
    """The gradient at every leaf of the first call, given cotangents; zero where autograd has none.

    Several calls that share their leaves are differentiated in one backward pass.
    """
    leaves = calls[0][0].leaves
    used = [(o, c) for call, cotangents in calls for o, c in attached(call, cotangents)]
    if not used:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    try:
        found = torch.autograd.grad(
            [output for output, _ in used],
            list(leaves.values()),
            [cotangent for _, cotangent in used],
            allow_unused=True,
            retain_graph=retain_graph or create_graph,
            create_graph=create_graph,
        )
    except Exception as error:
        raise CallFailed("backward", error) from error
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def attached(call: Call, cotangents: Cotangents) -> list[tuple[Tensor, Tensor]]:
    """Outputs that have a gradient, each with its cotangent in the output's dtype and on its device."""
    return [
        (output, cotangent.to(device=output.device, dtype=output.dtype))
        for output, cotangent in zip(call.outputs, cotangents, strict=True)
        if output is not None and cotangent is not None and output.requires_grad
    ]


def reached(call: Call, cotangents: Cotangents) -> set[str]:
    """The leaves that the outputs depend on."""
    used = attached(call, cotangents)
    if not used:
        return set()
    outputs, given = zip(*used, strict=True)
    found = torch.autograd.grad(outputs, list(call.leaves.values()), given, allow_unused=True)
    return {name for name, gradient in zip(call.leaves, found, strict=True) if gradient is not None}


def accumulate(call: Call, cotangents: Cotangents, *, retain_graph: bool = False) -> None:
    """One backward pass into the leaves' .grad."""
    used = attached(call, cotangents)
    try:
        if used:
            torch.autograd.backward([o for o, _ in used], [c for _, c in used], retain_graph=retain_graph)
    except Exception as error:
        raise CallFailed("backward", error) from error


def weighed(call: Call, cotangents: Cotangents) -> Call:
    """The call followed by a layer: one output, the sum of the outputs times the cotangents."""
    terms = [(o * c.conj()).real.sum() if o.is_complex() else (o * c).sum() for o, c in attached(call, cotangents)]
    return Call(call.leaves, call.arguments, [torch.stack([t.double() for t in terms]).sum() if terms else None])


def differentiable(value: Any) -> bool:
    """Whether a value is a tensor of real or complex numbers."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def cast(values: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The values with every floating tensor in `dtype`, a complex one in its complex counterpart."""
    return {
        name: value.to(_COMPLEX.get(dtype, torch.complex64) if value.is_complex() else dtype)
        if differentiable(value)
        else value
        for name, value in values.items()
    }


def comparable(value: Tensor) -> Tensor:
    """A result as real numbers in float64, apart from its graph."""
    value = value.detach().resolve_conj()
    return (torch.view_as_real(value) if value.is_complex() else value).double()


def reason(error: Exception) -> str:
    """`raised TypeName: text (file.py:line)` in one line, the deepest line that is the user's."""
    text = " ".join(str(error).split())[:200]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename and "/compare/check/" not in frame.filename
    ]
    where = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"raised {type(error).__name__}: {text}{where}"


def _flat(returned: Any) -> Iterator[Tensor | None]:
    if isinstance(returned, tuple | list):
        for entry in returned:
            yield from _flat(entry)
    elif isinstance(returned, dict):
        yield from _flat(list(returned.values()))
    else:
        yield returned if differentiable(returned) else None
