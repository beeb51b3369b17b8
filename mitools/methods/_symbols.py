"""Rows as symbols: which are equal, how often each occurs, how many there could be."""

from dataclasses import dataclass

import numpy as np

from mitools._typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Symbols:
    """One symbol per sample.

    Parameters
    ----------
    codes : int array, shape (n,)
        Which symbol, in 0 .. kinds - 1, every one of them occurring.
    kinds : int
        Distinct symbols seen.
    cells : float
        Symbols that could have been seen: the product of the columns' numbers of values.
    """

    codes: IntArray
    kinds: int
    cells: float

    @property
    def counts(self) -> IntArray:
        """How often each symbol occurs; all positive."""
        return np.bincount(self.codes, minlength=self.kinds)


def symbols(rows: FloatArray, alphabet: int | None = None) -> Symbols:
    """Return the rows of an (n, d) array as symbols, each column having `alphabet` values."""
    parts = [_column(rows[:, j], alphabet) for j in range(rows.shape[1])]
    return joined(*parts)


def joined(first: Symbols, *others: Symbols) -> Symbols:
    """Return the symbols that the given ones make up together."""
    whole = first
    for other in others:
        # Both numbers are at most n, so the product cannot overflow.
        kinds, codes = _renumbered(
            whole.codes * other.kinds + other.codes, whole.kinds * other.kinds
        )
        whole = Symbols(codes, kinds, whole.cells * other.cells)
    return whole


def multiplicity(rows: FloatArray) -> IntArray:
    """Return for each row how many rows equal it, itself included."""
    found = symbols(rows)
    return found.counts[found.codes]


def _column(column: FloatArray, alphabet: int | None) -> Symbols:
    values, codes = np.unique(column, return_inverse=True)
    if alphabet is not None and len(values) > alphabet:
        raise ValueError(
            f"symbols must be at least the number of distinct values in each column; got "
            f"symbols={alphabet} with {len(values)} values. Count the values that can occur."
        )
    return Symbols(codes.astype(np.int64), len(values), float(alphabet or len(values)))


def _renumbered(codes: IntArray, limit: int) -> tuple[int, IntArray]:
    """Return codes in 0 .. kinds - 1, and kinds; without a sort where a table is small enough."""
    if limit > 4 * len(codes) + 1024:
        values, dense = np.unique(codes, return_inverse=True)
        return len(values), dense.astype(np.int64)
    present = np.bincount(codes, minlength=limit) > 0
    kinds = int(present.sum())
    return kinds, codes if kinds == limit else (np.cumsum(present) - 1)[codes]
