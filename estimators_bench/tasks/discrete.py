"""Symbols: channels, tables, counts, and conditions, with truth by formula or enumeration."""

import math
from functools import partial

import numpy as np
from scipy.special import gammaincinv, gammaln

from estimators_bench.tasks.finite import Law, binary_entropy, law
from estimators_bench.tasks.kinds import Kind, SampleTask, Truth
from mitools._typing import FloatArray, IntArray


def discrete_task(
    name: str, joint: Law, about: str, *, dims: tuple[int, ...] = (1, 1), nats: float | None = None
) -> SampleTask:
    """Return the question of what a law's variables tell, two of them or two given a third.

    Parameters
    ----------
    name, about, dims
        As for `SampleTask`.
    joint : Law
        Its columns in the order of the variables.
    nats : float or None
        The truth, where there is a formula; None: by enumeration.
    """
    conditional = len(dims) == 3
    if nats is None:
        groups = np.split(np.arange(sum(dims)), np.cumsum(dims)[:-1])
        truth = Truth(joint.information(*(group.tolist() for group in groups)), "enumeration")
    else:
        truth = Truth(nats)
    kinds: tuple[Kind, ...] = ("discrete",) * len(dims)
    question = "conditional_mutual_information" if conditional else "mutual_information"
    sampler = partial(joint.variables, dims)
    return SampleTask(name, "discrete", truth, sampler, dims, kinds, question, about=about)


def flips(a: IntArray, b: IntArray, chance: float) -> FloatArray:
    """Return the probability of bits b, being bits a, each flipped with some chance."""
    return np.where(a == b, 1.0 - chance, chance)


def _channels(count: int, chance: float) -> Law:
    """Return the law of so many fair bits and what binary symmetric channels make of them."""

    def weight(*bits: IntArray) -> FloatArray:
        pairs = zip(bits[:count], bits[count:], strict=True)
        return np.prod([flips(a, b, chance) for a, b in pairs], axis=0)

    return law((2,) * 2 * count, weight)


def _window(size: int, width: int) -> Law:
    """Return the law of a uniform symbol and one of the `width` symbols from it on, in a circle."""
    return law((size, size), lambda x, y: (y - x) % size < width)


def _erasures(size: int, chance: float) -> Law:
    """Return the law of a uniform symbol, and of itself or the symbol `size` for 'lost'."""
    return law(
        (size, size + 1),
        lambda x, y: np.where(y == size, chance, np.where(x == y, 1.0 - chance, 0.0)),
    )


def _z_channel(chance: float) -> Law:
    """Return the law of a fair bit through a channel that turns 1 into 0 with some chance."""
    return law((2, 2), lambda x, y: np.where(x == 1, flips(x, y, chance), x == y))


def _zipf(size: int, kept: float) -> Law:
    """Return the law of a Zipf symbol and of itself, or else of another draw."""
    p = 1.0 / np.arange(1, size + 1)
    p /= p.sum()
    return law((size, size), lambda x, y: p[x] * (kept * (x == y) + (1.0 - kept) * p[y]))


def _dirichlet(size: int, concentration: float, seed: int) -> Law:
    """Return a table drawn from the symmetric Dirichlet law."""
    shape = (size, size)
    # By inversion, because the generator's own gamma variates may change from release to release.
    table = gammaincinv(concentration, np.random.default_rng(seed).random(shape))
    return law(shape, lambda x, y: table[x, y])


def _shared_counts(own: float, shared: float, largest: int) -> Law:
    """Return the law of A + C and B + C, for Poisson counts A and B of mean `own`, C `shared`."""
    k = np.arange(largest + 1)
    apart, joint = (np.exp(k * math.log(mean) - mean - gammaln(k + 1)) for mean in (own, shared))
    table = np.zeros((largest + 1, largest + 1))
    for common in k:
        rest = apart[: largest + 1 - common]
        table[common:, common:] += joint[common] * np.outer(rest, rest)
    return law(table.shape, lambda x, y: table[x, y])


def _noisy_copy(copy: IntArray, symbol: IntArray, size: int, kept: float) -> FloatArray:
    """Return the probability that a symbol is kept, or else drawn uniformly."""
    return kept * (copy == symbol) + (1.0 - kept) / size


_CLEAR = math.log(2) - binary_entropy(0.1)

