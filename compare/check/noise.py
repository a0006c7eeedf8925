"""How far rounding alone can move a result: Monte Carlo arithmetic (Parker, 1997; Denis et al., 2016).

A computation is run again with each floating result moved by about an ulp, up or down at random. The largest
change that a result shows over a few such runs is its *floor*: what an equally valid order of the same operations
may differ by.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from compare.check.constants import POOL, PROBES

Jitter = Callable[[Any], Any]  # moves a floating tensor by an ulp an entry; leaves everything else alone
Run = Mapping[str, Tensor]  # named results of a computation

# Kernels that do many roundings in one call are run as their parts, so that each part gets its noise.
FUSED = frozenset(
    """_softmax _softmax_backward_data _log_softmax _log_softmax_backward_data logsumexp native_layer_norm
    native_layer_norm_backward native_batch_norm native_batch_norm_backward _native_batch_norm_legit native_group_norm
    native_group_norm_backward gelu gelu_backward silu silu_backward sigmoid_backward tanh_backward softplus
    softplus_backward elu elu_backward log_sigmoid_forward log_sigmoid_backward binary_cross_entropy
    binary_cross_entropy_backward binary_cross_entropy_with_logits mse_loss mse_loss_backward huber_loss huber_loss_backward
    smooth_l1_loss smooth_l1_loss_backward nll_loss_forward nll_loss_backward hardswish hardswish_backward glu glu_backward
    mish mish_backward _fused_rms_norm _fused_rms_norm_backward addcmul addcdiv var std var_mean logaddexp logit
    logit_backward _euclidean_dist linalg_vector_norm""".split()
)

# Results that are copies, selections or exact: no rounding, no noise.
EXACT = frozenset(
    """clone copy_ copy _to_copy _unsafe_view cat stack index index_select gather where neg neg_ abs abs_ sign sgn relu
    relu_ clamp clamp_ clamp_min clamp_max threshold threshold_backward maximum minimum fmax fmin max min amax amin
    max_pool2d_with_indices max_pool3d_with_indices max_pool2d_with_indices_backward fill fill_ fill_diagonal_ zero_
    zeros zeros_like ones ones_like full full_like new_zeros new_ones new_full new_empty new_empty_strided empty empty_like
    empty_strided arange linspace eye scalar_tensor lift_fresh_copy masked_fill masked_fill_ masked_select flip roll
    constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d repeat sort topk kthvalue median
    tril tril_ triu triu_ slice_backward select_backward diagonal_backward unfold_backward embedding select_scatter
    slice_scatter im2col rand rand_like randn randn_like uniform_ normal_ bernoulli bernoulli_ round floor ceil trunc
    diag_embed set_ resize_ scatter scatter_ index_copy index_copy_ cummax cummin repeat_interleave
    as_strided_scatter diagonal_scatter leaky_relu leaky_relu_ heaviside nan_to_num detach_ real imag""".split()
)


def _matrix_length(args: tuple[Any, ...], out: Tensor) -> float:
    tensors = [a for a in args if isinstance(a, Tensor) and a.ndim > 0]
    return float(tensors[-2].shape[-1]) if len(tensors) > 1 else 1.0


def _sum_length(args: tuple[Any, ...], out: Tensor) -> float:
    return float(args[0].numel()) / max(out.numel(), 1)


def _any_length(args: tuple[Any, ...], out: Tensor) -> float:
    longest = max((a.numel() for a in args if isinstance(a, Tensor)), default=1)
    return longest / max(min(out.numel(), longest), 1)


# Sums of many terms in one call, and how many: n terms in another order differ by about sqrt(n) ulps of their size.
REDUCTIONS: dict[str, Callable[[tuple[Any, ...], Tensor], float]] = (
    dict.fromkeys("mm addmm addmm_ bmm baddbmm baddbmm_ mv addmv dot vdot".split(), _matrix_length)
    | dict.fromkeys("sum mean nansum prod cumsum cumprod logcumsumexp".split(), _sum_length)
    | dict.fromkeys(
        """convolution convolution_backward embedding_dense_backward index_add index_add_ scatter_add scatter_add_
        index_put index_put_ scatter_reduce _fft_r2c _fft_c2r _fft_c2c linalg_inv_ex linalg_solve_triangular
        _linalg_solve_ex linalg_lu_solve linalg_lu_factor_ex linalg_cholesky_ex cholesky_inverse cholesky_solve _linalg_det
        _linalg_slogdet linalg_qr _linalg_eigh _linalg_svd _cdist_forward _cdist_backward _pdist_forward _pdist_backward
        avg_pool2d avg_pool2d_backward _adaptive_avg_pool2d _adaptive_avg_pool2d_backward col2im
        _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention_for_cpu_backward""".split(),
        _any_length,
    )
)


class _Arithmetic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation with its parts apart; `noisy`, each result is moved, and decisions are replayed."""

    def __init__(self, decisions: list[Any], noise: torch.Generator | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.decisions = decisions  # results that are no floating numbers, in the order in which they came
        self.noise = noise
        self.position = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        if name in FUSED and func in decomposition_table:
            with self:
                return decomposition_table[func](*args, **kwargs)
        length = REDUCTIONS.get(name)
        if self.noise is None:
            return self._keep(func(*args, **kwargs))
        if length is None:
            out = func(*args, **kwargs)
            return self._replay(out if name in EXACT or _returns_view(func) else tree_map(self._move, out))
        written = 1 if func._schema.is_mutable else 0
        terms = max(1.0, length(args, args[0])) if written else 1.0
        if not written:
            terms = max(1.0, _terms(length, args, func(*args, **kwargs)))
        scale = math.sqrt(terms)
        moved = args[:written] + tuple(
            self._move(a.clone(), scale) if isinstance(a, Tensor) else a for a in args[written:]
        )
        return self._replay(tree_map(lambda t: self._move(t, scale), func(*moved, **kwargs)))

    def _move(self, out: Any, scale: float = 1.0) -> Any:
        """Multiply in place by 1 + or - `scale` ulp, at random an entry. Exact zeros stay, infinities too."""
        if not isinstance(out, Tensor) or not (out.is_floating_point() or out.is_complex()) or out.numel() == 0:
            return out
        return out.mul_(_factors(out, scale, self.noise))

    def _keep(self, out: Any) -> Any:
        tree_map(lambda entry: self.decisions.append(_copied(entry)) if _decided(entry) else None, out)
        return out

    def _replay(self, out: Any) -> Any:
        return tree_map(lambda entry: self._decision(entry) if _decided(entry) else entry, out)

    def _decision(self, entry: Any) -> Any:
        kept = self.decisions[self.position] if self.position < len(self.decisions) else entry
        self.position += 1
        if not isinstance(entry, Tensor):
            return kept if type(kept) is type(entry) else entry
        if isinstance(kept, Tensor) and kept.shape == entry.shape and kept.dtype == entry.dtype:
            return entry.copy_(kept) if entry.numel() and not _overlaps(entry) else entry
        return entry


def _terms(length: Callable[[tuple[Any, ...], Tensor], float], args: tuple[Any, ...], out: Any) -> float:
    first = out[0] if isinstance(out, tuple) else out
    return length(args, first) if isinstance(first, Tensor) else 1.0


def _returns_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _decided(entry: Any) -> bool:
    if isinstance(entry, Tensor):
        return not (entry.is_floating_point() or entry.is_complex())
    return isinstance(entry, bool | int)


def _copied(entry: Any) -> Any:
    return entry.clone() if isinstance(entry, Tensor) else entry


def _overlaps(entry: Tensor) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(entry.stride(), entry.shape, strict=True))


