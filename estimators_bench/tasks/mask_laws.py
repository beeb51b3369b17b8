"""Laws of masks whose information about the data is known exactly.

A law is a frozen value: called with a number of data sets and a generator it draws their masks,
and `nats` is I(mask; data | init). What does not depend on the data (which weight follows what,
the bits of weights that follow nothing) plays the part of the initial weights: it is the same in
every draw, and is worked out from the positions alone.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from scipy.special import gammaln, log_ndtr, ndtr, ndtri, xlogy

from estimators_bench.tasks.kinds import MaskData
from mitools._typing import BoolArray, FloatArray, IntArray

_LEVELS = 499  # different weights in a threshold law; prime, so that it divides no layer
_GOLDEN = 0.6180339887498949
_FAIR = (0.5, 0.5)


@dataclass(frozen=True)
class Silent:
    """A mask that no data have touched: no information.

    Parameters
    ----------
    size : int
        Weights.
    density : float
        Share that is kept.
    points : int
        Labels of each data set, fair coins that the mask knows nothing of.
    seeds_move : bool
        Whether the pruner draws its own randomness anew for each data set; else every mask is the
        same one.
    read : bool
        Whether the pruner opened its data, for nothing.
    """

    size: int
    density: float = 0.2
    points: int = 50
    seeds_move: bool = False
    read: bool = False

    @property
    def nats(self) -> float:
        """Nothing."""
        return 0.0

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw masks, and labels beside them."""
        masks = np.empty((draws, self.size), np.bool_)
        if self.seeds_move:
            for row in masks:
                row[:] = rng.random(self.size, dtype=np.float32) < self.density
            shown = rng.standard_normal((draws, self.points, 2))
        else:
            masks[:] = scattered(self.size) < self.density
            same = np.random.default_rng(self.size).standard_normal((self.points, 2))
            shown = np.tile(same, (draws, 1, 1))
        labels = rng.integers(0, 2, (draws, self.points))
        return MaskData(masks, layers(self.size), labels, shown, read=self.read)


