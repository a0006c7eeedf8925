"""What can be said of a wrong gradient whose cause is not found: size, direction, and where it is off."""

from __future__ import annotations

import torch
from torch import Tensor

from compare.explain.observe import Observation

OFF = 1e-7  # an entry is off by more than this share of the gradient's RMS
LISTED = 4  # rows or columns named at most


def evidence_of(seen: Observation, target: str) -> str:
    """One line: ratio, cosine, which entries are off, and from which magnitude on."""
    given, expected = seen.given.get(target), seen.local.get(target)
    if given is None or expected is None or given.shape != expected.shape or not expected.numel():
        return ""
    given, expected = given.double(), expected.double()
    said = []
    norms = float(given.norm()), float(expected.norm())
    if min(norms) > 0 and all(map(_finite, norms)):
        cosine = float((given * expected).sum()) / (norms[0] * norms[1])
        said.append(f"{norms[0] / norms[1]:.4g} times as large as it should be, cosine {cosine:.4f}")
    elif norms[0] == 0:
        said.append("it is zero")
    off = ~((given - expected).abs() <= OFF * float(expected.square().mean().sqrt()))
    said += _where(off, expected)
    return "; ".join(said)


def _where(off: Tensor, expected: Tensor) -> list[str]:
    if bool(off.all()):
        return ["every entry is off"]
    said = [f"{int(off.sum())} of {off.numel()} entries are off"]
    for axis, word in zip(range(off.ndim), ("rows", "columns"), strict=False):
        rest = tuple(a for a in range(off.ndim) if a != axis)
        lines = off.any(dim=rest) if rest else off
        if 0 < int(lines.sum()) < len(lines):
            which = lines.nonzero()[:, 0].tolist()
            said.append(f"only in {word} {', '.join(map(str, which[:LISTED]))}{' ...' if len(which) > LISTED else ''}")
    size = expected.abs()
    if bool(off.any()) and float(size[off].min()) > float(size[~off].max()):
        said.append(f"all that should be above {float(size[~off].max()):.3g} in size")
    elif bool((expected[off] == 0).all()):
        said.append("all of them should be zero")
    return said


def _finite(value: float) -> bool:
    return bool(torch.isfinite(torch.tensor(value)))
