"""From below: what a mask lets one predict of the label noise, and its generalisation gap."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binomtest, norm

from mitools._typing import FloatArray, IntArray
from mitools.mask_information.quantities import DATA, NOISE, THIS_MASK, THIS_MASK_AND_ON_AVERAGE
from mitools.results import Estimate

_STRENGTHS = np.concatenate([np.geomspace(1 / 32, 16, 19), -np.geomspace(1 / 16, 4, 7)])
_CORRELATIONS = np.concatenate(
    [np.tanh(np.geomspace(0.01, 2.5, 19)), -np.tanh(np.geomspace(0.05, 1, 7))]
)
_SEQUENTIAL_STRENGTHS = np.geomspace(1 / 32, 4, 15)
_SILENT = 0.5
"""Prior weight of "the mask says nothing": an estimate can fall below 0 by log 2 at most."""


def decoded_classes(
    outputs: FloatArray,
    targets: IntArray,
    log_prior: FloatArray,
    method: str,
    confidence: float,
    *,
    sequential: Sequence[FloatArray] = (),
) -> Estimate:
    """Bound I(mask; label noise) from below by decoding noisy classes from a network's outputs.

    The predictor is ``q_β(y | x_i) ∝ p(y | clean_i) exp(β s_i(y))``, with ``s`` the outputs,
    centred over classes and scaled to unit root mean square (once as they are, once also centred
    over points). Its strength β is not chosen but mixed over a fixed prior, half of which is on
    β = 0, so the log-likelihood ratio ::

        value = log Σ_β w_β Π_i q_β(y_i | x_i) - log Π_i p(y_i | clean_i)

    is that of one fixed predictor of the noise given mask and inputs. Its mean over data sets is at
    most I(mask; noise | inputs, init) (Barber and Agakov 2003).

    The limit is the lower of two. Since the ratio has mean 1 for a silent mask, ``value`` exceeds
    *this* mask's information, -log P(mask), by ``log(1/α)`` with probability at most α (Markov):
    no independence, normality or large sample is assumed. But I is the mean of that over data
    sets; so the limit also stays a normal quantile of standard errors below, as if gains of
    different points were independent, which is an approximation.

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
    sequential : sequence of float arrays, shape (n, c)
        More scores to mix in, at their own scale; row i may depend on targets before the i-th.

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
    for scores in sequential:  # not standardised: that would let the future into the past
        for strength in _SEQUENTIAL_STRENGTHS:
            tilted = log_prior + strength * scores
            ratios.append(tilted[rows, targets] - logsumexp(tilted, axis=1) - chosen)
    return _mixed(np.array(ratios), method, confidence)


def decoded_values(
    outputs: FloatArray,
    residuals: FloatArray,
    std: float,
    method: str,
    confidence: float,
    *,
    sequential: Sequence[tuple[FloatArray, FloatArray]] = (),
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
    sequential : sequence of (mean, variance)
        More normal laws to mix in, for the noise in units of σ: shapes (n, t) and (n, 1); row i may
        depend on the noise of rows before the i-th.
    """
    noise = residuals / std
    scores = unit_size(outputs - outputs.mean(axis=0))
    ratios = [np.zeros(len(noise))]
    for rho in _CORRELATIONS if scores.any() else ():
        spread = 1.0 - rho**2
        gain = 0.5 * (noise**2 - (noise - rho * scores) ** 2 / spread - math.log(spread))
        ratios.append(gain.sum(axis=1))
    for mean, variance in sequential:
        gain = 0.5 * (noise**2 - (noise - mean) ** 2 / variance - np.log(variance))
        ratios.append(gain.sum(axis=1))
    # The residuals' own law is N(0, σ²) whatever the outputs: a silent mask has ratio 1 on average.
    return _mixed(np.array(ratios), method, confidence)


def _standardised(outputs: FloatArray) -> list[FloatArray]:
    """Scores of unit root mean square: centred over classes; and also over points."""
    centred = outputs - outputs.mean(axis=1, keepdims=True)
    return [unit_size(centred), unit_size(centred - centred.mean(axis=0))]


def unit_size(values: FloatArray) -> FloatArray:
    """Return values scaled to unit root mean square; zeros stay."""
    size = float(np.sqrt(np.mean(values**2)))
    return values / size if size > 0.0 else np.zeros_like(values)


def _mixed(ratios: FloatArray, method: str, confidence: float) -> Estimate:
    """Mix predictors (row 0 silent, the others alike) and label the log ratio of the mixture."""
    log_weights = np.full(len(ratios), math.log(1.0 - _SILENT) - math.log(max(len(ratios) - 1, 1)))
    log_weights[0] = math.log(_SILENT) if len(ratios) > 1 else 0.0
    totals = ratios.sum(axis=1)
    value = float(np.logaddexp.reduce(totals + log_weights))
    if not math.isfinite(value):
        raise ValueError("outputs must be of a size that can be compared; they overflow.")
    best = ratios[int(np.argmax(totals + log_weights))]
    error = float(np.std(best)) * math.sqrt(best.size)
    markov = -math.log(1.0 - confidence)
    low = value - max(markov, float(norm.ppf(confidence)) * error)
    note = (THIS_MASK_AND_ON_AVERAGE,)
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
    notes = ("training and held-out points are taken to be of one population", THIS_MASK)
    return Estimate(value, method, "lower", DATA, None, (limit, math.inf), confidence, notes)


def _binary_kl(p: float, q: float) -> float:
    """Return kl(p ‖ q) between Bernoulli laws, in nats."""
    value = 0.0
    if p > 0.0:
        value += p * math.log(p / q) if q > 0.0 else math.inf
    if p < 1.0:
        value += (1.0 - p) * math.log((1.0 - p) / (1.0 - q)) if q < 1.0 else math.inf
    return value
