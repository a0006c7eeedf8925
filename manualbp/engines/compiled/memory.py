"""Arrays as plain pointers, for compiled loops.

Exploits that a pointer's index is used as it is. An array's could be negative, meaning from the end: that one test an
access keeps a compiler from running a loop on vector registers.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic


@intrinsic
def pointer(context, array):
    """Where an array's numbers begin; it must lie contiguous, and outlive the pointer."""
    kind = types.CPointer(array.dtype)

    def generate(context, builder, signature, args):
        return context.make_array(array)(context, builder, args[0]).data

    return kind(array), generate


@intrinsic
def address(context, base, offset):
    """The address of the number at `offset` of a pointer, as BLAS takes it."""

    def generate(context, builder, signature, args):
        return builder.ptrtoint(builder.gep(args[0], [args[1]]), args[1].type)

    return types.int64(base, types.int64), generate
