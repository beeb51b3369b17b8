"""Upper limits on the information of masks that hold for every law, at any number of masks.

A code fitted on masks seen earlier charges each mask, whatever its law, at least the entropy on
average; and no mask can cost more than a cap. Who bets at fair odds that the entropy is below h
then does not grow rich where it is not: so where the bet multiplies 20-fold, h is refuted at 95%.
Nothing is assumed but that data sets are independent draws of one law; in particular events that
are too rare to be seen are paid for.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mitools._typing import BoolArray, FloatArray
from mitools.mask_information.shared import SPARE, count_length, lengths_in_order

_STAKES = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
_FEAR = 0.05  # masks' worth of losing everything, in the choice of a stake
_GRID = 2_000


def certified_limit(
    masks: BoolArray,
    sizes: Sequence[Any] | None = None,
    *,
    kept: int | None = None,
    confidence: float = 0.95,
    orders: int = 8,
    code: Callable[..., FloatArray] = lengths_in_order,
) -> float:
    """Return an upper limit on H(mask | init), valid for every law and every number of masks.

    Parameters
    ----------
    masks : bool array, shape (K, p)
        From K independent data sets.
    sizes : sequence of int, optional
        Number of weights in each layer, as for `shared_code`; or what else the code takes.
    kept : int or None
        The number of ones, if it was fixed before the data were seen; it lowers the cap.
    confidence : float
        In (0, 1).
    orders : int
        The average over so many orders of the masks is as valid as one order, and steadier. Costs
        as many fits of the code to each mask.
    code : callable
        ``code(masks, sizes, kept=kept)`` returns the length of each mask by a code fitted on the
        rows above it, at most `length_cap`: `shared.lengths_in_order`; or, with shapes for sizes,
        `channel_in_order`, `mixed_in_order` or `featured.featured_in_order`.
    """
    cap = length_cap(masks.shape[1], kept)
    rng = np.random.default_rng(0)
    found = [code(masks[rng.permutation(len(masks))], sizes, kept=kept) for _ in range(orders)]
    return betting_limit(np.array(found), cap, confidence)


def length_cap(size: int, kept: int | None = None) -> float:
    """Return what no mask can cost more than, known before any is seen."""
    most = size // 2 if kept is None else kept
    return count_length(most, size, fixed=kept is not None) - math.log(SPARE)


def betting_limit(lengths: FloatArray, cap: float, confidence: float = 0.95) -> float:
    """Return the least h such that every greater entropy is refuted.

    With ``L_j`` the length of mask j by a code that saw the masks before it alone, the mean of
    ``L_j`` given the past is at least H. For every h <= H ::

        W(h) = Π_j (1 + f_j (h - L_j) / (cap - h)),   0 <= f_j <= 1

    therefore has mean at most 1 for every choice of f_j by the past, and so has its average over
    orders; it exceeds 1/α with probability at most α (Markov).

    Parameters
    ----------
    lengths : float array, shape (orders, K)
        Lengths along each order of the masks, none above cap.
    cap : float
        Known beforehand.
    confidence : float
        1 - α.

    References
    ----------
    Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS B
    2024, arXiv 2010.09686; averaging over orders: Vovk and Wang, e-values.
    """
    h = np.linspace(0.0, cap, _GRID + 1)[:-1]
    wealth = np.array([_log_wealth(row, h, cap) for row in lengths])
    average = np.logaddexp.reduce(wealth, axis=0) - math.log(len(lengths))
    highest = np.flatnonzero(average < math.log(1.0 / (1.0 - confidence)))[-1]  # W(0) is below 1
    return float(np.append(h, cap)[highest + 1])


def _log_wealth(lengths: FloatArray, h: FloatArray, cap: float) -> NDArray[np.float64]:
    """Log of W(h) along one order; each stake is the one that would have done best so far."""
    wealth = np.zeros(len(h))
    past = np.zeros((len(_STAKES), len(h)))
    ruin = _FEAR * np.log1p(-_STAKES)[:, None]
    for j, length in enumerate(lengths):
        gain = (h - length) / (cap - h)
        stake = _STAKES[np.argmax(past + ruin, axis=0)]
        wealth += np.log1p(stake * gain)
        # Later lengths tell more of the next one: the code goes on learning.
        past *= j / (j + 2.0)
        past += np.log1p(_STAKES[:, None] * gain)
    return wealth
