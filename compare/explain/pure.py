"""Which statements and calls an edited backward may hold: those that change nothing but their own variables."""

from __future__ import annotations

import ast

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
    """abs absolute acos acosh add add_ addcdiv addcmul addmm addmv addr all allclose amax amin any append arange
    arccos arcsin arctan arctan2 argmax argmin argsort array array_equal as_strided as_tensor asarray
    asarray_chkfinite ascontiguousarray asin asinh astype atan atan2 atanh atleast_1d atleast_2d average
    avg_pool1d avg_pool2d lower upper strip startswith endswith join format baddbmm bincount block bmm bool
    broadcast_tensors broadcast_to cat ceil celu chunk clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_
    clip clip_ clone column_stack concat concatenate conj contiguous conv1d conv2d conv_transpose1d
    conv_transpose2d copy copy_ copysign cos cosh cosine_similarity count_nonzero cpu cross cummax cumprod
    cumsum deg2rad det detach diag diag_embed diagflat diagonal diff digamma dim div div_ divide dot double
    dropout dsplit einsum elu embedding empty empty_like equal erf erfc erfinv exp exp2 expand expand_as
    expand_dims expm1 extend eye fill fill_ fill_diagonal fill_diagonal_ flatten flip fliplr flipud float
    float_power floor floor_divide fmax fmin fmod fold full full_like gather ge gelu get greater greater_equal
    gt half hardsigmoid hardswish hardtanh heaviside hsplit hstack hypot identity im2col index_add index_add_
    index_copy index_copy_ index_fill index_put index_put_ index_select inner insert int inv isclose isfinite
    isinf isnan item items kaiser_window keys kron kthvalue lax layer_norm le leaky_relu lerp less less_equal
    lgamma linspace lt log log10 log1p log2 log_ logaddexp logical_and logical_not logical_or logical_xor logit
    logsigmoid logsumexp log_softmax long lu_solve masked_fill masked_fill_ masked_scatter masked_select matmul
    matrix_norm matrix_power max max_pool1d max_pool2d maximum mean median meshgrid min minimum mish mm mode
    moveaxis movedim mul mul_ multi_dot multinomial_ multiply mv nan_to_num nanmean nansum narrow ndimension ne
    neg neg_ negative new_empty new_full new_ones new_tensor new_zeros newaxis nonzero norm normalize not_equal
    numel numpy one_hot ones ones_like outer pad pdist permute pinv pop popleft pow pow_ power prelu prod
    put_along_axis qr ravel real reciprocal relu relu6 relu_ remainder repeat repeat_interleave requires_grad
    reshape reshape_as resize_as roll rot90 round round_ rsqrt rsqrt_ scatter scatter_ scatter_add scatter_add_
    scatter_reduce searchsorted select selu setdefault sgn shape sigmoid sigmoid_ sign silu sin sinc sinh size
    slice_scatter slogdet softmax softmin softplus softsign solve solve_triangular sort split sqrt sqrt_ square
    square_ squeeze squeeze_ stack std std_mean stride sub sub_ subtract sum sum_to_size svd swapaxes swapdims t
    t_ take take_along_axis take_along_dim tan tanh tanh_ tanhshrink tensor tensordot tensor_split threshold
    tile to tolist topk trace transpose transpose_ trapz tril tril_ tril_indices triu triu_ triu_indices trunc
    type type_as unbind unfold unfold_ unflatten unique unsqueeze unsqueeze_ update values vander var var_mean
    vdot vecdot vector_norm view view_as vsplit vstack where xlogy zero_ zeros zeros_like linalg_norm enumerate
    cholesky broadcast_shapes is_floating_point ldexp float32 float64 fromiter ger addbmm chain_matmul cdist
    trapezoid fft ifft rfft irfft fft2 ifft2 rfft2 irfft2 fftn ifftn fftshift ifftshift polar angle view_as_real
    view_as_complex complex hann_window isin ix_ indices interp apply_along_axis_ put add.at at scatter_reduce_
    multi_head_ logaddexp2 erfcx ndtr i0 expit softmax2d conj_physical no_grad""".split()
)

ATTRIBUTES = frozenset(
    """T mT H mH shape dtype ndim device size real imag grad_ values indices data newaxis pi e inf nan float32 float64
    float16 bfloat16 int32 int64 int8 uint8 long double float half bool bool_ int complex64 complex128
    functional nn linalg special fft eps tiny max min finfo nbytes flat add subtract""".split()
)

STATEMENTS = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.For,
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


def impure(function: ast.FunctionDef) -> str:
    """Why a function is not on the list of pure ones; empty where it is."""
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and not isinstance(node, STATEMENTS):
            return f"line {node.lineno}: {type(node).__name__.lower()} statements are not followed"
        if isinstance(node, REFUSED):
            return f"line {getattr(node, 'lineno', 0)}: {type(node).__name__.lower()} is not followed"
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            return f"line {node.lineno}: {node.name} is decorated"
        if isinstance(node, ast.With) and not all(_no_grad(item.context_expr) for item in node.items):
            return f"line {node.lineno}: a with statement may have side effects"
        if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES and node.attr not in CALLS:
            return f"line {node.lineno}: .{node.attr} is not known to be free of side effects"
        if isinstance(node, ast.Name) and node.id.startswith("__"):
            return f"line {node.lineno}: {node.id} is not followed"
    return ""


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
    return method.endswith("_") or method in ("append", "update", "pop", "fill", "at", "extend")
