"""Arrays as plain pointers, for compiled loops.

Exploits that a pointer's index is used as it is. An array's could be negative, meaning from the end: that one test an
access keeps a compiler from running a loop on vector registers.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FLOATS = 16  # of float32 in a cache line


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


@intrinsic
def prefetch(context, base, offset):
    """Have the number at `offset` of a pointer brought to the caches; nothing waits for it."""

    def generate(context, builder, signature, args):
        whole = ir.IntType(32)
        place = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, whole, whole, whole])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [place, whole(0), whole(3), whole(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return types.void(base, types.int64), generate
