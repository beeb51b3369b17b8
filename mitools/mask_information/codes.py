"""From above: counting masks, and codes for them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, gammaln
from scipy.stats import t as student_t

from mitools._typing import BoolArray, FloatArray, IntArray
from mitools.mask_information.quantities import DATA
from mitools.results import Estimate

Shape = tuple[int, int]
"""Rows and columns of a layer."""

_BLOCK = 1 << 20  # weights per pass: bounds the memory of counting over many large masks


def counting(kept: int, size: int, *, fixed_count: bool = True) -> Estimate:
    """Return log C(size, kept): no mask with that many ones can carry more.

    Parameters
    ----------
    kept, size : int
        Ones in the mask and its length, 0 <= kept <= size.
    fixed_count : bool
        Whether the number of ones was fixed before the data were seen, as it is when a density is
        asked for. If not, saying the number costs log(size + 1) more.

    Returns
    -------
    Estimate
        An upper bound, exact: no sampling is involved.

    Raises
    ------
    ValueError
        If kept is not between 0 and size.

    Examples
    --------
    >>> print(counting(1, 21))  # 21 masks: log 21 = 3.045
    I(mask; data | init) <= 3.045 nats [Counting(fixed_count=True)]
    """
    if not 0 <= kept <= size:
        raise ValueError(f"kept must be between 0 and size; got kept={kept} with size={size}.")
    value = gammaln(size + 1.0) - gammaln(kept + 1.0) - gammaln(size - kept + 1.0)
    exact = 0.0 if kept in (0, size) else float(value)
    notes = ()
    if not fixed_count:
        exact += math.log(size + 1.0)
        notes = (
            "with log(size + 1) for saying how many are kept; where that depends on the data,"
            " a bound on average over data sets",
        )
    method = f"Counting(fixed_count={fixed_count})"
    return Estimate(exact, method, "upper", DATA, interval=(-math.inf, exact), notes=notes)


@dataclass(frozen=True, slots=True)
class CodeLengths:
    """What a code, fitted on all masks but one, pays for that one; and what it would pay at best.

    Parameters
    ----------
    lengths : tuple of float
        Nats charged for each mask by the code that was fitted on the others.
    entropy : float
        Nats that the same family of codes would pay had it seen infinitely many masks; NaN where
        nobody knows.
    distinct : int
        Number of different masks.
    """

    lengths: tuple[float, ...]
    entropy: float
    distinct: int

    @classmethod
    def of(
        cls, masks: BoolArray, lengths: Iterable[float], entropy: float = math.nan
    ) -> "CodeLengths":
        """Return what was charged for these masks, with the number of different ones."""
        distinct = len({np.packbits(row).tobytes() for row in masks})
        return cls(tuple(float(length) for length in lengths), entropy, distinct)

    def upper(
        self,
        method: str,
        *,
        quantity: str = DATA,
        confidence: float = 0.95,
        certified: float | None = None,
    ) -> Estimate:
        """Return the mean length: an unbiased estimate of a valid upper bound on the entropy.

        Parameters
        ----------
        method, quantity, confidence
            For the answer.
        certified : float, optional
            The limit of `certified_limit` at that confidence; otherwise one by Student's t, which
            is approximate.
        """
        lengths = np.array(self.lengths)
        error = float(lengths.std(ddof=1) / math.sqrt(len(lengths)))
        mean = float(lengths.mean())
        if certified is None:
            limit = mean + float(student_t.ppf(confidence, len(lengths) - 1)) * error
            caution = (
                f"the limit is approximate, and blind to what happens in fewer than 1 of "
                f"{len(lengths)} draws"
            )
        else:
            limit = max(mean, certified)
            caution = "the limit holds for every law; it pays for what is too rare to be seen"
        interval = (-math.inf, limit)
        notes = (self._note(), caution)
        return Estimate(mean, method, "upper", quantity, error, interval, confidence, notes)

    def mixed_with(self, other: "CodeLengths") -> "CodeLengths":
        """Return the code that is half this one and half the other: log 2 above the better."""
        lengths = half_and_half(np.array(self.lengths), np.array(other.lengths))
        return CodeLengths(tuple(lengths.tolist()), self.entropy, self.distinct)

    def point(self, method: str, *, quantity: str = DATA) -> Estimate:
        """Return the code's own entropy: consistent for I if kept weights are independent."""
        if math.isnan(self.entropy):
            raise ValueError(
                "entropy must be known for a point; it is only of independent_code. Ask it for one."
            )
        assumption = "the point assumes that weights are kept independently of each other"
        return Estimate(self.entropy, method, "point", quantity, notes=(assumption,))

    def _note(self) -> str:
        draws = len(self.lengths)
        return (
            f"{self.distinct} distinct masks in {draws} draws; "
            f"counting masks alone could not show more than log {draws} = {math.log(draws):.2f}"
        )


