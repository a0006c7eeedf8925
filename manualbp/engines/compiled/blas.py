"""sgemm and dgemm by their address, for compiled code to call: a product costs the product, and no Python.

Exploits that BLAS has accumulated since 1990, C = alpha A B + beta C: one call is a gradient and its update. Two may
be in reach: MKL's inside torch (a symbol that torch does not promise: it is tried out before it is used), and
OpenBLAS's, by scipy's documented interface for compiled code.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from manualbp.engines.compiled.memory import address, pointer

ALONE = "-1"  # ends the name of a BLAS for an engine that is to run on one thread of several
PLAIN, TRANSPOSED = ord("N"), ord("T")


@intrinsic
def gemm(context, function, ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc):
    """C = alpha op(A) op(B) + beta C, in BLAS's own terms: columns contiguous, op(A) is (M, K), op(B) (K, N).

    `function` and A, B, C are addresses. Fortran takes every argument by reference.
    """
    signature = types.void(*(types.int64,) * 6, alpha, *(types.int64,) * 4, beta, *(types.int64,) * 2)
    matrices = (7, 9, 12)

    def generate(context, builder, signature, args):
        pointer = ir.IntType(8).as_pointer()
        handed = [
            builder.inttoptr(arg, pointer)
            if position in matrices
            # whole numbers in 64 bits: a BLAS of 32-bit integers reads the lower half, which comes first
            else builder.bitcast(cgutils.alloca_once_value(builder, arg), pointer)
            for position, arg in enumerate(args)
        ]
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 13).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), handed[1:])
        return context.get_dummy_value()

    return signature, generate


@njit(error_model="numpy", cache=True)
def product(function, A, B, C, alpha, beta):
    """C = alpha B A^T + beta C, for matrices with contiguous rows; to try a product out, and to time it."""
    (n, k), m = A.shape, len(B)
    at = address(pointer(A), 0), address(pointer(B), 0), address(pointer(C), 0)
    gemm(function, TRANSPOSED, PLAIN, n, m, k, alpha, at[0], k, at[1], k, beta, at[2], n)


def addresses(dtype: np.dtype) -> dict[str, int]:
    """The products in reach that work, by name: "mkl", "openblas", and those for one thread of several, "mkl-1" .."""
    letter = "s" if dtype == np.float32 else "d"
    found = {"mkl": _in_torch(f"{letter}gemm_"), "openblas": _in_scipy(f"{letter}gemm")}
    found = {name: function for name, function in found.items() if function and _works(function, dtype)}
    return found | {name + ALONE: function for name, function in found.items()}


def _in_torch(symbol: str) -> int:
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("*torch_cpu*"))
    try:
        function = getattr(ctypes.CDLL(str(libraries[0])), symbol)
    except (IndexError, OSError, AttributeError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _in_scipy(name: str) -> int:
    try:
        import scipy.linalg.cython_blas  # noqa: F401

        return int(get_cython_function_address("scipy.linalg.cython_blas", name))
    except (ImportError, ValueError):
        return 0


def _works(function: int, dtype: np.dtype) -> bool:
    """Whether a small product comes out right, in whole numbers."""
    A, B, C = (np.arange(n, dtype=dtype).reshape(shape) for n, shape in ((6, (3, 2)), (8, (4, 2)), (12, (4, 3))))
    expected = 2 * B @ A.T + 3 * C
    product(function, A, B, C, dtype.type(2), dtype.type(3))
    return np.array_equal(C, expected)


@functools.cache
def _openblas() -> Any:
    import scipy.linalg  # noqa: F401  # so that its OpenBLAS is there
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(internal_api="openblas")  # looks through the process: slow


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """The BLAS of that name on one thread each time that it is called, inside: this project's own threads call it."""
    if name.startswith("openblas"):
        with _openblas().limit(limits=1):
            yield
    elif name == "mkl" + ALONE and torch.get_num_threads() > 1:  # MKL inside torch does as torch is told
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
    else:
        yield
