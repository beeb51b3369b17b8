"""The near end of the processes: one unit at a time each, killed and replaced without loss."""

import contextlib
import os
import pickle
import signal
import sys
import time
import types
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import joblib

from estimators_bench.plan import Unit
from estimators_bench.records import Row
from estimators_bench.serving import CAN_LIMIT, serve

# One thread each, or numbers and times would depend on how many workers there are; one order of
# sets; and no warnings from entrants, or about what those that are killed leave behind.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
}
_PATIENCE = 10.0  # seconds of wall time for one of processor time
_STARTUP = 300.0  # seconds until a worker must be ready: imports, on a busy disk


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Parameters
    ----------
    jobs : int
        How many processes.
    log : Path
        The file to which what they print goes, and every traceback.
    seconds : float
        Processor time for a unit, and as much again for drawing its data; then its worker is
        killed. So it is too after ten times that of wall time, if it only waits. Not wall time
        alone: what times out should not depend on how busy the machine is. Windows cannot count
        so, and takes wall time.
    memory : float
        Bytes of data a worker may hold; beyond it, allocations fail. Not enforced everywhere.
    files : tuple of Path
        Python files that each loads first.
    """

    jobs: int
    log: Path
    seconds: float = 60.0
    memory: float = 4e9
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (
            ("jobs", self.jobs),
            ("timeout", self.seconds),
            ("memory", self.memory),
        ):
            if not value > 0:
                raise ValueError(f"{name} must be positive; got {value}.")

    @property
    def patience(self) -> float:
        """Seconds of wall time for a unit."""
        return self.seconds if not CAN_LIMIT else _PATIENCE * self.seconds


@dataclass(frozen=True)
class Outcome:
    """What came of a unit: a status, an answer in plain values if there is one, and the cost."""

    status: str
    answer: Row | None
    message: str
    cost: Row
    turnaround: float = 0.0
    """Seconds from handing it out, drawing included."""


def outcomes(units: Sequence[Unit], crew: Crew) -> Generator[tuple[Unit, Outcome], None, None]:
    """Yield every unit with what came of it, as they come."""
    queue = _Queue(units)
    team: list[_Worker] = []
    try:
        while queue or any(worker.unit for worker in team):
            while len(team) < min(crew.jobs, len(queue) + sum(w.unit is not None for w in team)):
                team.append(_Worker(crew))
            for worker in team:
                if worker.ready and worker.unit is None and queue:
                    worker.give(queue.take(worker, team))
            left = min(worker.deadline() for worker in team) - time.monotonic()
            connection.wait([worker.pipe for worker in team], max(0.0, min(left, 60.0)))
            for worker in list(team):
                done, outcome = worker.unit, worker.heard()
                if worker.is_lost:
                    team.remove(worker)
                if done is not None and outcome is not None:
                    yield done, outcome
    finally:
        for worker in team:
            worker.kill()


class _Queue:
    """Units by the data they need, so that a worker can draw once and ask several contenders."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._groups: dict[tuple[str, int, int], deque[Unit]] = {}
        # The first seed of everything comes first: a run that is cut short has a whole table.
        for unit in sorted(units, key=lambda unit: unit.seed):
            self._groups.setdefault(_drawn_from(unit), deque()).append(unit)

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def take(self, worker: "_Worker", team: Sequence["_Worker"]) -> Unit:
        """Return a unit: on the data this worker has, else on what none has, else on any."""
        if worker.group not in self._groups:
            taken = {other.group for other in team}
            free = (group for group in self._groups if group not in taken)
            worker.group = next(free, next(iter(self._groups)))
        group = self._groups[worker.group]
        unit = group.popleft()
        if not group:
            del self._groups[worker.group]
        return unit


class _Worker:
    """The near end of a process."""

    def __init__(self, crew: Crew) -> None:
        self.pipe, far = get_context("spawn").Pipe()
        self.crew = crew
        self.unit: Unit | None = None
        self.group: tuple[str, int, int] = ("", 0, 0)
        self.ready = self.is_lost = False
        self.since = time.monotonic()
        given = (far, crew.files, crew.seconds, crew.memory, crew.log)
        self.process = get_context("spawn").Process(target=serve, args=given, daemon=True)
        with _inherited():
            self.process.start()
        far.close()

    def deadline(self) -> float:
        """Return when to lose patience, on the monotonic clock."""
        if not self.ready:
            return self.since + _STARTUP
        return self.since + self.crew.patience if self.unit else float("inf")

    def give(self, unit: Unit) -> None:
        """Hand out a unit."""
        self.unit, self.since = unit, time.monotonic()
        with contextlib.suppress(OSError):  # a dead worker: `heard` finds out
            self.pipe.send((_pickled(unit.task), _pickled(unit.contender), unit.n, unit.seed))

    def heard(self) -> Outcome | None:
        """Return what came of the unit, if something has; a lost worker is to be replaced."""
        took = time.monotonic() - self.since
        cost = {"seconds": round(took, 6), "cpu_seconds": None, "peak_bytes": None, "first": None}
        try:
            if self.pipe.poll():
                return self._reply(self.pipe.recv(), took)
        except (EOFError, OSError):
            code = self._lose()
            if code is not None and code == -getattr(signal, "SIGXCPU", 0):
                message = f"no answer within {self.crew.seconds:g} s of processor time"
                return Outcome("timed out", None, message, cost, took)
            return Outcome("killed", None, f"the process {_ending(code)}", cost, took)
        if time.monotonic() < self.deadline():
            return None
        self._lose()
        message = f"no answer within {self.crew.patience:g} s"
        return Outcome("timed out", None, message, cost, took)

    def kill(self) -> None:
        """End the process and whatever it has started."""
        if hasattr(os, "killpg") and self.process.pid and self.ready:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _reply(self, reply: Any, took: float) -> Outcome | None:
        if not self.ready:
            self.ready = True
            return None
        self.unit = None
        return Outcome(*reply, turnaround=took)

    def _lose(self) -> int | None:
        self.is_lost = True
        if not self.ready:
            self.kill()
            raise RuntimeError(
                f"a worker must be able to start; one {_ending(self.process.exitcode)} before it "
                f"was ready. The end of {self.crew.log} says why."
            )
        self.unit = None
        self.process.join(1.0)
        code = self.process.exitcode
        self.kill()
        return code


def _drawn_from(unit: Unit) -> tuple[str, int, int]:
    return unit.task.name, unit.n, unit.seed


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code is not None else "closed its pipe"


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """Start a process with its own environment, and deaf to Ctrl-C, which is for us.

    It does not run the script of this one again, as it would by default: what a script defines
    travels by value, so no script needs a guard.
    """
    script = sys.modules["__main__"]
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    can_block = hasattr(signal, "pthread_sigmask")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    os.environ.update(_ENVIRONMENT)
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _pickled(value: Any) -> bytes:
    """Return a task or contender for another process: lambdas and scripts' own classes too."""
    return pickle.dumps(joblib.wrap_non_picklable_objects(value, keep_wrapper=False))
