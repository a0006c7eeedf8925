"""How each of torch's operations rounds: not at all, its result by an ulp, or as a sum of n terms does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from compare.check.parts import PARTS

# Results that are copies, selections or exact: no rounding, no noise.
EXACT = frozenset(
    """clone copy_ copy _to_copy _unsafe_view cat stack index index_select gather where neg neg_ abs abs_ sign sgn
    relu relu_ clamp clamp_ clamp_min clamp_max threshold threshold_backward maximum minimum fmax fmin max min
    amax amin max_pool2d_with_indices max_pool3d_with_indices max_pool2d_with_indices_backward fill fill_
    fill_diagonal_ zero_ zeros zeros_like ones ones_like full full_like new_zeros new_ones new_full new_empty
    new_empty_strided empty empty_like empty_strided arange linspace eye scalar_tensor lift_fresh_copy
    masked_fill masked_fill_ masked_select flip roll constant_pad_nd reflection_pad1d reflection_pad2d
    replication_pad1d replication_pad2d repeat sort topk kthvalue median tril tril_ triu triu_ slice_backward
    select_backward diagonal_backward unfold_backward embedding select_scatter slice_scatter im2col rand
    rand_like randn randn_like uniform_ normal_ bernoulli bernoulli_ round floor ceil trunc diag_embed set_
    resize_ scatter scatter_ index_copy index_copy_ cummax cummin repeat_interleave as_strided_scatter
    diagonal_scatter leaky_relu leaky_relu_ heaviside nan_to_num detach_ real imag
    multilabel_margin_loss_forward""".split()
)


def _matrix_length(args: tuple[Any, ...], out: Tensor) -> float:
    tensors = [a for a in args if isinstance(a, Tensor) and a.ndim > 0]
    return float(tensors[-2].shape[-1])


def _sum_length(args: tuple[Any, ...], out: Tensor) -> float:
    return float(args[0].numel()) / max(out.numel(), 1)


def _running_length(args: tuple[Any, ...], out: Tensor) -> float:
    return float(args[0].shape[args[1]]) if args[0].ndim else 1.0


def _any_length(args: tuple[Any, ...], out: Tensor) -> float:
    longest = max(a.numel() for a in args if isinstance(a, Tensor))
    return longest / max(min(out.numel(), longest), 1)


# Sums of many terms in one call, and how many: n terms in another order differ by about sqrt(n) ulps of their size.
REDUCTIONS: dict[str, Callable[[tuple[Any, ...], Tensor], float]] = (
    dict.fromkeys("mm addmm addmm_ bmm baddbmm baddbmm_ mv addmv dot vdot".split(), _matrix_length)
    | dict.fromkeys(
        """sum mean nansum prod var std var_mean linalg_vector_norm native_batch_norm
        _native_batch_norm_legit native_group_norm _fused_rms_norm""".split(),
        _sum_length,
    )
    | dict.fromkeys(
        """native_batch_norm_backward native_group_norm_backward _fused_rms_norm_backward _euclidean_dist""".split(),
        _any_length,
    )
    | dict.fromkeys("cumsum cumsum_ cumprod cumprod_ logcumsumexp".split(), _running_length)
    # one formula in one call: what happens inside is as if its inputs had been moved by an ulp
    | dict.fromkeys(
        """elu elu_backward log_sigmoid_forward log_sigmoid_backward
        mse_loss mse_loss_backward huber_loss
        huber_loss_backward smooth_l1_loss smooth_l1_loss_backward hardswish hardswish_backward hardsigmoid
         glu glu_backward mish mish_backward addcmul addcdiv addcmul_ addcdiv_ logaddexp
        logit logit_backward lerp silu silu_ pow pow_""".split(),
        lambda args, out: 1.0,
    )
    | dict.fromkeys(
        """convolution convolution_backward embedding_dense_backward index_add index_add_ scatter_add scatter_add_
        index_put index_put_ scatter_reduce _fft_r2c _fft_c2r _fft_c2c linalg_inv_ex linalg_solve_triangular
        _linalg_solve_ex linalg_lu_solve linalg_lu_factor_ex linalg_cholesky_ex cholesky_inverse cholesky_solve
        _linalg_det _linalg_slogdet linalg_qr _linalg_eigh _linalg_svd _cdist_forward _cdist_backward
        _pdist_forward _pdist_backward avg_pool2d avg_pool2d_backward _adaptive_avg_pool2d
        _adaptive_avg_pool2d_backward col2im _scaled_dot_product_flash_attention_for_cpu
        _scaled_dot_product_flash_attention_for_cpu_backward""".split(),
        _any_length,
    )
)


# Their whole numbers (pivots, a status) belong to the factors beside them, which the noise has moved: put back beside
# other factors the recorded ones would stand for another matrix.
FACTORISATIONS = frozenset(
    """linalg_lu_factor linalg_lu_factor_ex linalg_lu _linalg_solve_ex linalg_solve_ex linalg_inv_ex _linalg_det
    _linalg_slogdet linalg_cholesky_ex linalg_ldl_factor linalg_ldl_factor_ex""".split()
)


class Plan:
    """What one operation needs: its parts, the length of its sums, whether its result takes noise."""

    def __init__(self, func: Any) -> None:
        name = func._schema.name.partition("::")[2]
        self.parts = PARTS.get(name) if func._overloadname == "default" else None
        self.length = REDUCTIONS.get(name)
        self.written = 1 if func._schema.is_mutable else 0  # arguments that the operation changes in place
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        self.exact = name in EXACT or views
        self.casts = name == "_to_copy"
        self.decides = name not in FACTORISATIONS
