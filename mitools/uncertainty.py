"""How sure an estimate is: permutation tests, standard errors, intervals."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from mitools._processes import evaluate_all
from mitools._typing import FloatArray, IntArray
from mitools._validation import UnreliableEstimate, as_samples, checked_count, checked_share
from mitools.measures import mutual_information, transfer_entropy
from mitools.methods import KSG
from mitools.methods.questions import MutualInformation
from mitools.results import Estimate

_NEAREST = KSG()


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """How an estimate compares with those of shuffled pairs.

    Parameters
    ----------
    estimate : Estimate
        Of the pairs as given.
    p_value : float
        Probability of so large an estimate if x and y were independent; valid at every sample
        size, for exchangeable rows.
    permutations : int
        Shuffles evaluated; fewer than allowed if the test was decided early.
    exceeded : int
        Shuffles whose estimate was at least as large.
    null_mean, null_std : float
        Of the shuffled estimates, in nats. The mean is the method's bias under independence.
    """

    estimate: Estimate
    p_value: float
    permutations: int
    exceeded: int
    null_mean: float
    null_std: float

    def __str__(self) -> str:
        return (
            f"{self.estimate}; p = {self.p_value:.3g} ({self.exceeded} of {self.permutations} "
            f"shuffles reach it; they average {self.null_mean:.2g} ± {self.null_std:.2g})"
        )


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    method: MutualInformation = _NEAREST,
    *,
    permutations: int = 1_000,
    stop_after: int | None = 20,
    seed: int = 0,
    n_jobs: int = 1,
    progress: bool = False,
) -> PermutationTest:
    """Test whether x and y are independent, by shuffling y.

    With e estimates among B shuffles at least as large as the given one, p = (e + 1) / (B + 1).
    Stopped at the e-th of them, after b shuffles, p = e / b is valid too [1]_, so the clearly
    independent pairs cost few shuffles. No p can be below 1 / (B + 1).

    Parameters
    ----------
    x, y : array-like, shape (n,) or (n, d)
        Paired samples. Rows must be exchangeable: for time series p is too small.
    method : MutualInformation
        How to estimate.
    permutations : int
        Shuffles at most, B.
    stop_after : int or None
        Stop once so many shuffles reached the estimate. None: never.
    seed : int
        The i-th shuffle depends on (seed, i) only: same result for any number of processes.
    n_jobs : int
        Processes, as joblib counts them.
    progress : bool
        Show a progress bar.

    Returns
    -------
    PermutationTest
        With the estimate and its p-value.

    Raises
    ------
    ValueError
        If the data or the numbers are not valid.

    References
    ----------
    .. [1] Besag and Clifford, Biometrika 78, 301 (1991).

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.uncertainty import permutation_test
    >>> x, y = np.random.default_rng(0).standard_normal((2, 300))
    >>> permutation_test(x, y).p_value > 0.05
    True
    >>> permutation_test(x, x + y, permutations=99).p_value
    0.01
    """
    most = checked_count("permutations", permutations)
    enough = most if stop_after is None else checked_count("stop_after", stop_after)
    estimate = mutual_information(x, y, method)
    x, y = as_samples({"x", "y"}, x=x, y=y)  # the question has refused labels it cannot use
    seed = checked_count("seed", seed, least=0)
    together = getattr(method, "mutual_information_of_shuffles", None)
    if together is None:
        reference = estimate.value
        values = _in_batches(partial(_shuffled, method, x, y, seed), most, n_jobs, progress)
    else:  # compared with what the same sums say of the pairs as given
        reference = float(together(x, y, [np.arange(len(y))])[0])
        values = _in_blocks(partial(_block, together, x, y, seed), most, n_jobs, progress)
    null: list[float] = []
    exceeded = 0
    for value in values:
        null.append(value)
        exceeded += value >= reference
        if exceeded >= enough and stop_after is not None:
            break
    done = len(null)
    early = done < most
    p_value = exceeded / done if early else (exceeded + 1) / (done + 1)
    spread = float(np.std(null, ddof=1)) if done > 1 else math.nan
    return PermutationTest(estimate, p_value, done, exceeded, float(np.mean(null)), spread)


def _shuffled(
    method: MutualInformation, x: FloatArray, y: FloatArray, seed: int, index: int
) -> float:
    order = np.random.default_rng([seed, index]).permutation(len(y))
    return method.mutual_information(x, y[order])


_BLOCK = 32
"""Shuffles asked about at once, where a method shares work between them."""


def _block(
    together: Callable[..., FloatArray],
    x: FloatArray,
    y: FloatArray,
    seed: int,
    indices: Sequence[int],
) -> list[float]:
    orders = [np.random.default_rng([seed, index]).permutation(len(y)) for index in indices]
    return together(x, y, orders).tolist()


def _in_blocks(
    function: Callable[[Sequence[int]], list[float]], total: int, n_jobs: int, progress: bool
) -> Iterator[float]:
    """Yield what function says of 0, 1, ..., a block at a time; n_jobs blocks ahead at most."""
    blocks = [range(i, min(i + _BLOCK, total)) for i in range(0, total, _BLOCK)]
    step = 1 if n_jobs == 1 else 2 * effective_n_jobs(n_jobs)
    with tqdm(total=total, disable=not progress) as bar:
        for start in range(0, len(blocks), step):
            some = blocks[start : start + step]
            for values in list(evaluate_all(function, ((b,) for b in some), len(some), n_jobs)):
                yield from values
                bar.update(len(values))


def _in_batches(
    function: Callable[[int], float], total: int, n_jobs: int, progress: bool
) -> Iterator[float]:
    """Yield function(0), function(1), ..., computing ahead by one batch at most."""
    if n_jobs == 1:
        yield from evaluate_all(function, ((i,) for i in range(total)), total, 1, progress)
        return
    for start in range(0, total, 64):
        indices = range(start, min(start + 64, total))
        # A whole batch, because joblib complains of work that nobody waits for.
        batch = evaluate_all(function, ((i,) for i in indices), len(indices), n_jobs, progress)
        yield from list(batch)


class Resampling(Protocol):
    """A way to a standard error from estimates of parts of the samples."""

    @property
    def ordered(self) -> bool:
        """Whether successive rows stay together."""
        ...

    def std_error(self, estimate: Callable[[IntArray], float], n: int) -> tuple[float, int]:
        """Return the standard error of estimate(all n rows), and its degrees of freedom."""
        ...


@dataclass(frozen=True)
class Jackknife:
    """Leave out one group of samples at a time.

    With m groups and v(g) the estimate without group g::

        std_error^2 = (m - 1)/m sum_g (v(g) - mean v)^2

    Parameters
    ----------
    groups : int
        m; the cost is m estimates.
    seed : int
        Draws the groups.
    ordered : bool
        Groups of successive rows instead, for time series.
    """

    groups: int = 20
    seed: int = 0
    ordered: bool = False

    def __post_init__(self) -> None:
        checked_count("groups", self.groups, least=2)

    def std_error(self, estimate: Callable[[IntArray], float], n: int) -> tuple[float, int]:
        """Return the standard error of estimate(all n rows), and its degrees of freedom."""
        parts = _parts(n, self.groups, self)
        everything = np.arange(n)
        values = np.array([estimate(np.delete(everything, part)) for part in parts])
        m = len(parts)
        return math.sqrt((m - 1) * float(np.var(values))), m - 1


@dataclass(frozen=True)
class Subsets:
    """Estimate on disjoint parts, and extrapolate their variance to all samples [1]_.

    The variance of an estimate from n/m samples is taken to be B m / n. With s^2(m) the sample
    variance among m disjoint parts, B = sum_m (m - 1) s^2(m) n/m / sum_m (m - 1), over
    m = 2 .. largest, and std_error^2 = B / n.

    Parameters
    ----------
    largest : int
        The most parts; the cost is about largest / 2 + 1 passes over the samples.
    seed : int
        Draws the parts.
    ordered : bool
        Parts of successive rows instead, for time series.

    References
    ----------
    .. [1] Holmes and Nemenman, Phys. Rev. E 100, 022404 (2019).
    """

    largest: int = 10
    seed: int = 0
    ordered: bool = False

    def __post_init__(self) -> None:
        checked_count("largest", self.largest, least=2)

    def std_error(self, estimate: Callable[[IntArray], float], n: int) -> tuple[float, int]:
        """Return the standard error of estimate(all n rows), and its degrees of freedom."""
        total = freedom = 0.0
        for m in range(2, self.largest + 1):
            values = [estimate(part) for part in _parts(n, m, self)]
            total += (m - 1) * float(np.var(values, ddof=1)) / m
            freedom += m - 1
        return math.sqrt(total / freedom), self.largest - 1


def with_error(
    question: Callable[..., Estimate],
    *data: Any,
    method: Any,
    error: Resampling = Jackknife(),
    confidence: float = 0.95,
    **options: Any,
) -> Estimate:
    """Ask a question of `mitools.measures`, and say how surely it is answered.

    The interval is Student's, around the estimate; around a bound it is one-sided. It covers the
    spread over samples but not the method's bias: docs/pitfalls.md has its measured coverage.

    Parameters
    ----------
    question : callable
        `mutual_information`, `entropy`, `conditional_mutual_information`, `multi_information` or
        `transfer_entropy`.
    *data : array-like
        What the question takes before its method.
    method : object
        How to estimate.
    error : Resampling
        `Jackknife` or `Subsets`.
    confidence : float
        Nominal coverage of the interval.
    **options : object
        More keyword arguments for the question.

    Returns
    -------
    Estimate
        The question's own, with this `std_error` and `interval` in place of those that the method
        may have stated itself.

    Raises
    ------
    ValueError
        If data do not suit the question, or groups get too small for the method.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.measures import mutual_information
    >>> from mitools.methods import KSG
    >>> from mitools.uncertainty import with_error
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(2_000)
    >>> y = 0.8 * x + 0.6 * rng.standard_normal(2_000)  # truth: 0.5108
    >>> print(with_error(mutual_information, x, y, method=KSG(k=5)))
    I(X; Y) = 0.4951 ± 0.04 nats [KSG(k=5, variant=1, scale='std')]
    """
    checked_share("confidence", confidence)
    if question is transfer_entropy and not error.ordered:
        raise ValueError(
            "error must keep successive rows together for transfer_entropy; got "
            f"{error!r}. Use {type(error).__name__}(ordered=True)."
        )
    whole = question(*data, method, **options)
    rows = _checked_rows(data)
    n = len(_flattened(rows)[0])

    def estimate(index: IntArray) -> float:
        with warnings.catch_warnings():  # the whole sample has said it once
            warnings.simplefilter("ignore", UnreliableEstimate)
            return question(*_taken(rows, index), method, **options).value

    std_error, freedom = error.std_error(estimate, n)
    return whole.with_error(std_error, freedom, f"by {error!r}", confidence)


def _parts(n: int, count: int, error: Jackknife | Subsets) -> list[IntArray]:
    """Return n rows in so many disjoint parts of nearly equal size."""
    if count > n:
        raise ValueError(
            f"{error!r} needs at least as many samples as parts; got {n} samples for {count} "
            "parts. Use fewer parts."
        )
    order = np.arange(n) if error.ordered else np.random.default_rng(error.seed).permutation(n)
    return [np.sort(part) for part in np.array_split(order, count)]


def _checked_rows(data: Sequence[Any]) -> list[Any]:
    """Return data as checked arrays; multi_information's one argument is a list of them.

    The question has seen them first, and refused labels where it must.
    """
    if len(data) == 1 and isinstance(data[0], (list, tuple)) and np.ndim(data[0][0]) > 0:
        named = {f"variables[{i}]": rows for i, rows in enumerate(data[0])}
        return [list(as_samples(named, **named))]
    named = {f"data[{i}]": rows for i, rows in enumerate(data)}
    return list(as_samples(named, **named))


def _flattened(rows: list[Any]) -> list[FloatArray]:
    return rows[0] if isinstance(rows[0], list) else rows


def _taken(rows: list[Any], index: IntArray) -> list[Any]:
    if isinstance(rows[0], list):
        return [[each[index] for each in rows[0]]]
    return [each[index] for each in rows]
