"""Continuous variables: estimates from distances to nearest neighbours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.special import digamma, gammaln

from mitools import _kernels
from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_choice, checked_count, checked_neighbors
from mitools.methods._neighbors import (
    Scale,
    ball_counts,
    both_scaled,
    checked_scale,
    pair_counts,
    psi,
    scaled,
    weights,
)
from mitools.methods._shared import ksg_columns, ksg_pair, ksg_shuffles
from mitools.methods._symbols import multiplicity


@dataclass(frozen=True)
class KSG:
    """Kraskov, Stögbauer and Grassberger's estimators [1]_, for continuous variables.

    Distances are maxima over coordinates. Variant 1 counts the samples nx(i), ny(i) strictly
    nearer to sample i, in x and in y alone, than its k-th neighbour in the joint space (eq. 8)::

        I(X; Y) = psi(k) + psi(n) - mean_i[ psi(nx(i) + 1) + psi(ny(i) + 1) ]

    Variant 2 counts the samples inside or on the smallest box around the k neighbours (eq. 9)::

        I(X; Y) = psi(k) - 1/k + psi(n) - mean_i[ psi(nx(i)) + psi(ny(i)) ]

    Both extend to m variables (eq. 23, 30), the first to a condition as Frenzel and Pompe do [2]_::

        I(X; Y | Z) = psi(k) - mean_i[ psi(nxz(i) + 1) + psi(nyz(i) + 1) - psi(nz(i) + 1) ]

    Ties are counted as defined, without jitter. Where the k-th neighbour is at distance 0, no
    density exists and the definition is silent; there k, nx + 1 and ny + 1 are the numbers of
    samples with the same (x, y), x and y. On purely repeated data this gives nearly the plug-in
    estimate. In variant 2, where others are as near as the k-th neighbour, the box is around all
    of them, and k is their number. The result can be negative under independence and is not
    clipped; it cannot exceed psi(n) - psi(k).

    Parameters
    ----------
    k : int, 1 <= k < n
        Neighbours per sample. Larger k lowers variance and raises bias.
    variant : {1, 2}
        Balls or boxes.
    scale : {"std", "rank", None}
        How each column is scaled before distances are taken: divided by its standard deviation,
        replaced by normal scores of its ranks, or not at all as in the paper.

    References
    ----------
    .. [1] Phys. Rev. E 69, 066138 (2004), doi:10.1103/PhysRevE.69.066138.
    .. [2] Phys. Rev. Lett. 99, 204101 (2007), doi:10.1103/PhysRevLett.99.204101.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.methods import KSG
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((2_000, 1))
    >>> y = 0.8 * x + 0.6 * rng.standard_normal((2_000, 1))
    >>> print(f"truth {-np.log(0.6):.3f}, estimate {KSG(k=3).mutual_information(x, y):.3f}")
    truth 0.511, estimate 0.507
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "saturation", "dependence", "scales"})
    k: int = 3
    variant: Literal[1, 2] = 1
    scale: Scale = "std"

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_choice("variant", self.variant, (1, 2))
        checked_scale(self.scale)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        if self.variant == 1:
            k = checked_neighbors(self.k, len(x))
            found = ksg_pair(*both_scaled(x, y, self.scale), k)
            if not math.isnan(found):
                return found
        return float(np.mean(self.local_mutual_information(x, y)))

    def mutual_information_by_column(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return I(X_j; Y) in nats for every column of x, y sorted once for all."""
        found = np.full(x.shape[1], np.nan)
        if self.variant == 1 and y.shape[1] == 1:
            k = checked_neighbors(self.k, len(x))
            found = ksg_columns(scaled(x, self.scale), scaled(y, self.scale), k)
        for j in np.flatnonzero(np.isnan(found)):
            found[j] = self.mutual_information(np.ascontiguousarray(x[:, [j]]), y)
        return found

    def mutual_information_of_shuffles(
        self, x: FloatArray, y: FloatArray, orders: Sequence[IntArray]
    ) -> FloatArray:
        """Return I(X; Y[order]) in nats for every order, x and y sorted once for all."""
        found = np.full(len(orders), np.nan)
        if self.variant == 1 and x.shape[1] == y.shape[1] == 1:
            k = checked_neighbors(self.k, len(x))
            found = ksg_shuffles(scaled(x, self.scale), scaled(y, self.scale), k, orders)
        for i in np.flatnonzero(np.isnan(found)).tolist():
            found[i] = self.mutual_information(x, y[orders[i]])
        return found

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the term of each sample, in nats, shape (n,); their mean is I(X; Y)."""
        k = checked_neighbors(self.k, len(x))
        x, y = scaled(x, self.scale), scaled(y, self.scale)
        if self.variant == 2:
            return _box_terms((x, y), k)
        neighbors, (near_x, near_y) = pair_counts(x, y, k)
        return psi(neighbors) + digamma(len(x)) - (psi(near_x) + psi(near_y))

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats: how far the joint law is from the product of its margins."""
        n = len(variables[0])
        k = checked_neighbors(self.k, n)
        spaces = tuple(scaled(rows, self.scale) for rows in variables)
        if self.variant == 2:
            return float(np.mean(_box_terms(spaces, k)))
        neighbors, near = ball_counts(spaces, np.hstack(spaces), k)
        terms = psi(neighbors) - sum(psi(count) for count in near)
        return float(np.mean(terms) + (len(spaces) - 1) * digamma(n))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats, by variant 1."""
        return float(np.mean(self.local_conditional_mutual_information(x, y, z)))

    def local_conditional_mutual_information(
        self, x: FloatArray, y: FloatArray, z: FloatArray
    ) -> FloatArray:
        """Return the term of each sample, in nats, shape (n,); their mean is I(X; Y | Z)."""
        if self.variant != 1:
            raise ValueError(
                "KSG answers conditional questions by variant 1 only; got variant=2. "
                "Use KSG(variant=1)."
            )
        k = checked_neighbors(self.k, len(x))
        x, y, z = (scaled(rows, self.scale) for rows in (x, y, z))
        spaces = (np.hstack((x, z)), np.hstack((y, z)), z)
        neighbors, (near_xz, near_yz, near_z) = ball_counts(spaces, np.hstack((x, y, z)), k)
        return psi(neighbors) + psi(near_z) - (psi(near_xz) + psi(near_yz))

    def ceiling(self, n: int) -> float:
        """Return the largest value that n samples without ties can give, in nats."""
        return float(digamma(n) - digamma(self.k))


def _box_terms(spaces: tuple[FloatArray, ...], k: int) -> FloatArray:
    """Return each sample's term of Kraskov's second estimator for m variables (eq. 30)."""
    n, more = len(spaces[0]), len(spaces) - 1
    joint = np.hstack(spaces)
    radius, nearest, tied = neighbors_and_ties(joint, k)
    half_sides = [_kernels.farthest(space, nearest) for space in spaces]
    sizes = np.full(n, k)
    if len(tied):  # which of them come first must not matter
        ends = np.cumsum([space.shape[1] for space in spaces])
        sizes[tied], sides = _kernels.reach(joint, ends, radius, tied)
        for half_side, side in zip(half_sides, sides.T, strict=True):
            half_side[tied] = side
    terms = psi(sizes) - more / sizes + more * digamma(n)
    for space, half_side in zip(spaces, half_sides, strict=True):
        terms -= psi(_kernels.count_within(space, half_side, strict=False))
    atom = radius == 0.0
    if atom.any():  # as in KSG's first variant: the box is a point
        often = [psi(multiplicity(space)) for space in spaces]
        terms[atom] = (psi(multiplicity(joint)) - sum(often) + more * digamma(n))[atom]
    return terms


def neighbors_and_ties(points: FloatArray, k: int) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the k-th distance (n,), the k neighbours (n, k), and where one more is as near.

    Not told of are samples on atoms, at distance 0.
    """
    distances, nearest = _kernels.kth_neighbors(points, min(k + 1, len(points) - 1))
    radius = distances[:, k - 1].copy()
    tied = np.flatnonzero((distances[:, k:] == radius[:, None]).any(axis=1) & (radius > 0.0))
    return radius, np.ascontiguousarray(nearest[:, :k]), tied


@dataclass(frozen=True)
class KozachenkoLeonenko:
    """Differential entropy from the distances r(i) to the k-th neighbours [1]_.

    With c the volume of the unit ball of the norm in d dimensions::

        H(X) = psi(n) - psi(k) + log c + (d / n) sum_i log r(i)

    Differential entropy depends on the unit of x and may be negative; it is -inf where a value
    occurs more than k times, since no density exists there.

    Parameters
    ----------
    k : int, 1 <= k < n
        Neighbours per sample.
    norm : {"max", "euclidean"}
        Which distance.
    scale : {"std", None}
        Whether distances are taken in units of each column's standard deviation. The logarithms
        of the units are added back, so this only shapes the neighbourhoods.

    References
    ----------
    .. [1] Problems of Information Transmission 23, 95 (1987); for k > 1, Phys. Rev. E 69, 066138,
       eq. 20.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.methods import KozachenkoLeonenko
    >>> x = np.random.default_rng(0).standard_normal((2_000, 1))
    >>> h = KozachenkoLeonenko().entropy(x)
    >>> print(f"truth {np.log(2 * np.pi * np.e) / 2:.3f}, estimate {h:.3f}")
    truth 1.419, estimate 1.437
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "dependence", "scales"})
    k: int = 3
    norm: Literal["max", "euclidean"] = "max"
    scale: Literal["std"] | None = "std"

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_choice("norm", self.norm, ("max", "euclidean"))
        checked_choice("scale", self.scale, ("std", None))

    def entropy(self, x: FloatArray) -> float:
        """H(X) in nats."""
        n, d = x.shape
        k = checked_neighbors(self.k, n)
        units = 0.0 if self.scale is None else -math.fsum(np.log(weights(x)))
        euclidean = self.norm == "euclidean"
        radius = _kernels.kth_distance(scaled(x, self.scale), k, euclidean)
        ball = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1) if euclidean else d * math.log(2)
        with np.errstate(divide="ignore"):
            reach = d * float(np.mean(np.log(radius)))
        return float(digamma(n) - digamma(k) + ball) + reach + units
