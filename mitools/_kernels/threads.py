"""Work shared out over threads, in pieces; kernels release the interpreter's lock."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from threading import Condition, Thread, local
from typing import Any

import numba

FEWEST = 20_000
"""Points below which a second thread costs more than it saves."""

_RANGES_PER_THREAD = 8
_LEAST = 10_000  # points a range: handing one out costs some 20 microseconds
_here = local()


def threads_for(points: int) -> int:
    """Return how many threads work on so many points: ``numba.get_num_threads()``, or one."""
    if points < FEWEST:
        return 1
    crew: _Crew | None = getattr(_here, "crew", None)
    return numba.get_num_threads() if crew is None else crew.threads


def over_ranges(kernel: Callable[..., object], units: int, points: int, *arguments: object) -> None:
    """Call ``kernel(first, last, *arguments)`` over ranges that together cover ``range(units)``.

    A kernel writes only to cells of its own units, so the split cannot be seen. A kernel that does
    much or little for a point says more or fewer points.
    """
    threads = threads_for(points)
    if threads == 1:
        kernel(0, units, *arguments)
        return
    edges = split(units, min(threads * _RANGES_PER_THREAD, points // _LEAST))
    together([partial(kernel, first, last, *arguments) for first, last in pairwise(edges)], points)


def split(units: int, parts: int) -> list[int]:
    """Return where equal parts of ``range(units)`` begin, and the end; no part is empty."""
    parts = max(1, min(units, parts))
    return [units * i // parts for i in range(parts + 1)]


def together(jobs: list[Callable[[], Any]], points: int) -> list[Any]:
    """Return what the jobs return.

    The calling thread works too, and waits in the end only for jobs that another has begun: on a
    busy processor the others may never get to run, and nothing is lost. They are plain threads and
    not a parallel region, since the caller may be a thread itself. Jobs may call this again: then
    whichever thread has nothing to do helps, and no more threads run than were asked for.
    """
    threads = threads_for(points)
    if threads == 1 or len(jobs) < 2:
        return [job() for job in jobs]
    crew: _Crew | None = getattr(_here, "crew", None)
    if crew is not None:
        return crew.do(jobs)
    crew = _here.crew = _Crew(threads)
    try:
        return crew.do(jobs)
    finally:
        _here.crew = None
        crew.dismiss()


class _Group:
    """The jobs of one call, and what became of them."""

    def __init__(self, size: int) -> None:
        self.results: list[Any] = [None] * size
        self.left = size
        self.error: BaseException | None = None


class _Crew:
    """Threads that share one stack of jobs.

    A job waits only for jobs begun after it, so the one begun last never waits.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._jobs: list[tuple[_Group, int, Callable[[], Any]]] = []
        self._change = Condition()
        self._helping = 0
        self._over = False

    def do(self, jobs: list[Callable[[], Any]]) -> list[Any]:
        group = _Group(len(jobs))
        with self._change:
            self._jobs += reversed([(group, i, job) for i, job in enumerate(jobs)])
            more = min(len(jobs) - 1, self.threads - 1 - self._helping)
            self._helping += more
            self._change.notify_all()
        for _ in range(more):
            Thread(target=self._help, daemon=True).start()
        self._work(lambda: group.left == 0 or group.error is not None, group)
        if group.error is not None:
            raise group.error
        return group.results

    def dismiss(self) -> None:
        with self._change:
            self._over = True
            self._change.notify_all()

    def _help(self) -> None:
        _here.crew = self
        self._work(lambda: self._over)

    def _work(self, done: Callable[[], bool], own: _Group | None = None) -> None:
        """Take up jobs until done, the first of one's own group or else the newest group's."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or done())
                if done():
                    return
                mine = (at for at in reversed(range(len(self._jobs))) if self._jobs[at][0] is own)
                group, i, job = self._jobs.pop(next(mine, -1))
            try:
                group.results[i] = job()
            except BaseException as error:
                with self._change:
                    group.error = error
                    self._jobs = [task for task in self._jobs if task[0] is not group]
            with self._change:
                group.left -= 1
                if group.left == 0 or group.error is not None:
                    self._change.notify_all()
