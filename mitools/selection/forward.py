"""What TERC is compared with: features taken one after another, the best first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from mitools._typing import FloatArray
from mitools._validation import checked_count
from mitools.methods.questions import MutualInformation
from mitools.selection.answers import Selection, Step
from mitools.selection.asking import added
from mitools.selection.tables import Table, table_of

_Score = Callable[["_Shares", int, list[int]], float]


def top(
    features: Any, target: Any, method: MutualInformation | None = None, *, count: int
) -> Selection:
    """Take the features with the largest I(X_j; T), whatever they share with each other.

    Parameters
    ----------
    features, target, method
        As for `mitools.selection.terc`.
    count : int
        How many to take; features that are constant are never taken.

    Returns
    -------
    Selection
        Its path has I(X_j; T) as phi.

    Raises
    ------
    ValueError
        As for `mitools.selection.terc`, or if there are fewer features than `count`.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.methods import PlugIn
    >>> from mitools.selection import cmim, top
    >>> a, b = np.random.default_rng(0).integers(0, 2, (2, 400))
    >>> table, target = np.column_stack([a, a, b]), 2 * a + (a & b)
    >>> top(table, target, PlugIn(), count=2).chosen
    (0, 1)
    >>> cmim(table, target, PlugIn(), count=2).chosen
    (0, 2)
    """
    return _forward("top", _relevance, features, target, method, count)


def mrmr(
    features: Any, target: Any, method: MutualInformation | None = None, *, count: int
) -> Selection:
    """Relevance less mean redundancy: I(X_j; T) - mean over i in S of I(X_j; X_i) [1]_.

    Parameters, answer and errors as for `top`; phi is that difference.

    References
    ----------
    .. [1] Peng, Long and Ding, IEEE Trans. Pattern Anal. Mach. Intell. 27, 1226 (2005), eq. 7.
    """
    return _forward("mRMR", _less_redundancy, features, target, method, count)


def jmi(
    features: Any, target: Any, method: MutualInformation | None = None, *, count: int
) -> Selection:
    """Joint mutual information: the sum over i in S of I(X_j, X_i; T) [1]_.

    Parameters, answer and errors as for `top`; phi is that sum, and I(X_j; T) at first.

    References
    ----------
    .. [1] Yang and Moody, NIPS 1999; in this form Brown et al., J. Machine Learning Research 13,
       27 (2012).
    """
    return _forward("JMI", _joint, features, target, method, count)


def cmim(
    features: Any, target: Any, method: MutualInformation | None = None, *, count: int
) -> Selection:
    """Conditional mutual information maximisation: min over i in S of I(X_j; T | X_i) [1]_.

    Parameters, answer and errors as for `top`; phi is that minimum, of I(X_j; T) too.

    References
    ----------
    .. [1] Fleuret, J. Machine Learning Research 5, 1531 (2004).
    """
    return _forward("CMIM", _least_new, features, target, method, count)


@dataclass(frozen=True, eq=False)
class _Shares:
    """What features tell alone and in pairs; each pair is asked about once."""

    table: Table
    alone: FloatArray
    known: dict[tuple[str, int, int], float] = field(default_factory=dict)

    def between(self, j: int, i: int) -> float:
        """I(X_j; X_i)."""
        ask = self.table.method.mutual_information
        return self._once("between", j, i, lambda x, z: ask(x, z))

    def joint(self, j: int, i: int) -> float:
        """I(X_j, X_i; T)."""
        ask, target = self.table.method.mutual_information, self.table.target
        return self._once("joint", j, i, lambda x, z: ask(np.hstack((x, z)), target))

    def new(self, j: int, i: int) -> float:
        """I(X_j; T | X_i)."""
        ask = partial(added, self.table.method)
        return self._once("new", j, i, lambda x, z: ask(x, self.table.target, z))

    def _once(self, what: str, j: int, i: int, ask: Callable[..., float]) -> float:
        if (what, j, i) not in self.known:
            columns = self.table.columns([j]), self.table.columns([i])
            self.known[what, j, i] = float(ask(*columns))
        return self.known[what, j, i]


def _relevance(shares: _Shares, j: int, taken: list[int]) -> float:
    return float(shares.alone[j])


def _less_redundancy(shares: _Shares, j: int, taken: list[int]) -> float:
    redundancy = [shares.between(j, i) for i in taken]
    return float(shares.alone[j] - (np.mean(redundancy) if redundancy else 0.0))


def _joint(shares: _Shares, j: int, taken: list[int]) -> float:
    return sum(shares.joint(j, i) for i in taken) if taken else float(shares.alone[j])


def _least_new(shares: _Shares, j: int, taken: list[int]) -> float:
    return min([float(shares.alone[j]), *(shares.new(j, i) for i in taken)])


def _forward(
    search: str, score: _Score, features: Any, target: Any, method: Any, count: int
) -> Selection:
    """Take the best scored feature, count times; of equal ones the first."""
    table = table_of(features, target, method)
    checked_count("count", count)
    if count > len(table.varying):
        raise ValueError(
            f"count must be at most the number of features that vary; got count={count} with "
            f"{len(table.varying)} of {len(table.names)}. Ask for fewer."
        )
    shares, open_ = _Shares(table, table.alone()), list(table.varying)
    taken: list[int] = []
    steps: list[Step] = []
    for _ in range(count):
        scores = [score(shares, j, taken) for j in open_]
        best = int(np.argmax(np.round(scores, 12)))
        j = open_.pop(best)
        taken.append(j)
        alone = float(shares.alone[j])
        steps.append(Step(table.names[j], j, alone, float(scores[best]), True, len(taken)))
    return _answer(search, table, steps, taken)


def _answer(search: str, table: Table, steps: Sequence[Step], taken: list[int]) -> Selection:
    chosen = tuple(sorted(taken))
    return Selection(
        chosen=chosen,
        names=tuple(table.names[i] for i in chosen),
        features=table.names,
        steps=tuple(steps),
        information=table.information(chosen),
        search=search,
        method=repr(table.method),
        order="best first",
        samples=len(table.features),
    )
