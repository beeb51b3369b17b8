"""Processes that run one unit at a time, and can be killed without loss."""

import contextlib
import copy
import functools
import os
import pickle
import random
import signal
import sys
import threading
import time
import traceback
import types
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import joblib

from estimators_bench.costs import Meter
from estimators_bench.plan import Key, Unit, load_file
from estimators_bench.records import Row, plain, without_addresses

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
_LONGEST = 300  # characters of a message
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
        Wall time for a unit, drawing the data included; then its worker is killed.
    memory : float
        Bytes of data a worker may hold; beyond it, allocations fail. Not everywhere enforced.
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
        self.process = get_context("spawn").Process(target=_serve, args=(far, crew), daemon=True)
        with _inherited():
            self.process.start()
        far.close()

    def deadline(self) -> float:
        """Return when to lose patience, on the monotonic clock."""
        if not self.ready:
            return self.since + _STARTUP
        return self.since + self.crew.seconds if self.unit else float("inf")

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
            return Outcome("killed", None, f"the process {_ending(code)}", cost, took)
        if time.monotonic() < self.deadline():
            return None
        self._lose()
        message = f"no answer within {self.crew.seconds:g} s"
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


# What follows runs in the process.


def _serve(pipe: connection.Connection, crew: Crew) -> None:
    """Answer units until the pipe closes."""
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, to be killed as a whole
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(crew.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):  # what entrants print belongs neither to the table nor to the bar
        os.dup2(descriptor, stream)
    _limit(crew.memory)
    for path in crew.files:
        load_file(path)
    pipe.send(None)
    bench = _Bench()
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(bench.run(*pipe.recv()))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _limit(memory: float) -> None:
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory), hard))
    except (ImportError, OSError, ValueError):  # not offered here, or a lower one is set
        pass


_loaded = functools.lru_cache(maxsize=1024)(pickle.loads)


class _Bench:
    """Runs units; keeps the last data drawn."""

    def __init__(self) -> None:
        self._drawn: tuple[Any, Any] = (None, None)
        self._seen: set[str] = set()

    def run(self, task: bytes, contender: bytes, n: int, seed: int) -> tuple[Any, ...]:
        """Return status, answer, message and cost."""
        meter, first, what = Meter(), None, "drawing: "
        try:
            asked, entrant = _loaded(task), _loaded(contender)
            first = entrant.name not in self._seen
            self._seen.add(entrant.name)
            data = self._data(asked, task, n, seed)
            _seed_global_generators((asked.name, entrant.name, n, seed))
            what = ""
            with meter:
                answer = entrant.answer(asked, data, seed)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines()
            said = ": ".join([type(error).__name__, *lines[:1]])
            return _failed(what + said, meter, first)
        try:
            return "ok", plain(answer), "", {**meter.cost(), "first": first}
        except (TypeError, ValueError) as error:
            return _failed(str(error), meter, first)

    def _data(self, task: Any, pickled: bytes, n: int, seed: int) -> Any:
        """Return a copy of the data: entrants may write on theirs."""
        if self._drawn[0] != (pickled, n, seed):
            self._drawn = (None, None)  # let go of the old before drawing the new
            self._drawn = ((pickled, n, seed), task.draw(n, seed))
        return copy.deepcopy(self._drawn[1])


def _failed(message: str, meter: Meter, first: bool | None) -> tuple[Any, ...]:
    cost = {**meter.cost(), "first": first}
    return "failed", None, without_addresses(message)[:_LONGEST], cost


def _seed_global_generators(key: Key) -> None:
    """Give entrants that draw from the global generators a known state."""
    seed = zlib.crc32(repr(key).encode())
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
        sys.modules["torch"].set_num_threads(1)
