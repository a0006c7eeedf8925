"""Where threads inside one compiled loop wait for each other, and what share of the work is whose: see together.py.

Exploits that threads which are all at work need nobody to wake them: they count up one number in memory, by one
operation that cannot be torn, and look at it again and again. One that has to look for long lets others run each time.
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LOOKS = 2**21  # before others are let run: about a millisecond, since they may then run for several


@intrinsic
def _count_up(context, counter):
    """Add one to the int64 at a pointer, in one go, after all that was written before."""

    def generate(context, builder, signature, args):
        builder.atomic_rmw("add", args[0], ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(types.CPointer(types.int64)), generate


@intrinsic
def _look(context, counter):
    """The int64 at a pointer, as it is now; nothing that comes later is read before."""

    def generate(context, builder, signature, args):
        return builder.load_atomic(args[0], "seq_cst", 8)

    return types.int64(types.CPointer(types.int64)), generate


@intrinsic
def _call(context, function):
    """Call the function at an address, which takes nothing."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), []).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), [])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@njit(error_model="numpy", cache=True)
def meet(counter, threads, turn, let_run):
    """Wait until all threads have come here; `turn` is that of the last meeting. Returns this one's."""
    if threads == 1:
        return turn
    turn += threads
    _count_up(counter)
    looks = 0
    while _look(counter) < turn:
        looks += 1
        if looks > LOOKS and let_run:
            _call(let_run)
    return turn


@njit(error_model="numpy", cache=True)
def share(count, thread, threads, whole):
    """A thread's part of `count` things, in multiples of `whole` but for the last: its first, and where it ends."""
    each = -(-count // (threads * whole)) * whole
    return min(thread * each, count), min((thread + 1) * each, count)
