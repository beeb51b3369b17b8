"""Nearest neighbours with a correction for strong, locally non-uniform dependence."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from mitools._typing import FloatArray, Sense
from mitools._validation import checked_count, checked_neighbors
from mitools.methods._neighbors import Scale, checked_scale, scaled
from mitools.methods.knn import _box_terms, neighbors_and_ties


@dataclass(frozen=True)
class LNC:
    """Gao, Ver Steeg and Galstyan's local non-uniformity correction [1]_ of KSG's second variant.

    V(i) is the volume of the smallest axis-parallel box around sample i and its k neighbours, and
    W(i) that of the smallest box in their principal directions, both centred on sample i. Where
    W(i) / V(i) < alpha the density is not uniform in the first box, and the second one counts::

        I(X; Y) = I_KSG2(X; Y) - (1/n) sum_{i corrected} log W(i) / V(i)

    This lifts KSG's ceiling for nearly deterministic relations. Every column is a variable of its
    own in the multi-information C, and I(X; Y) = C(x, y) - C(x) - C(y). Where others are as near as
    the k-th neighbour, nothing is corrected.

    Parameters
    ----------
    k : int
        Neighbours per sample; more than the number of columns of x and y together.
    alpha : float or None
        Threshold on the ratio of volumes. None: the ratio that k uniform points around a centre
        fall below with probability 0.005, as in the paper's appendix.
    scale : {"std", "rank", None}
        How each column is scaled, as in `KSG`.

    References
    ----------
    .. [1] AISTATS 2015, arXiv 1411.2003.
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "dependence", "scales"})
    k: int = 5
    alpha: float | None = None
    scale: Scale = "std"

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_scale(self.scale)
        if self.alpha is not None and not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha must lie in [0, 1]; got {self.alpha!r}.")

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return self.multi_information((x, y))

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats."""
        blocks = [scaled(rows, self.scale) for rows in variables]
        return self._total(np.hstack(blocks)) - math.fsum(map(self._total, blocks))

    def _total(self, columns: FloatArray) -> float:
        """Return the multi-information of single columns."""
        n, d = columns.shape
        if d == 1:
            return 0.0
        k = checked_neighbors(self.k, n)
        if k <= d:
            raise ValueError(
                f"LNC needs more neighbours than columns in all; got k={k} with {d} columns. "
                f"Use LNC(k={2 * d})."
            )
        singles = tuple(np.ascontiguousarray(column[:, None]) for column in columns.T)
        _, nearest, tied = neighbors_and_ties(columns, k)
        ratio = _log_ratio(columns[nearest] - columns[:, None])
        ratio[tied] = 0.0
        alpha = _threshold(k, d) if self.alpha is None else self.alpha
        with np.errstate(divide="ignore"):
            corrected = ratio < np.log(alpha)
        return float(np.mean(_box_terms(singles, k)) - ratio[corrected].sum() / n)


def _log_ratio(offsets: FloatArray) -> FloatArray:
    """Return log W/V for the neighbours' offsets, shape (n, k, d); 0 where V is 0."""
    directions = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))[1]
    turned = np.abs(offsets @ directions).max(axis=1)
    straight = np.abs(offsets).max(axis=1)
    solid = (straight > 0.0).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(turned).sum(axis=1) - np.log(straight).sum(axis=1)
    return np.where(solid, ratio, 0.0)


@lru_cache(maxsize=64)
def _threshold(k: int, d: int, draws: int = 20_000) -> float:
    """Return the 0.005 quantile of W/V for k points uniform in a cube around its centre."""
    points = np.random.default_rng([k, d]).uniform(-1.0, 1.0, (draws, k, d))
    return float(np.exp(np.quantile(_log_ratio(points), 0.005)))
