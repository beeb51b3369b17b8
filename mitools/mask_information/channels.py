"""A code for masks of structured pruners, which keep or drop whole output channels.

A mask of whole rows is coded by one bit a row. Columns of a layer may follow the rows of the layer
before, as the inputs of a channel that is gone are gone: they cost nothing more. Half of the code
is on such masks and half on `mixed_code`, so that every mask has a length.
"""

import math
from collections.abc import Sequence

import numpy as np

from mitools._typing import BoolArray, FloatArray, IntArray
from mitools.mask_information.codes import (
    CodeLengths,
    Shape,
    checked_masks,
    half_and_half,
    independent_code,
    sizes_of,
)
from mitools.mask_information.mixture import mixed_code, mixed_in_order
from mitools.mask_information.shared import count_length, lengths_in_order, shared_code, with_spare

_DOUBT = 0.05  # masks' worth of "columns may follow, or not": small, since it never changes


def channel_code(
    masks: BoolArray,
    shapes: Sequence[Shape],
    weights: FloatArray | None = None,
    *,
    kept: int | None = None,
) -> CodeLengths:
    """Charge each mask with half of a code of whole rows and half of `mixed_code`.

    Rows are coded by half of `independent_code` and half of `shared_code`, which pays once for
    channels that go together. A mask that is not made of whole rows costs log 2 more than by
    `mixed_code`, and a fiftieth of a nat.

    Parameters
    ----------
    masks : bool array, shape (K, p)
        Row j is the mask from the j-th independent data set; K >= 3.
    shapes : sequence of (rows, columns)
        Of each layer, in the order of the network; a row is an output channel, and columns that
        are a multiple of the rows before belong to them in that order, as in convolutions.
    weights : float array, shape (p,), optional
        At initialisation, for `mixed_code`.
    kept : int or None
        The number of ones in every mask, if it was fixed before the data were seen.

    Returns
    -------
    CodeLengths
        Without an `entropy`: it is not known what this code would pay at best.

    Raises
    ------
    ValueError
        As `mixed_code`.
    """
    others = mixed_code(masks, shapes, weights, kept=kept)
    bits, follows = _channels(masks, shapes)
    rows = [rows for rows, _ in shapes]
    coded = independent_code(bits, rows).mixed_with(shared_code(bits, rows))
    seen = follows.sum(axis=0) - follows  # in all other masks
    whole = np.array(coded.lengths) - _log_following(follows, seen)
    lengths = _bounded_halves(whole, np.array(others.lengths), masks, kept)
    return CodeLengths(tuple(lengths.tolist()), math.nan, others.distinct)


def channel_in_order(
    masks: BoolArray,
    shapes: Sequence[Shape],
    weights: FloatArray | None = None,
    *,
    kept: int | None = None,
    featured: bool = True,
) -> FloatArray:
    """Charge each mask so, by codes fitted on those above it in the array: for `certified_limit`.

    Parameters
    ----------
    masks, shapes, weights, kept
        As for `channel_code`; the rows' code is that of `shared_code`.
    featured : bool
        Whether the other half is that of `mixed_code`; else that of `shared_code` alone, which is
        quicker.
    """
    sizes = sizes_of(shapes)
    if featured:
        others = mixed_in_order(masks, shapes, weights, kept=kept)
    else:
        others = lengths_in_order(masks, sizes, kept=kept)
    bits, follows = _channels(masks, shapes)
    seen = follows.cumsum(axis=0) - follows
    coded = lengths_in_order(bits, [rows for rows, _ in shapes])
    return _bounded_halves(coded - _log_following(follows, seen), others, masks, kept)


def _bounded_halves(
    whole: FloatArray, others: FloatArray, masks: BoolArray, kept: int | None
) -> FloatArray:
    """Mix the two, and keep the share that bounds what any mask can cost."""
    mixed = half_and_half(whole, others)
    counts = [
        count_length(int(np.count_nonzero(row)), len(row), fixed=kept is not None) for row in masks
    ]
    return with_spare(mixed, np.array(counts))


def _channels(masks: BoolArray, shapes: Sequence[Shape]) -> tuple[BoolArray, IntArray]:
    """Return which rows have any ones, and how columns go with them.

    Returns
    -------
    bits : (K, rows of all layers)
    follows : (K, layers, 2)
        Whether each layer is what its rows say if columns follow the rows before, and if not.
    """
    masks, _ = checked_masks(masks, sizes_of(shapes))
    bits: list[BoolArray] = []
    follows = np.zeros((len(masks), len(shapes), 2), np.int64)
    start, before = 0, np.ones((len(masks), 0), np.bool_)
    for at, (rows, columns) in enumerate(shapes):
        layer = masks[:, start : start + rows * columns].reshape(-1, rows, columns)
        start += rows * columns
        alive: BoolArray = np.asarray(layer.any(axis=2))
        follows[:, at, 1] = (layer == alive[:, :, None]).all(axis=(1, 2))
        each, rest = divmod(columns, max(before.shape[1], 1))
        if before.shape[1] and not rest:
            inputs = np.repeat(before, each, axis=1)
            follows[:, at, 0] = (layer == alive[:, :, None] & inputs[:, None]).all(axis=(1, 2))
        bits.append(alive)
        before = alive
    return np.hstack(bits), follows


def _log_following(follows: IntArray, seen: IntArray) -> FloatArray:
    """Log probability that columns go as they do, given how often they went so in masks seen.

    A mask that is not made of whole rows has none. Where both ways give the same mask, it has both.
    """
    share = (seen + _DOUBT) / (seen.sum(axis=2, keepdims=True) + 2.0 * _DOUBT)
    with np.errstate(divide="ignore"):
        return np.log((share * follows).sum(axis=2)).sum(axis=1)
