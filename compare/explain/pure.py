"""Which statements and calls an edited backward may hold: those that change nothing but their own variables."""

from __future__ import annotations

import ast

from compare.explain.syntax import names

MODULES = frozenset(
    """torch torch.nn.functional torch.linalg torch.special torch.fft torch._C._nn torch._C._linalg torch._C._special
    torch.functional numpy numpy.linalg numpy.fft math""".split()
)

BUILTINS = frozenset(
    """len range enumerate zip reversed sum min max abs float int bool complex tuple list dict set sorted round map
    filter isinstance any all slice pow divmod str print""".split()
)

# Functions and methods of torch, NumPy, math and containers that are pure or change only what they are called on.
CALLS = frozenset(
    """abs abs_ accumulate absolute acos acos_ acosh acosh_ adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d
    adaptive_max_pool2d add add.at add_ addbmm addbmm_ addcdiv addcdiv_ addcmul addcmul_ addmm addmm_ addmv addmv_
    addr addr_ adjoint all allclose amax amin aminmax angle any append apply_along_axis_ arange arccos arccosh
    arcsin arcsinh arctan arctan2 arctanh argmax argmin argpartition argsort argwhere around array array_equal
    array_equiv array_split as_strided as_tensor asanyarray asarray asarray_chkfinite ascontiguousarray
    asfortranarray asin asin_ asinh asinh_ astype at atan atan2 atan2_ atan_ atanh atanh_ atleast_1d atleast_2d
    atleast_3d average avg_pool1d avg_pool2d avg_pool3d baddbmm baddbmm_ batch_norm bilinear binary_cross_entropy
    binary_cross_entropy_with_logits bincount bitwise_and bitwise_not bitwise_or bitwise_xor block block_diag bmm
    bool broadcast_arrays broadcast_shapes broadcast_tensors broadcast_to bucketize c_ cartesian_prod cat cbrt
    cdist ceil ceil_ celu chain_matmul cholesky cholesky_inverse cholesky_solve choose chunk clamp clamp_
    clamp_max clamp_max_ clamp_min clamp_min_ clear clip clip_ clone column_stack comb combinations complex
    compress concat concatenate conj conj_physical conjugate constant_pad_nd contiguous conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d convolve copy copy_ copysign copysign_ copyto corrcoef
    correlate cos cos_ cosh cosh_ cosine_embedding_loss cosine_similarity count count_nonzero cov cpu cross
    cross_entropy cummax cummin cumprod cumprod_ cumsum cumsum_ cumulative_prod cumulative_sum deg2rad degrees
    delete det detach diag diag_embed diag_indices diagflat diagonal diagonal_scatter diff difference digamma
    digamma_ digitize dim dist div div_ divide divide_ dot double dropout dsplit dstack ediff1d eig eigh eigvals
    eigvalsh einsum elu elu_ embedding empty empty_like endswith entr enumerate eq eq_ equal erf erf_ erfc erfc_
    erfcx erfinv exp exp2 exp2_ exp_ expand expand_as expand_dims expit expm1 expm1_ extend extract eye fabs
    factorial fft fft2 fftn fftshift fill fill_ fill_diagonal fill_diagonal_ fix flatnonzero flatten flip fliplr
    flipud float float32 float64 float_power floor floor_ floor_divide floor_divide_ fmax fmin fmod fmod_ fold
    format frac frexp from_numpy fromiter fromkeys fsum full full_like gamma gather gaussian_nll_loss gcd ge ge_
    gelu geomspace ger get glu gradient greater greater_equal group_norm gt gt_ half hann_window hardshrink
    hardsigmoid hardswish hardtanh heaviside histc histogram hsplit hstack huber_loss hypot hypot_ i0 i0e i1 i1e
    identity ifft ifft2 ifftn ifftshift im2col index index_add index_add_ index_copy index_copy_ index_fill
    index_fill_ index_put index_put_ index_reduce index_select indices inner insert instance_norm int interp
    interpolate intersect1d intersection intp inv inv_ex inverse irfft irfft2 is_complex is_contiguous
    is_floating_point is_nonzero is_tensor isclose iscomplex iscomplexobj isdigit isdisjoint isfinite isin isinf
    isnan isneginf isposinf isqrt isreal isrealobj isscalar issubset issuperset item items ix_ join kaiser_window
    keys kl_div kron kthvalue l1_loss lax layer_norm lcm ldexp ldexp_ le le_ leaky_relu leaky_relu_ lerp lerp_
    less less_equal lgamma linalg_norm linear linspace ljust local_response_norm log log10 log10_ log1p log1p_
    log2 log2_ log_ log_ndtr log_softmax logaddexp logaddexp2 logcumsumexp logdet logical_and logical_and_
    logical_not logical_not_ logical_or logical_or_ logical_xor logit logit_ logsigmoid logspace logsumexp long
    lower lp_pool2d lstrip lstsq lt lt_ lu lu_factor lu_solve mask_indices masked_fill masked_fill_ masked_scatter
    masked_scatter_ masked_select matmul matrix_exp matrix_norm matrix_power matrix_rank matrix_transpose matvec
    max max_pool1d max_pool2d max_pool3d max_unpool2d maximum mean median meshgrid mgrid min minimum mish mm mod
    mode modf moveaxis movedim mse_loss msort mul mul_ multi_dot multi_head_ multigammaln multinomial_ multiply
    multiply_ mv nan_to_num nan_to_num_ nanargmax nanargmin nancumsum nanmax nanmean nanmedian nanmin nanprod
    nanquantile nanstd nansum nanvar narrow ndenumerate ndimension ndindex ndtr ndtri ne ne_ neg neg_ negative
    negative_ nelement new new_empty new_full new_ones new_tensor new_zeros newaxis nextafter nll_loss no_grad
    nonzero norm normalize not_equal nuclear_norm numel numpy ogrid one_hot ones ones_like outer pad
    pairwise_distance partition pdist percentile perm permute permute_dims piecewise pinv pinverse pixel_shuffle
    pixel_unshuffle place poisson_nll_loss polar polygamma polyval pop popleft positive pow pow_ power prelu prod
    psi ptp put put_ put_along_axis putmask qr quantile r_ rad2deg radians ravel ravel_multi_index real reciprocal
    reciprocal_ reduce relu relu6 relu_ remainder remainder_ remove removeprefix removesuffix renorm repeat
    repeat_interleave replace require requires_grad reshape reshape_as resize_as resolve_conj resolve_neg reverse
    rfft rfft2 right_shift rint rjust rms_norm roll rollaxis rot90 round round_ rsplit rsqrt rsqrt_ rstrip rsub s_
    scalar_tensor scaled_dot_product_attention scatter scatter_ scatter_add scatter_add_ scatter_reduce
    scatter_reduce_ searchsorted select select_scatter selu setdefault setdiff1d sgn sgn_ shape sigmoid sigmoid_
    sign sign_ signbit silu sin sin_ sinc sinc_ sinh sinh_ size slice_copy slice_scatter sliding_window_view
    slogdet smooth_l1_loss soft_margin_loss softmax softmax2d softmin softplus softshrink softsign solve
    solve_triangular sort sort_complex split split_with_sizes sqrt sqrt_ square square_ squeeze squeeze_ stack
    startswith std std_mean stride strip sub sub_ subtract subtract_ sum sum_to_size svd svdvals swapaxes
    swapaxes_ swapdims swapdims_ t t_ take take_along_axis take_along_dim tan tan_ tanh tanh_ tanhshrink tensor
    tensor_split tensordot tensorinv tensorsolve threshold threshold_ tile title to tolist topk trace transpose
    transpose_ trapezoid trapz tri tril tril_ tril_indices tril_indices_from triplet_margin_loss triu triu_
    triu_indices triu_indices_from true_divide true_divide_ trunc trunc_ type type_as ulp unbind unflatten unfold
    unfold_ union union1d unique unique_consecutive unravel_index unsqueeze unsqueeze_ unstack unwrap update upper
    upsample values vander var var_mean vdot vecdot vecmat vector_norm view view_as view_as_complex view_as_real
    vsplit vstack where xlog1py xlogy xlogy_ zero_ zeros zeros_like zeta zfill""".split()
)

