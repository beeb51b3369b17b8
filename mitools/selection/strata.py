"""Symbols: conditional information by counts, and tests within strata of equal condition."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from mitools._typing import FloatArray, IntArray
from mitools.methods._symbols import Symbols, joined
from mitools.selection.significance import Finding, OwnTest, Shuffled, Test, tail

_CELLS = 1 << 18  # of a block of shuffles
_Packed = tuple[NDArray[np.int32], int, float]  # Symbols in half the memory, one for each step


class SymbolWalk:
    """A walk over features that are symbols; every joint code is made once.

    What is left beside feature order[i] are those kept so far and order[i + 1:], so the codes of
    each tail of the order, made from its end, and of those kept serve all steps: O(d n) in all.

    Parameters
    ----------
    columns : sequence of Symbols
        The features.
    target : Symbols
        T.
    method : object
        Has ``entropy_of_counts``.
    order : sequence of int
        In which to visit.
    test : Test
        How to test.
    level : float
        The strictest level that p-values will meet.
    """

    def __init__(
        self,
        columns: Sequence[Symbols],
        target: Symbols,
        method: Any,
        order: Sequence[int],
        test: Test,
        level: float,
    ) -> None:
        self._columns, self._target, self._method = columns, target, method
        self._order, self._test, self._level = order, test, level
        self._turn = 0
        self._kept = nothing(len(target.codes))
        self._tails = _tails(columns, order, self._kept)

    def find(self) -> Finding:
        """Try the feature whose turn it is."""
        i = self._order[self._turn]
        x, t = self._columns[i], self._target
        z = joined(self._kept, _unpacked(*self._tails[self._turn]))
        phi = conditional(self._method, x, t, z)
        strata = Strata(x, t, z)
        if not strata.freedom:
            return Finding(phi, 1.0, strata.company >= 0.5)
        if isinstance(self._test, OwnTest):
            return Finding(phi, float(chi2.sf(2.0 * strata.gain(), strata.freedom)))
        return Finding(phi, self._shuffled(strata, self._test, i))

    def settle(self, kept: bool) -> None:
        """Keep or drop it, and go on to the next."""
        if kept:
            self._kept = joined(self._kept, self._columns[self._order[self._turn]])
        self._turn += 1

    def _shuffled(self, strata: "Strata", test: Shuffled, i: int) -> float:
        most = test.enough(self._level)
        values = strata.shuffled(np.random.default_rng([test.seed, i]))
        return tail(strata.together(), values, most, test.stop_after)


class Strata:
    """The rows of strata of equal z in which both x and t vary: all others are the same shuffled.

    Parameters
    ----------
    x, t, z : Symbols
        Feature, target and condition.
    """

    def __init__(self, x: Symbols, t: Symbols, z: Symbols) -> None:
        xz, tz = joined(z, x), joined(z, t)
        r, c = (np.bincount(_strata_of(each, z), minlength=z.kinds) for each in (xz, tz))
        both = (r > 1) & (c > 1)
        self.freedom = int(((r - 1) * (c - 1))[both].sum())
        self.company = float((z.counts > 1)[z.codes].mean())  # share of rows not alone in theirs
        rows = np.flatnonzero(both[z.codes])
        rows = rows[np.argsort(z.codes[rows], kind="stable")]
        self._z, self._xz, self._tz = (each.codes[rows] for each in (z, xz, tz))
        self._t, self._kinds = t.codes[rows], t.kinds
        steps = np.arange(len(rows) + 1, dtype=np.float64)
        steps[1:] *= np.log(steps[1:])
        self._steps = np.diff(steps)  # c log c - (c - 1) log(c - 1)

    def together(self) -> float:
        """Return sum c log c over the joint counts c(x, t, z)."""
        return float(self._sums((self._xz * self._kinds + self._t)[None])[0])

    def gain(self) -> float:
        """Return n times the plug-in I(X; T | Z), in nats."""
        margins = [self._sums(codes[None].copy())[0] for codes in (self._z, self._xz, self._tz)]
        return max(0.0, self.together() + float(margins[0] - margins[1] - margins[2]))

    def shuffled(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield `together` for x shuffled within strata; the other sums stay as they are."""
        m = len(self._z)
        block = 16  # at first, since most features that are to go are done with few
        while True:
            # Rows are sorted by stratum, so these are shuffles within each.
            order = np.argsort(self._z + rng.random((block, m)), axis=1)
            yield from self._sums(self._xz[order] * self._kinds + self._t).tolist()
            block = max(1, min(2 * block, _CELLS // m))

    def _sums(self, codes: IntArray) -> FloatArray:
        """Return sum c log c for each row of codes, which are sorted in place."""
        codes.sort(axis=1)
        places = np.arange(codes.shape[1])
        first = np.zeros(codes.shape, np.int64)
        first[:, 1:] = np.where(codes[:, 1:] != codes[:, :-1], places[1:], 0)
        np.maximum.accumulate(first, axis=1, out=first)
        return self._steps[places - first].sum(axis=1)


def nothing(n: int) -> Symbols:
    """Return n rows of one and the same symbol: no condition."""
    return Symbols(np.zeros(n, np.int64), 1, 1.0)


def conditional(method: Any, x: Symbols, t: Symbols, z: Symbols) -> float:
    """I(X; T | Z) = H(X, Z) + H(T, Z) - H(X, T, Z) - H(Z) in nats, by a method's entropies."""
    xz = joined(z, x)
    parts = (xz, joined(z, t), joined(xz, t), z)
    one, two, both, given = (method.entropy_of_counts(each.counts, each.cells) for each in parts)
    return float(one + two - both - given)


def _tails(columns: Sequence[Symbols], order: Sequence[int], end: Symbols) -> list[_Packed]:
    """Return for each turn the code of all features that are still to come after it."""
    after, packed = end, [_packed(end)]
    for i in reversed(order[1:]):
        after = joined(after, columns[i])
        packed.append(_packed(after))
    return packed[::-1]


def _packed(seen: Symbols) -> _Packed:
    return seen.codes.astype(np.int32), seen.kinds, seen.cells


def _unpacked(codes: NDArray[np.int32], kinds: int, cells: float) -> Symbols:
    return Symbols(codes.astype(np.int64), kinds, cells)


def _strata_of(finer: Symbols, coarser: Symbols) -> IntArray:
    """Return for each symbol of the finer code the one of the coarser that it belongs to."""
    found = np.empty(finer.kinds, np.int64)
    found[finer.codes] = coarser.codes
    return found
