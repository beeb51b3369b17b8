"""A code for masks that knows the network: initial weights, rows and columns of each layer.

In a layer, the log-odds that a weight is kept are those that the masks seen and weights of the
same initial size suggest, plus a number for its row and one for its column. These numbers belong to
the mask that is coded: units gain or lose weights together, and which do moves with the data. A
row's number is integrated over a normal prior; a column's is learnt from the rows before.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaln, expit, log_expit

from mitools._typing import BoolArray, FloatArray, IntArray
from mitools.mask_information.codes import CodeLengths, Shape, checked_masks, sizes_of
from mitools.mask_information.shared import count_length, with_spare

_PULLS = np.geomspace(0.05, 500.0, 21)  # masks' worth of what weights of that size do
_BINS, _IN_A_BIN = 64, 30  # bins of |w0| in a layer at most, and weights in each at least
_SPREADS = np.array([(row, column) for row in (0.0, 0.5, 1.2) for column in (0.0, 0.5, 1.2)])
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_LOG_WEIGHTS = np.log(_WEIGHTS / _WEIGHTS.sum())


def featured_code(
    masks: BoolArray,
    shapes: Sequence[Shape],
    weights: FloatArray | None = None,
    *,
    kept: int | None = None,
) -> CodeLengths:
    """Charge each mask with a code of rows, columns and initial weights, fitted on the others.

    Parameters
    ----------
    masks : bool array, shape (K, p)
        Row j is the mask from the j-th independent data set; K >= 3.
    shapes : sequence of (rows, columns)
        Of each layer, whose weights are in C order; their products sum to p. A convolution has a
        row for each output channel.
    weights : float array, shape (p,), optional
        At initialisation. None: only rows and columns are known.
    kept : int or None
        The number of ones in every mask, if it was fixed before the data were seen.

    Returns
    -------
    CodeLengths
        Without an `entropy`: it is not known what this code would pay at best.

    Raises
    ------
    ValueError
        As `independent_code`, and if weights are not p numbers.
    """
    masks, _ = checked_masks(masks, sizes_of(shapes), kept)
    alike = alike_in_size(weights, masks.shape[1], shapes)
    times = masks.sum(axis=0, dtype=np.int64)
    draws, fixed = len(masks) - 1, kept is not None
    lengths = [_length(times - row, draws, row, shapes, alike, fixed) for row in masks]
    return CodeLengths.of(masks, lengths)


def featured_in_order(
    masks: BoolArray,
    shapes: Sequence[Shape],
    weights: FloatArray | None = None,
    *,
    kept: int | None = None,
) -> FloatArray:
    """Charge each mask with the code fitted on those in the rows above it; the first by counting.

    Parameters
    ----------
    masks, shapes, weights, kept
        As for `featured_code`.
    """
    masks, _ = checked_masks(masks, sizes_of(shapes), kept)
    alike = alike_in_size(weights, masks.shape[1], shapes)
    times = np.zeros(masks.shape[1], np.int64)
    lengths = np.empty(len(masks))
    for j, row in enumerate(masks):
        lengths[j] = _length(times, j, row, shapes, alike, kept is not None)
        times += row
    return lengths


def _length(
    times: IntArray,
    draws: int,
    row: BoolArray,
    shapes: Sequence[Shape],
    alike: IntArray,
    fixed: bool,
) -> float:
    count = count_length(int(np.count_nonzero(row)), len(row), fixed=fixed)
    if not draws:
        return count
    coded, start = 0.0, 0
    for shape in shapes:
        part = slice(start, start + shape[0] * shape[1])
        start = part.stop
        if part.stop > part.start:
            odds = log_odds(times[part], draws, alike[part])
            coded += _rows_and_columns(odds.reshape(shape), row[part].reshape(shape))
    return float(with_spare(-coded, count))


def alike_in_size(weights: FloatArray | None, size: int, shapes: Sequence[Shape]) -> IntArray:
    """Number the weights of each layer by their size: equally many in each of a few bins."""
    if weights is None:
        return np.zeros(size, np.int64)
    weights = np.abs(np.asarray(weights, np.float64).reshape(-1))
    if len(weights) != size or not np.isfinite(weights).all():
        raise ValueError(
            f"weights must be the {size} initial weights of the layers, all finite; got "
            f"{len(weights)}. Flatten the prunable tensors in the order of the mask."
        )
    bins, start = np.empty(size, np.int64), 0
    for rows, columns in shapes:
        part = slice(start, start + rows * columns)
        start = part.stop
        count = min(_BINS, max(1, rows * columns // _IN_A_BIN))
        order = np.argsort(weights[part], kind="stable")
        bins[part][order] = np.arange(rows * columns) * count // max(rows * columns, 1)
    return bins


def log_odds(times: IntArray, draws: int, alike: IntArray) -> FloatArray:
    """Log-odds of each weight, from how often it was kept, and those of the same initial size."""
    table = np.zeros((int(alike.max()) + 1, draws + 1))
    np.add.at(table, (alike, times), 1.0)
    c = np.arange(draws + 1)
    ones, trials = table @ c, draws * table.sum(axis=1)
    density = (ones.sum() + 0.5) / (trials.sum() + 1.0)
    rate = ((ones + density) / (trials + 1.0))[:, None]
    rest = ((trials - ones + 1.0 - density) / (trials + 1.0))[:, None]
    evidence = np.array(
        [
            (
                (betaln(c + s * rate, draws - c + s * rest) - betaln(s * rate, s * rest)) * table
            ).sum()
            for s in _PULLS
        ]
    )
    trust = np.exp(evidence - np.logaddexp.reduce(evidence))
    share = trust / (draws + _PULLS)
    kept = c * share.sum() + rate * (share @ _PULLS)
    dropped = (draws - c) * share.sum() + rest * (share @ _PULLS)
    return (np.log(kept) - np.log(dropped))[alike, times]


def _rows_and_columns(odds: FloatArray, kept: BoolArray) -> float:
    """Log probability of a layer's mask, mixed over how much rows and columns vary."""
    by_row, by_column = _SPREADS[:, 0], _SPREADS[:, 1]
    # Odds averaged over such numbers are flatter than the odds given them.
    steeper = np.sqrt(1.0 + 0.346 * (by_row**2 + by_column**2))
    column = np.zeros((len(_SPREADS), odds.shape[1]))
    sure = np.where(by_column > 0.0, by_column, 1e-6)[:, None] ** -2.0 + column
    offsets = by_row[:, None] * _NODES
    total = np.zeros(len(_SPREADS))
    for theta, bits in zip(odds, kept, strict=True):
        middle = steeper[:, None] * theta + column
        sign = np.where(bits, 1.0, -1.0)
        at = log_expit(sign * (middle[:, None, :] + offsets[:, :, None])).sum(axis=2) + _LOG_WEIGHTS
        likely = np.logaddexp.reduce(at, axis=1)
        total += likely
        row = (np.exp(at - likely[:, None]) * offsets).sum(axis=1)
        chance = expit(middle + row[:, None])
        sure += chance * (1.0 - chance)
        column += (bits - chance) / sure  # one Newton step for each column
    return float(np.logaddexp.reduce(total) - math.log(len(_SPREADS)))
