"""What an object must have to answer each question; nothing to inherit, nothing to register.

Optional class attributes refine how answers are labelled: ``sense`` ("point" unless it says
otherwise), ``conditional_sense``, and ``cautions``, the names of the checks to make on the data.
``ceiling(n)``, where "saturation" is among them, is the most that n samples can show, and
``beyond_ceiling`` says what to use instead.

``symbolic`` names the arguments, of "x", "y" and "z", of which the method only asks which values
are equal: these may be given as strings or categories. Series, and lists of variables, may be if
all three are.

A method that knows how sure its answer is answers ``mutual_information_with_error(x, y)`` too, or
another question's name with that ending, by a `WithError`.

A method that only chooses between others has ``chosen(x, y)``, or ``chosen(x, y, z)``: the answer
is then labelled as that of the other.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mitools._typing import FloatArray


@dataclass(frozen=True, slots=True)
class WithError:
    """An answer, and how sure the method itself is of it.

    Parameters
    ----------
    value, std_error : float
        In nats.
    freedom : int
        Degrees of freedom of the error.
    source : str
        What the error is over, and what it leaves out.
    notes : tuple of str
        What else a careful reader must know.
    """

    value: float
    std_error: float
    freedom: int
    source: str
    notes: tuple[str, ...] = ()


def mean_of(terms: FloatArray, source: str, notes: tuple[str, ...] = ()) -> WithError:
    """Return the mean of one term per sample, with the standard error of such a mean."""
    n = len(terms)
    with np.errstate(invalid="ignore"):  # of infinite terms
        error = float(np.std(terms, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return WithError(float(np.mean(terms)), error, n - 1, source, notes)


class Entropy(Protocol):
    """A method that can answer H(X)."""

    def entropy(self, x: FloatArray) -> float:
        """H(X) in nats."""
        ...


class MutualInformation(Protocol):
    """A method that can answer I(X; Y)."""

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        ...


class LocalMutualInformation(Protocol):
    """A method that can answer I(X; Y) sample by sample."""

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return terms in nats, shape (n,), whose mean is I(X; Y)."""
        ...


class ConditionalMutualInformation(Protocol):
    """A method that can answer I(X; Y | Z)."""

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        ...


class MultiInformation(Protocol):
    """A method that can answer I(X1; ...; Xm)."""

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats."""
        ...
