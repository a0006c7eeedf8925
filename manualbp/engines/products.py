"""The three matrix products of a layer, by torch's BLAS or by oneDNN.

Exploits that no library is the fastest everywhere (MKL holds back on AMD, oneDNN does not), and that a step has three
kinds of product whose shapes never change: z = a W^T + b, da = delta W, and dJ/dW = delta^T a, which `accumulate_`
adds to what is there, so that an update costs no more than a gradient.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

Matmul = Literal["ieee", "tf32", "bf16"]


class Products(Protocol):
    """Matrices have contiguous rows; results are written into `out`, or into W."""

    def forward(self, a: Tensor, W: Tensor, b: Tensor | None, out: Tensor) -> None:
        """out = a W^T + b; a (m, n_in), W (n_out, n_in)."""

    def backward(self, delta: Tensor, W: Tensor, out: Tensor) -> None:
        """out = delta W; delta (m, n_out)."""

    def accumulate_(self, W: Tensor, delta: Tensor, a: Tensor, beta: float, alpha: float) -> None:
        """W = beta W + alpha delta^T a."""


class TorchProducts:
    """torch.addmm and torch.mm."""

    def forward(self, a: Tensor, W: Tensor, b: Tensor | None, out: Tensor) -> None:
        """out = a W^T + b."""
        if b is None:
            torch.mm(a, W.t(), out=out)
        else:
            torch.addmm(b, a, W.t(), out=out)

    def backward(self, delta: Tensor, W: Tensor, out: Tensor) -> None:
        """out = delta W."""
        torch.mm(delta, W, out=out)

    def accumulate_(self, W: Tensor, delta: Tensor, a: Tensor, beta: float, alpha: float) -> None:
        """W = beta W + alpha delta^T a."""
        W.addmm_(delta.t(), a, beta=beta, alpha=alpha)


class OneDNNProducts:
    """oneDNN's product, by an operator that torch keeps to itself: `onednn` says whether it is there and right.

    It is slower by orders of magnitude where rows do not follow each other, so that blocks of columns are copied.
    """

    def forward(self, a: Tensor, W: Tensor, b: Tensor | None, out: Tensor) -> None:
        """out = a W^T + b."""
        out.copy_(_onednn_linear(a, W, b))

    def backward(self, delta: Tensor, W: Tensor, out: Tensor) -> None:
        """out = delta W."""
        out.copy_(_onednn_linear(delta, W.contiguous().t(), None))

    def accumulate_(self, W: Tensor, delta: Tensor, a: Tensor, beta: float, alpha: float) -> None:
        """W = beta W + alpha delta^T a."""
        W.mul_(beta).add_(_onednn_linear(delta.t(), a.contiguous().t(), None), alpha=alpha)


class BFloat16Products:
    """Operands rounded to bfloat16, sums in float32: `--matmul bf16`. Weights stay float32."""

    def forward(self, a: Tensor, W: Tensor, b: Tensor | None, out: Tensor) -> None:
        """out = a W^T + b."""
        out.copy_(_bfloat16(a, W.t()))
        if b is not None:
            out.add_(b)

    def backward(self, delta: Tensor, W: Tensor, out: Tensor) -> None:
        """out = delta W."""
        out.copy_(_bfloat16(delta, W))

    def accumulate_(self, W: Tensor, delta: Tensor, a: Tensor, beta: float, alpha: float) -> None:
        """W = beta W + alpha delta^T a."""
        W.mul_(beta).add_(_bfloat16(delta.t(), a), alpha=alpha)


TORCH = TorchProducts()


def products(name: str, device: torch.device, dtype: torch.dtype, matmul: Matmul = "ieee") -> tuple[str, Products]:
    """The products of that name, and the name; "auto" is torch's: auto.py finds the fastest.

    Raises ValueError for a name that is not in reach, and for a precision that dtype or device do not have.
    """
    if matmul != "ieee" and (device.type != "cuda" or dtype != torch.float32):
        raise ValueError(f"--matmul {matmul} is for float32 on CUDA, got {dtype} on {device}; use --matmul ieee")
    if matmul == "bf16":
        return "torch", BFloat16Products()
    if name in ("auto", "torch"):
        return "torch", TORCH
    if name == "onednn" and onednn(device, dtype):
        return "onednn", OneDNNProducts()
    raise ValueError(f"product {name!r} is not in reach for {dtype} on {device}; choose auto or torch")


@contextlib.contextmanager
def tensor_float_32(on: bool) -> Iterator[None]:
    """Whether CUDA's float32 products may round their operands to 10 bits, inside; as before on leaving."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def onednn(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN's product is in reach and right: a small one is tried, in whole numbers."""
    if device.type != "cpu" or dtype != torch.float32:
        return False
    a, W, b = torch.arange(6.0).view(3, 2), torch.arange(8.0).view(4, 2), torch.arange(4.0)
    try:
        return torch.equal(_onednn_linear(a, W, b), torch.addmm(b, a, W.t()))
    except (AttributeError, RuntimeError):  # no such operator, or not for these arguments
        return False


def _onednn_linear(a: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    z: Tensor = torch.ops.mkldnn._linear_pointwise(a, W, b, "none", [], "")
    return z


def _bfloat16(A: Tensor, B: Tensor) -> Tensor:
    A, B = A.bfloat16(), B.bfloat16()
    if A.is_cuda:
        return torch.mm(A, B, out_dtype=torch.float32)
    return torch.mm(A.float(), B.float())  # the same sums, on a CPU
