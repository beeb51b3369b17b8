"""Is it more than chance? Estimates of shuffled rows beside the estimate of the rows as given."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from mitools._processes import evaluate_all
from mitools._typing import FloatArray, IntArray
from mitools._validation import as_samples, checked_count
from mitools.measures import conditional_mutual_information, mutual_information, transfer_entropy
from mitools.measures.series import embedded
from mitools.methods import KSG
from mitools.methods.questions import ConditionalMutualInformation, MutualInformation
from mitools.results import Estimate
from mitools.uncertainty.shuffles import CircularShifts, FreeShuffles, LocalShuffles, Shuffling

_NEAREST = KSG()
_SHIFTS = CircularShifts()
_Draw = Callable[[np.random.Generator], IntArray]


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """How an estimate compares with those of shuffled pairs.

    Parameters
    ----------
    estimate : Estimate
        Of the pairs as given.
    p_value : float
        Probability of so large an estimate under the null hypothesis of the test.
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
    method: MutualInformation | ConditionalMutualInformation = _NEAREST,
    *,
    condition: ArrayLike | None = None,
    shuffles: Shuffling | None = None,
    permutations: int = 1_000,
    stop_after: int | None = 20,
    seed: int = 0,
    n_jobs: int = 1,
    progress: bool = False,
) -> PermutationTest:
    """Test whether x and y are independent, or so given a condition, by shuffling y.

    With e estimates among B shuffles at least as large as the given one, p = (e + 1) / (B + 1).
    Stopped at the e-th of them, after b shuffles, p = e / b is valid too [1]_, so the clearly
    independent pairs cost few shuffles. No p can be below 1 / (B + 1).

    For independent samples and no condition p is valid at every sample size. For time series and
    given a condition it is nearly valid, if the shuffles fit: see `shuffles`.

    Parameters
    ----------
    x, y : array-like, shape (n,) or (n, d)
        Paired samples.
    method : MutualInformation or, given a condition, ConditionalMutualInformation
        How to estimate.
    condition : array-like, shape (n,) or (n, d), or None
        Z, to test I(X; Y | Z).
    shuffles : Shuffling or None
        How rows of y move: ``FreeShuffles()``, the default, for samples whose order does not
        matter; ``LocalShuffles()``, the default given a condition, among rows that are alike in z;
        ``CircularShifts()`` or ``BlockShuffles(length)`` for rows that depend on those before.
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
    >>> from mitools.methods import Gaussian
    >>> from mitools.uncertainty import permutation_test
    >>> x, y, z = np.random.default_rng(0).standard_normal((3, 300))
    >>> permutation_test(x, y).p_value > 0.05
    True
    >>> permutation_test(x, x + y, permutations=99).p_value
    0.01
    >>> permutation_test(x + z, y + z, Gaussian(), condition=z).p_value > 0.05
    True
    """
    how: Any = method  # whether it can answer, the question will say
    if condition is None:
        estimate = mutual_information(x, y, how)
        # The question has seen them, and refused labels that its method cannot use.
        a, b = as_samples({"x", "y"}, x=x, y=y)
        draw = _checked(shuffles or FreeShuffles()).orders(len(b), None)
        ask: Callable[..., Any] = how.mutual_information
        together = getattr(method, "mutual_information_of_shuffles", None)
        given: tuple[FloatArray, ...] = ()
    else:
        estimate = conditional_mutual_information(x, y, condition, how)
        a, b, z = as_samples({"x", "y", "z"}, x=x, y=y, z=condition)
        draw = _checked(shuffles or LocalShuffles()).orders(len(b), z)
        ask, together, given = how.conditional_mutual_information, None, (z,)
    most = checked_count("permutations", permutations)
    seed = checked_count("seed", seed, least=0)
    if together is None:
        reference = estimate.value
        values = _in_batches(
            partial(_shuffled, ask, a, b, given, draw, seed), most, n_jobs, progress
        )
    else:  # compared with what the same sums say of the pairs as given
        reference = float(together(a, b, [np.arange(len(b))])[0])
        values = _in_blocks(partial(_block, together, a, b, draw, seed), most, n_jobs, progress)
    return _compared(estimate, reference, values, most, stop_after)


