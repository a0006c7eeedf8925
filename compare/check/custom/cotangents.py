"""Cotangents (the gradients that arrive at a function's outputs), and memory layouts of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Draws = dict[str, list[Tensor | None]]  # name -> one cotangent an output

# Powers of two, so that scaling is exact; small enough for the range of float16.
LARGE = {torch.float16: 32.0, torch.bfloat16: 32.0}
LARGE_OTHERWISE = 1024.0


def drawn(outputs: Sequence[Tensor | None], dtype: torch.dtype, seed: int, *, full: bool, many: bool) -> Draws:
    """Random cotangents for some outputs, float64 numbers that `dtype` can hold.

    u and v are normal, so of both signs: gradcheck's are non-negative, and pass relu(dy) for dy. `full` adds
    the cotangent of a sum (ones, stride 0), and each output alone; `many` a mix of u and v, and rows that repeat
    (stride 0 along the first dimension).
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        kind = torch.complex128 if like.is_complex() else torch.float64
        return torch.randn(like.shape, generator=generator, dtype=kind).to(like.device)

    def rounded(value: Tensor) -> Tensor:
        if value.is_complex():
            return torch.complex(rounded(value.real), rounded(value.imag))
        return value.to(dtype).double()

    def each(make: Callable[[Tensor], Tensor]) -> list[Tensor | None]:
        return [None if output is None else make(output) for output in outputs]

    draws: Draws = {name: each(lambda like: rounded(normal(like))) for name in ("u", "v")}
    if full and many:
        pairs = zip(draws["u"], draws["v"], strict=True)
        draws["mix"] = [None if u is None or v is None else rounded(2 * u - 3 * v) for u, v in pairs]
        draws["row"] = each(lambda like: rounded(normal(like[:1] if like.ndim else like)).expand(like.shape))
    if full:
        draws["sum"] = each(
            lambda like: torch.ones((), dtype=normal(like).dtype, device=like.device).expand(like.shape)
        )
        count = sum(output is not None for output in outputs)
        if count > 1:
            for k, u in enumerate(draws["u"]):
                if u is not None:
                    draws[f"only {k}"] = [u if j == k else None for j in range(len(outputs))]
    return draws


def transposed(t: Tensor) -> Tensor | None:
    """The same values with first and last dimension swapped in memory."""
    if t.ndim < 2 or t.shape[0] < 2 or t.shape[-1] < 2:
        return None
    return t.transpose(0, -1).clone(memory_format=torch.contiguous_format).transpose(0, -1)


def every_other(t: Tensor) -> Tensor | None:
    """The same values in every other place of memory; what lies between is NaN."""
    if t.ndim == 0:
        return None
    return _gaps(t, (*t.shape[:-1], 2 * t.shape[-1] + 1))[..., 1::2].copy_(t)


def padded_rows(t: Tensor) -> Tensor | None:
    """The same values in rows that are further apart than they are long; what lies between is NaN."""
    if t.ndim < 2:
        return None
    return _gaps(t, (*t.shape[:-1], t.shape[-1] + 3))[..., 1:-2].copy_(t)


def channels_last(t: Tensor) -> Tensor | None:
    """The same values with the channels of an image closest together in memory."""
    return t.clone(memory_format=torch.channels_last) if t.ndim == 4 else None


def expanded(t: Tensor) -> Tensor | None:
    """The first row in every row, stride 0: other values."""
    return t[:1].clone().expand(t.shape) if t.ndim and t.shape[0] > 1 else None


def overlapping(t: Tensor) -> Tensor | None:
    """Windows that overlap in memory, each a place further than the one before: other values."""
    if t.ndim < 2 or min(t.shape) < 2 or not _free(t):
        return None
    length = sum(size - 1 for size in t.shape) + 1
    return t.reshape(-1)[:length].clone().as_strided(tuple(t.shape), (1,) * t.ndim)


def contiguous(t: Tensor) -> Tensor | None:
    """The same values in order, where they are not."""
    return None if t.is_contiguous() else t.clone(memory_format=torch.contiguous_format)


SAME_VALUES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "contiguous": contiguous,
    "transposed": transposed,
    "every other place": every_other,
    "padded rows": padded_rows,
    "channels last": channels_last,
}
OTHER_VALUES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "expanded inputs": expanded,
    "overlapping inputs": overlapping,
}


def shared(t: Tensor, stride: tuple[int, ...]) -> Callable[[], Tensor]:
    """Makes copies of a tensor with these strides, in which entries of equal values share memory."""
    places = torch.zeros((), dtype=torch.int64)
    for step, size in zip(stride, t.shape, strict=True):
        places = places[..., None] + step * torch.arange(size)
    base = t.new_zeros(int(places.max()) + 1)
    base[places.reshape(-1).to(t.device)] = t.detach().reshape(-1)
    return lambda: base.clone().as_strided(tuple(t.shape), stride)


def _gaps(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    filler = math.nan if t.is_floating_point() or t.is_complex() else 0
    return torch.full(shape, filler, dtype=t.dtype, device=t.device)


def _free(t: Tensor) -> bool:
    """Whether entries may change places: masks, one-hot rows and probabilities have a meaning that would be lost."""
    if not (t.is_floating_point() or t.is_complex()) or bool((t == t.real.round()).all()):
        return False
    sums = t.double().sum(-1) if not t.is_complex() else t.sum(-1).abs()
    return not torch.allclose(sums, sums.reshape(-1)[:1].expand_as(sums), rtol=1e-2)
