"""A code for masks in which weights depend on each other in pairs, more or less firmly.

Weights are coded one after another. Each is predicted by itself and from every weight before it,
by how the two went together in the masks seen; the predictions are mixed, each with the odds that
the masks seen give to it. So no tree of dependences has to be chosen, and weights that only seem
to depend on each other cost little. The order is that in which Prim's algorithm would add them to
the tree of strongest dependences (Chow and Liu 1968): whatever a weight depends on most comes
before it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit, gammaln, log_expit

from mitools._typing import BoolArray, FloatArray, IntArray
from mitools.mask_information.codes import CodeLengths, Shape, checked_masks, sizes_of
from mitools.mask_information.featured import alike_in_size, log_odds
from mitools.mask_information.shared import count_length, with_spare

PAIRS = 1 << 22
"""Pairs of weights looked at for one mask; of more than 2,048 weights those near each other."""

_WORD = 64
_NOTHING = 35.0  # log odds below the best that are not counted
_Words = NDArray[np.uint64]  # a bit for each mask


def tree_code(
    masks: BoolArray,
    shapes: Sequence[Shape],
    weights: FloatArray | None = None,
    *,
    kept: int | None = None,
) -> CodeLengths:
    """Charge each mask with a code of weights that depend on each other, fitted on the others.

    Weights that were the same in all other masks are taken for independent. Those that were not
    are looked at in blocks of neighbours, such that there are `PAIRS` pairs within blocks.

    Parameters
    ----------
    masks : bool array, shape (K, p)
        Row j is the mask from the j-th independent data set; K >= 3.
    shapes : sequence of (rows, columns)
        Of each layer; their products sum to p.
    weights : float array, shape (p,), optional
        At initialisation: what a weight does by itself is learnt from others of its size as well.
    kept : int or None
        The number of ones in every mask, if it was fixed before the data were seen.

    Returns
    -------
    CodeLengths
        Without an `entropy`: it is not known what this code would pay at best.

    Raises
    ------
    ValueError
        As `featured_code`.

    References
    ----------
    Chow and Liu, *Approximating discrete probability distributions with dependence trees*, IEEE
    Trans. Inf. Theory 14 (1968). Mixing over parents: Design.
    """
    masks, sizes = checked_masks(masks, sizes_of(shapes), kept)
    coded = _Coded(_words(masks), sizes, alike_in_size(weights, masks.shape[1], shapes))
    times, everything = masks.sum(axis=0, dtype=np.int64), _words(np.ones((len(masks), 1), bool))[0]
    lengths = [
        coded.length(row, times - row, everything ^ _word(j, len(masks)), len(masks) - 1, kept)
        for j, row in enumerate(masks)
    ]
    return CodeLengths.of(masks, lengths)


def tree_in_order(
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
        As for `tree_code`.
    """
    masks, sizes = checked_masks(masks, sizes_of(shapes), kept)
    coded = _Coded(_words(masks), sizes, alike_in_size(weights, masks.shape[1], shapes))
    times, seen = np.zeros(masks.shape[1], np.int64), np.zeros_like(_word(0, len(masks)))
    lengths = np.empty(len(masks))
    for j, row in enumerate(masks):
        lengths[j] = coded.length(row, times, seen, j, kept)
        times += row
        seen |= _word(j, len(masks))
    return lengths


@dataclass(frozen=True, eq=False)
class _Coded:
    """What does not change with the masks that are seen."""

    words: _Words  # (weights, words): the bits of all masks
    sizes: tuple[int, ...]
    alike: IntArray

    def length(
        self, row: BoolArray, times: IntArray, seen: _Words, draws: int, kept: int | None
    ) -> float:
        """Return -log q(row), the code fitted on the masks whose bits are set in `seen`."""
        count = count_length(int(np.count_nonzero(row)), len(row), fixed=kept is not None)
        if not draws:
            return count
        odds = self._odds(times, draws)
        alone = log_expit(np.where(row, odds, -odds))
        moving = np.flatnonzero((times > 0) & (times < draws))
        coded = float(alone.sum() - alone[moving].sum())
        cells, margins = _tables(draws)
        for part in _blocks(moving):
            rates = expit(odds[part])
            bits = self.words[part] & seen
            coded += _log_tree(bits, times[part], draws, row[part], rates, cells, margins)
        return float(with_spare(-coded, count))

    def _odds(self, times: IntArray, draws: int) -> FloatArray:
        ends = np.cumsum(self.sizes)
        parts = [slice(end - size, end) for size, end in zip(self.sizes, ends, strict=True) if size]
        found = [log_odds(times[part], draws, self.alike[part]) for part in parts]
        return np.concatenate([np.zeros(0), *found])


