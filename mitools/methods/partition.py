"""Cells that refine themselves where two variables depend on each other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, combinations
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.stats import chi2, rankdata

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_share
from mitools.methods._symbols import symbols

_ENOUGH = 5.0
"""Samples that a cell must hold on average, in a chi-squared test and in a table of counts."""


@dataclass(frozen=True)
class AdaptivePartition:
    """Mutual information of two scalars over an adaptive partition of their ranks.

    Ranks make both margins uniform. A cell is split at the middle of its two rank intervals [1]_
    while a chi-squared test rejects, at this significance, that its samples lie in its 4 quarters
    or in its 16 sixteenths [2]_ as those of independent variables would (in equal shares, unless
    values repeat). With n(c) samples in cell c, and a(c), b(c) samples of any kind in its x and its
    y interval::

        I(X; Y) = sum_c n(c)/n log[ n(c) n / (a(c) b(c)) ]

    Biased downwards where dependence is strong (cells stop at about 5 samples a quarter). For other
    questions, more columns and corrected counts, see `DarbellayVajda`.

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
                f"{x.shape[1]} and {y.shape[1]}. Use Binned(DarbellayVajda()), KSG or "
                "GaussianCopula for vectors."
            )
        n, total = len(x), 0.0
        for cell in _cells(_ranks(x[:, 0]), _ranks(y[:, 0]), self.significance):
            if cell.final:
                m = len(cell.inside)
                total += m / n * math.log(m * n / (cell.shares[0].sum() * cell.shares[1].sum()))
        return float(total)


@dataclass(frozen=True)
class DarbellayVajda:
    """Cuts where two variables depend on each other, for `Binned`: coarse where they do not.

    For every two columns of different variables, the cells of `AdaptivePartition`; a column's cuts
    are where any of them was split. Extended along the whole axis they make a table, so that every
    discrete method and every question applies, with any number of columns. Where the table has
    more occupied cells than one for 5 samples, the finest cuts are left out again. Made from ranks,
    so increasing maps of a column change nothing.

    Dependence that no two columns show, as of an exclusive or, is not looked for. H(X) takes the
    columns of x as the variables. With many columns few cuts remain, or none, and the information
    of the bins falls to 0.

    Parameters
    ----------
    significance : float
        Level of the chi-squared tests. Larger values cut more.

    References
    ----------
    .. [1] IEEE Trans. Information Theory 45, 1315 (1999): the cells. The extension is ours.
    """

    significance: float = 0.01

    def __post_init__(self) -> None:
        checked_share("significance", self.significance)

    def bins_together(self, variables: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        """Return the number of the bin of each value, an array for each of the variables.

        Raises
        ------
        ValueError
            If there is only one column in all.
        """
        widths = [rows.shape[1] for rows in variables]
        ranks = [_ranks(column) for rows in variables for column in rows.T]
        if len(ranks) < 2:
            raise ValueError(
                "DarbellayVajda cuts columns where they depend on each other, so it needs two; got "
                "one. Use Quantiles, EqualWidth or FreedmanDiaconis."
            )
        owner = np.repeat(np.arange(len(widths)), widths)
        if len(variables) == 1:
            owner = np.arange(len(ranks))
        cuts: list[set[float]] = [set() for _ in ranks]
        for i, j in combinations(range(len(ranks)), 2):
            if owner[i] != owner[j]:
                for cell in _cells(ranks[i], ranks[j], self.significance):
                    if not cell.final:
                        cuts[i].add(float(cell.corner[0] + cell.side / 2))
                        cuts[j].add(float(cell.corner[1] + cell.side / 2))
        bins = _affordable(ranks, cuts)
        ends = np.cumsum(widths)[:-1]
        return tuple(np.split(bins, ends, axis=1))


class _Cell(NamedTuple):
    """A square of ranks: what lies in it, and how many samples of any kind its parts could hold.

    ``shares`` counts the samples in the four quarters of each of its two intervals.
    """

    inside: FloatArray
    corner: FloatArray
    side: float
    shares: tuple[IntArray, IntArray]
    final: bool


def _ranks(column: FloatArray) -> FloatArray:
    """Return ranks over n in (0, 1): equal values share the middle of their ranks."""
    return (rankdata(column) - 0.5) / len(column)


def _cells(x: FloatArray, y: FloatArray, significance: float) -> Iterator[_Cell]:
    """Yield every cell of the tree: those that are split, and the final ones that hold samples."""
    ranks = np.column_stack([x, y])
    margins = np.sort(ranks, axis=0)
    waiting = [(ranks, np.zeros(2), 1.0)]
    while waiting:
        inside, corner, side = waiting.pop()
        shares = tuple(
            np.diff(np.searchsorted(margins[:, j], corner[j] + side * np.arange(5) / 4))
            for j in (0, 1)
        )
        final = _is_uniform(inside, corner, side, shares, significance)
        yield _Cell(inside, corner, side, (shares[0], shares[1]), final)
        if not final:
            waiting.extend(_quarters(inside, corner, side / 2))


def _is_uniform(
    inside: FloatArray,
    corner: FloatArray,
    side: float,
    shares: tuple[IntArray, ...],
    significance: float,
) -> bool:
    """Return whether samples lie in a cell's parts as the two margins alone would put them."""
    if (inside == inside[0]).all():  # one atom, which no cell can split
        return True
    sixteenths = np.minimum((inside - corner) / side * 4, 3).astype(np.int64)
    for per_side in (2, 4):
        if len(inside) < _ENOUGH * per_side**2:  # too few for the test
            break
        wide = 4 // per_side
        alone = [share.reshape(per_side, wide).sum(axis=1) for share in shares]
        expected = np.outer(*alone).ravel() * (len(inside) / (alone[0].sum() * alone[1].sum()))
        step = sixteenths // wide
        counts = np.bincount(step[:, 0] * per_side + step[:, 1], minlength=per_side**2)
        possible = expected > 0.0
        if possible.sum() == 1:  # repeated values, all in one part: look closer
            return False
        chi_squared = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
        if chi_squared > _limit(significance, int(possible.sum()) - 1):
            return False
    return True


@lru_cache(maxsize=64)
def _limit(significance: float, freedom: int) -> float:
    return float(chi2.isf(significance, freedom))


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


def _affordable(ranks: Sequence[FloatArray], cuts: Sequence[set[float]]) -> FloatArray:
    """Return the bins between the cuts, without the finest that leave too few samples a cell."""
    depth = max(map(_depth, chain(*cuts)), default=0)
    while True:
        kept = [sorted(cut for cut in own if _depth(cut) <= depth) for own in cuts]
        found = map(partial(np.searchsorted, side="right"), kept, ranks)
        bins = np.column_stack(list(found)).astype(np.float64)
        if depth == 0 or symbols(bins).kinds * _ENOUGH <= len(bins):
            return bins
        depth -= 1


def _depth(cut: float) -> int:
    """Return how often the unit interval was halved to cut here: cut is an odd number / 2^depth."""
    return cut.as_integer_ratio()[1].bit_length() - 1
