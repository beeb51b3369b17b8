"""Questions about discrete variables, answered by an entropy of counts.

A method of that kind takes these functions as its own: ``entropy = _counts.entropy``.
"""

from typing import Protocol

from mitools._typing import FloatArray, IntArray
from mitools.methods._symbols import Symbols, joined, symbols

EVERYTHING = frozenset({"x", "y", "z"})
"""Every argument is a symbol: see `mitools.methods.questions`."""


class CountEntropy(Protocol):
    """A method that estimates an entropy from how often each symbol occurred."""

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from positive counts and the number of symbols that could have occurred."""
        ...


def entropy(self: CountEntropy, x: FloatArray) -> float:
    """H(X) in nats; the rows of x are symbols."""
    return _of(self, _symbols_of(self, x))


def mutual_information(self: CountEntropy, x: FloatArray, y: FloatArray) -> float:
    """I(X; Y) = H(X) + H(Y) - H(X, Y) in nats."""
    a, b = _symbols_of(self, x), _symbols_of(self, y)
    return _of(self, a) + _of(self, b) - _of(self, joined(a, b))


def conditional_mutual_information(
    self: CountEntropy, x: FloatArray, y: FloatArray, z: FloatArray
) -> float:
    """I(X; Y | Z) = H(X, Z) + H(Y, Z) - H(X, Y, Z) - H(Z) in nats."""
    a, b, c = (_symbols_of(self, rows) for rows in (x, y, z))
    given = _of(self, joined(a, c)) + _of(self, joined(b, c))
    return given - _of(self, joined(a, b, c)) - _of(self, c)


def multi_information(self: CountEntropy, variables: tuple[FloatArray, ...]) -> float:
    """I(X1; ...; Xm) = H(X1) + ... + H(Xm) - H(X1, ..., Xm) in nats."""
    parts = [_symbols_of(self, rows) for rows in variables]
    return sum(_of(self, part) for part in parts) - _of(self, joined(*parts))


def _of(method: CountEntropy, seen: Symbols) -> float:
    return float(method.entropy_of_counts(seen.counts, seen.cells))


def _symbols_of(method: CountEntropy, rows: FloatArray) -> Symbols:
    return symbols(rows, getattr(method, "symbols", None))
