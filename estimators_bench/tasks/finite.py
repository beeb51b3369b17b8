"""Laws with finitely many outcomes: drawing from them, and what their variables tell exactly."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from mitools._typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Law:
    """Outcomes and their probabilities.

    Parameters
    ----------
    outcomes : (K, m) float
        Whole numbers; a column is a variable. Rows may repeat.
    weights : (K,) float
        Probability of each row.
    """

    outcomes: FloatArray
    weights: FloatArray

    def entropy(self, columns: Collection[int]) -> float:
        """H of some columns together, in nats, from their definition."""
        if not columns:
            return 0.0
        rows = np.ascontiguousarray(self.outcomes[:, list(columns)])
        _, code = np.unique(rows, axis=0, return_inverse=True)
        p = np.bincount(code.ravel(), weights=self.weights)
        return -math.fsum(p * np.log(p))

    def information(
        self, a: Collection[int], b: Collection[int], given: Collection[int] = ()
    ) -> float:
        """I(A; B | C) in nats, of groups of columns."""
        a, b, c = set(a), set(b), set(given)
        return math.fsum(
            (self.entropy(a | c), self.entropy(b | c), -self.entropy(a | b | c), -self.entropy(c))
        )

    def draw(self, n: int, rng: Generator) -> FloatArray:
        """Return n outcomes, (n, m)."""
        return self.outcomes[rng.choice(len(self.weights), size=n, p=self.weights)]

    def variables(self, dims: Sequence[int], n: int, rng: Generator) -> tuple[FloatArray, ...]:
        """Return n outcomes, their columns shared out in order, so many to a variable."""
        return tuple(np.split(self.draw(n, rng), np.cumsum(dims)[:-1], axis=1))


def law(
    sizes: Sequence[int],
    weight: Callable[..., Any] | None = None,
    columns: Callable[..., Sequence[IntArray]] | None = None,
) -> Law:
    """Return the law of symbols that run over 0 ... size - 1 each.

    Parameters
    ----------
    sizes : sequence of int
        How many values each symbol has.
    weight : callable or None
        ``weight(*symbols)``, proportional to the probability, over all combinations at once. None:
        all equally likely.
    columns : callable or None
        ``columns(*symbols)``, functions of the symbols to take in their place.
    """
    cells = np.indices(tuple(sizes)).reshape(len(sizes), -1)
    shares = np.ones(cells.shape[1]) if weight is None else np.asarray(weight(*cells), float)
    possible = shares > 0.0
    cells, shares = cells[:, possible], shares[possible]
    taken = cells if columns is None else np.stack(columns(*cells))
    return Law(taken.T.astype(np.float64), shares / math.fsum(shares))


def binary_entropy(p: float) -> float:
    """H in nats of a bit that is 1 with probability p."""
    return -p * math.log(p) - (1.0 - p) * math.log1p(-p)
