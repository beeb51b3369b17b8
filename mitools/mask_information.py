"""Boolean masks in, bounds on I(mask; data) out: counting, coding and decoding, without torch.

Everything here bounds ``I(m; D | W0, S)``: the information that a mask carries about the data when
the initial weights and the pruner's own randomness are held fixed. With both fixed a mask is a
function of the data, so its information is its entropy, and

* any code for masks, fitted without the mask it is charged for, pays at least that entropy;
* any predictor of the data's randomness from the mask recovers at most that information.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, gammaln, logsumexp
from scipy.stats import binomtest
from scipy.stats import t as student_t

from mitools._typing import BoolArray, FloatArray, IntArray
from mitools.results import Estimate

DATA = "I(mask; data | init)"
NOISE = "I(mask; label noise | inputs, init)"
"""Never more than `DATA`, by the chain rule: bounds from below on one hold for the other."""

_THIS_MASK = "the limit is one on this mask's own information, -log P(mask | init), whose mean is I"
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
        notes = ("with log(size + 1) for saying how many are kept, which may depend on the data",)
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
        Nats that the same family of codes would pay had it seen infinitely many masks.
    distinct : int
        Number of different masks.
    """

    lengths: tuple[float, ...]
    entropy: float
    distinct: int

    def upper(self, method: str, *, quantity: str = DATA, confidence: float = 0.95) -> Estimate:
        """Return the mean length: an unbiased estimate of a valid upper bound on the entropy."""
        lengths = np.array(self.lengths)
        error = float(lengths.std(ddof=1) / math.sqrt(len(lengths)))
        mean = float(lengths.mean())
        limit = mean + float(student_t.ppf(confidence, len(lengths) - 1)) * error
        return Estimate(
            mean, method, "upper", quantity, error, (-math.inf, limit), confidence, self._notes()
        )

    def point(self, method: str, *, quantity: str = DATA) -> Estimate:
        """Return the code's own entropy: consistent for I if kept weights are independent."""
        assumption = "the point assumes that weights are kept independently of each other"
        return Estimate(self.entropy, method, "point", quantity, notes=(assumption,))

    def _notes(self) -> tuple[str, ...]:
        draws = len(self.lengths)
        return (
            f"{self.distinct} distinct masks in {draws} draws; "
            f"counting masks alone could not show more than log {draws} = {math.log(draws):.2f}",
            f"the limit is approximate, and blind to what happens in fewer than 1 of {draws} draws",
        )


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
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.dtype != np.bool_ or len(masks) < 3:
        raise ValueError(
            "masks must be a boolean array of shape (data sets, weights) with at least 3 rows; got "
            f"dtype {masks.dtype} and shape {masks.shape}. Stack Mask.flat() of each re-pruning."
        )
    sizes = [masks.shape[1]] if sizes is None else list(sizes)
    if sum(sizes) != masks.shape[1]:
        raise ValueError(
            f"sizes must sum to the {masks.shape[1]} weights of a mask; got a sum of {sum(sizes)}."
        )
    lengths = np.zeros(len(masks))
    entropy = 0.0
    start = 0
    for size in sizes:
        if size:
            layer_lengths, layer_entropy = _layer_code(masks[:, start : start + size])
            lengths += layer_lengths
            entropy += layer_entropy
        start += size
    distinct = len({row.tobytes() for row in _packed(masks)})
    return CodeLengths(tuple(float(length) for length in lengths), entropy, distinct)


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


def _packed(masks: BoolArray) -> Iterator[np.ndarray]:
    for row in masks:
        yield np.packbits(row)


# ---- decoding: what a mask lets one predict of the label noise ----

_STRENGTHS = np.concatenate([np.geomspace(1 / 32, 16, 19), -np.geomspace(1 / 16, 4, 7)])
_CORRELATIONS = np.concatenate(
    [np.tanh(np.geomspace(0.01, 2.5, 19)), -np.tanh(np.geomspace(0.05, 1, 7))]
)
_SILENT = 0.5
"""Prior weight of "the mask says nothing": an estimate can fall below 0 by log 2 at most."""


def decoded_classes(
    outputs: FloatArray, targets: IntArray, log_prior: FloatArray, method: str, confidence: float
) -> Estimate:
    """Bound I(mask; label noise) from below by decoding noisy classes from a network's outputs.

    The predictor is ``q_β(y | x_i) ∝ p(y | clean_i) exp(β s_i(y))``, with ``s`` the outputs,
    centred over classes and scaled to unit root mean square (once as they are, once also centred
    over points). Its strength β is not chosen but mixed over a fixed prior, half of which is on
    β = 0, so the log-likelihood ratio ::

        value = log Σ_β w_β Π_i q_β(y_i | x_i) - log Π_i p(y_i | clean_i)

    is that of one fixed predictor of the noise given mask and inputs. Its mean over data sets is at
    most I(mask; noise | inputs, init) (Barber and Agakov 2003). And since the ratio has mean 1
    for a silent mask, ``value`` exceeds *this* mask's information, -log P(mask), by ``log(1/α)``
    with probability at most α (Markov): that is the interval. No independence, normality or large
    sample is assumed in it; but where masks differ much in their own information, of which I is
    the mean, it is no interval for I.

    Parameters
    ----------
    outputs : float array, shape (n, c)
        Outputs on the n inputs of a network that saw the data through its mask alone.
    targets : int array, shape (n,)
        The noisy classes.
    log_prior : float array, shape (n, c)
        log p(y | clean_i), the law of the label noise; -inf is allowed where targets never are.
    method : str
        Name of the method, for the answer.
    confidence : float
        1 - α, in (0, 1).

    Returns
    -------
    Estimate
        A lower bound in nats, not clipped at 0.
    """
    rows = np.arange(len(targets))
    chosen = log_prior[rows, targets]
    if not np.isfinite(chosen).all():
        raise ValueError(
            "targets must be possible under the law of their noise; "
            f"{int((~np.isfinite(chosen)).sum())} of {len(chosen)} have probability 0. "
            "Is it the noise that was drawn?"
        )
    ratios = [np.zeros(len(targets))]
    for scores in _standardised(outputs):
        for strength in _STRENGTHS:
            tilted = log_prior + strength * scores
            ratios.append(tilted[rows, targets] - logsumexp(tilted, axis=1) - chosen)
    return _mixed(np.array(ratios), method, confidence)


