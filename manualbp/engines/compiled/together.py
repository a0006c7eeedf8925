"""Several threads inside one compiled loop, which meet where one needs what another has computed.

Exploits that in columns a layer's units are independent: forward each thread computes z and a of its own share of the
units, backward the deltas of its share and the weights that lead away from them. So threads meet once a layer, by one
atomic number that all of them count up: microseconds less than it takes to wake a thread for each product.

A thread that waits looks again and again for a while, and then lets others run each time that it looks.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch
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


@functools.cache
def let_run() -> int:
    """The address of sched_yield, or 0 where there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (OSError, AttributeError, TypeError):
        return 0


def run(job: Callable[[int], None], threads: int) -> None:
    """job(0), job(1), .. at the same time, on threads that are kept for it; returns when all are done."""
    if threads == 1:
        job(0)
        return
    shares = itertools.count()

    def one() -> None:
        thread = next(shares)
        if thread < threads:
            job(thread)

    with _one_at_a_time:
        jobs = []
        try:
            jobs += [worker.submit(one) for worker in _workers(threads)]
        except BaseException:  # such as Ctrl-C: those that have begun wait for the others
            for _ in range(threads):
                one()
            raise
        finally:
            wait(jobs)
    for each in jobs:
        each.result()


_one_at_a_time = threading.Lock()


@functools.cache
def _workers(threads: int) -> list[ThreadPoolExecutor]:
    """As many threads, each with one of torch's and of MKL's: what they call does not divide its work again."""
    places = _places(threads)

    def begin(place: int | None) -> None:
        if place is not None:
            os.sched_setaffinity(0, {place})  # of this thread
        torch.set_num_threads(1)

    found = [ThreadPoolExecutor(1, initializer=begin, initargs=(place,)) for place in places]
    kept = torch.get_num_threads()
    for worker in found:
        worker.submit(int).result()
    torch.set_num_threads(kept)  # of threads to come
    return found


def _places(threads: int) -> list[int | None]:
    """A CPU for each thread, where they need all of them; elsewhere the system knows better.

    It may put threads that have just been woken on one CPU, beside another that does work of less priority, for as long
    as a tenth of a second.
    """
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return [*there] if len(there) == threads else [None] * threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)  # threads do not survive in a child