def half_and_half(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return what the code that is half of each charges: log 2 above the better at most."""
    return math.log(2.0) - np.logaddexp(-one, -other)


def independent_code(masks: BoolArray, sizes: Sequence[int] | None = None) -> CodeLengths:
    """Charge each mask with a code of independent weights, fitted on all the other masks.

    In every layer the probability that a weight is kept has a Beta prior, whose mean is the layer's
    density and whose concentration maximises the marginal likelihood, both in the other masks;
    a weight kept ``c`` times in the other ``K - 1`` masks is then kept with probability
    ``(c + s π) / (K - 1 + s)``.

    Parameters
    ----------
    masks : bool array, shape (K, p)
        Row j is the mask from the j-th independent data set; K >= 3. Needs O(p) memory beyond it.
    sizes : sequence of int, summing to p, optional
        Number of weights in each layer; one layer where it is left out.

    Raises
    ------
    ValueError
        If masks is not boolean and two-dimensional with K >= 3 rows, or sizes do not sum to p.

    References
    ----------
    Design: leave-one-out plug-in codes bound the entropy because E[-log q(m)] >= H(m) for every q
    that is independent of m (Gibbs' inequality).
    """
    masks, sizes = checked_masks(masks, sizes)
    lengths = np.zeros(len(masks))
    entropy = 0.0
    start = 0
    for size in sizes:
        if size:
            layer_lengths, layer_entropy = _layer_code(masks[:, start : start + size])
            lengths += layer_lengths
            entropy += layer_entropy
        start += size
    return CodeLengths.of(masks, lengths, entropy)


def sizes_of(shapes: Sequence[Shape]) -> list[int]:
    """Return the number of weights in each layer."""
    return [rows * columns for rows, columns in shapes]


def checked_masks(
    masks: BoolArray, sizes: Sequence[int] | None, kept: int | None = None
) -> tuple[BoolArray, tuple[int, ...]]:
    """Return masks and the sizes of their layers, or raise ValueError as `independent_code`.

    With `kept`, every mask must have as many ones.
    """
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.dtype != np.bool_ or len(masks) < 3:
        raise ValueError(
            "masks must be a boolean array of shape (data sets, weights) with at least 3 rows; got "
            f"dtype {masks.dtype} and shape {masks.shape}. Stack Mask.flat() of each re-pruning."
        )
    sizes = (masks.shape[1],) if sizes is None else tuple(sizes)
    if sum(sizes) != masks.shape[1]:
        raise ValueError(
            f"sizes must sum to the {masks.shape[1]} weights of a mask; got a sum of {sum(sizes)}."
        )
    counts = {int(np.count_nonzero(row)) for row in masks} if kept is not None else set()
    if counts - {kept}:
        raise ValueError(
            f"kept must be the number of ones in every mask; got {kept} for masks with "
            f"{min(counts)} to {max(counts)}. Leave it out where the number may vary."
        )
    return masks, sizes


def _layer_code(masks: BoolArray) -> tuple[FloatArray, float]:
    """Code lengths of one layer, and its entropy in the limit."""
    draws = len(masks)
    table = _occupancy(masks)  # (draws, draws + 1, 2): mask j, times kept over all masks, bit in j
    lengths = np.empty(draws)
    others = np.arange(draws)
    for j in range(draws):
        # Without mask j, a weight kept c times over all masks was kept c - bit times.
        seen = table[j, :-1, 0] + table[j, 1:, 1]
        strength, mean, rest = _fitted_beta(seen)
        # Both shares from what they count: 1 - kept would round to 0 where nearly all are kept.
        kept = (others + strength * mean) / (draws - 1 + strength)
        dropped = (draws - 1 - others + strength * rest) / (draws - 1 + strength)
        lengths[j] = -(table[j, :-1, 0] @ np.log(dropped) + table[j, 1:, 1] @ np.log(kept))
    counts = table[0].sum(axis=1)
    strength, mean, rest = _fitted_beta(counts)
    c = np.arange(draws + 1)
    entropy = counts @ _mean_entropy(c + strength * mean, draws - c + strength * rest)
    return lengths, float(entropy)


def _occupancy(masks: BoolArray) -> IntArray:
    """Count, for each mask, the weights by (times kept over all masks, kept in this one)."""
    draws = len(masks)
    table = np.zeros((draws, 2 * (draws + 1)), np.int64)
    for block in _column_blocks(masks):
        cells = 2 * block.sum(axis=0, dtype=np.int64)
        for j, row in enumerate(block):
            table[j] += np.bincount(cells + row, minlength=table.shape[1])
    return table.reshape(draws, draws + 1, 2)


def _fitted_beta(seen: IntArray) -> tuple[float, float, float]:
    """Fit a Beta prior to counts: seen[c] weights were kept c times out of len(seen) - 1.

    Returns the concentration of greatest marginal likelihood, the mean, which is the layer's
    density pulled by half a weight each way off 0 and 1, so that no code length is infinite, and
    one minus the mean.
    """
    draws = len(seen) - 1
    c = np.arange(draws + 1)
    total = draws * seen.sum()
    mean = float((seen @ c + 0.5) / (total + 1.0))
    rest = float((seen @ (draws - c) + 0.5) / (total + 1.0))
    strength = 1.0
    grid = np.exp(np.linspace(math.log(1e-9), math.log(1e6), 121))
    for _ in range(2):  # a coarse pass, then one between the neighbours of the best
        a, b = grid[:, None] * mean, grid[:, None] * rest
        evidence = (betaln(c + a, draws - c + b) - betaln(a, b)) @ seen
        best = int(np.argmax(evidence))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        strength = float(grid[best])
        grid = np.exp(np.linspace(math.log(low), math.log(high), 21))
    return strength, mean, rest


def _mean_entropy(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """E h(p) in nats for p ~ Beta(a, b), h the binary entropy."""
    total = a + b
    return digamma(total + 1) - (a * digamma(a + 1) + b * digamma(b + 1)) / total


def _column_blocks(masks: BoolArray) -> Iterator[BoolArray]:
    for start in range(0, masks.shape[1], _BLOCK):
        yield masks[:, start : start + _BLOCK]
