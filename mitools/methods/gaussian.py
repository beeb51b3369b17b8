"""Closed forms in covariances: jointly Gaussian variables, or variables with a Gaussian copula."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from mitools._typing import FloatArray, Sense
from mitools.methods._neighbors import centred, normal_scores, weights


@dataclass(frozen=True)
class Gaussian:
    """The information of jointly Gaussian variables, from the sample covariance S.

    With |S(a)| the determinant over the columns of a::

        H(X)        = 1/2 log |2 pi e S(x)|
        I(X; Y)     = 1/2 log |S(x)| |S(y)| / |S(x, y)|
        I(X; Y | Z) = 1/2 log |S(x, z)| |S(y, z)| / |S(z)| |S(x, y, z)|

    Determinants are products of residual variances, so that constant and linearly dependent
    columns inside x, y or z change nothing, and x and y that determine each other share an
    infinite amount. For other laws this is the information of the Gaussian of the same covariance.

    Parameters
    ----------
    correction : bool
        Subtract the bias of each log-determinant. Of d independent directions in n samples it is
        sum over i = 0 .. d - 1 of psi((n - 1 - i) / 2) - log((n - 1) / 2), exactly, for Gaussian
        data [1]_; the estimate is then unbiased, needs n > d, and may be negative.

    References
    ----------
    .. [1] Misra, Singh, Demchuk, J. Multivariate Analysis 92, 324 (2005).

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.methods import Gaussian
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((2_000, 1))
    >>> y = 0.8 * x + 0.6 * rng.standard_normal((2_000, 1))
    >>> print(f"truth {-np.log(0.6):.3f}, estimate {Gaussian().mutual_information(x, y):.3f}")
    truth 0.511, estimate 0.505
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence"})
    correction: bool = True

    def entropy(self, x: FloatArray) -> float:
        """H(X) in nats; -inf where some column is a linear function of the others."""
        n, d = x.shape
        sizes = _basis(_standard(x))[1]
        if len(sizes) < d:
            return -math.inf
        self._check_enough(n, d)
        log_det = 2 * math.fsum(np.log(sizes)) - d * math.log(n - 1) - 2 * _sum_log(weights(x))
        return (d * math.log(2 * math.pi * math.e) + log_det - self._bias(n, d)) / 2

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return self._shared(_basis(_standard(x))[0], _basis(_standard(y))[0], 0)

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        given = _basis(_standard(z))[0]
        left, right = (_basis(_residual(_standard(rows), given))[0] for rows in (x, y))
        return self._shared(left, right, given.shape[1])

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats, by the chain rule over the variables."""
        before = [np.hstack(variables[:i]) for i in range(1, len(variables))]
        pairs = zip(before, variables[1:], strict=True)
        return math.fsum(self.mutual_information(seen, rows) for seen, rows in pairs)

    def _shared(self, left: FloatArray, right: FloatArray, given: int) -> float:
        """Return the information between two subspaces, from the sines of their angles."""
        n, a, b = len(left), left.shape[1], right.shape[1]
        if not a or not b:
            return 0.0
        self._check_enough(n, a + b + given)
        sines = np.linalg.svd(_residual(right, left), compute_uv=False)
        if sines.min() <= _rounding(n):
            return math.inf
        parts = (a + given, b + given, a + b + given, given)
        one, two, both, none = (self._bias(n, d) for d in parts)
        return -_sum_log(sines) - (one + two - both - none) / 2

    def _bias(self, n: int, d: int) -> float:
        """Return the bias of log |S| over d independent directions."""
        if not self.correction:
            return 0.0
        freedom = (n - 1 - np.arange(d)) / 2
        return math.fsum(digamma(freedom)) - d * math.log((n - 1) / 2)

    @staticmethod
    def _check_enough(n: int, d: int) -> None:
        if n <= d:
            raise ValueError(
                f"Gaussian needs more samples than independent columns in all; got n={n} samples "
                f"with {d} columns. Use more samples or fewer columns."
            )


@dataclass(frozen=True)
class GaussianCopula:
    """`Gaussian` on the normal scores of the ranks of every column [1]_, [2]_.

    Exact where some increasing map of every column would make the variables jointly Gaussian;
    increasing maps change nothing. Equal values share their mean rank.

    Parameters
    ----------
    correction : bool
        As in `Gaussian`; approximate here, since normal scores have a fixed variance.

    References
    ----------
    .. [1] Ince et al., Human Brain Mapping 38, 1541 (2017).
    .. [2] Ma and Sun, Tsinghua Science and Technology 16, 51 (2011).
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "dependence"})
    correction: bool = True

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return Gaussian(self.correction).mutual_information(normal_scores(x), normal_scores(y))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        scores = (normal_scores(rows) for rows in (x, y, z))
        return Gaussian(self.correction).conditional_mutual_information(*scores)

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats."""
        scores = tuple(normal_scores(rows) for rows in variables)
        return Gaussian(self.correction).multi_information(scores)


def _standard(rows: FloatArray) -> FloatArray:
    """Return columns of mean 0 and about unit variance; constant ones are 0."""
    unit = centred(rows) * weights(rows)
    return unit - unit.mean(axis=0)


def _basis(columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return an orthonormal basis (n, r) of the span of standardised columns, and r sizes.

    Directions no larger than rounding leaves of standardised columns are not there.
    """
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    n, d = columns.shape
    kept = sizes > _rounding(n) * math.sqrt(n * d)
    return basis[:, kept], sizes[kept]


def _residual(columns: FloatArray, basis: FloatArray) -> FloatArray:
    """Return columns less their projection on an orthonormal basis, twice for precision."""
    once = columns - basis @ (basis.T @ columns)
    return once - basis @ (basis.T @ once)


def _rounding(n: int) -> float:
    """Return the relative size that rounding gives to what should vanish among n samples."""
    return 16 * float(np.finfo(np.float64).eps) * math.sqrt(n)


def _sum_log(values: NDArray[np.floating]) -> float:
    return math.fsum(np.log(values))
