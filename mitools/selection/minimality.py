"""When is the answer the smallest one? A diagnosis of small sets of symbols, by enumeration."""

import itertools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from mitools.methods import PlugIn
from mitools.methods._symbols import Symbols, joined
from mitools.selection.strata import nothing
from mitools.selection.tables import as_symbols, table_of

_MOST = 14
_PLUG_IN = PlugIn()

Names = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Minimality:
    """All the sets that tell what all features tell, and can spare none of their own.

    TERC with exact amounts ends with one of these sets; with which one, the order decides. So its
    answer is the smallest in every order exactly if all of them have one size.

    Parameters
    ----------
    irreducible : tuple of tuple of hashable
        These sets, by size.
    violations : tuple of pairs of tuples
        Disjoint sets of different size that are perfectly redundant, each determining the target,
        of which there are none under condition 1 of arXiv 2401.11512; irreducible pairs only,
        since any superset of a set that determines the target does so too.
    information : float
        I(X; T) of all features, in nats.
    """

    irreducible: tuple[Names, ...]
    violations: tuple[tuple[Names, Names], ...]
    information: float

    @property
    def certain(self) -> bool:
        """Whether every order ends with as few features as possible."""
        return len({len(names) for names in self.irreducible}) <= 1

    @property
    def condition(self) -> bool:
        """Whether condition 1 holds, among irreducible sets."""
        return not self.violations

    def __str__(self) -> str:
        sizes = sorted({len(names) for names in self.irreducible})
        says = (
            f"any order ends with {sizes[0]} features"
            if self.certain
            else f"orders end with {' or '.join(map(str, sizes))} features"
        )
        lines = [f"{says}; condition 1 {'holds' if self.condition else 'does not hold'}"]
        lines.extend(f"  {', '.join(map(str, names)) or 'none'}" for names in self.irreducible)
        return "\n".join(lines)


def minimality(features: Any, target: Any, *, tolerance: float = 1e-9) -> Minimality:
    """Find every irreducible set of features that tells of a target what all of them tell.

    By plug-in amounts of all 2^d sets: for tables of equally likely cases, where they are exact,
    and for samples of a target that is a function of the features.

    Parameters
    ----------
    features : array-like, shape (n, d), d at most 14
        Symbols; names are kept.
    target : array-like, shape (n,) or (n, t)
        Symbols.
    tolerance : float
        Nats that a set may lack. With noise, where plug-in amounts always grow with the set,
        nothing but all features is irreducible unless this is larger.

    Returns
    -------
    Minimality
        The sets, and whether the condition of the paper holds.

    Raises
    ------
    ValueError
        If there are too many features, or the data are not valid.

    Examples
    --------
    Two bits and their sum, which is the target: one feature is worth the two others.

    >>> from mitools.selection import minimality
    >>> print(minimality([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 2]], [0, 1, 1, 2]))
    orders end with 1 or 2 features; condition 1 does not hold
      2
      0, 1
    """
    table = table_of(features, target, _PLUG_IN)
    if len(table.names) > _MOST:
        raise ValueError(
            f"features must be at most {_MOST}, since all their sets are tried; got "
            f"{len(table.names)}. Pass the columns in doubt."
        )
    if not tolerance >= 0.0:
        raise ValueError(f"tolerance must be at least 0 nats; got {tolerance!r}.")
    columns, target_symbols = as_symbols(table)
    left = _equivocations(columns, target_symbols)
    d = len(columns)
    least = left[(1 << d) - 1] + tolerance
    entropy = left[0]
    sufficient = [bits for bits in range(1 << d) if left[bits] <= least]
    enough = set(sufficient)
    irreducible = [
        bits
        for bits in sufficient
        if not any(bits >> i & 1 and bits ^ (1 << i) in enough for i in range(d))
    ]
    irreducible.sort(key=lambda bits: (bits.bit_count(), _members(bits, d)))
    determined = least - tolerance <= tolerance
    named = [tuple(table.names[i] for i in _members(bits, d)) for bits in irreducible]
    pairs = itertools.combinations(range(len(named)), 2) if determined else []
    violations = [
        (named[a], named[b])
        for a, b in pairs
        if not irreducible[a] & irreducible[b] and len(named[a]) != len(named[b])
    ]
    return Minimality(tuple(named), tuple(violations), entropy - left[(1 << d) - 1])


def _equivocations(columns: list[Symbols], target: Symbols) -> list[float]:
    """Return H(T | X_S) in nats for all sets S, as numbers whose bits are their members."""
    codes = [nothing(len(target.codes))]
    for bits in range(1, 1 << len(columns)):
        first = (bits & -bits).bit_length() - 1
        codes.append(joined(codes[bits & (bits - 1)], columns[first]))
    return [_entropy(joined(seen, target)) - _entropy(seen) for seen in codes]


def _entropy(seen: Symbols) -> float:
    return _PLUG_IN.entropy_of_counts(seen.counts, math.inf)


def _members(bits: int, d: int) -> tuple[int, ...]:
    return tuple(i for i in range(d) if bits >> i & 1)
