"""Ways to shuffle rows that leave alone what the null hypothesis says nothing about."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from mitools import _kernels
from mitools._typing import FloatArray, IntArray
from mitools._validation import checked_count, checked_neighbors
from mitools.methods._neighbors import scaled
from mitools.methods._symbols import symbols


class Shuffling(Protocol):
    """A way to shuffle rows."""

    def orders(self, n: int, z: FloatArray | None) -> Callable[[np.random.Generator], IntArray]:
        """Return what draws an order of n rows: row i is to come from row order[i].

        z has the condition's rows, shape (n, d), or is None where there is no condition.
        """
        ...


@dataclass(frozen=True)
class FreeShuffles:
    """All orders alike: for independent samples. Whatever linked the rows to z is lost."""

    def orders(self, n: int, z: FloatArray | None) -> Callable[[np.random.Generator], IntArray]:
        """Return what draws an order of n rows."""
        return partial(_free, n)


@dataclass(frozen=True)
class CircularShifts:
    """All rows later by the same random number of steps, the last ones first: for time series.

    Keeps the series whole but for one seam, so the test is nearly valid for independent stationary
    series, however long their memory, as long as it is much shorter than they are. There are only
    n shifts, so no small p can be told from 1/n. Whatever linked the rows to z is lost.
    """

    def orders(self, n: int, z: FloatArray | None) -> Callable[[np.random.Generator], IntArray]:
        """Return what draws an order of n rows."""
        return partial(_shifted, n)


@dataclass(frozen=True)
class BlockShuffles:
    """Blocks of successive rows in random order: for time series of short memory.

    More orders than `CircularShifts` and more seams: blocks should be many, and much longer than
    the memory (ten times, say). They begin at a random row, the series being closed to a ring.
    Whatever linked the rows to z is lost.

    Parameters
    ----------
    length : int
        Rows in a block.
    """

    length: int

    def __post_init__(self) -> None:
        checked_count("length", self.length)

    def orders(self, n: int, z: FloatArray | None) -> Callable[[np.random.Generator], IntArray]:
        """Return what draws an order of n rows."""
        if n < 2 * self.length:
            raise ValueError(
                f"length must leave at least two blocks; got length={self.length} with n={n} rows. "
                "Use shorter blocks or CircularShifts."
            )
        return partial(_in_blocks, n, self.length)


@dataclass(frozen=True)
class LocalShuffles:
    """Rows trade places with rows that are alike in z: for a test given z.

    Runge's local permutation [1]_: one row after another, in random order, takes a random one of
    itself and its nearest neighbours in z that is not taken yet, or where all are, any of them.
    Where more rows than that share one z, they are shuffled among each other. What ties the rows
    to z is kept up to the width of the neighbourhoods, so the test is nearly valid where the law
    changes little across them: many samples, few columns of z.

    Parameters
    ----------
    neighbors : int or None
        Neighbours of a row, by the largest coordinate distance in units of standard deviations.
        None: only rows of equal z, for labels; the test is then exact.

    References
    ----------
    .. [1] AISTATS 2018, arXiv 1709.01447, algorithm 1.
    """

    neighbors: int | None = 5

    def __post_init__(self) -> None:
        if self.neighbors is not None:
            checked_count("neighbors", self.neighbors)

    def orders(self, n: int, z: FloatArray | None) -> Callable[[np.random.Generator], IntArray]:
        """Return what draws an order of n rows."""
        if z is None:
            raise ValueError(
                "LocalShuffles needs rows to be alike in something; got no condition. Pass "
                "condition=, or use FreeShuffles."
            )
        alike = symbols(z).codes
        if self.neighbors is None:
            return partial(_local, alike, np.arange(0), np.zeros((0, 1), np.int64))
        k = checked_neighbors(self.neighbors, n)
        distances, near = _kernels.kth_neighbors(scaled(z, "std"), k)
        apart = np.flatnonzero(distances[:, -1] > 0.0)
        return partial(_local, alike, apart, np.column_stack([apart, near[apart]]))


def _free(n: int, chance: np.random.Generator) -> IntArray:
    return chance.permutation(n)


def _shifted(n: int, chance: np.random.Generator) -> IntArray:
    return (np.arange(n) + chance.integers(n)) % n


def _in_blocks(n: int, length: int, chance: np.random.Generator) -> IntArray:
    ring = _shifted(n, chance)
    blocks = [ring[start : start + length] for start in range(0, n, length)]
    return np.concatenate([blocks[i] for i in chance.permutation(len(blocks))])


def _local(
    alike: IntArray, apart: IntArray, near: IntArray, chance: np.random.Generator
) -> IntArray:
    """Return an order within equal z, but for the rows apart, which go to one of those near."""
    order = np.argsort(alike, kind="stable")
    shuffled = chance.permutation(len(alike))
    found = np.empty(len(alike), np.int64)
    found[order] = shuffled[np.argsort(alike[shuffled], kind="stable")]
    taken = [False] * len(alike)
    turns = chance.permutation(len(apart))
    for row, choice in zip(
        apart[turns].tolist(), chance.permuted(near, axis=1)[turns].tolist(), strict=True
    ):
        source = next((i for i in choice if not taken[i]), choice[-1])
        taken[source] = True
        found[row] = source
    return found
