"""One forward pass, and the gradients in it: as autograd has them, or given the user's own deltas upstream.

A hook on each named tensor records the gradient that arrives there and passes the user's on. One autograd backward
then yields for every quantity what it should be *given the deltas that it was handed*.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Forward = Callable[..., Any]


class ForwardFailed(ValueError):
    """The user's forward raised, or autograd could not go back through it; in one line."""

    def __init__(self, error: BaseException) -> None:
        text = " ".join(str(error).split())[:300]
        super().__init__(text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}")


@dataclass(frozen=True)
class Graph:
    """J and the named quantities of one forward pass: its floating inputs and its intermediates."""

    J: Tensor
    inputs: dict[str, Any]  # as the forward got them: clones that require gradients where they are floating
    intermediates: dict[str, Tensor]
    changed: tuple[str, ...]  # intermediates that were changed in place: their name means the last value

    @property
    def quantities(self) -> dict[str, Tensor]:
        """Everything that has a gradient of J, by name."""
        return {n: t for n, t in self.inputs.items() if isinstance(t, Tensor) and t.requires_grad} | {
            n: t for n, t in self.intermediates.items() if t.requires_grad
        }

    def values(self) -> dict[str, Any]:
        """Every input and intermediate, detached."""
        return {n: t.detach() if isinstance(t, Tensor) else t for n, t in (self.inputs | self.intermediates).items()}

    def gradients(self, deltas: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """dJ/dname for every quantity on the path to J, nearest to J first, given `deltas` where there are some.

        The gradient that arrives at a tensor is recorded; what goes on from it is its delta, if one is given.
        """
        arrived: dict[str, Tensor] = {}
        names: dict[int, list[str]] = {}
        tensors: dict[int, Tensor] = {}
        for name, tensor in self.quantities.items():
            names.setdefault(id(tensor), []).append(name)
            tensors[id(tensor)] = tensor

        def hook(sharing: list[str]) -> Callable[[Tensor], Tensor | None]:
            def record(gradient: Tensor) -> Tensor | None:
                for name in sharing:
                    arrived[name] = gradient.detach().clone()
                given = next((deltas[name] for name in sharing if name in deltas), None)
                # a clone, since autograd may add into what a hook returns
                return None if given is None else given.to(gradient.dtype).clone()

            return record

        handles: list[Any] = [tensor.register_hook(hook(names[key])) for key, tensor in tensors.items()]  # type: ignore[no-untyped-call]
        try:
            torch.autograd.grad(self.J, list(tensors.values()), retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise ForwardFailed(error) from error
        finally:
            for handle in handles:
                handle.remove()
        return arrived


def trace(
    forward: Forward,
    inputs: Mapping[str, Any],
    jitter: Callable[[Any], Any] = lambda value: value,
    fixed: Collection[str] = (),
) -> Graph:
    """Run a forward on clones of its inputs, those in `fixed` without a gradient, and name what it returns.

    Raises ValueError, in one line, where the forward is none: J that is no scalar of a graph, intermediates that are
    no tensors, that are detached, or that hide an input of another value.
    """
    own = {name: _leaf(value, jitter, name not in fixed) for name, value in inputs.items()}
    try:
        with torch.enable_grad():  # the caller may have switched it off
            returned = forward(**own)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ForwardFailed(error) from error
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Mapping)):
        raise ValueError(
            f"forward must return (J, {{name: intermediate tensor}}), got {_described(returned)}; "
            "with no intermediates: return J, {}"
        )
    J, named = returned
    if not isinstance(J, Tensor) or J.numel() != 1 or not J.is_floating_point():
        raise ValueError(f"forward: J must be a floating scalar tensor, got {_described(J)}; sum or average the cost")
    if not J.requires_grad:
        raise ValueError(
            "forward: J depends on no floating input through torch (detached, .item(), NumPy, or no_grad inside?); "
            "write the forward in plain torch"
        )
    intermediates: dict[str, Tensor] = {}
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"forward: intermediate {name!r} is no tensor but {_described(tensor)}")
        if not isinstance(name, str):
            raise ValueError(f"forward: names of intermediates are strings, got {name!r}")
        if name in own and tensor is not own[name]:
            raise ValueError(f"forward: {name!r} is an input as well as an intermediate; give them two names")
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            raise ValueError(f"forward: intermediate {name!r} was named inside vmap or grad; name it outside")
        if name not in own:
            intermediates[name] = tensor
    changed = tuple(n for n, t in intermediates.items() if t._version > 0 and t.grad_fn is not None)
    with torch.enable_grad():
        return Graph(J.reshape(()), own, intermediates, changed)


def _leaf(value: Any, jitter: Callable[[Any], Any], trained: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    own = jitter(value.detach())
    # a clone keeps strides where it can; where entries share memory (expanded), each gets its own
    own = own.clone()
    return own.requires_grad_() if trained and (own.is_floating_point() or own.is_complex()) else own


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} ({', '.join(type(entry).__name__ for entry in value[:4])})"
    return f"{type(value).__name__}"