@dataclass(frozen=True)
class Threshold:
    """Keep the weights whose mean in the data exceeds τ, through the pruner's own noise if any.

    ``m_i = 1[mean_i + ξ_i > 0]`` with ``mean_i ~ N(θ_i, 1/points)`` and ``ξ_i ~ N(0, noise²)``
    drawn anew by the pruner and not conditioned on. Then ``I = Σ_i h(p_i) - E h(p_i | mean_i)``
    with h the binary entropy; the second term is 0 without noise.

    Parameters
    ----------
    size : int
        Weights.
    spread, shift : float
        Standard deviation and mean over weights of ``θ_i √points``, which is normal over them: a
        large spread makes most weights sure.
    points : int
        In a data set.
    noise : float
        Of the pruner, in units of ``1/√points``.
    """

    size: int
    spread: float = 1.0
    shift: float = 0.0
    points: int = 100
    noise: float = 0.0

    @property
    def nats(self) -> float:
        """Entropy of each weight, less what the pruner's noise makes of it."""
        means, counts = self._means()
        total = counts @ _entropy_beyond(means / math.hypot(1.0, self.noise))
        if self.noise == 0.0:
            return float(total)
        # The trapezoidal rule converges exponentially here: both factors are smooth and decay.
        z = np.linspace(-9.0, 9.0, 1_201)
        density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi) * (z[1] - z[0])
        left = _entropy_beyond((means[:, None] + z) / self.noise) @ density
        return float(total - counts @ left)

    def _means(self) -> tuple[FloatArray, IntArray]:
        """Different values of ``θ √points``, and how many weights have each."""
        levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
        counts = np.bincount(_level(self.size), minlength=_LEVELS)
        return self.shift + self.spread * ndtri(levels), counts

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw the mean of each coordinate, which is all that the pruner uses, and compare."""
        means, _ = self._means()
        root = math.sqrt(self.points)
        theta = (means / root)[_level(self.size)].astype(np.float32)
        masks = np.empty((draws, self.size), np.bool_)
        for row in masks:
            mean = rng.standard_normal(self.size, dtype=np.float32) / np.float32(root) + theta
            if self.noise:
                own = rng.standard_normal(self.size, dtype=np.float32)
                mean += own * np.float32(self.noise / root)
            np.greater(mean, 0.0, out=row)
        return MaskData(masks, layers(self.size))


@dataclass(frozen=True)
class Lookup:
    """A mask that spells out the label noise, through a symmetric channel.

    Point j's symbol is kept with probability ``1 - flip`` and else replaced by one of the others;
    what comes out is written into weights of its own: one for two symbols, as many as there are
    symbols for more (the one that came out is kept). All other weights are data-free. Then
    ``I = points · (H(out) - h(flip) - flip · log(c - 1))``, which is ``points · (log 2 - h(flip))``
    for fair coins.

    Parameters
    ----------
    size : int
        Weights.
    points : int
        In a data set.
    flip : float
        Of the channel; its noise is the pruner's own, not conditioned on.
    law : tuple of float
        Of the symbols.
    """

    size: int
    points: int
    flip: float = 0.0
    law: tuple[float, ...] = _FAIR

    @property
    def nats(self) -> float:
        """Entropy of what comes out, less that of the channel."""
        law, others = np.array(self.law), len(self.law) - 1
        out = law * (1.0 - self.flip) + (1.0 - law) * self.flip / others
        channel = entropy_of([self.flip, 1.0 - self.flip]) + self.flip * math.log(others)
        return self.points * (entropy_of(out) - channel)

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw labels, send them through the channel, and write them down."""
        symbols = len(self.law)
        # Inverted by hand: the order of one uniform number a label is simple and stable.
        edges = np.cumsum(self.law)[:-1]
        labels = np.searchsorted(edges, rng.random((draws, self.points)), side="right")
        shift = rng.integers(1, symbols, (draws, self.points))
        flipped = rng.random((draws, self.points)) < self.flip
        out = np.where(flipped, (labels + shift) % symbols, labels)
        told = out == 1 if symbols == 2 else out[..., None] == np.arange(symbols)
        told = told.reshape(draws, -1)
        masks = np.empty((draws, self.size), np.bool_)
        masks[:] = scattered(self.size) < 0.2
        masks[:, _level(self.size, told.shape[1], whole=True)] = told
        return MaskData(masks, layers(self.size), labels, np.eye(symbols)[out])


@dataclass(frozen=True)
class TopK:
    """Keep the ``kept`` biggest of ``size`` exchangeable scores: all such masks alike."""

    size: int
    kept: int

    @property
    def nats(self) -> float:
        """Log of the number of such masks."""
        p, k = self.size, self.kept
        return float(gammaln(p + 1) - gammaln(k + 1) - gammaln(p - k + 1))

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw scores and take the biggest."""
        masks = np.zeros((draws, self.size), np.bool_)
        for row in masks:
            scores = rng.random(self.size)
            row[np.argpartition(scores, self.size - self.kept)[self.size - self.kept :]] = True
        return MaskData(masks, (self.size,))


@dataclass(frozen=True)
class SharedCauses:
    """Blocks of weights that each follow one hidden bit of the data, half of a block against it.

    A code of independent weights pays ``copies`` times what there is to know. The weights of a
    block are not neighbours: weight i belongs to block ``i mod blocks``.

    Parameters
    ----------
    blocks, copies : int
        Hidden bits, and weights that follow each.
    rate : float
        How often a hidden bit is 1.
    """

    blocks: int
    copies: int
    rate: float = 0.5

    @property
    def size(self) -> int:
        """Weights."""
        return self.blocks * self.copies

    @property
    def nats(self) -> float:
        """Entropy of the hidden bits."""
        return self.blocks * entropy_of([self.rate, 1.0 - self.rate])

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw the hidden bits and let the weights follow."""
        hidden = rng.random((draws, self.blocks)) < self.rate
        against = np.arange(self.copies) % 2 == 1
        masks = hidden[:, None, :] ^ against[None, :, None]
        return MaskData(masks.reshape(draws, self.size), layers(self.size))


