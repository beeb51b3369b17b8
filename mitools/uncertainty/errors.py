"""Standard errors and intervals by estimating again from parts of the samples."""

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mitools._typing import FloatArray, IntArray
from mitools._validation import UnreliableEstimate, as_samples, checked_count, checked_share
from mitools.measures import multi_information, transfer_entropy
from mitools.measures._answers import chosen
from mitools.measures.amounts import listed
from mitools.results import Estimate


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
    *arguments: Any,
    error: Resampling = Jackknife(),
    confidence: float = 0.95,
    **options: Any,
) -> Estimate:
    """Ask a question of `mitools.measures`, and say how surely it is answered.

    ``with_error(mutual_information, x, y, KSG())`` is ``mutual_information(x, y, KSG())`` with an
    error.

    The interval is Student's, around the estimate; around a bound it is one-sided. It covers the
    spread over samples but not the method's bias: docs/pitfalls.md has its measured coverage.

    Parameters
    ----------
    question : callable
        `mutual_information`, `entropy`, `conditional_mutual_information`, `multi_information` or
        `transfer_entropy`.
    *arguments, **options : object
        What the question takes: its data, then its method.
    error : Resampling
        `Jackknife` or `Subsets`.
    confidence : float
        Nominal coverage of the interval.

    Returns
    -------
    Estimate
        The question's own, with this `std_error` and `interval` in place of those that the method
        may have stated itself.

    Raises
    ------
    ValueError
        If data do not suit the question, or groups get too small for the method.
    TypeError
        If question does not answer by an `Estimate`, or does not take these arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.measures import mutual_information
    >>> from mitools.methods import KSG
    >>> from mitools.uncertainty import with_error
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(2_000)
    >>> y = 0.8 * x + 0.6 * rng.standard_normal(2_000)  # truth: 0.5108
    >>> print(with_error(mutual_information, x, y, KSG(k=5)))
    I(X; Y) = 0.4951 ± 0.04 nats [KSG(k=5, variant=1, scale='std')]
    """
    checked_share("confidence", confidence)
    if isinstance(error, type) or not callable(getattr(error, "std_error", None)):
        raise TypeError(
            f"error must be an object such as Jackknife() or Subsets(); got {error!r}. "
            "Is it a class that lacks its parentheses?"
        )
    if question is transfer_entropy and not error.ordered:
        raise ValueError(
            "error must keep successive rows together for transfer_entropy; got "
            f"{error!r}. Use {type(error).__name__}(ordered=True)."
        )
    data, options = _data_and_options(question, arguments, options)
    whole = question(*data, **options)
    if not isinstance(whole, Estimate):
        raise _not_a_question(question)
    rows = _checked_rows(data)
    n = len(_flattened(rows)[0])
    if question is not transfer_entropy:  # a part may look like another kind of variable
        options["method"] = chosen(options["method"], tuple(rows))

    def estimate(index: IntArray) -> float:
        with warnings.catch_warnings():  # the whole sample has said it once
            warnings.simplefilter("ignore", UnreliableEstimate)
            return question(*_taken(rows, index), **options).value

    std_error, freedom = error.std_error(estimate, n)
    return whole.with_error(std_error, freedom, f"by {error!r}", confidence)


def _data_and_options(
    question: Callable[..., Estimate], arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return what comes before the question's method, and by name all the rest, defaults too."""
    signature = inspect.signature(question)
    if "method" not in signature.parameters:
        raise _not_a_question(question)
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        raise TypeError(
            f"arguments must be those of {question.__name__}({', '.join(signature.parameters)}); "
            f"{error}. Write them after the question, as with_error(entropy, x, PlugIn())."
        ) from None
    bound.apply_defaults()
    names = list(signature.parameters)
    data = [bound.arguments.pop(name) for name in names[: names.index("method")]]
    if question is multi_information:
        data = [listed(*data)]
    return data, dict(bound.arguments)


def _not_a_question(question: Any) -> TypeError:
    return TypeError(
        "question must be one that is answered by an Estimate, such as mutual_information; got "
        f"{question!r}."
    )


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
    if len(data) == 1 and isinstance(data[0], list) and np.ndim(data[0][0]) > 0:
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
