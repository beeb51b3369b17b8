"""What nearest-neighbour methods share: units, atoms, and a table of digammas."""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from scipy.special import digamma
from scipy.stats import norm, rankdata

from mitools import _kernels
from mitools._typing import FloatArray, IntArray
from mitools._validation import checked_choice
from mitools.methods._symbols import joined, multiplicity, symbols

Scale = Literal["std", "rank"] | None
"""How columns are made comparable before distances are taken.

"std": every column is centred and divided by its standard deviation. "rank": every column is
replaced by normal scores of its ranks, equal values sharing their mean rank. None: distances are
taken as the data come.
"""


_SMALLEST_UNIT = 2.0**-1000


def checked_scale(scale: Scale) -> None:
    """Raise ValueError unless scale is one of the three."""
    checked_choice("scale", scale, ("std", "rank", None))


def scaled(rows: FloatArray, scale: Scale) -> FloatArray:
    """Return rows in the units in which distances are taken; constant columns stay constant."""
    if scale is None:
        return rows
    if scale == "rank":
        return np.ascontiguousarray(normal_scores(rows))
    columns = _centred_columns(rows)
    columns *= _factors(columns)[:, None]
    return np.ascontiguousarray(columns.T)


def both_scaled(x: FloatArray, y: FloatArray, scale: Scale) -> tuple[FloatArray, FloatArray]:
    """Return x and y scaled, each on a thread of its own where that pays."""
    if scale is None:
        return x, y
    one, other = _kernels.together([partial(scaled, rows, scale) for rows in (x, y)], len(x))
    return one, other


def normal_scores(rows: FloatArray) -> FloatArray:
    """Return the normal quantile of rank / (n + 1) for every value, column by column.

    A decreasing map changes the sign and no bit: the upper half mirrors the lower.
    """
    n, rank = len(rows), rankdata(rows, axis=0)
    lower = np.minimum(rank, n + 1.0 - rank)
    return np.where(rank == lower, 1.0, -1.0) * norm.ppf(lower / (n + 1.0))


def weights(rows: FloatArray) -> FloatArray:
    """Return the factor (d,) that "std" multiplies each column by: 1 / std, rounded to 24 bits.

    Short factors multiply integers and single-precision values without rounding, so that equal
    distances stay equal; a unit that is a power of two cancels bit for bit.
    """
    return _factors(_centred_columns(rows))


def _factors(columns: FloatArray) -> FloatArray:
    """Return `weights` of centred columns, given as rows (d, n): each is summed on its own."""
    largest = np.maximum(columns.max(axis=1), -columns.min(axis=1))
    unit = np.ldexp(1.0, np.frexp(largest)[1])  # so that squares neither overflow nor vanish
    std = (columns / unit[:, None]).std(axis=1)
    with np.errstate(divide="ignore"):
        factor = np.where(largest > 0.0, 1.0 / std, 1.0)
    # Below that size of values, what brings them to 1 is beyond the largest number.
    return factor.astype(np.float32).astype(np.float64) / np.maximum(unit, _SMALLEST_UNIT)


def _centred_columns(rows: FloatArray) -> FloatArray:
    """Return the columns of `centred` rows, as contiguous rows (d, n)."""
    columns = np.array(rows.T, order="C")
    middle = columns.shape[1] // 2
    for column in columns:
        column -= np.partition(column, middle)[middle]
    return columns


def centred(rows: FloatArray) -> FloatArray:
    """Return rows less a middle sample of each column, which is exact for values on a lattice."""
    middle = len(rows) // 2
    return rows - np.partition(rows, middle, axis=0)[middle]


def ball_counts(
    spaces: Sequence[FloatArray], joint: FloatArray, k: int, kernels: Any = _kernels
) -> tuple[IntArray, list[IntArray]]:
    """Return what stands under the digammas of Kraskov's first estimator.

    That is k for the joint space, and for each marginal space one more than the number of other
    samples strictly nearer than the k-th joint neighbour. A sample whose k-th neighbour lies at
    distance 0 sits on an atom, where that ball is empty: there, both are the number of samples on
    the atom, itself included. Kernels are ours, or others of the same names and arguments.
    """
    radius = kernels.kth_distance(joint, k)
    within = [kernels.count_within(space, radius) + 1 for space in spaces]
    return _with_atoms(radius, k, joint, spaces, within)


def pair_counts(
    x: FloatArray, y: FloatArray, k: int, kernels: Any = _kernels
) -> tuple[IntArray, list[IntArray]]:
    """Return `ball_counts` for two spaces that make up the joint one, faster."""
    radius, near_x, near_y = kernels.ksg_counts(x, y, k)
    return _with_atoms(radius, k, None, (x, y), [near_x + 1, near_y + 1])


def _with_atoms(
    radius: FloatArray,
    k: int,
    joint: FloatArray | None,
    spaces: Sequence[FloatArray],
    within: list[IntArray],
) -> tuple[IntArray, list[IntArray]]:
    neighbors = np.full(len(radius), k)
    atom = radius == 0.0
    if atom.any():
        together = joined(*map(symbols, spaces)) if joint is None else symbols(joint)
        neighbors[atom] = together.counts[together.codes][atom]
        for count, space in zip(within, spaces, strict=True):
            count[atom] = multiplicity(space)[atom]
    return neighbors, within


def psi(counts: IntArray) -> FloatArray:
    """Return digamma of positive counts, from a table."""
    largest = int(counts.max())
    return _digammas(1 << largest.bit_length())[counts]


def first_psis(n: int) -> FloatArray:
    """Return digamma of 1, ..., n."""
    return _digammas(1 << n.bit_length())[1 : n + 1]


@lru_cache(maxsize=4)
def _digammas(size: int) -> FloatArray:
    table = np.full(size, -math.inf)
    table[1:] = digamma(np.arange(1.0, size))
    table.setflags(write=False)
    return table
