"""Timing on a machine that does other things too."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Timing:
    """What one contender took for one case, in processor seconds of one thread.

    Parameters
    ----------
    seconds : float
        Median over runs.
    runs : int
        How many.
    ratio : float
        Median over runs of its time by ours, each against our run just before it.
    value : float
        What it computed, in nats.
    """

    seconds: float
    runs: int
    ratio: float
    value: float


def processor_seconds(call: Callable[[], float]) -> tuple[float, float]:
    """Return the processor time of a call, over all its threads, and its result."""
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def wall_seconds(call: Callable[[], float]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(
    ours: Callable[[], float], peers: dict[str, Callable[[], float]], repeats: int, patience: float
) -> dict[str, Timing]:
    """Time our call and its peers in turn, so that whatever else runs disturbs all alike.

    Each peer run has a run of ours right before it. The fastest peer runs ``repeats`` times, and
    so do those within a factor 3 of it, unless their runs together would outlast ``patience``
    seconds; the others run once.

    Returns
    -------
    dict
        Timing per contender; ours under "mitools".
    """
    _, value = processor_seconds(ours)
    own: list[float] = []
    first = {}
    for name, call in peers.items():
        own.append(processor_seconds(ours)[0])
        first[name] = (own[-1], *processor_seconds(call))
    fastest = min((seconds for _, seconds, _ in first.values()), default=0.0)
    timings = {}
    for name, (before, seconds, peer_value) in first.items():
        pairs = [(before, seconds)]
        wanted = repeats if seconds <= 3.0 * fastest else 1
        wanted = min(wanted, max(1, int(patience / seconds)))
        while len(pairs) < wanted:
            own.append(processor_seconds(ours)[0])
            pairs.append((own[-1], processor_seconds(peers[name])[0]))
        timings[name] = Timing(
            median(s for _, s in pairs), len(pairs), median(s / b for b, s in pairs), peer_value
        )
    while len(own) < repeats:
        own.append(processor_seconds(ours)[0])
    return {"mitools": Timing(median(own), len(own), 1.0, value), **timings}


def gain_of_a_second_thread(
    call: Callable[[], float], use: Callable[[int], None], repeats: int
) -> float:
    """Return wall time on one thread by wall time on two, of the quickest among paired runs."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for threads, found in times.items():
            use(threads)
            found.append(wall_seconds(call))
    use(1)
    return min(times[1]) / min(times[2])
