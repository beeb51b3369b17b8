"""What one series tells about the next step of another."""

import numpy as np
from numpy.typing import ArrayLike

from mitools._typing import FloatArray
from mitools._validation import checked_count
from mitools.measures._answers import answered, checked
from mitools.methods import KSG
from mitools.methods.questions import ConditionalMutualInformation
from mitools.results import Estimate

_NEAREST = KSG()


def transfer_entropy(
    source: ArrayLike,
    target: ArrayLike,
    method: ConditionalMutualInformation = _NEAREST,
    *,
    history: int = 1,
    source_history: int | None = None,
    lag: int = 1,
) -> Estimate:
    """I(target_t; source's past | target's past): what source adds to predicting target.

    Schreiber's transfer entropy [1]_: the conditional mutual information of an embedding.

    Parameters
    ----------
    source, target : array-like, shape (n,) or (n, d)
        Two series observed at the same times.
    method : ConditionalMutualInformation
        Any method that can answer I(X; Y | Z).
    history : int
        Steps of target's past: t - 1, ..., t - history.
    source_history : int or None
        Steps of source's past: t - lag, ..., t - lag - source_history + 1. None: `history`.
    lag : int
        The most recent step of source that is used.

    Returns
    -------
    Estimate
        In nats.

    Raises
    ------
    ValueError
        If the series differ in length or are too short for their histories.

    References
    ----------
    .. [1] Phys. Rev. Lett. 85, 461 (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.measures import transfer_entropy
    >>> from mitools.methods import Gaussian
    >>> source, noise = np.random.default_rng(0).standard_normal((2, 5_000))
    >>> target = np.concatenate([[0.0], source[:-1]]) + noise  # truth: log(2)/2 = 0.347 and 0
    >>> print(f"{transfer_entropy(source, target, Gaussian()).value:.3f}")
    0.344
    >>> abs(transfer_entropy(target, source, Gaussian()).value) < 0.001
    True
    """
    s, t = checked(method, source=source, target=target)
    rows = embedded(s, t, history=history, source_history=source_history, lag=lag)
    labels: list[str] = ["target", "source's past", "target's past"]
    names = dict(zip(labels, rows, strict=True))
    quantity, question = "T(source -> target)", "conditional_mutual_information"
    return answered(quantity, question, method, rows, names, series=True)


def embedded(
    source: FloatArray,
    target: FloatArray,
    *,
    history: int = 1,
    source_history: int | None = None,
    lag: int = 1,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return target, source's past and target's past, a row for every time that has them all."""
    own = checked_count("history", history)
    other = own if source_history is None else checked_count("source_history", source_history)
    first = max(own, checked_count("lag", lag) + other - 1)
    if first >= len(target):
        raise ValueError(
            f"source and target must be longer than the history of {first} steps; got "
            f"{len(target)} steps. Use longer series or a shorter history."
        )
    present = np.ascontiguousarray(target[first:])
    return present, _past(source, first, lag, other), _past(target, first, 1, own)


def _past(series: FloatArray, first: int, lag: int, steps: int) -> FloatArray:
    """Return the values at t - lag, ..., t - lag - steps + 1 side by side, for t from first on."""
    n = len(series)
    return np.hstack([series[first - lag - i : n - lag - i] for i in range(steps)])
