"""What enters the benchmark: anything that answers a task, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from estimators_bench.tasks.kinds import Task
from mitools._typing import Sense


@dataclass(frozen=True)
class Answer:
    """What a contender says of a task.

    Parameters
    ----------
    nats : float
        The estimate or bound; for a selection, the exact information of the features it chose.
    sense : {"point", "lower", "upper", "proxy"}
        What the number claims to be.
    interval : tuple of two floats, or None
        Where it says the truth lies, at `confidence`. The far end of a bound's is infinite.
    confidence : float
        What the interval claims.
    notes : tuple of str
        Warnings and remarks, in the contender's words.
    extra : mapping
        Plain JSON values for the record, such as the features chosen.
    """

    nats: float
    sense: Sense = "point"
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """An entrant: a frozen value. Its repr and its package's version are its identity."""

    @property
    def name(self) -> str:
        """Unique on the leaderboard, and short."""
        ...

    @property
    def package(self) -> str:
        """The distribution it comes from, such as ``"mitools"`` or ``"ennemi"``."""
        ...

    @property
    def fast(self) -> bool:
        """Whether it belongs to the quick suite: below a second at n = 1,000."""
        ...

    def takes(self, task: Task) -> bool:
        """Return whether the task is one this contender says it can answer.

        A task it does not take gives no row; a task it takes and fails gives a row that says so.
        """
        ...

    def answer(self, task: Task, data: Any, seed: int) -> Answer:
        """Return what it makes of the data drawn from a task. It must not look at the truth."""
        ...
