"""What one run of a derivation tells, quantity by quantity: data that verdicts are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Comparison:
    """One quantity: its gradient as given, as it should be given the deltas upstream, and end to end."""

    given: tuple[Tensor, ...]  # of every call of the backward: a state that it keeps shows in the second
    local: Tensor  # autograd's, given the user's deltas upstream
    chained: Tensor  # autograd's, end to end
    local_floor: Tensor  # what rounding explains of the difference to `local`
    chained_floor: Tensor
    dtype: torch.dtype  # that the backward returned it in
    scale: float = 1.0  # a constant that the derivation carries here and undoes later
    coherence: float = 1.0  # of the error to `local` under small changes of the inputs: 1 a formula, 0 rounding
    hull: tuple[Tensor, Tensor] | None = (
        None  # least and largest local gradient next to these inputs, if they explain it
    )
    witness: str = ""  # whom differences of J itself confirm: "given", "autograd" or nobody


@dataclass
class Evaluation:
    """Everything that one run of a derivation tells. Tensors and words only: it can cross a process."""

    order: list[str]  # quantities on the path to J, nearest to J first
    inputs: frozenset[str] = frozenset()  # those of them that are inputs: their gradients are final
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    spoilt: dict[str, str] = field(default_factory=dict)  # not finite because a delta upstream was not
    notes: list[str] = field(default_factory=list)
    failed: str = ""  # why the reference gives nothing to compare with here
