"""Continuous pairs: cells that refine themselves where the density is not uniform."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.stats import chi2, rankdata

from mitools._typing import FloatArray, Sense
from mitools._validation import checked_share


@dataclass(frozen=True)
class AdaptivePartition:
    """Mutual information of two scalars over an adaptive partition of their ranks.

    Ranks make both margins uniform. A cell is split at the middle of its two rank intervals [1]_
    while a chi-squared test of equal counts rejects, at this significance, over its 4 quarters or
    over its 16 sixteenths [2]_. With n(c) samples in cell c, and a(c), b(c) samples of any kind in
    its x and its y interval::

        I(X; Y) = sum_c n(c)/n log[ n(c) n / (a(c) b(c)) ]

    Biased downwards where dependence is strong (cells stop at about 5 samples a quarter).

    Parameters
    ----------
    significance : float
        Level of the tests. Larger values split more.

    References
    ----------
    .. [1] Fraser and Swinney, Phys. Rev. A 33, 1134 (1986).
    .. [2] Darbellay and Vajda, IEEE Trans. Information Theory 45, 1315 (1999).
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "dependence"})
    significance: float = 0.01

    def __post_init__(self) -> None:
        checked_share("significance", self.significance)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats, for one column each."""
        if x.shape[1] > 1 or y.shape[1] > 1:
            raise ValueError(
                "AdaptivePartition takes one column in x and one in y; got "
                f"{x.shape[1]} and {y.shape[1]}. Use KSG or GaussianCopula for vectors."
            )
        n = len(x)
        # Ranks over n in (0, 1): equal values share the middle of their ranks.
        ranks = (np.column_stack([rankdata(x[:, 0]), rankdata(y[:, 0])]) - 0.5) / n
        margins = np.sort(ranks, axis=0)
        limits = {size: float(chi2.isf(self.significance, size - 1)) for size in (4, 16)}
        total, open_cells = 0.0, [(ranks, np.zeros(2), 1.0)]
        while open_cells:
            inside, corner, side = open_cells.pop()
            if _is_uniform(inside, corner, side, limits):
                share = [_count(margins[:, j], corner[j], side) for j in (0, 1)]
                total += len(inside) / n * math.log(len(inside) * n / (share[0] * share[1]))
            else:
                open_cells.extend(_quarters(inside, corner, side / 2))
        return total


def _is_uniform(
    inside: FloatArray, corner: FloatArray, side: float, limits: dict[int, float]
) -> bool:
    if (inside == inside[0]).all():  # one atom, which no cell can split
        return True
    for size, limit in limits.items():
        expected = len(inside) / size
        if expected < 5.0:  # too few for the test
            break
        per_side = math.isqrt(size)
        step = np.minimum((inside - corner) / side * per_side, per_side - 1).astype(np.int64)
        counts = np.bincount(step[:, 0] * per_side + step[:, 1], minlength=size)
        if ((counts - expected) ** 2).sum() / expected > limit:
            return False
    return True


def _quarters(
    inside: FloatArray, corner: FloatArray, half: float
) -> list[tuple[FloatArray, FloatArray, float]]:
    """Return the parts of a cell that hold samples."""
    upper = inside >= corner + half
    cells = []
    for right in (False, True):
        for top in (False, True):
            part = inside[(upper[:, 0] == right) & (upper[:, 1] == top)]
            if len(part):
                cells.append((part, corner + half * np.array([right, top]), half))
    return cells


def _count(margin: FloatArray, low: float, side: float) -> int:
    """Return how many ranks lie in [low, low + side)."""
    first, last = np.searchsorted(margin, [low, low + side])
    return int(last - first)
