"""How long a run still takes, learned from what its units have taken so far."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from tqdm.auto import tqdm

from estimators_bench.plan import Key, Unit
from estimators_bench.records import Row
from estimators_bench.tasks.kinds import MaskTask, SampleTask
from estimators_bench.workers import Crew

Cell: TypeAlias = tuple[str, int, int]  # contender, n, columns


class TimeLeft:
    """Expects of a unit what units of its contender, n and number of columns took on average.

    Where there was none, the nearest n and columns of the contender are asked, and what they took
    is taken to grow in proportion to n; where its contender has not been seen at all, the average
    over all contenders stands in, and the estimate says how many such there are.
    """

    def __init__(self, units: Iterable[Unit], longest: float) -> None:
        self._left = Counter(map(_cell, units))
        self._longest = longest
        self._took: dict[Cell, tuple[float, int]] = {}

    def learn(self, unit: Unit, seconds: float) -> None:
        """Take in what a unit took."""
        total, count = self._took.get(_cell(unit), (0.0, 0))
        self._took[_cell(unit)] = (total + seconds, count + 1)

    def strike(self, unit: Unit) -> None:
        """Take a unit off what is left."""
        self._left[_cell(unit)] -= 1

    def seconds(self, jobs: int) -> float:
        """Return the seconds that are left, in this many processes; NaN where nothing is known."""
        if not self._took:
            return math.nan
        return sum(count * self._expected(cell) for cell, count in self._left.items()) / jobs

    def unknown(self) -> int:
        """Return the number of contenders that are still to come and have never been seen."""
        seen = {name for name, *_ in self._took}
        return len({name for (name, *_), count in self._left.items() if count} - seen)

    def _expected(self, cell: Cell) -> float:
        name, n, columns = cell
        known = [other for other in self._took if other[0] == name]
        if not known:
            return sum(t for t, _ in self._took.values()) / sum(c for _, c in self._took.values())
        near = min(known, key=lambda o: abs(math.log(o[1] / n)) + abs(math.log(o[2] / columns)))
        total, count = self._took[near]
        return min(total / count * n / near[1], self._longest)


class Bar:
    """A progress bar on stderr: units done, failures, and the time that is left."""

    def __init__(
        self,
        plan: Sequence[Unit],
        missing: Sequence[Unit],
        costs: Mapping[Key, Row],
        crew: Crew,
        show: bool,
    ) -> None:
        self._left, self._jobs, self._failed = TimeLeft(missing, crew.patience), crew.jobs, 0
        still = {unit.key for unit in missing}
        for unit in plan:
            if unit.key not in still and unit.key in costs:
                self._left.learn(unit, costs[unit.key]["seconds"] or 0.0)
        layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} units in {elapsed}{postfix}"
        done = len(plan) - len(missing)
        hide = None if show else True  # None: hidden unless stderr is a terminal
        self._bar = tqdm(total=len(plan), initial=done, disable=hide, bar_format=layout)

    def done(self, unit: Unit, seconds: float, status: str) -> None:
        """Show one more unit."""
        self._left.learn(unit, seconds)
        self._left.strike(unit)
        self._failed += status != "ok"
        if self._bar.update(1):  # it has drawn itself: not more than ten times a second
            self._bar.set_postfix_str(self._text(), refresh=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _text(self) -> str:
        left, unknown = self._left.seconds(self._jobs), self._left.unknown()
        parts = [f"about {spoken(left)} left"]
        if unknown:
            parts = [f"{parts[0]}, {unknown} methods never timed"]
        return ", ".join([*parts, f"{self._failed} failed"] if self._failed else parts)


def spoken(seconds: float) -> str:
    """Return a duration in the unit in which one would say it."""
    if math.isnan(seconds):
        return "? s"
    for size, unit in ((5400.0, "h"), (90.0, "min")):
        if seconds >= size:
            return f"{seconds / (3600.0 if unit == 'h' else 60.0):.1f} {unit}"
    return f"{seconds:.0f} s"


def _cell(unit: Unit) -> Cell:
    task = unit.task
    if isinstance(task, SampleTask):
        columns = sum(task.dims)
    else:
        columns = task.size if isinstance(task, MaskTask) else task.features
    return unit.contender.name, unit.n, max(1, columns)
