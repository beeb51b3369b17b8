"""Codes for masks whose weights move together, and that know little before they have seen much.

A mask is coded from masks seen before it. Two codes are mixed, so that the price is that of the
better one and a fraction of a nat:

* weights one by one, each kept as often as before, pulled to its layer's density;
* weights in groups: those that were always equal, or always opposite, in the masks seen. A group
  is coded by a Beta-binomial law, which pays once for weights that move as one.

How far to pull, and how firmly a group holds together, are not chosen but mixed over a prior. A
share of the whole is on the law by which all masks with equally many ones are alike, so that no
mask costs much more than counting, however surprising.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from mitools._typing import BoolArray, FloatArray, IntArray
from mitools.mask_information.codes import CodeLengths, checked_masks

SPARE = 0.02
"""Prior weight of the law of equal counts: a mask costs log 50 more than counting, at most."""

_PULLS = np.geomspace(1e-3, 1e3, 25)  # masks' worth of a layer's density
_LOOSE = np.array([0.5, 1.0])  # masks' worth of "either way is as likely" for a group
_HOLDS = np.geomspace(1e-4, 1e3, 15)  # weights' worth of a group's rate: small ones hold together
_TABLED = 18  # masks up to which all patterns fit into a table, and nothing need be sorted
_NO_MASK = np.uint64(0)
_DOUBT = 0.05  # share of trust that is given out anew after each mask


def _prior() -> FloatArray:
    """Half on weights one by one; of the groups' half, half on those that hold firmest."""
    holds = np.where(_HOLDS.min() == _HOLDS, 0.5, 0.5 / (len(_HOLDS) - 1))
    groups = np.repeat(holds, len(_LOOSE)) / len(_LOOSE)
    return np.log(np.concatenate([[0.5], 0.5 * groups]))


_PRIOR = _prior()


def shared_code(
    masks: BoolArray, sizes: Sequence[int] | None = None, *, kept: int | None = None
) -> CodeLengths:
    """Charge each mask with the code of groups, fitted on all the other masks.

    Parameters
    ----------
    masks : bool array, shape (K, p)
        Row j is the mask from the j-th independent data set; K >= 3. Takes 40 bytes a weight
        beyond them, or so.
    sizes : sequence of int, summing to p, optional
        Number of weights in each layer; one layer where it is left out.
    kept : int or None
        The number of ones in every mask, if it was fixed before the data were seen.

    Returns
    -------
    CodeLengths
        Without an `entropy`: it is not known what this code would pay at best.
    """
    masks, sizes = checked_masks(masks, sizes, kept)
    seen = Seen.nothing(sizes, kept)
    for row in masks:
        seen.add(row)
    # Which code to trust is learnt on the half that a mask does not belong to.
    half = len(masks) // 2
    trusts = [_trust_after(part, sizes, kept) for part in (masks[half:], masks[:half])]
    lengths = []
    for j, row in enumerate(masks):
        seen.drop(row, j)
        seen.trust = trusts[j >= half]
        lengths.append(seen.length(row))
        seen.add(row, j)
    return CodeLengths.of(masks, lengths)


def lengths_in_order(
    masks: BoolArray, sizes: Sequence[int] | None = None, *, kept: int | None = None
) -> FloatArray:
    """Charge each mask with the code fitted on those in the rows above it; the first by counting.

    Parameters
    ----------
    masks, sizes, kept
        As for `shared_code`.
    """
    masks, sizes = checked_masks(masks, sizes, kept)
    seen = Seen.nothing(sizes, kept)
    return np.array([seen.learn(row) for row in masks])


def _trust_after(masks: BoolArray, sizes: tuple[int, ...], kept: int | None) -> FloatArray:
    seen = Seen.nothing(sizes, kept)
    for row in masks:
        seen.learn(row)
    return seen.trust


