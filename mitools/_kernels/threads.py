"""Work shared out over threads, in ranges; kernels release the interpreter's lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numba

_A = TypeVar("_A")
_B = TypeVar("_B")

FEWEST = 10_000
"""Points below which waiting for a second thread costs more than it saves."""

_RANGES_PER_THREAD = 8


def over_ranges(kernel: Callable[..., object], units: int, points: int, *arguments: object) -> None:
    """Call ``kernel(first, last, *arguments)`` over ranges that together cover ``range(units)``.

    Threads: as many as ``numba.get_num_threads()``, one below ``FEWEST`` points. Plain threads and
    not a parallel region: callers may be threads themselves, and a busy processor delays one range
    instead of all. A kernel writes only to cells of its own units, so the split cannot be seen.
    """
    threads = numba.get_num_threads() if points >= FEWEST else 1
    if threads == 1 or units < 2:
        kernel(0, units, *arguments)
        return
    ranges = min(units, threads * _RANGES_PER_THREAD)
    edges = [units * i // ranges for i in range(ranges + 1)]
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(kernel, first, last, *arguments) for first, last in pairwise(edges)]
        for job in jobs:
            job.result()


def both(first: Callable[[], _A], second: Callable[[], _B], points: int) -> tuple[_A, _B]:
    """Return what two calls return, made at the same time if that pays."""
    if points < FEWEST or numba.get_num_threads() == 1:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(second)
        return first(), job.result()
