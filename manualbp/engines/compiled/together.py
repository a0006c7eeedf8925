"""Several threads inside one compiled loop, which meet where one needs what another has computed.

Exploits that in columns a layer's units are independent: forward each thread computes z and a of its own share of the
units, backward the deltas of its share and the weights that lead away from them. So threads meet once a layer, by one
atomic number that all of them count up: microseconds less than it takes to wake a thread for each product.
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
