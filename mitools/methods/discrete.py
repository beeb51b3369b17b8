"""Discrete variables: entropies of counts, corrected for the symbols that were not seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.special import digamma, xlogy

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_choice, checked_count
from mitools.methods import _counts
from mitools.methods._symbols import Symbols, joined, symbols


@dataclass(frozen=True)
class PlugIn:
    """The entropy of the observed frequencies, also called maximum likelihood.

    With c(s) the count of symbol s among n samples::

        H = log n - (1/n) sum_s c(s) log c(s)

    Exact for a table of all equally likely cases. On samples H is too small by about (m - 1)/2n
    for m symbols, and mutual information too large.
    """

    sense: ClassVar[Sense] = "point"
    symbolic: ClassVar[frozenset[str]] = _counts.EVERYTHING

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from the counts of the symbols seen."""
        n = int(counts.sum())
        return math.log(n) - math.fsum(counts * np.log(counts)) / n

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return log p(x, y) / p(x) p(y) at every sample, in nats, shape (n,)."""
        a, b = symbols(x), symbols(y)
        ab = joined(a, b)
        each = [np.log(part.counts)[part.codes] for part in (ab, a, b)]
        return math.log(len(x)) + each[0] - (each[1] + each[2])

    entropy = _counts.entropy
    mutual_information = _counts.mutual_information
    conditional_mutual_information = _counts.conditional_mutual_information
    multi_information = _counts.multi_information


@dataclass(frozen=True)
class MillerMadow:
    """The plug-in entropy plus its first-order bias (Miller 1955): H + (m - 1) / 2n.

    m is the number of symbols seen. Too small where many symbols were not seen.
    """

    sense: ClassVar[Sense] = "point"
    symbolic: ClassVar[frozenset[str]] = _counts.EVERYTHING

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from the counts of the symbols seen."""
        n = int(counts.sum())
        return PlugIn().entropy_of_counts(counts, cells) + (len(counts) - 1) / (2 * n)

    entropy = _counts.entropy
    mutual_information = _counts.mutual_information
    conditional_mutual_information = _counts.conditional_mutual_information
    multi_information = _counts.multi_information


@dataclass(frozen=True)
class Jackknifed:
    """The jackknifed plug-in entropy [1]_: bias of order 1/n removed without a count of symbols.

    With H_i the plug-in entropy without sample i::

        n H - (n - 1) mean_i H_i

    References
    ----------
    .. [1] Zahl, Ecology 58, 907 (1977).
    """

    sense: ClassVar[Sense] = "point"
    symbolic: ClassVar[frozenset[str]] = _counts.EVERYTHING

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from the counts of the symbols seen."""
        n = int(counts.sum())
        if n == 1:
            return 0.0
        whole = math.fsum(xlogy(counts, counts))
        left = whole - xlogy(counts, counts) + xlogy(counts - 1, counts - 1)
        without = math.log(n - 1) - left / (n - 1)  # one sample of each symbol left out
        plug_in = PlugIn().entropy_of_counts(counts, cells)
        return n * plug_in - (n - 1) * math.fsum(counts * without) / n

    entropy = _counts.entropy
    mutual_information = _counts.mutual_information
    conditional_mutual_information = _counts.conditional_mutual_information
    multi_information = _counts.multi_information


@dataclass(frozen=True)
class Grassberger:
    """Grassberger's entropy: log n - (1/n) sum_s c(s) G(c(s)), bias small count by count.

    The two papers differ in G::

        2003 [1]_:  G(c) = psi(c) + (-1)^c / 2 * (psi((c + 1)/2) - psi(c/2))
        1988 [2]_:  G(c) = psi(c) + (-1)^c / (c (c + 1))

    Parameters
    ----------
    year : {2003, 1988}
        Which of the two.
    sampling : {"multinomial", "poisson"}
        The papers' log n suits a number of samples that is itself Poisson; for n fixed in advance
        psi(n) takes its place, which removes most of the bias that is left. A variable that takes
        one value only is then off by about 1 / 2n.

    References
    ----------
    .. [1] arXiv physics/0307138, eq. 28-30.
    .. [2] Phys. Lett. A 128, 369 (1988).
    """

    sense: ClassVar[Sense] = "point"
    symbolic: ClassVar[frozenset[str]] = _counts.EVERYTHING
    year: Literal[2003, 1988] = 2003
    sampling: Literal["multinomial", "poisson"] = "multinomial"

    def __post_init__(self) -> None:
        checked_choice("year", self.year, (2003, 1988))
        checked_choice("sampling", self.sampling, ("multinomial", "poisson"))

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from the counts of the symbols seen."""
        n = int(counts.sum())
        sign = 1.0 - 2.0 * (counts % 2)
        if self.year == 2003:
            tail = sign / 2 * (digamma((counts + 1) / 2) - digamma(counts / 2))
        else:
            tail = sign / (counts * (counts + 1.0))
        all_samples = digamma(n) if self.sampling == "multinomial" else math.log(n)
        return float(all_samples) - math.fsum(counts * (digamma(counts) + tail)) / n

    entropy = _counts.entropy
    mutual_information = _counts.mutual_information
    conditional_mutual_information = _counts.conditional_mutual_information
    multi_information = _counts.multi_information


