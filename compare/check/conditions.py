"""Where a derivation is tried: sizes, scales, zeros and ties, layouts. One list, from the plainest to the oddest."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compare.check.inputs import PLAIN, Spec, Values, dimension_names, draw

Inputs = Mapping[str, Any] | Callable[[int], Mapping[str, Any]]

LONG = 33  # one more than the blocks of 2, 4, ..., 32 in which code that works in chunks takes its rows


@dataclass(frozen=True)
class Condition:
    """One set of inputs, by how it is made."""

    name: str
    seed: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    values: Values = PLAIN
    strided: bool = False  # the same values in memory that is not contiguous
    dtype: torch.dtype = torch.float64

    @property
    def keeps_values(self) -> bool:
        """Whether only the layout differs: what fails here alone fails for the layout."""
        return self.strided

    def __str__(self) -> str:
        """The name, with its sizes."""
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return f"{self.name} ({sizes})" if sizes else self.name


def conditions(inputs: Inputs, seed: int = 0) -> Iterator[Condition]:
    """Every condition for these inputs. Specifications can be drawn anew; tensors only be laid out anew.

    Those that show what no other does come first, since no more are tried once a few have failed: one sample, saturated
    units, zeros and ties. While one dimension is 1 the next one is long, so that code in blocks meets a second block.
    """
    check_inputs(inputs)
    if callable(inputs):
        for k in range(4):
            yield Condition(f"seed {seed + k}", seed + k)
        yield Condition("strided inputs", seed, strided=True)
        return
    if not has_specs(inputs):
        yield Condition("as given", seed)
        yield Condition("strided inputs", seed, strided=True)
        return
    names = dimension_names(inputs)
    plain = distinct_sizes(names, seed)
    large = distinct_sizes(names, seed + 1, least=4)
    single = [Condition(f"{name} = 1", seed + 2, plain | long_size(names, after=name) | {name: 1}) for name in names]
    yield Condition("plain", seed, plain)
    yield from single[:1]
    yield Condition("values x 30, saturated", seed + 5, plain, Values(scale=30.0))
    yield Condition("zeros and ties", seed + 6, large, Values(ties=True))
    yield Condition("larger", seed + 1, large if len(names) > 1 else long_size(names))
    yield from single[1:]
    yield Condition("values x 0.001", seed + 3, plain, Values(scale=1e-3))
    yield Condition("values x 5", seed + 4, plain, Values(scale=5.0))
    yield Condition("repeated rows", seed + 7, large, Values(repeat_rows=True))
    yield Condition("strided inputs", seed, plain, strided=True)
    for k in range(8, 12):
        mixed = Values(mixed=True)
        yield Condition(f"mixed scales, seed {seed + k}", seed + k, distinct_sizes(names, seed + k, least=3), mixed)


def check_inputs(inputs: Inputs) -> None:
    """Raises ValueError, in one line, for what cannot be inputs."""
    if callable(inputs):
        return
    if not isinstance(inputs, Mapping):
        raise ValueError(
            "inputs must be {name: tensor or specification}, or a function from a seed to {name: tensor}; "
            f"got {type(inputs).__name__}"
        )
    for name, value in inputs.items():
        if not isinstance(name, str):
            raise ValueError(f"inputs: names are strings, got {name!r}")
        if isinstance(value, np.ndarray):
            raise ValueError(
                f"inputs: {name!r} is a NumPy array, and the forward is plain torch; hand over torch.as_tensor({name})"
            )


def given(inputs: Inputs, seed: int) -> Mapping[str, Any]:
    """The values, or specifications, that inputs hold; of a function from a seed, its answer. Raises ValueError."""
    if not callable(inputs):
        return inputs
    try:
        made = inputs(seed)
    except Exception as error:  # a user's function may raise anything
        raise ValueError(f"inputs: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(made, Mapping):
        raise ValueError(f"inputs: the function must return {{name: tensor}}, got {type(made).__name__}")
    check_inputs(made)
    if has_specs(made):
        raise ValueError("inputs: the function returns specifications; hand these over as a dictionary, they are drawn")
    return made


def has_specs(inputs: Mapping[str, Any]) -> bool:
    """Whether any input can be drawn anew."""
    return any(isinstance(value, Spec) for value in inputs.values())


def distinct_sizes(names: list[str], seed: int, least: int = 2) -> dict[str, int]:
    """A size for each dimension, all different, so that no square matrix hides a transpose."""
    sizes = list(range(least, least + len(names) + 2))
    random.Random(seed).shuffle(sizes)
    return dict(zip(names, sizes, strict=False))


def long_size(names: list[str], after: str = "") -> dict[str, int]:
    """A long size for the dimension that comes after another one, all different; none where there is one dimension."""
    position = (names.index(after) + 1) % len(names) if after else 0
    return {name: LONG + position for name in names[position : position + 1] if name != after}


def realise(inputs: Inputs, condition: Condition) -> dict[str, Any]:
    """The tensors of a condition, floating ones in its dtype."""
    values = given(inputs, condition.seed)
    try:
        if callable(inputs):
            drawn = dict(values)
        else:
            drawn = draw(inputs, condition.sizes, condition.seed, condition.values, dtype=condition.dtype)
    except ValueError:
        raise
    except Exception as error:  # a user's function or predicate
        raise ValueError(f"inputs: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    made = {name: _cast(value, condition.dtype) for name, value in drawn.items()}
    return {name: _strided(value) for name, value in made.items()} if condition.strided else made


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.is_complex():
        return value.to(dtype.to_complex())
    return value.to(dtype) if value.is_floating_point() else value


def _strided(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.ndim < 2:
        return value
    return value.transpose(0, -1).contiguous().transpose(0, -1)
