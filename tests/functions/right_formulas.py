"""Functions that are right: kernels, modules, layers, losses."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compare.check import binary, constant, index, positive, probability, real
from tests.functions import XW, Case, X, function, normal, saving
from tests.functions.right_styles import Linear

CASES: list[Case] = []


def case(name, fn, reference, inputs):
    CASES.append(Case(name, fn, reference, inputs))


def embedding_backward(ctx, dy):
    i, W = ctx.saved_tensors
    return None, torch.zeros_like(W).index_add(0, i, dy)


case(
    "embedding",
    function(saving(lambda i, W: W[i]), embedding_backward),
    lambda i, W: W[i],
    {"i": index("m", classes="v"), "W": real("v", "d")},
)
case(
    "constants",
    function(
        saving(lambda x, a, flag: x**a), lambda ctx, dy: (dy * ctx.constants[0] * ctx.saved_tensors[0] ** 2, None, None)
    ),
    lambda x, a, flag: x**a,
    {"x": real("m", "d"), "a": constant(3), "flag": True},
)


def numpy_tanh(ctx, x):
    y = torch.from_numpy(np.tanh(x.numpy(force=True))).to(x)
    ctx.save_for_backward(y)
    return y


case(
    "numpy",
    function(numpy_tanh, lambda ctx, dy: dy * (1 - ctx.saved_tensors[0] ** 2), once=True),
    torch.tanh,
    {"x": normal(3, 4)},
)


def only_float32(ctx, x, W):
    if x.dtype is not torch.float32:
        raise TypeError("this kernel takes float32 only")
    ctx.save_for_backward(x, W)
    return x @ W.t()


def matmul_backward(ctx, dy):
    x, W = ctx.saved_tensors
    return dy @ W, dy.t() @ x


case("only_float32", function(only_float32, matmul_backward), lambda x, W: x @ W.t(), XW)


def only_half(ctx, x):
    if x.dtype not in (torch.float16, torch.bfloat16):
        raise TypeError("this kernel takes half precision only")
    ctx.save_for_backward(x)
    return x.float().softmax(1).to(x.dtype)


def half_softmax_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    p = x.float().softmax(1)
    return (p * (dy.float() - (p * dy.float()).sum(1, keepdim=True))).to(x.dtype)


case("only_half", function(only_half, half_softmax_backward), lambda x: x.softmax(1), X)


def silu_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    s = wide.sigmoid()
    return (dy.to(wide) * s * (1 + wide * (1 - s))).to(x.dtype)


case("silu", function(saving(F.silu), silu_backward), F.silu, X)


def gelu_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


case("gelu", function(saving(F.gelu), gelu_backward), F.gelu, X)
case(
    "sigmoid_setup",
    function(saving(torch.sigmoid), lambda ctx, dy: dy * (s := ctx.saved_tensors[0].sigmoid()) * (1 - s)),
    torch.sigmoid,
    X,
)


class Own(nn.Module):
    """A linear layer with a Function inside."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(normal(2, 3))
        self.bias = nn.Parameter(normal(2))

    def forward(self, x):
        return Linear.apply(x, self.weight, self.bias)


case("module", Own(), nn.Linear(3, 2), {"x": normal(5, 3)})
case("module_of_specs", Own(), nn.Linear(3, 2), {"x": real("m", 3)})


def logsumexp_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy[:, None] * x.softmax(1)


def stable_logsumexp(x):
    top = x.amax(1, keepdim=True)
    return (x - top).exp().sum(1).log() + top[:, 0]


case("logsumexp", function(saving(stable_logsumexp), logsumexp_backward), lambda x: x.logsumexp(1), X)


def bmm_backward(ctx, dy):
    a, b = ctx.saved_tensors
    return dy @ b.mT, a.mT @ dy


case(
    "batched_product",
    function(saving(torch.matmul), bmm_backward),
    torch.matmul,
    {"a": real("m", "n", "k"), "b": real("m", "k", "p")},
)


def add_bias_backward(ctx, dy):
    return dy, dy.sum((0, 2, 3))


def add_bias(x, b):
    return x + b[:, None, None]


case(
    "bias_of_images",
    function(saving(add_bias), add_bias_backward),
    add_bias,
    {"x": real("n", "c", "h", "w"), "b": real("c")},
)


def attention(q, k, v):
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v


def attention_backward(ctx, dy):
    q, k, v = ctx.saved_tensors
    scale = 1 / math.sqrt(q.shape[-1])
    p = (q @ k.mT * scale).softmax(-1)
    dp = dy @ v.mT
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * scale
    return ds @ k, ds.mT @ q, p.mT @ dy


case("attention", function(saving(attention), attention_backward), attention, {n: normal(2, 4, 3) for n in "qkv"})


def huber_backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy * x.clamp(-1, 1)


case(
    "huber",
    function(saving(lambda x: F.huber_loss(x, x * 0, reduction="none")), huber_backward),
    lambda x: torch.where(x.abs() < 1, x * x / 2, x.abs() - 0.5),
    X,
)
case(
    "cumulative_sum",
    function(lambda ctx, x: x.cumsum(1), lambda ctx, dy: dy.flip(1).cumsum(1).flip(1)),
    lambda x: x.cumsum(1),
    X,
)
case(
    "dropout_with_its_mask",
    function(saving(lambda x, mask: x * mask * 2), lambda ctx, dy: (dy * ctx.saved_tensors[1] * 2, None)),
    lambda x, mask: x * mask.detach() * 2,
    {"x": real("m", "d"), "mask": binary("m", "d")},
)


def chunked(ctx, x, W):
    ctx.save_for_backward(x, W)
    return torch.cat([row[None] @ W.t() for row in x])


def chunked_backward(ctx, dy):
    x, W = ctx.saved_tensors
    dW = torch.zeros_like(W)
    for row, d in zip(x, dy, strict=True):
        dW = dW + torch.outer(d, row)
    return dy @ W, dW


case("chunked", function(chunked, chunked_backward), lambda x, W: x @ W.t(), XW)
case(
    "kl_to_a_target",
    function(
        saving(lambda z, p: -(p * z.log_softmax(1)).sum()),
        lambda ctx, dy: (dy * (ctx.saved_tensors[0].softmax(1) - ctx.saved_tensors[1]), None),
    ),
    lambda z, p: -(p.detach() * z.log_softmax(1)).sum(),
    {"z": real("m", "c"), "p": probability("m", "c")},
)
case(
    "log", function(saving(torch.log), lambda ctx, dy: dy / ctx.saved_tensors[0]), torch.log, {"x": positive("m", "d")}
)
case("frozen_cuts", function(lambda ctx, x: x.round(), lambda ctx, dy: torch.zeros_like(dy)), lambda x: x.round(), X)


def conj_product_backward(ctx, dy):
    a, b = ctx.saved_tensors
    return dy * b.conj(), dy * a.conj()


case(
    "complex_product",
    function(saving(torch.mul), conj_product_backward),
    torch.mul,
    {"a": normal(3, 2, dtype=torch.complex128), "b": normal(3, 2, dtype=torch.complex128)},
)


@torch.library.custom_op("manualbp_test::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    return x * x * x


def cube_backward(ctx, dy):
    return 3 * ctx.saved_tensors[0] ** 2 * dy


cube.register_autograd(cube_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
case("registered_operator", cube, lambda x: x**3, X)


def plain_python(x, W):
    return Linear.apply(x, W, W.new_zeros(W.shape[0])).tanh()


case("callable_of_several_steps", plain_python, lambda x, W: (x @ W.t()).tanh(), XW)