@dataclass(frozen=True)
class ChaoShen:
    """Chao and Shen's coverage-adjusted entropy [1]_, for many unseen symbols.

    With f1 the number of symbols seen once, C = 1 - f1/n the estimated coverage and p = C c/n::

        H = -sum_s p(s) log p(s) / (1 - (1 - p(s))^n)

    Where every symbol was seen once, C would be 0; f1 = n - 1 is used there, as is usual.

    References
    ----------
    .. [1] Environmental and Ecological Statistics 10, 429 (2003).
    """

    sense: ClassVar[Sense] = "point"
    symbolic: ClassVar[frozenset[str]] = _counts.EVERYTHING

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from the counts of the symbols seen."""
        n = int(counts.sum())
        if len(counts) == 1 and n > 1:  # one symbol only: covered, and certain
            return 0.0
        once = min(int((counts == 1).sum()), n - 1)
        p = (1.0 - once / n) * counts / n
        included = -np.expm1(n * np.log1p(-p)) if n > 1 else np.ones(1)
        return -math.fsum(p * np.log(p) / included)

    entropy = _counts.entropy
    mutual_information = _counts.mutual_information
    conditional_mutual_information = _counts.conditional_mutual_information
    multi_information = _counts.multi_information


@dataclass(frozen=True)
class JamesStein:
    """Hausser and Strimmer's shrinkage [1]_: frequencies drawn towards the uniform ones.

    Over m cells, with p the frequencies and t = 1/m::

        lambda = (1 - sum p^2) / ((n - 1) sum (t - p)^2), at most 1
        H = -sum q log q,   q = lambda t + (1 - lambda) p

    Joint quantities shrink the joint table once and take its margins, so mutual information is
    never negative.

    Parameters
    ----------
    symbols : int or None
        Values each column can take; None for those it does take.

    References
    ----------
    .. [1] J. Machine Learning Research 10, 1469 (2009), eq. 4-6.
    """

    sense: ClassVar[Sense] = "point"
    symbolic: ClassVar[frozenset[str]] = _counts.EVERYTHING
    symbols: int | None = None

    def __post_init__(self) -> None:
        if self.symbols is not None:
            checked_count("symbols", self.symbols)

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from the counts of the symbols seen and the number that could be."""
        return _shrunk_entropy(counts, cells, _intensity(counts, cells))

    entropy = _counts.entropy

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats, of the shrunk joint table."""
        return self.multi_information((x, y))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats, of the shrunk joint table."""
        a, b, c = (symbols(rows, self.symbols) for rows in (x, y, z))
        whole = joined(a, b, c)
        parts = (joined(a, c), joined(b, c), whole, c)
        ac, bc, abc, only = _shrunk_entropies(parts, whole)
        return ac + bc - abc - only

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats, of the shrunk joint table."""
        parts = [symbols(rows, self.symbols) for rows in variables]
        whole = joined(*parts)
        *margins, together = _shrunk_entropies([*parts, whole], whole)
        return sum(margins) - together


def _shrunk_entropies(parts: Sequence[Symbols], whole: Symbols) -> list[float]:
    """Return the entropies of margins of the shrunk joint table."""
    shrink = _intensity(whole.counts, whole.cells)
    return [_shrunk_entropy(part.counts, part.cells, shrink) for part in parts]


def _intensity(counts: IntArray, cells: float) -> float:
    """Return lambda, the share of the uniform law, for the joint table."""
    n = int(counts.sum())
    concentration = float((counts / n) @ (counts / n))
    # sum (1/m - p)^2 over all cells, unseen ones included, without listing them
    distance = concentration - 1.0 / cells
    if n == 1 or distance <= 0.0:
        return 1.0
    return min(1.0, (1.0 - concentration) / ((n - 1) * distance))


def _shrunk_entropy(counts: IntArray, cells: float, shrink: float) -> float:
    """Return the entropy of a margin whose law is the uniform one with weight `shrink`."""
    uniform = shrink / cells
    q = uniform + (1.0 - shrink) * counts / counts.sum()
    unseen = cells - len(counts)
    rest = -unseen * uniform * math.log(uniform) if unseen and uniform else 0.0
    return -math.fsum(q * np.log(q)) + rest
