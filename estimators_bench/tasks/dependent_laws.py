"""Laws of masks whose weights depend on each other, but do not move as one.

As in `mask_laws`: a law is a frozen value that draws masks, and `nats` is what they tell, exactly.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import gammaln, xlogy

from estimators_bench.tasks.kinds import MaskData
from estimators_bench.tasks.mask_laws import entropy_of, layers, scattered
from mitools._typing import IntArray


@dataclass(frozen=True)
class Branches:
    """A tree of weights: each does as another one does, but for a share of the data sets.

    The first weight is a fair bit of the data; every other one follows its parent but where a bit
    of its own says otherwise: ``I = log 2 + (size - 1) h(flip)``. Each weight alone is fair, so a
    code of independent weights pays ``size · log 2``. Which weight is whose parent is scattered
    over the mask.

    Parameters
    ----------
    size : int
        Weights.
    flip : float
        How often a weight does otherwise.
    """

    size: int
    flip: float

    @property
    def nats(self) -> float:
        """Entropy of the first bit and of all flips."""
        return math.log(2.0) + (self.size - 1) * entropy_of([self.flip, 1.0 - self.flip])

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw the first bit and who does otherwise, from the root of the tree outwards."""
        flips = rng.random((draws, self.size)) < self.flip
        flips[:, 0] = rng.random(draws) < 0.5
        for child, parent in enumerate(self.parents(), start=1):
            flips[:, child] ^= flips[:, parent]
        masks = np.empty_like(flips)
        masks[:, np.argsort(scattered(self.size), kind="stable")] = flips
        return MaskData(masks, layers(self.size))

    def parents(self) -> IntArray:
        """Return the parent of each but the first, in the order in which the tree grows."""
        before = np.arange(1, self.size)
        return (scattered(self.size + 7)[8:] * before).astype(np.int64)


@dataclass(frozen=True)
class NoisyCopies:
    """Blocks of weights that follow one hidden bit each, each weight but for a share of the data.

    Given how many of a block go against the others every arrangement is as likely, so a block's
    entropy is a sum over counts. The weights of a block are not neighbours: weight i belongs to
    block ``i mod blocks``.

    Parameters
    ----------
    blocks, copies : int
        Hidden bits, and weights that follow each.
    flip : float
        How often a weight goes against its bit.
    """

    blocks: int
    copies: int
    flip: float

    @property
    def size(self) -> int:
        """Weights."""
        return self.blocks * self.copies

    @property
    def nats(self) -> float:
        """Entropy of each block, by how many of its weights are kept."""
        kept = np.arange(self.copies + 1.0)
        dropped = self.copies - kept
        agree = xlogy(kept, 1.0 - self.flip) + xlogy(dropped, self.flip)
        log_each = np.logaddexp(agree, agree[::-1]) - math.log(2.0)
        ways = gammaln(self.copies + 1.0) - gammaln(kept + 1.0) - gammaln(dropped + 1.0)
        return -self.blocks * float(np.exp(ways + log_each) @ log_each)

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw the hidden bits, and who goes against them."""
        hidden = rng.random((draws, 1, self.blocks)) < 0.5
        against = rng.random((draws, self.copies, self.blocks)) < self.flip
        return MaskData((hidden ^ against).reshape(draws, self.size), layers(self.size))
