"""Is a feature's share more than chance? Ways to a p-value, and one step's finding."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mitools._validation import checked_count
from mitools.uncertainty import Shuffling

# Equal tables give equal sums up to rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Shuffled:
    """Compare with estimates in which the feature's column is shuffled.

    With e of B shuffled estimates at least as large, p = (e + 1) / (B + 1); stopped at the e-th
    after b shuffles, p = e / b is valid too (Besag and Clifford 1991).

    Parameters
    ----------
    shuffles : Shuffling or None
        How rows move. None: among rows equal in all other features, for methods of counts, which
        makes the test exact for independent samples; for others `LocalShuffles`, among rows alike
        in the other features, which is nearly valid for many samples and few columns. Time series
        need ``CircularShifts()`` or ``BlockShuffles(length)``, which suppose that the feature is
        independent of the others, too.
    permutations : int or None
        Shuffles at most, B. None: enough that 2 shuffles may reach an estimate at the strictest
        level, 2 d / (1 - confidence) of them.
    stop_after : int
        Stop once so many reached the estimate.
    seed : int
        Draws the shuffles.
    """

    shuffles: Shuffling | None = None
    permutations: int | None = None
    stop_after: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.permutations is not None:
            checked_count("permutations", self.permutations)
        checked_count("stop_after", self.stop_after)
        checked_count("seed", self.seed, least=0)

    def enough(self, level: float) -> int:
        """Return how many shuffles to make where p must reach this level.

        Raises
        ------
        ValueError
            If so few were asked for that none could.
        """
        if self.permutations is None:
            return max(199, math.ceil(2.0 / level) - 1)
        if 1.0 / (self.permutations + 1) > level:
            raise ValueError(
                f"permutations must be at least {math.ceil(1.0 / level) - 1} for p to reach the "
                f"level {level:.2g} of each test; got {self.permutations}. Ask for more, for less "
                "confidence, or leave it out."
            )
        return self.permutations


@dataclass(frozen=True)
class OwnTest:
    """The test that comes with the method.

    For counts G = 2 n Phi against chi-squared with sum over z of (r(z) - 1)(c(z) - 1) degrees of
    freedom, r(z) and c(z) the values of feature and target seen where the other features are z:
    for tables with several samples a cell. For `Gaussian` and `GaussianCopula` Wilks' lambda, an
    exact F test for Gaussian residuals. For methods that state a standard error of the loss saved,
    such as `Predictive`, Student's test that it is above 0: it sees the spread over held-out
    samples, paired, and takes the models as fitted.
    """


Test = Shuffled | OwnTest


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found.

    Parameters
    ----------
    phi : float
        In nats.
    p_value : float
        Of so large a phi by chance.
    testable : bool
        See `mitools.selection.Step`.
    """

    phi: float
    p_value: float
    testable: bool = True


class Walk(Protocol):
    """All features, visited in an order that was given; each is kept or dropped at its turn."""

    def find(self) -> Finding:
        """Try the feature whose turn it is, given all others that are left."""
        ...

    def settle(self, kept: bool) -> None:
        """Keep or drop it, and go on to the next."""
        ...


def tail(reference: float, values: Iterable[float], most: int, stop_after: int) -> float:
    """Return the p-value of a reference among shuffled values, of which no more are drawn."""
    reached = done = 0
    for value in values:
        done += 1
        reached += not value < reference - _ROUNDING  # what is no number counts against it
        if reached >= stop_after:
            return reached / done
        if done == most:
            break
    return (reached + 1) / (done + 1)
