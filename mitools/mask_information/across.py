"""From below, over many data sets: telling data sets apart, and the expected generalisation gap."""

import math

import numpy as np
from scipy.special import logsumexp
from scipy.stats import t as student_t

from mitools._typing import FloatArray
from mitools.mask_information.quantities import DATA, NOISE
from mitools.results import Estimate


def contrasted(scores: FloatArray, method: str, confidence: float) -> Estimate:
    """Bound I(mask; label noise) from below by telling which data set each mask was made from.

    ::

        value = log K + mean_i [ s_ii - log Σ_j exp(s_ij) ]

    Parameters
    ----------
    scores : float array, shape (K, K)
        s_ij: how well mask i goes with data set j, by a rule fixed beforehand; best of all the log
        of a likelihood ratio. The data sets are independent.
    method : str
        Name of the method, for the answer.
    confidence : float
        Of the limit, a t-interval over masks: approximate.

    Returns
    -------
    Estimate
        A lower bound that cannot exceed log K, and says so near it.

    References
    ----------
    Van den Oord et al. 2018; Poole et al. 2019, equation 10.
    """
    draws = len(scores)
    if scores.shape != (draws, draws) or draws < 2 or not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be finite, a square of at least 2 data sets; got shape {scores.shape}."
        )
    cap = math.log(draws)
    terms = cap + np.diag(scores) - np.asarray(logsumexp(scores, axis=1))
    notes = [f"cannot exceed log {draws} = {cap:.2f}, however much there is to know"]
    if terms.mean() > 0.8 * cap:
        notes.append("and is near it: more data sets would show more")
    return _over_draws(terms, method, NOISE, confidence, tuple(notes))


def expected_gap(gaps: FloatArray, n: int, method: str, confidence: float) -> Estimate:
    """Bound I(mask; data) from below by 2 n (E gap)², for losses between 0 and 1.

    Parameters
    ----------
    gaps : float array, shape (K,)
        Population loss less training loss of networks that saw their data through the mask alone,
        for K independent data sets.
    n : int
        Points in a data set.
    method, confidence
        As in `contrasted`.

    Returns
    -------
    Estimate
        The square of the mean, less what its own error adds.

    References
    ----------
    Xu and Raginsky, NeurIPS 2017, Theorem 1, for losses that are 1/2-subgaussian.
    """
    draws = len(gaps)
    if draws < 2:
        raise ValueError(f"gaps must be of at least 2 data sets; got {draws}.")
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1) / math.sqrt(draws))
    margin = float(student_t.ppf(0.5 + confidence / 2.0, draws - 1)) * error  # of either sign
    low = 2.0 * n * max(0.0, abs(mean) - margin) ** 2
    return Estimate(
        2.0 * n * (mean**2 - error**2),
        method,
        "lower",
        DATA,
        4.0 * n * abs(mean) * error,
        (low, math.inf),
        confidence,
        ("the limit is approximate: a t-interval over data sets, squared",),
    )


def _over_draws(
    terms: FloatArray, method: str, quantity: str, confidence: float, notes: tuple[str, ...]
) -> Estimate:
    mean, error = float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(len(terms)))
    low = mean - float(student_t.ppf(confidence, len(terms) - 1)) * error
    approximate = "the limit is approximate: a t-interval over data sets"
    return Estimate(
        mean, method, "lower", quantity, error, (low, math.inf), confidence, (*notes, approximate)
    )