def _factors(like: Tensor, scale: float, noise: torch.Generator | None) -> Tensor:
    """1 + or - scale eps, at random, of the shape of `like`; drawn on the CPU, so that devices agree."""
    dtype = torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.real.dtype
    step = scale * torch.finfo(like.dtype).eps
    signs = torch.empty(like.shape, dtype=dtype).bernoulli_(0.5, generator=noise)
    return signs.mul_(2 * step).add_(1 - step).to(device=like.device, dtype=like.dtype)


@contextlib.contextmanager
def same_randomness() -> Iterator[Callable[[], None]]:
    """Restore the random state of torch, NumPy and Python on leaving; the value given rewinds it at any time."""
    states = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def rewind() -> None:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)

    try:
        yield rewind
    finally:
        rewind()


@dataclass(frozen=True)
class Measured:
    """Results of a computation, and for each entry how far rounding alone can move it."""

    values: dict[str, Tensor]
    floors: dict[str, Tensor]


def measure(run: Callable[[Jitter], Run], *, probes: int = PROBES, seed: int = 0, repeats: int = 2) -> Measured:
    """Run a computation plainly and under noise; return its plain values and the floor of each entry.

    `run(jitter)` computes named tensors and passes its own floating inputs through `jitter` first. It runs `repeats`
    times plainly (a spread between these, as of atomic additions, joins the floor), once to record discrete
    decisions, and `probes` times with noise. Random state is rewound before each run and restored at the end.
    """
    with same_randomness() as rewind:
        plain = {name: value.detach().clone() for name, value in run(lambda value: value).items()}
        spread = {name: torch.zeros_like(value.abs()) for name, value in plain.items()}
        for _ in range(repeats - 1):
            rewind()
            _widen(spread, plain, run(lambda value: value))
        decisions: list[Any] = []
        rewind()
        with _Arithmetic(decisions, None):
            base = {name: value.detach().clone() for name, value in run(lambda value: value).items()}
        _widen(spread, plain, base)
        for probe in range(probes):
            noise = torch.Generator().manual_seed(1_000_003 * seed + probe)
            rewind()
            jitter = _jitter(noise)
            with _Arithmetic(decisions, noise):
                _widen(spread, base, run(jitter))
    return Measured(plain, {name: pooled(spread[name], plain[name]) for name in plain})