def _words(masks: BoolArray) -> _Words:
    """Return the bits of each weight, mask j's in word j // 64."""
    words = np.zeros((masks.shape[1], -(-len(masks) // _WORD)), np.uint64)
    for j, row in enumerate(masks):
        words[:, j // _WORD] |= row * np.uint64(1 << j % _WORD)
    return words


def _word(j: int, draws: int) -> _Words:
    """Return the words in which mask j alone is set."""
    word = np.zeros(-(-draws // _WORD), np.uint64)
    word[j // _WORD] = 1 << j % _WORD
    return word


def _blocks(moving: IntArray) -> list[IntArray]:
    """Part weights into runs of neighbours, small enough that there are few pairs in all."""
    size = max(1, min(math.isqrt(PAIRS), PAIRS // max(len(moving), 1)))
    return [moving[start : start + size] for start in range(0, len(moving), size)]


def _tables(draws: int) -> tuple[FloatArray, FloatArray]:
    """Return the two parts of the log probability of 0 .. draws bits of a kind.

    Under Jeffreys' prior a ones and b zeros have cells[a] + cells[b] - margins[a + b].
    """
    count = np.arange(draws + 1.0)
    return gammaln(count + 0.5) - gammaln(0.5), gammaln(count + 1.0)


@njit(cache=True, nogil=True)
def _log_tree(
    words: _Words,
    times: IntArray,
    draws: int,
    row: BoolArray,
    rates: FloatArray,
    cells: FloatArray,
    margins: FloatArray,
) -> float:
    """Log probability of a mask's weights, coded one after another from those before them.

    Parameters
    ----------
    words : (m, W) uint64
        A bit for each mask seen.
    times : (m,) int
        How often each weight was kept in them.
    draws : int
        Their number.
    row : (m,) bool
        The mask.
    rates : (m,) float
        Probability of each weight by itself.
    cells, margins
        Of `_tables`.
    """
    count, latest, total = len(times), 0, 0.0
    alone = cells[times] + cells[draws - times] - margins[draws]
    left = np.ones(count, np.bool_)
    best = np.full(count, -np.inf)  # log odds of the weight before that tells most
    odds, chance = np.zeros(count), np.zeros(count)  # sums over weights before, in units of e^top
    top = np.zeros(count)
    for before in range(count):
        for i in range(count):
            if left[i] and (not left[latest] or best[i] > best[latest]):
                latest = i
        left[latest] = False
        share, each = 1.0, rates[latest] if row[latest] else 1.0 - rates[latest]
        if before:  # half of the prior is on the weight by itself
            share = math.exp(-top[latest])
            each = (share * each + chance[latest] / before) / (share + odds[latest] / before)
        total += math.log(each)
        kept = row[latest]
        ones = times[latest]
        whole = margins[ones] + margins[draws - ones]
        cases = (ones if kept else draws - ones) + 1.0
        for i in range(count):
            if not left[i]:
                continue
            both = _in_common(words[i], words[latest])
            only, other = times[i] - both, ones - both
            neither = draws - ones - only
            told = cells[both] + cells[other] + cells[only] + cells[neither] - whole - alone[i]
            best[i] = max(best[i], told)
            if told > top[i]:
                odds[i] *= math.exp(top[i] - told)
                chance[i] *= math.exp(top[i] - told)
                top[i] = told
            if told > top[i] - _NOTHING:
                weight = math.exp(told - top[i])
                rate = ((both if kept else only) + rates[i]) / cases
                odds[i] += weight
                chance[i] += weight * (rate if row[i] else 1.0 - rate)
    return total


@njit(cache=True, nogil=True, forceinline=True)
def _in_common(one: _Words, other: _Words) -> int:
    """Number of bits set in both."""
    found = np.uint64(0)
    for k in range(len(one)):
        bits = one[k] & other[k]
        bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
        pairs = np.uint64(0x3333333333333333)
        bits = (bits & pairs) + ((bits >> np.uint64(2)) & pairs)
        bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        found += (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return int(found)