_BETWEEN = (
    discrete_task(
        "bsc-strong", _channels(1, 0.1), "A fair bit, flipped one time in ten.", nats=_CLEAR
    ),
    discrete_task(
        "bsc-weak",
        _channels(1, 0.45),
        "A fair bit, flipped 45 times in a hundred: is so little seen at all?",
        nats=math.log(2) - binary_entropy(0.45),
    ),
    discrete_task(
        "bsc-5-bits",
        _channels(5, 0.1),
        "Five fair bits, each flipped one time in ten: 32 by 32 symbols in columns.",
        dims=(5, 5),
        nats=5 * _CLEAR,
    ),
    discrete_task(
        "erasures",
        _erasures(4, 0.3),
        "One of four symbols, lost three times in ten.",
        nats=0.7 * math.log(4),
    ),
    discrete_task(
        "z-channel",
        _z_channel(0.25),
        "A fair bit through a channel that only ever turns 1 into 0.",
        nats=binary_entropy(0.375) - 0.5 * binary_entropy(0.25),
    ),
    discrete_task(
        "window-8",
        _window(8, 4),
        "Eight symbols, and one of the four from there on: every cell is seen often.",
        nats=math.log(2),
    ),
    discrete_task(
        "window-64",
        _window(64, 16),
        "64 symbols, and one of the 16 from there on: 1,024 cells, about one sample in each.",
        nats=math.log(4),
    ),
    discrete_task(
        "window-256",
        _window(256, 16),
        "256 symbols, and one of the 16 from there on: most cells are not seen.",
        nats=math.log(16),
    ),
    discrete_task(
        "zipf-100",
        _zipf(100, 0.5),
        "A hundred symbols of Zipf's law, kept half the time or else drawn again: unseen tails.",
    ),
    discrete_task(
        "dirichlet-5", _dirichlet(5, 1.0, 5), "A random table of 5 by 5, uniform among all tables."
    ),
    discrete_task(
        "dirichlet-30", _dirichlet(30, 0.1, 30), "A random table of 30 by 30, a few cells heavy."
    ),
    discrete_task(
        "independent-20",
        law((20, 20)),
        "Twenty symbols each, independent: the bias of a method and nothing else.",
        nats=0.0,
    ),
    discrete_task(
        "independent-zipf",
        _zipf(100, 0.0),
        "A hundred symbols of Zipf's law each, independent: bias where many are unseen.",
        nats=0.0,
    ),
    discrete_task(
        "shared-counts",
        _shared_counts(1.0, 2.0, 40),
        "Two Poisson counts of mean 3 that share a part of mean 2.",
    ),
    discrete_task(
        "xor",
        law((2, 2, 2), lambda a, b, t: t == a ^ b),
        "Two fair bits and whether they differ: nothing singly, all together.",
        dims=(2, 1),
        nats=math.log(2),
    ),
    discrete_task(
        "parity-8",
        law((2,) * 9, lambda *b: flips(np.bitwise_xor.reduce(b[:8]), b[8], 0.1)),
        "The parity of eight fair bits, flipped one time in ten: no seven of them know a thing.",
        dims=(8, 1),
        nats=_CLEAR,
    ),
)

_CONDITIONAL = (
    discrete_task(
        "given-common-cause",
        law((4, 4, 4), lambda x, y, z: _noisy_copy(x, z, 4, 0.7) * _noisy_copy(y, z, 4, 0.7)),
        "Two noisy copies of one of four symbols, given that symbol: nothing is left.",
        dims=(1, 1, 1),
        nats=0.0,
    ),
    discrete_task(
        "given-xor",
        law((2, 2, 2), lambda x, y, z: flips(x ^ y, z, 0.1)),
        "Two independent fair bits, given a noisy word on whether they differ.",
        dims=(1, 1, 1),
        nats=_CLEAR,
    ),
    discrete_task(
        "given-chain-end",
        law((2, 2, 2), lambda x, y, z: flips(x, y, 0.1) * flips(y, z, 0.2)),
        "The first two of a chain x - y - z given its end: I(X; Y) - I(X; Z).",
        dims=(1, 1, 1),
        nats=binary_entropy(0.26) - binary_entropy(0.1),
    ),
    discrete_task(
        "given-chain-middle",
        law((6, 6, 6), lambda x, y, z: _noisy_copy(z, x, 6, 0.6) * _noisy_copy(y, z, 6, 0.6)),
        "The ends of a chain x - z - y of six symbols given its middle: nothing, over 216 cells.",
        dims=(1, 1, 1),
        nats=0.0,
    ),
    discrete_task(
        "given-3-columns",
        law(
            (4, 4, 4, 4, 4),
            lambda x, y, a, b, c: (
                _noisy_copy(x, (a + b) % 4, 4, 0.8) * _noisy_copy(y, (x + b + c) % 4, 4, 0.5)
            ),
        ),
        "Two symbols given three others, which hide from each alone what x tells of y.",
        dims=(1, 1, 3),
    ),
)

TASKS: tuple[SampleTask, ...] = _BETWEEN + _CONDITIONAL