def _jitter(noise: torch.Generator) -> Jitter:
    def move(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        whole = value == value.round()  # zeros, ones, counts, masks: exact by meaning, not rounded numbers
        return torch.where(whole, value, value * _factors(value, 1.0, noise))

    return move


def _widen(spread: dict[str, Tensor], base: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    for name, value in other.items():
        if name in spread and value.shape == spread[name].shape:
            change = (value.detach() - base[name]).abs().nan_to_num(nan=math.inf, posinf=math.inf)
            same = (value == base[name]) | (value.isnan() & base[name].isnan())
            spread[name] = torch.maximum(spread[name], torch.where(same, torch.zeros_like(change), change))


def pooled(spread: Tensor, values: Tensor) -> Tensor:
    """The floor of each entry: its own spread, a share of its row's and column's, two ulps, one subnormal."""
    info = torch.finfo(values.dtype)
    floor = torch.maximum(spread, values.abs().nan_to_num(posinf=0.0) * info.eps).clamp(
        min=info.smallest_normal * info.eps
    )
    for dims in _rows_and_columns(spread):
        floor = torch.maximum(floor, (POOL * _rms(spread, dims)).expand_as(spread))
    return floor


def _rows_and_columns(t: Tensor) -> list[tuple[int, ...]]:
    if t.ndim == 0 or t.numel() == 0:
        return []
    if t.ndim == 1:
        return [(0,)]
    return [(t.ndim - 1,), tuple(range(t.ndim - 1))]


def _rms(t: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Root mean square, without overflow or underflow of the squares."""
    largest = t.abs().amax(dims, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    return (t / scale).square().mean(dims, keepdim=True).sqrt() * scale