def decoded_values(
    outputs: FloatArray, residuals: FloatArray, std: float, method: str, confidence: float
) -> Estimate:
    """Bound I(mask; label noise) from below by decoding Gaussian noise from a network's outputs.

    As `decoded_classes`, with the predictor ``z_i ~ N(ρ σ s_i, (1 - ρ²) σ²)``, ``s`` the outputs
    centred and scaled over points, and ρ mixed over a fixed prior, half of which is on 0.

    Parameters
    ----------
    outputs, residuals : float array, shape (n, t)
        Outputs on the inputs, and noisy minus clean targets.
    std : float
        σ, the standard deviation of the noise; positive.
    method, confidence
        As in `decoded_classes`.
    """
    noise = residuals / std
    scores = _unit(outputs - outputs.mean(axis=0))
    ratios = [np.zeros(len(noise))]
    for rho in _CORRELATIONS if scores.any() else ():
        spread = 1.0 - rho**2
        gain = 0.5 * (noise**2 - (noise - rho * scores) ** 2 / spread - math.log(spread))
        ratios.append(gain.sum(axis=1))
    # The residuals' own law is N(0, σ²) whatever the outputs: a silent mask has ratio 1 on average.
    return _mixed(np.array(ratios), method, confidence)


def _standardised(outputs: FloatArray) -> list[FloatArray]:
    """Scores of unit root mean square: centred over classes; and also over points."""
    centred = outputs - outputs.mean(axis=1, keepdims=True)
    return [_unit(centred), _unit(centred - centred.mean(axis=0))]


def _unit(values: FloatArray) -> FloatArray:
    size = float(np.sqrt(np.mean(values**2)))
    return values / size if size > 0.0 else np.zeros_like(values)


def _mixed(ratios: FloatArray, method: str, confidence: float) -> Estimate:
    """Mix predictors (row 0 silent, the others alike) and label the log ratio of the mixture."""
    log_weights = np.full(len(ratios), math.log(1.0 - _SILENT) - math.log(max(len(ratios) - 1, 1)))
    log_weights[0] = math.log(_SILENT) if len(ratios) > 1 else 0.0
    totals = ratios.sum(axis=1)
    value = float(np.logaddexp.reduce(totals + log_weights))
    best = ratios[int(np.argmax(totals + log_weights))]
    error = float(np.std(best)) * math.sqrt(best.size)
    low = value - math.log(1.0 / (1.0 - confidence))
    note = (_THIS_MASK,)
    return Estimate(value, method, "lower", NOISE, error, (low, math.inf), confidence, note)


def generalisation_gap(
    errors: int, n: int, heldout_errors: int, heldout_n: int, method: str, confidence: float
) -> Estimate:
    """Bound I(mask; data) from below by n · kl(training error ‖ population error) - log 2√n.

    Valid for a network whose weights do not depend on the data given the mask: by the change of
    measure of Donsker and Varadhan and ``E exp(n kl) <= 2 √n`` (Maurer 2004). The population
    error is estimated on held-out points; the first-order bias that this brings, n / (2 n'), is
    taken off the value, and the interval takes the least favourable population error in an exact
    (Clopper-Pearson) interval at half of α, the other half being spent as in `decoded_classes`.

    Parameters
    ----------
    errors, n : int
        Mistakes on the training points, and their number.
    heldout_errors, heldout_n : int
        The same on points drawn from the same population and never used.
    method : str
        Name of the method, for the answer.
    confidence : float
        1 - α, in (0, 1).
    """
    train = errors / n
    alpha = 1.0 - confidence
    likely = binomtest(heldout_errors, heldout_n).proportion_ci(1.0 - alpha / 2, method="exact")
    nearest = float(np.clip(train, likely.low, likely.high))
    price = math.log(2.0 * math.sqrt(n))
    # Half a held-out mistake off 0 and n' keeps the value finite where no mistake was seen.
    population = (heldout_errors + 0.5) / (heldout_n + 1.0)
    value = n * _binary_kl(train, population) - price - n / (2.0 * heldout_n)
    limit = n * _binary_kl(train, nearest) - price - math.log(2.0 / alpha)
    notes = ("training and held-out points are taken to be of one population", _THIS_MASK)
    return Estimate(value, method, "lower", DATA, None, (limit, math.inf), confidence, notes)


def _binary_kl(p: float, q: float) -> float:
    """Return kl(p ‖ q) between Bernoulli laws, in nats."""
    value = 0.0
    if p > 0.0:
        value += p * math.log(p / q) if q > 0.0 else math.inf
    if p < 1.0:
        value += (1.0 - p) * math.log((1.0 - p) / (1.0 - q)) if q < 1.0 else math.inf
    return value