ATTRIBUTES = frozenset(
    """T mT H mH shape dtype ndim device size real imag grad_ values indices data newaxis pi e inf nan float32 float64
    float16 bfloat16 int32 int64 int8 uint8 long double float half bool bool_ int complex64 complex128
    functional nn linalg special fft Tensor DoubleTensor FloatTensor LongTensor ndarray
    generic integer floating lib stride_tricks eps tiny max min finfo nbytes flat add subtract""".split()
)

CHANGING = frozenset(
    """append update pop popleft fill at extend insert remove clear reverse sort setdefault copyto put place putmask
    fill_diagonal put_along_axis partition resize""".split()
)

STATEMENTS = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.For,
    ast.While,
    ast.If,
    ast.Expr,
    ast.Return,
    ast.FunctionDef,
    ast.Pass,
    ast.Break,
    ast.Continue,
    ast.With,
    ast.Assert,
)
REFUSED = (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)


def impure(function: ast.stmt, context: str = "") -> str:
    """Why a function, or a table of functions, is not pure; empty where it is. What `context` holds may be read."""
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and not isinstance(node, STATEMENTS):
            return f"line {node.lineno}: {type(node).__name__.lower()} statements are not followed"
        if isinstance(node, ast.While) and not _counts(node):
            return f"line {node.lineno}: a while statement that does not count is not followed"
        if isinstance(node, REFUSED):
            return f"line {getattr(node, 'lineno', 0)}: {type(node).__name__.lower()} is not followed"
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            return f"line {node.lineno}: {node.name} is decorated"
        if isinstance(node, ast.With) and not all(_no_grad(item.context_expr) for item in node.items):
            return f"line {node.lineno}: a with statement may have side effects"
        if isinstance(node, ast.Attribute) and context and ast.unparse(node.value) == context:
            if not isinstance(node.ctx, ast.Load):
                return f"line {node.lineno}: it changes {context}"
            continue
        if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES and node.attr not in CALLS:
            return f"line {node.lineno}: .{node.attr} is not known to be free of side effects"
        if isinstance(node, ast.Name) and node.id.startswith("__"):
            return f"line {node.lineno}: {node.id} is not followed"
    return ""


def _counts(loop: ast.While) -> bool:
    """Whether a loop compares a name that each of its rounds adds to: `while k >= 0: ...; k -= 1`."""
    added = (s.target for s in loop.body if isinstance(s, ast.AugAssign) and isinstance(s.value, ast.Constant))
    counted = {target.id for target in added if isinstance(target, ast.Name)}
    return isinstance(loop.test, ast.Compare) and bool(counted & names(loop.test))


def _no_grad(node: ast.expr) -> bool:
    return ast.unparse(node) in ("torch.no_grad()", "torch.inference_mode()")


def in_place(node: ast.AST) -> bool:
    """Whether a statement may change a tensor that other names share."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.AugAssign):
            return True
        if isinstance(inner, ast.Subscript) and isinstance(inner.ctx, ast.Store):
            return True
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and _changes(inner.func.attr):
            return True
        if isinstance(inner, ast.keyword) and inner.arg == "out":
            return True
    return False


def _changes(method: str) -> bool:
    return method.endswith("_") or method in CHANGING