@dataclass(frozen=True)
class Channels:
    """Whole hidden units kept or dropped, each by the threshold of a mean; weights follow them.

    A row of a layer goes with its unit, and so does the column of the next layer. Inputs and
    outputs all stay, so that the mask always shows which units did: ``I = Σ h(p_unit)``.

    Parameters
    ----------
    widths : tuple of int
        Inputs, hidden units of each layer, outputs.
    """

    widths: tuple[int, ...]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each layer."""
        return tuple((rows, columns) for columns, rows in pairwise(self.widths))

    @property
    def size(self) -> int:
        """Weights."""
        return sum(rows * columns for rows, columns in self.shapes)

    @property
    def nats(self) -> float:
        """Sum of the units' entropies."""
        return self._units.nats

    @property
    def _units(self) -> Threshold:
        return Threshold(sum(self.widths[1:-1]))

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw which units stay, and let their weights follow."""
        units = self._units(draws, rng).masks
        ends = np.cumsum(self.widths[1:-1])
        ones = [np.ones((draws, width), np.bool_) for width in (self.widths[0], self.widths[-1])]
        stay = [ones[0], *np.split(units, ends[:-1], axis=1), ones[1]]
        layers = [
            (rows[:, :, None] & columns[:, None]).reshape(draws, -1)
            for columns, rows in pairwise(stay)
        ]
        return MaskData(np.hstack(layers), tuple(layer.shape[1] for layer in layers))


@dataclass(frozen=True)
class Hash:
    """A mask that spells out a hash of the labels in a random linear code: much, and of no use.

    The hash is made of parities of two labels each, so it is uniform and no single label depends
    on it; weight i is kept where the parity of a subset of the hash's bits, picked by position, is
    odd. The first ``bits`` weights spell out the hash, so masks differ where hashes do. Any two
    weights are independent: neither marginals nor pairs show that there are only 2^bits masks.

    Parameters
    ----------
    size : int
        Weights, at least ``bits``.
    bits : int
        Of the hash, at most 63; a data set has twice as many points.
    """

    size: int
    bits: int

    @property
    def nats(self) -> float:
        """Entropy of a uniform hash."""
        return self.bits * math.log(2.0)

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw labels, hash them, and look up the mask of the hash."""
        labels = rng.integers(0, 2, (draws, 2 * self.bits))
        parities = labels[:, : self.bits] ^ labels[:, self.bits :]
        places = np.uint64(1) << np.arange(self.bits, dtype=np.uint64)
        hashes = parities.astype(np.uint64) @ places
        subsets = self._subsets()
        masks = np.empty((draws, self.size), np.bool_)
        for row, value in zip(masks, hashes, strict=True):
            row[:] = _odd(subsets & value)
        told = masks[:, np.arange(2 * self.bits) % self.size].astype(np.int64)
        return MaskData(masks, layers(self.size), labels, np.eye(2)[told])

    def _subsets(self) -> np.ndarray:
        place = np.arange(self.size, dtype=np.uint64)
        mixed = (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        subsets = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(64 - self.bits)
        subsets[: self.bits] = np.uint64(1) << place[: self.bits]
        return subsets


def layers(size: int) -> tuple[int, ...]:
    """Sizes of three layers: a half, a quarter, and the rest."""
    return (size // 2, size // 4, size - size // 2 - size // 4)


def scattered(size: int) -> FloatArray:
    """Evenly spread numbers in [0, 1), a different one at each position, in no visible order."""
    return np.modf(np.arange(1, size + 1) * _GOLDEN)[0]


def _level(size: int, count: int = _LEVELS, *, whole: bool = False) -> IntArray:
    """Which of ``count`` levels each weight has; with ``whole``, ``count`` different weights."""
    if whole:
        return np.argsort(scattered(size), kind="stable")[:count]
    return (scattered(size) * count).astype(np.int64)


def _odd(words: np.ndarray) -> BoolArray:
    for shift in (32, 16, 8, 4, 2, 1):
        words = words ^ (words >> np.uint64(shift))
    return (words & np.uint64(1)).astype(np.bool_)


def entropy_of(law: FloatArray | list[float]) -> float:
    """Entropy of a law on a few symbols."""
    law = np.asarray(law)
    return float(-xlogy(law, law).sum())


def _entropy_beyond(z: FloatArray) -> FloatArray:
    """h(Φ(z)) in nats, also where Φ(z) rounds to 1."""
    return -(ndtr(z) * log_ndtr(z) + ndtr(-z) * log_ndtr(-z))
