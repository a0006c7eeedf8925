"""Inputs with one entry less along their axes: what is a size there, and what is a number.

At inputs of one size a repair may hold by chance, as `/ 4` does for a mean over four. At other sizes it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from compare.check.conditions import Condition

Draw = Callable[[int], Mapping[str, Any]]
FEWEST = 3  # entries along an axis that is cut
SIZES = 3  # how many sizes are cut by themselves, where all at once do not fit together: those of most axes
APART = -(2**61)  # seeds from here down ask for inputs of another size


def resized(draw: Draw, seed: int) -> tuple[Draw, list[Condition]]:
    """The same inputs, which can be drawn smaller too; and the conditions under which they are.

    Under the first every axis is one shorter, under the others those of one size alone.
    """
    try:
        tensors = [value for value in draw(seed).values() if isinstance(value, Tensor)]
    except Exception:  # a user's function may raise anything; whoever draws as usual is told
        return draw, []
    axes = Counter(size for tensor in tensors for size in tensor.shape if size >= FEWEST)
    single = [[size] for size, _ in axes.most_common(SIZES)]
    cuts = [sorted(axes), *single] if len(axes) > 1 else single

    def drawn(number: int) -> Mapping[str, Any]:
        if number > APART:
            return draw(number)
        cut = cuts[APART - number]
        return {name: _cut(value, cut) if isinstance(value, Tensor) else value for name, value in draw(seed).items()}

    return drawn, [Condition(f"one less of {', '.join(map(str, cut))}", APART - k) for k, cut in enumerate(cuts)]


def _cut(value: Tensor, sizes: list[int]) -> Tensor:
    for axis, length in enumerate(value.shape):
        if length in sizes:
            value = value.narrow(axis, 0, length - 1)
    whole = not value.is_floating_point() and not value.is_complex() and value.numel() > 0
    if whole and int(value.max()) + 1 in sizes:  # indices along such an axis, mostly
        value = value.clamp(max=int(value.max()) - 1)
    return value.clone()
