"""Runs contenders on tasks, and keeps every result, whatever happens on the way."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib

from estimators_bench.contenders import Contender, entrants
from estimators_bench.plan import Unit, chosen, units
from estimators_bench.progress import Bar
from estimators_bench.records import (
    ABOUT,
    Journal,
    planned,
    record,
    table,
    without_addresses,
    write,
)
from estimators_bench.speed.report import environment
from estimators_bench.tasks import MaskTask, Task, catalogue
from estimators_bench.workers import Crew, outcomes

if TYPE_CHECKING:
    from pandas import DataFrame

LOG = "log.txt"
_ALWAYS_TOLD = ("mitools", "numpy", "scipy", "numba", "scikit-learn", "torch")


def run(
    tasks: Iterable[Task | str] | None = None,
    contenders: Iterable[Contender | str] | None = None,
    sizes: Sequence[int] = (1_000,),
    seeds: int | Sequence[int] = 3,
    *,
    prunings: Sequence[int] = (16,),
    columns: float = math.inf,
    out: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    timeout: float = 60.0,
    memory: float = 4e9,
    files: Sequence[str | os.PathLike[str]] = (),
    command: str = "",
    retry: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> "DataFrame":
    """Return what each contender says of each task, one row a draw.

    Every unit of work runs in a process of its own kind: one at a time, on one thread, and killed
    if it takes too long. Equal arguments give equal records, whatever `jobs` is. Stopped at any
    point and called again with the same `out`, it goes on where it was.

    Parameters
    ----------
    tasks, contenders : iterable, optional
        Values, or what the catalogue calls them: names, families, packages, patterns. All by
        default. Only pairs of which the contender takes the task are run.
    sizes : sequence of int
        Samples to draw, for tasks that draw samples.
    seeds : int or sequence of int
        Seeds, or how many: 3 means 0, 1, 2.
    prunings : sequence of int
        Masks to draw, for tasks that draw masks.
    columns : float
        Tasks of more columns between samples get 1,000 samples at most.
    out : path, optional
        The folder for records. None keeps nothing but what is returned.
    jobs : int, optional
        Processes; one a core by default.
    timeout : float
        Seconds of processor time for a unit; of wall time, ten times as many.
    memory : float
        Bytes of data a process may hold; beyond it, allocations fail. Enforced on Linux.
    files : sequence of paths
        Python files which define contenders or tasks given here; see `plan.load_file`.
    command : str
        What was typed, for readers of the records.
    retry : bool
        Try again what failed, timed out or was killed.
    fresh : bool
        Forget what `out` holds.
    progress : bool
        Show a bar on stderr if that is a terminal.

    Returns
    -------
    DataFrame
        See `records.frame`; failures and time-outs are rows too. In nats.

    Raises
    ------
    ValueError
        If a name means nothing, a number is out of range, or `out` is in use.
    FileFormatError
        If `out` holds files that are no records.
    """
    plan = units(
        _resolved(tasks, "tasks"),
        _resolved(contenders, "methods"),
        tuple(sizes),
        tuple(prunings),
        tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
        columns,
    )
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out
        folder = Path(kept).resolve()
        crew = Crew(
            joblib.cpu_count() if jobs is None else jobs,
            folder / LOG,
            timeout,
            memory,
            tuple(Path(file).resolve() for file in files),
        )
        journal = stack.enter_context(Journal(folder, fresh))
        if fresh:
            crew.log.unlink(missing_ok=True)
        about = _about(plan, crew)
        if command:
            about["command"] = command
        write(journal.folder / ABOUT, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        expected = {unit.key: planned(unit, about["setting"]) for unit in plan}
        again = ("failed", "timed out", "killed") if retry else ()
        missing = [unit for unit in plan if journal.lacks(expected[unit.key], again)]
        bar = Bar(plan, missing, journal.costs, crew, progress)
        with contextlib.closing(bar), contextlib.closing(outcomes(missing, crew)) as results:
            for unit, found in results:
                row = record(expected[unit.key], found.status, found.answer, found.message)
                journal.append(row, found.cost)
                bar.done(unit, found.turnaround, found.status)
        journal.put_in_order(expected)
        return table([journal.records[key] for key in expected], journal.costs)


def _resolved(given: Iterable[Any] | None, what: str) -> list[Any]:
    """Return tasks or contenders, those that were given by name from the catalogue."""
    given = None if given is None else [given] if isinstance(given, str) else list(given)
    if given is not None and not any(isinstance(each, str) for each in given):
        return given
    known = catalogue() if what == "tasks" else entrants()
    if given is None:
        return list(known.values())
    resolved: dict[str, Any] = {}
    for each in given:
        named = chosen([each], known, what) if isinstance(each, str) else {each.name: each}
        resolved |= named
    return list(resolved.values())


def _about(plan: Sequence[Unit], crew: Crew) -> dict[str, Any]:
    """Return what a reader of the records needs to know: versions, the machine, and the plan."""
    packages = dict.fromkeys([*_ALWAYS_TOLD, *(unit.contender.package for unit in plan)])
    by_kind = {True: set[int](), False: set[int]()}
    for unit in plan:
        by_kind[isinstance(unit.task, MaskTask)].add(unit.n)
    return {
        "setting": environment(list(packages)),
        "plan": {
            "tasks": list(dict.fromkeys(unit.task.name for unit in plan)),
            "contenders": {u.contender.name: without_addresses(repr(u.contender)) for u in plan},
            "sizes": sorted(by_kind[False]),
            "prunings": sorted(by_kind[True]),
            "seeds": sorted({unit.seed for unit in plan}),
            "units": len(plan),
        },
        "limits": {"seconds": crew.seconds, "bytes": crew.memory},
    }