@dataclass
class Seen:
    """What is remembered of masks: how often each weight was kept, and who moved with whom.

    Each mask has a word: a bit of its own, or random bits after the first few. A weight's key is
    the XOR of the words of the masks that kept it. Weights with equal keys were equal in all masks,
    and with keys that differ by the XOR of all words they were opposite (up to coincidences of
    random bits, which cost length, not truth).
    """

    times: NDArray[np.uint16]
    keys: NDArray[np.uint64]
    sizes: tuple[int, ...]
    kept: int | None = None
    trust: FloatArray = field(default_factory=lambda: np.stack([_PRIOR, _PRIOR]))
    words: list[np.uint64] = field(default_factory=list)
    everything: np.uint64 = _NO_MASK
    draws: int = 0

    @classmethod
    def nothing(cls, sizes: tuple[int, ...], kept: int | None = None) -> "Seen":
        """Return the memory of no mask; `kept`: the number of ones, if it was fixed beforehand."""
        return cls(np.zeros(sum(sizes), np.uint16), np.zeros(sum(sizes), np.uint64), sizes, kept)

    def add(self, row: BoolArray, index: int | None = None) -> None:
        """Remember a mask, as number `index` if it was there before."""
        if index is None:
            index = len(self.words)
            self.words.append(_word(index))
        self.times += row
        self._flip(row, index)
        self.draws += 1

    def drop(self, row: BoolArray, index: int) -> None:
        """Forget mask number `index`."""
        self.times -= row
        self._flip(row, index)
        self.draws -= 1

    def _flip(self, row: BoolArray, index: int) -> None:
        self.keys ^= row * self.words[index]
        self.everything ^= self.words[index]

    def length(self, row: BoolArray) -> float:
        """Return -log q(row) in nats."""
        if not self.draws or not len(row):
            return self._counting(row)
        return self._length(row, self._explained(row))

    def learn(self, row: BoolArray) -> float:
        """Return -log q(row), trust what explained it well a little more, and remember it."""
        length = self._counting(row)
        if self.draws and len(row):
            explained = self._explained(row)
            length = self._length(row, explained)
            posterior = self.trust + explained
            posterior -= np.logaddexp.reduce(posterior, axis=1)[:, None]
            # Never quite sure: what fails after two masks may be right after ten.
            self.trust = np.logaddexp(posterior + math.log(1.0 - _DOUBT), _PRIOR + math.log(_DOUBT))
        self.add(row)
        return length

    def _length(self, row: BoolArray, explained: FloatArray) -> float:
        # Weights that never moved, and those that did, are coded one after the other.
        coded = float(np.logaddexp.reduce(self.trust + explained, axis=1).sum())
        return float(with_spare(-coded, self._counting(row)))

    def _counting(self, row: BoolArray) -> float:
        return count_length(int(np.count_nonzero(row)), len(row), fixed=self.kept is not None)

    def _explained(self, row: BoolArray) -> FloatArray:
        """Log probability, by each code, of the weights that never moved and of those that did."""
        return np.hstack([self._one_by_one(row)[:, None], self._grouped(row)])

    def _one_by_one(self, row: BoolArray) -> FloatArray:
        """Log probability of the weights that never moved, and of those that did."""
        draws, total, start = self.draws, np.zeros(2), 0
        still = np.isin(np.arange(draws + 1), (0, draws))
        for size in self.sizes:
            part = slice(start, start + size)
            start += size
            cells = 2 * self.times[part].astype(np.intp) + row[part]
            table = np.bincount(cells, minlength=2 * draws + 2).reshape(draws + 1, 2)
            posterior, kept, dropped = _pulled(table.sum(axis=1))
            for k, which in enumerate((still, ~still)):
                each = dropped[:, which] @ table[which, 0] + kept[:, which] @ table[which, 1]
                total[k] += np.logaddexp.reduce(posterior + each)
        return total

    def _grouped(self, row: BoolArray) -> FloatArray:
        """Log probability of the weights that never moved, and of those that did."""
        opposite = self.keys ^ self.everything
        against = opposite < self.keys
        keys, moves = np.minimum(self.keys, opposite), row ^ against
        if len(self.words) <= _TABLED:
            members = np.bincount(keys.astype(np.intp))
            groups = np.flatnonzero(members)
            moved = np.bincount(keys.astype(np.intp), weights=moves)[groups].astype(np.int64)
            members = members[groups]
            times = (groups[:, None] >> np.arange(_TABLED) & 1).sum(axis=1)
        else:
            order = np.argsort(keys)
            keys = keys[order]
            starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
            members = np.diff(np.append(starts, len(keys)))
            moved = np.add.reduceat(moves[order].astype(np.int64), starts)
            first = order[starts]
            times = self.times[first].astype(np.int64)
            times = np.where(against[first], self.draws - times, times)
        still = (times == 0) | (times == self.draws)
        return np.stack(
            [self._of_groups(times[of], members[of], moved[of]) for of in (still, ~still)]
        )

    def _of_groups(self, times: IntArray, members: IntArray, moved: IntArray) -> FloatArray:
        """Log probability by Beta-binomial laws of how many of a group's members are kept."""
        # Most groups have one member: these are counted, the others sorted.
        single = members == 1
        cells = np.arange(2 * (self.draws + 1))
        tally = np.bincount(2 * times[single] + moved[single], minlength=len(cells))
        several = np.stack([times, members, moved])[:, ~single]
        kinds, counts = np.unique(several, axis=1, return_counts=True)
        alone = np.stack([cells // 2, np.ones_like(cells), cells % 2])
        times, members, moved = np.hstack([alone, kinds])
        counts = np.concatenate([tally, counts])
        rates = (times + _LOOSE[:, None] / 2) / (self.draws + _LOOSE[:, None])
        a, b = rates * _HOLDS[:, None, None], (1.0 - rates) * _HOLDS[:, None, None]
        each = betaln(a + moved, b + members - moved) - betaln(a, b)
        return (each @ counts).reshape(-1)


def _word(index: int) -> np.uint64:
    if index < _TABLED:
        return np.uint64(1 << index)
    return np.random.default_rng(index).integers(2**64, dtype=np.uint64)


def _pulled(seen: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How far to pull a layer's rates to its density, by how well each pull explains what was seen.

    Parameters
    ----------
    seen : int array, shape (K + 1,)
        Number of weights that were kept 0 .. K times.

    Returns
    -------
    posterior : (pulls,)
        Log weight of each.
    kept, dropped : (pulls, K + 1)
        Log probability of a weight that was kept so often.
    """
    draws = len(seen) - 1
    c = np.arange(draws + 1)
    total = draws * seen.sum()
    # Half a weight off 0 and 1, so that no length is infinite; 1 - density would round to 0.
    density = (seen @ c + 0.5) / (total + 1.0)
    rest = (seen @ (draws - c) + 0.5) / (total + 1.0)
    a, b = _PULLS[:, None] * density, _PULLS[:, None] * rest
    evidence = (betaln(c + a, draws - c + b) - betaln(a, b)) @ seen
    whole = np.log(draws + _PULLS)[:, None]
    return (
        evidence - np.logaddexp.reduce(evidence),
        np.log(c + a) - whole,
        np.log(draws - c + b) - whole,
    )


def with_spare(lengths: Any, counted: Any) -> Any:
    """Return what masks cost by a code whose share `SPARE` is on the law of equal counts."""
    return -np.logaddexp(math.log1p(-SPARE) - lengths, math.log(SPARE) - counted)


def count_length(ones: int, size: int, *, fixed: bool) -> float:
    """Nats to say which of all masks with so many ones it is; and, unless fixed, how many."""
    ways = gammaln(size + 1.0) - gammaln(ones + 1.0) - gammaln(size - ones + 1.0)
    return float(ways) + (0.0 if fixed else math.log(size + 1.0))
