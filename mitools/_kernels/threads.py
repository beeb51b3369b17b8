"""Work shared out over threads, in pieces; kernels release the interpreter's lock."""

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from threading import Condition, Thread
from typing import Any

import numba

FEWEST = 20_000
"""Points below which a second thread costs more than it saves."""

_RANGES_PER_THREAD = 8


def over_ranges(kernel: Callable[..., object], units: int, points: int, *arguments: object) -> None:
    """Call ``kernel(first, last, *arguments)`` over ranges that together cover ``range(units)``.

    Threads: as many as ``numba.get_num_threads()``, one below ``FEWEST`` points. A kernel writes
    only to cells of its own units, so the split cannot be seen.
    """
    threads = numba.get_num_threads() if points >= FEWEST else 1
    if threads == 1:
        kernel(0, units, *arguments)
        return
    ranges = min(units, threads * _RANGES_PER_THREAD)
    edges = [units * i // ranges for i in range(ranges + 1)]
    together([partial(kernel, first, last, *arguments) for first, last in pairwise(edges)], points)


def together(jobs: list[Callable[[], Any]], points: int) -> list[Any]:
    """Return what the jobs return.

    The calling thread works too, and waits in the end only for jobs that another has begun: on a
    busy processor the others may never get to run, and nothing is lost. They are plain threads and
    not a parallel region, since the caller may be a thread itself.
    """
    threads = min(numba.get_num_threads() if points >= FEWEST else 1, len(jobs))
    waiting = deque(enumerate(jobs))
    results: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []
    finished: list[int] = []
    change = Condition()

    def work() -> None:
        while waiting:
            try:
                i, job = waiting.popleft()
            except IndexError:
                return
            try:
                results[i] = job()
            except BaseException as error:
                waiting.clear()
                errors.append(error)
            with change:
                finished.append(i)
                change.notify()

    for _ in range(threads - 1):
        Thread(target=work, daemon=True).start()
    work()
    with change:
        change.wait_for(lambda: errors or len(finished) == len(jobs))
    if errors:
        raise errors[0]
    return results
