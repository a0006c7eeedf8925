"""The contributions that a gradient is the sum of: one for each use of a quantity in the forward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from compare.check.hooks import Graph

ELEMENTWISE = frozenset(
    """Abs Add Clamp ClampMax ClampMin Cos Div Elu Erf Exp Expm1 Gelu LeakyRelu Log Log1P LogSigmoid Mul Neg Pow
    Reciprocal Relu Rsqrt Sigmoid Silu Sin Softplus Sqrt Sub Tanh Where""".split()
)
NODES = 20_000  # of a graph that is walked
FLOWING = 200_000  # numbers that are kept of what flows through a graph


def node_of(tensor: Tensor) -> Any:
    """The node of the graph to which a tensor's gradient goes."""
    return torch.autograd.graph.get_gradient_edge(tensor).node if tensor.grad_fn is None else tensor.grad_fn


def makers(tensor: Tensor) -> set[Any]:
    """Every node of the graph from which a tensor is computed, its own too."""
    waiting: list[Any] = [node_of(tensor)]
    seen: set[Any] = set()
    while waiting and len(seen) < NODES:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return seen


def contributions(graph: Graph, target: str, deltas: Mapping[str, Tensor]) -> list[tuple[Tensor, str]]:
    """What each consumer of `target` sends back to it, given these deltas; their sum is its local gradient.

    With each the operation that it is, such as "mean" or "sub".
    """
    tensor = graph.quantities[target]
    place, number = node_of(tensor), tensor.output_nr
    found: list[tuple[Tensor, str]] = []
    handles: list[Any] = []

    def taker(indices: list[int], name: str) -> Callable[[Any, Any], None]:
        def take(inputs: Any, outputs: Any) -> None:
            found.extend((inputs[i].detach().clone(), name) for i in indices if inputs[i] is not None)

        return take

    waiting: list[Any] = [graph.J.grad_fn]
    seen: set[Any] = set()
    while waiting and len(seen) < NODES:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        uses = [i for i, (after, nr) in enumerate(node.next_functions) if after is place and nr == number]
        if uses:
            handles.append(node.register_hook(taker(uses, node.name().partition("Backward")[0].lower())))
        waiting += [after for after, _ in node.next_functions]
    try:
        graph.gradients(deltas)
    finally:
        for handle in handles:
            handle.remove()
    return [each for each in found if each[0].shape == tensor.shape]


def within_function(graph: Graph, target: str) -> bool:
    """Whether the target meets itself in one elementwise function, in a product, quotient or `where`: x / (1 + |x|).

    What is forgotten there is no path between quantities, but a term of the function's derivative.
    """
    place = node_of(graph.quantities[target])
    named = {node_of(tensor) for tensor in graph.quantities.values()} - {place}
    uses = {node for node in makers(graph.J) if place in {after for after, _ in node.next_functions}}
    return any(uses <= _of_one(node, place, named) for node in named)


def _of_one(made: Any, place: Any, named: set[Any]) -> set[Any]:
    """The nodes by which one is computed from a place alone, entry by entry, if it meets itself there."""
    waiting: list[Any] = [made]
    seen: set[Any] = set()
    product = False
    while waiting:
        node = waiting.pop()
        if node is None or node is place or node in seen:
            continue
        kind = node.name().partition("Backward")[0]
        if kind not in ELEMENTWISE or (node in named and node is not made):
            return set()
        seen.add(node)
        before = [after for after, _ in node.next_functions if after is not None]
        product = product or (kind in ("Mul", "Div", "Where") and len(before) == 2)
        waiting += before
    return seen if product else set()


def flowing(graph: Graph, deltas: Mapping[str, Tensor]) -> list[Tensor]:
    """What the graph passes along each of its edges, given these deltas; of a large graph, the part nearest to J."""
    found: list[Tensor] = []
    numbers = 0

    def take(inputs: Any, outputs: Any) -> None:
        nonlocal numbers
        for gradient in (*outputs, *inputs):
            if gradient is None or gradient.numel() < 2 or numbers + gradient.numel() > FLOWING:
                continue
            if not any(gradient.shape == other.shape and torch.equal(gradient, other) for other in found[-8:]):
                found.append(gradient.detach().clone())
                numbers += gradient.numel()

    handles = [node.register_hook(take) for node in makers(graph.J)]
    try:
        graph.gradients(deltas)
    finally:
        for handle in handles:
            handle.remove()
    return [each for each in found if each.is_floating_point()]


def divisors(tensor: Tensor, counts: bool = False) -> frozenset[float]:
    """The numbers that what makes a tensor divides by: in means, averaged losses, by itself, or times one over them.

    With `counts`, only how many entries there are in a mean.
    """
    found: set[float] = set()
    for node in makers(tensor):
        try:
            found |= set(_counted(node) if counts else _divided(node))
        except (RuntimeError, AttributeError):  # a node that keeps nothing, or keeps it no longer
            continue
    return frozenset(found)


def _counted(node: Any) -> Iterator[float]:
    name = node.name()
    if name.startswith("MeanBackward"):
        sizes = node._saved_self_sym_sizes
        along = getattr(node, "_saved_dim", ())
        yield float(math.prod(sizes[d % len(sizes)] for d in along) if along else math.prod(sizes))
    elif name.startswith("NllLoss"):
        yield float(node._saved_total_weight)
    elif name.startswith("AvgPool"):
        yield float(math.prod(node._saved_kernel_size))
    elif getattr(node, "_saved_reduction", 0) == 1:
        yield float(node._saved_target.numel())


def _divided(node: Any) -> Iterator[float]:
    yield from _counted(node)
    name = node.name()
    if name.startswith(("DivBackward", "MulBackward")):
        other = node._saved_other
        number = float(other.detach()) if isinstance(other, Tensor) and other.numel() == 1 else 0.0
        if number and number not in (2.0, 0.5):  # a half is seldom an average
            yield number if name.startswith("Div") else 1 / number