def transfer_entropy_test(
    source: ArrayLike,
    target: ArrayLike,
    method: ConditionalMutualInformation = _NEAREST,
    *,
    history: int = 1,
    source_history: int | None = None,
    lag: int = 1,
    shuffles: Shuffling = _SHIFTS,
    permutations: int = 1_000,
    stop_after: int | None = 20,
    seed: int = 0,
    n_jobs: int = 1,
    progress: bool = False,
) -> PermutationTest:
    """Test whether source's past adds to predicting target, by moving it in time.

    Rows of source's past move against target and its past, which stay together. The null
    hypothesis is that the two series are independent; for that of a source that is coupled to the
    target without adding to its own past, use ``LocalShuffles()``, which needs that past to be all
    that matters.

    Parameters
    ----------
    source, target, method, history, source_history, lag
        As for `mitools.measures.transfer_entropy`.
    shuffles : Shuffling
        How source's past moves: ``CircularShifts()``, ``BlockShuffles(length)`` or
        ``LocalShuffles()``, the last among times that are alike in target's past.
    permutations, stop_after, seed, n_jobs, progress
        As for `permutation_test`.

    Returns
    -------
    PermutationTest
        With the transfer entropy and its p-value.

    Raises
    ------
    ValueError
        If the series or the numbers are not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.methods import Gaussian
    >>> from mitools.uncertainty import transfer_entropy_test
    >>> source, noise = np.random.default_rng(0).standard_normal((2, 500))
    >>> target = np.concatenate([[0.0], source[:-1]]) + noise
    >>> transfer_entropy_test(source, target, Gaussian(), permutations=99).p_value
    0.01
    >>> transfer_entropy_test(target, source, Gaussian(), permutations=99).p_value > 0.05
    True
    """
    past = {"history": history, "source_history": source_history, "lag": lag}
    estimate = transfer_entropy(source, target, method, **past)
    s, t = as_samples({"source", "target"}, source=source, target=target)
    present, moved, own = embedded(s, t, **past)
    draw = _checked(shuffles).orders(len(moved), own)
    most = checked_count("permutations", permutations)
    seed = checked_count("seed", seed, least=0)
    ask = partial(
        _shuffled, method.conditional_mutual_information, present, moved, (own,), draw, seed
    )
    values = _in_batches(ask, most, n_jobs, progress)
    return _compared(estimate, estimate.value, values, most, stop_after)


def _checked(shuffles: Shuffling) -> Shuffling:
    if isinstance(shuffles, type) or not callable(getattr(shuffles, "orders", None)):
        raise TypeError(
            f"shuffles must be an object such as FreeShuffles() or CircularShifts(); got "
            f"{shuffles!r}. Is it a class that lacks its parentheses?"
        )
    return shuffles


def _compared(
    estimate: Estimate,
    reference: float,
    values: Iterator[float],
    most: int,
    stop_after: int | None,
) -> PermutationTest:
    """Count the shuffles that reach the reference, until enough of them have."""
    enough = most if stop_after is None else checked_count("stop_after", stop_after)
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
    ask: Callable[..., float],
    x: FloatArray,
    y: FloatArray,
    given: tuple[FloatArray, ...],
    draw: _Draw,
    seed: int,
    index: int,
) -> float:
    return ask(x, y[draw(np.random.default_rng([seed, index]))], *given)


_BLOCK = 32
"""Shuffles asked about at once, where a method shares work between them."""


def _block(
    together: Callable[..., FloatArray],
    x: FloatArray,
    y: FloatArray,
    draw: _Draw,
    seed: int,
    indices: Sequence[int],
) -> list[float]:
    orders = [draw(np.random.default_rng([seed, index])) for index in indices]
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
