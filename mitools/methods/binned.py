"""Continuous variables cut into bins, in front of any discrete method."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from mitools._typing import FloatArray, Sense
from mitools._validation import checked_count
from mitools.methods.discrete import MillerMadow


class Bins(Protocol):
    """A rule that cuts a column into bins."""

    def bins_of(self, column: FloatArray) -> FloatArray:
        """Return the number of the bin of each value, shape (n,)."""
        ...


class JointBins(Protocol):
    """A rule that sees all the variables of a question before it cuts any."""

    def bins_together(self, variables: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        """Return the number of the bin of each value, an array for each of the variables."""
        ...


class DiscreteMethod(Protocol):
    """A method that answers every question about discrete variables."""

    def entropy(self, x: FloatArray) -> float:
        """H(X) in nats."""
        ...

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        ...

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        ...

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats."""
        ...


@dataclass(frozen=True)
class EqualWidth:
    """So many bins of the same width between the smallest and the largest value."""

    bins: int = 10

    def __post_init__(self) -> None:
        checked_count("bins", self.bins)

    def bins_of(self, column: FloatArray) -> FloatArray:
        """Return the number of the bin of each value, shape (n,)."""
        half = column / 2  # so that the width cannot overflow
        width = half.max() - half.min()
        if width == 0.0:
            return np.zeros(len(column))
        return np.minimum(np.floor((half - half.min()) / width * self.bins), self.bins - 1)


@dataclass(frozen=True)
class Quantiles:
    """So many bins of nearly the same number of samples; equal values share a bin.

    Made from ranks, so increasing maps of the column change nothing.
    """

    bins: int = 10

    def __post_init__(self) -> None:
        checked_count("bins", self.bins)

    def bins_of(self, column: FloatArray) -> FloatArray:
        """Return the number of the bin of each value, shape (n,)."""
        below = np.searchsorted(np.sort(column), column)
        return (below * self.bins // len(column)).astype(np.float64)


@dataclass(frozen=True)
class FreedmanDiaconis:
    """Bins of width 2 IQR / n^(1/3) (Z. Wahrscheinlichkeitstheorie 57, 453, 1981)."""

    def bins_of(self, column: FloatArray) -> FloatArray:
        """Return the number of the bin of each value, shape (n,).

        Raises
        ------
        ValueError
            If the middle half of the values is one value and the rest is not.
        """
        if (column == column[0]).all():
            return np.zeros(len(column))
        low, high = np.quantile(column, [0.25, 0.75])
        width = 2.0 * (high - low) / np.cbrt(len(column))
        if width == 0.0:
            raise ValueError(
                "FreedmanDiaconis needs an interquartile range above 0; got a column whose middle "
                "half is one value. Use Quantiles or EqualWidth, or treat it as discrete."
            )
        return np.floor((column - column.min()) / width)


@dataclass(frozen=True)
class Binned:
    """A discrete method on binned columns: I(bin(X); bin(Y)), which is at most I(X; Y).

    Binning loses information (data processing) while the counts of few samples feign some: two
    biases of opposite sign, so the number of bins matters. Entropies are those of the bins.

    Parameters
    ----------
    bins : Bins or JointBins
        `EqualWidth`, `Quantiles` or `FreedmanDiaconis`, applied to each column by itself; or
        `DarbellayVajda`, which sees all columns at once.
    method : DiscreteMethod
        Any method of `mitools.methods.discrete`, or `NSB`.
    """

    sense: ClassVar[Sense] = "point"
    bins: Bins | JointBins = field(default_factory=Quantiles)
    method: DiscreteMethod = field(default_factory=MillerMadow)

    def entropy(self, x: FloatArray) -> float:
        """H(bin(X)) in nats."""
        return self.method.entropy(*self._cut(x))

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(bin(X); bin(Y)) in nats."""
        return self.method.mutual_information(*self._cut(x, y))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(bin(X); bin(Y) | bin(Z)) in nats."""
        return self.method.conditional_mutual_information(*self._cut(x, y, z))

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(bin(X1); ...; bin(Xm)) in nats."""
        return self.method.multi_information(self._cut(*variables))

    def _cut(self, *variables: FloatArray) -> tuple[FloatArray, ...]:
        together = getattr(self.bins, "bins_together", None)
        if together is not None:
            return together(variables)
        alone: Any = self.bins
        cut = ([alone.bins_of(column) for column in rows.T] for rows in variables)
        return tuple(map(np.column_stack, cut))
