"""The far end of the processes: draws, asks, and tells what came of it and what it cost."""

import contextlib
import copy
import functools
import math
import os
import pickle
import random
import signal
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Sequence
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from estimators_bench.costs import Meter
from estimators_bench.plan import Key, load_file
from estimators_bench.records import plain, without_addresses

try:
    import resource
except ImportError:  # Windows
    resource = None

CAN_LIMIT = resource is not None
_LONGEST = 300  # characters of a message


def serve(
    pipe: connection.Connection, files: Sequence[Path], seconds: float, memory: float, log: Path
) -> None:
    """Answer units until the pipe closes."""
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own, to be killed as a whole
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):  # what entrants print belongs neither to the table nor to the bar
        os.dup2(descriptor, stream)
    _limit("RLIMIT_DATA", memory)
    _limit("RLIMIT_CORE", 0)
    for path in files:
        load_file(path)
    pipe.send(None)
    bench = Bench(seconds)
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


def _limit(name: str, amount: float) -> None:
    """Lower one of the kernel's limits for this process, where there are such."""
    if resource is None or not hasattr(resource, name):
        return
    what = getattr(resource, name)
    with contextlib.suppress(OSError, ValueError):  # a lower one is set already
        resource.setrlimit(what, (int(amount), resource.getrlimit(what)[1]))


_loaded = functools.lru_cache(maxsize=1024)(pickle.loads)


class Bench:
    """Runs units; keeps the last data drawn."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._drawn: tuple[Any, Any] = (None, None)
        self._seen: set[str] = set()

    def run(self, task: bytes, contender: bytes, n: int, seed: int) -> tuple[Any, ...]:
        """Return status, answer, message and cost."""
        meter, first, what = Meter(), None, "drawing: "
        try:
            self._start_the_clock()
            asked, entrant = _loaded(task), _loaded(contender)
            first = entrant.name not in self._seen
            self._seen.add(entrant.name)
            data = self._data(asked, task, n, seed)
            _seed_global_generators((asked.name, entrant.name, n, seed))
            self._start_the_clock()
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

    def _start_the_clock(self) -> None:
        """Be killed with SIGXCPU after so many seconds of processor time from now."""
        _limit("RLIMIT_CPU", math.ceil(time.process_time() + self._seconds))

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
