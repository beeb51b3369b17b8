"""Variables of which some are discrete, or discrete in places: nearest neighbours with atoms."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.special import digamma

from mitools import _kernels
from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_choice, checked_count, checked_neighbors
from mitools.methods._neighbors import Scale, checked_scale, pair_counts, psi, scaled
from mitools.methods._shared import ross_columns
from mitools.methods._symbols import multiplicity, symbols


@dataclass(frozen=True)
class Ross:
    """Ross's estimator between a continuous variable and a label [1]_.

    N(i) samples share the label of sample i, and m(i) samples of any label, itself included, are
    strictly nearer to it than its k-th neighbour among those (its farthest, where N(i) <= k)::

        I(X; Y) = psi(n) + mean_i[ psi(k(i)) - psi(N(i)) - psi(m(i)) ]

    Samples whose label occurs once have no such neighbour; they are left out of n and the mean.
    Where the neighbour is at distance 0, k(i) and m(i) are the numbers of samples at distance 0,
    itself included, of the label and in all.

    Parameters
    ----------
    k : int
        Neighbours per sample.
    labels : {"y", "x"}
        Which argument holds the labels; its rows are symbols.
    scale : {"std", "rank", None}
        How each column of the other is scaled, as in `KSG`.

    References
    ----------
    .. [1] PLoS ONE 9, e87357 (2014), doi:10.1371/journal.pone.0087357.
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence", "scales"})
    k: int = 3
    labels: Literal["y", "x"] = "y"
    scale: Scale = "std"

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_choice("labels", self.labels, ("y", "x"))
        checked_scale(self.scale)

    @property
    def symbolic(self) -> frozenset[str]:
        """Which argument may hold labels of any kind."""
        return frozenset({self.labels})

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        points, labels = (x, y) if self.labels == "y" else (y, x)
        label = symbols(labels)
        shared = label.counts[label.codes]
        if (shared == 1).all():
            raise ValueError(
                f"{self.labels} must hold labels that repeat; each of its {len(labels)} values "
                "occurs once. Is it continuous (use KSG), or is Ross(labels=...) the other one?"
            )
        kept = shared > 1
        points = scaled(points, self.scale)[kept]
        codes, shared = label.codes[kept], shared[kept]
        radius, neighbors = self._radii(points, codes)
        near = _kernels.count_within(points, radius) + 1
        atom = radius == 0.0
        if atom.any():
            near[atom] = multiplicity(points)[atom]
            neighbors[atom] = multiplicity(np.column_stack((points, codes.astype(np.float64))))[
                atom
            ]
        terms = psi(neighbors) - psi(shared) - psi(near)
        return float(np.mean(terms) + digamma(len(points)))

    def mutual_information_by_column(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return I(X_j; Y) in nats for every column of x, labels sorted once for all."""
        found = np.full(x.shape[1], np.nan)
        label = symbols(y) if self.labels == "y" else None
        if label is not None and (label.counts > 1).any():
            kept = label.counts[label.codes] > 1
            codes = np.unique(label.codes[kept], return_inverse=True)[1].astype(np.int64)
            found = ross_columns(scaled(x, self.scale)[kept], codes, self.k)
        for j in np.flatnonzero(np.isnan(found)):
            found[j] = self.mutual_information(np.ascontiguousarray(x[:, [j]]), y)
        return found

    def _radii(self, points: FloatArray, codes: IntArray) -> tuple[FloatArray, IntArray]:
        """Return each sample's distance to its k-th neighbour of the same label, and that k."""
        radius, neighbors = np.empty(len(points)), np.empty(len(points), np.int64)
        order = np.argsort(codes, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            neighbors[rows] = min(self.k, len(rows) - 1)
            same = np.ascontiguousarray(points[rows])
            radius[rows] = _kernels.kth_distance(same, int(neighbors[rows[0]]))
        return radius, neighbors


@dataclass(frozen=True)
class GaoMixed:
    """Gao, Kannan, Oh and Viswanath's estimator for any mixture of discrete and continuous [1]_.

    r(i) is the largest coordinate distance to the k-th joint neighbour; k(i) is k, or where
    r(i) = 0 the number of samples at the same place. Every count includes sample i::

        paper:  I(X; Y) = mean_i[ psi(k(i)) + log n - log nx(i) - log ny(i) ],  within r(i) or at it
        code:   I(X; Y) = mean_i[ psi(k(i)) + log n - psi(nx(i)) - psi(ny(i)) ],  nearer than r(i)

    (at r(i) = 0, those at distance 0 in both). The form of the authors' published code is
    Kraskov's where nothing ties, and the less biased one: see the tests.

    Parameters
    ----------
    k : int, 1 <= k < n
        Neighbours per sample.
    form : {"code", "paper"}
        Which of the two.
    scale : {"std", "rank", None}
        How each column is scaled, as in `KSG`.

    References
    ----------
    .. [1] Advances in Neural Information Processing Systems 30 (2017), arXiv 1709.06212,
       Algorithm 1; code: github.com/wgao9/mixed_KSG.
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"saturation", "dependence", "scales"})
    beyond_ceiling: ClassVar[str] = "more samples, or LNC if nothing repeats"
    k: int = 3
    form: Literal["code", "paper"] = "code"
    scale: Scale = "std"

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_choice("form", self.form, ("code", "paper"))
        checked_scale(self.scale)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return float(np.mean(self.local_mutual_information(x, y)))

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the term of each sample, in nats, shape (n,); their mean is I(X; Y)."""
        n, k = len(x), checked_neighbors(self.k, len(x))
        x, y = scaled(x, self.scale), scaled(y, self.scale)
        if self.form == "code":
            neighbors, (near_x, near_y) = pair_counts(x, y, k)
            return psi(neighbors) + np.log(n) - (psi(near_x) + psi(near_y))
        joint = np.hstack((x, y))
        radius = _kernels.kth_distance(joint, k)
        neighbors = np.where(radius == 0.0, multiplicity(joint), k)
        near = [_kernels.count_within(space, radius, strict=False) + 1 for space in (x, y)]
        return psi(neighbors) + np.log(n) - (np.log(near[0]) + np.log(near[1]))

    def ceiling(self, n: int) -> float:
        """Return about the largest value that n samples without ties can give, in nats."""
        return float(np.log(n) - digamma(self.k))


@dataclass(frozen=True)
class MesnerShalizi:
    """Mesner and Shalizi's conditional estimator for mixed variables [1]_.

    r(i) is the distance to the k-th joint neighbour. All counts are of other samples within r(i)
    or at it; k(i) is that count in the joint space, which is k unless distances tie::

        I(X; Y | Z) = mean_i[ psi(k(i)) - psi(nxz(i)) - psi(nyz(i)) + psi(nz(i)) ]

    Without a condition, psi(nz) becomes psi(n). The paper replaces negative results by 0; here
    they stay, because clipping biases averages.

    Parameters
    ----------
    k : int, 1 <= k < n
        Neighbours per sample.
    scale : {"std", "rank", None}
        How each column is scaled, as in `KSG`. None where columns are codes whose distance 0 or
        not 0 is all that matters and n is large.

    References
    ----------
    .. [1] IEEE Trans. Information Theory 67, 464 (2021), arXiv 1912.03387.
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"saturation", "dependence", "scales"})
    beyond_ceiling: ClassVar[str] = "more samples, or LNC if nothing repeats"
    k: int = 3
    scale: Scale = "std"

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_scale(self.scale)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        x, y = scaled(x, self.scale), scaled(y, self.scale)
        tied, (near_x, near_y) = self._counts((x, y), np.hstack((x, y)))
        return float(np.mean(psi(tied) - (psi(near_x) + psi(near_y))) + digamma(len(x)))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        x, y, z = (scaled(rows, self.scale) for rows in (x, y, z))
        spaces = (np.hstack((x, z)), np.hstack((y, z)), z)
        tied, (near_xz, near_yz, near_z) = self._counts(spaces, np.hstack((x, y, z)))
        return float(np.mean(psi(tied) - (psi(near_xz) + psi(near_yz)) + psi(near_z)))

    def _counts(
        self, spaces: tuple[FloatArray, ...], joint: FloatArray
    ) -> tuple[IntArray, list[IntArray]]:
        radius = _kernels.kth_distance(joint, checked_neighbors(self.k, len(joint)))
        tied = _kernels.count_within(joint, radius, strict=False)
        return tied, [_kernels.count_within(space, radius, strict=False) for space in spaces]

    def ceiling(self, n: int) -> float:
        """Return the largest value that n samples without ties can give, in nats."""
        return float(digamma(n) - digamma(self.k))
