"""What an object must have to answer each question; nothing to inherit, nothing to register.

Optional class attributes refine how answers are labelled: ``sense`` ("point" unless it says
otherwise), ``conditional_sense``, and ``cautions``, the names of the checks to make on the data.
"""

from typing import Protocol

from mitools._typing import FloatArray


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
