"""The questions: data and a method in, a labelled estimate out. Everything is in nats."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from mitools._processes import evaluate_all
from mitools._typing import FloatArray, Sense
from mitools._validation import UnreliableEstimate, as_samples, checked_count, side_by_side
from mitools.methods import KSG, KozachenkoLeonenko
from mitools.methods._cautions import cautions
from mitools.methods.questions import (
    ConditionalMutualInformation,
    Entropy,
    LocalMutualInformation,
    MultiInformation,
    MutualInformation,
)
from mitools.results import Estimate

_NEAREST = KSG()
_DISTANCES = KozachenkoLeonenko()


def entropy(x: ArrayLike, method: Entropy = _DISTANCES) -> Estimate:
    """H(X): how uncertain x is.

    Discrete methods give Shannon entropy; methods for continuous variables give differential
    entropy, which depends on the unit of x and can be negative.

    Parameters
    ----------
    x : array-like, shape (n,) or (n, d)
        Samples; rows are samples, columns coordinates.
    method : Entropy
        Any object with ``entropy(x) -> float``; see ``mitools.methods``.

    Returns
    -------
    Estimate
        In nats.

    Raises
    ------
    ValueError
        If x is not a finite, numeric, non-empty array of at most two dimensions.

    Examples
    --------
    >>> from mitools.measures import entropy
    >>> from mitools.methods import PlugIn
    >>> print(entropy([0, 0, 1, 1], PlugIn()))  # truth for a fair coin: log 2 = 0.6931
    H(X) = 0.6931 nats [PlugIn()]
    """
    (x,) = as_samples(x=x)
    return _answer("H(X)", "entropy", method, (x,), {"x": x})


def mutual_information(
    x: ArrayLike, y: ArrayLike, method: MutualInformation = _NEAREST
) -> Estimate:
    """I(X; Y): how much x and y tell about each other.

    Parameters
    ----------
    x, y : array-like, shape (n,) or (n, d)
        Paired samples: row i of x was drawn together with row i of y.
    method : MutualInformation
        Any object with ``mutual_information(x, y) -> float``; see ``mitools.methods`` and
        docs/choose.md. The default is for continuous variables.

    Returns
    -------
    Estimate
        In nats; never clipped, so that it can be slightly negative under independence.

    Raises
    ------
    ValueError
        If x and y differ in length, or are not finite, numeric, non-empty arrays.

    Warns
    -----
    UnreliableEstimate
        Where the method is known to mislead; the reason is also in the estimate's notes.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.measures import mutual_information
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(2_000)
    >>> y = 0.8 * x + 0.6 * rng.standard_normal(2_000)  # truth: -log(0.6) = 0.5108 nats
    >>> print(mutual_information(x, y))
    I(X; Y) = 0.5066 nats [KSG(k=3, variant=1, scale='std')]
    """
    x, y = as_samples(x=x, y=y)
    return _answer("I(X; Y)", "mutual_information", method, (x, y), {"x": x, "y": y})


def local_mutual_information(
    x: ArrayLike, y: ArrayLike, method: LocalMutualInformation = _NEAREST
) -> FloatArray:
    """Return the contribution of every sample to I(X; Y), in nats, shape (n,).

    Their mean is `mutual_information`. Parameters and errors as there.
    """
    x, y = as_samples(x=x, y=y)
    return _asked("local_mutual_information", method)(x, y)


def conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    method: ConditionalMutualInformation = _NEAREST,
) -> Estimate:
    """I(X; Y | Z): how much x and y tell about each other beyond what z tells.

    Parameters
    ----------
    x, y, z : array-like, shape (n,) or (n, d)
        Samples drawn together, row by row.
    method : ConditionalMutualInformation
        Any object with ``conditional_mutual_information(x, y, z) -> float``.

    Returns
    -------
    Estimate
        In nats.

    Raises
    ------
    ValueError
        If the arrays differ in length, or are not finite, numeric, non-empty.

    Examples
    --------
    Two noisy copies of z share nothing else:

    >>> import numpy as np
    >>> from mitools.measures import conditional_mutual_information
    >>> from mitools.methods import Gaussian
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal(2_000)
    >>> x, y = z + rng.standard_normal((2, 2_000))  # truth: 0
    >>> abs(conditional_mutual_information(x, y, z, Gaussian()).value) < 0.002
    True
    """
    x, y, z = as_samples(x=x, y=y, z=z)
    question = "conditional_mutual_information"
    return _answer("I(X; Y | Z)", question, method, (x, y, z), {"x": x, "y": y, "z": z})


def multi_information(
    variables: Sequence[ArrayLike] | pd.DataFrame, method: MultiInformation = _NEAREST
) -> Estimate:
    """I(X1; ...; Xm): how far variables are from independent, also called total correlation.

    Parameters
    ----------
    variables : DataFrame, or sequence of array-like, each of shape (n,) or (n, d)
        At least two variables, sampled together row by row; the columns of a DataFrame.
    method : MultiInformation
        Any object with ``multi_information((x1, ..., xm)) -> float``.

    Returns
    -------
    Estimate
        In nats.

    Raises
    ------
    ValueError
        If there are fewer than two variables, or they do not fit together.
    """
    if isinstance(variables, pd.DataFrame):
        variables = [column for _, column in variables.items()]
    variables = list(variables)
    if len(variables) < 2:
        raise ValueError(
            f"variables must hold at least two variables; got {len(variables)}. "
            "Pass them as a list: multi_information([x, y, z])."
        )
    named = {f"variables[{i}]": rows for i, rows in enumerate(variables)}
    checked = as_samples(**named)
    samples = dict(zip(named, checked, strict=True))
    quantity = f"I({'; '.join(f'X{i}' for i in range(1, len(checked) + 1))})"
    return _answer(quantity, "multi_information", method, (checked,), samples)


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
    s, t = as_samples(source=source, target=target)
    own = checked_count("history", history)
    other = own if source_history is None else checked_count("source_history", source_history)
    first = max(own, checked_count("lag", lag) + other - 1)
    if first >= len(t):
        raise ValueError(
            f"source and target must be longer than the history of {first} steps; got "
            f"{len(t)} steps. Use longer series or a shorter history."
        )
    present = np.ascontiguousarray(t[first:])
    embedded = (present, _past(s, first, lag, other), _past(t, first, 1, own))
    labels: list[str] = ["target", "source's past", "target's past"]
    names = dict(zip(labels, embedded, strict=True))
    quantity, question = "T(source -> target)", "conditional_mutual_information"
    return _answer(quantity, question, method, embedded, names, series=True)


def pairwise(
    features: Any,
    targets: Any = None,
    method: MutualInformation = _NEAREST,
    *,
    n_jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """I(X; Y) between every column of features and every column of targets, in nats.

    Parameters
    ----------
    features : array-like, shape (n, p), or list of p arrays of shape (n,)
        Samples of p variables; DataFrames keep their column names.
    targets : array-like, shape (n,) or (n, t), or None
        Samples of t variables. None: the features among themselves, each pair once, as if the
        method were symmetric; the diagonal is NaN.
    method : MutualInformation
        How to estimate.
    n_jobs : int
        Processes, as joblib counts them; ``joblib.parallel_config`` chooses another backend.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame, shape (p, t)
        One row a feature, one column a target.

    Raises
    ------
    ValueError
        If the arrays differ in length, or are not finite, numeric, non-empty.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mitools.measures import pairwise
    >>> from mitools.methods import Gaussian
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame(rng.standard_normal((1_000, 2)), columns=["age", "height"])
    >>> weight = (table["height"] + rng.standard_normal(1_000)).rename("weight")
    >>> pairwise(table, weight, Gaussian()).round(2)  # truth: 0 and 0.35
            weight
    age       0.00
    height    0.34
    """
    if callable(getattr(targets, "mutual_information", None)):
        raise TypeError(f"targets must be samples; got {targets!r}. Pass it as method=.")
    alone = targets is None
    features, targets = side_by_side(features), side_by_side(targets)
    checked = as_samples(features=features, **({} if alone else {"targets": targets}))
    left, right = checked[0], checked[-1]
    _asked("mutual_information", method)
    by_column = getattr(method, "mutual_information_by_column", None)
    together = 32 if by_column else 1  # features asked about at once
    p, t = left.shape[1], right.shape[1]
    starts = ((i, j) for j in range(t) for i in range(j + 1 if alone else 0, p, together))
    blocks = [(slice(i, min(i + together, p)), j) for i, j in starts]
    ask = by_column or partial(_one_by_one, method)
    found = evaluate_all(ask, ((left[:, i], right[:, [j]]) for i, j in blocks), 0, n_jobs)
    values = np.full((p, t), np.nan)
    with tqdm(total=sum(i.stop - i.start for i, _ in blocks), disable=not progress) as bar:
        for (i, j), answers in zip(blocks, found, strict=True):
            values[i, j] = answers
            if alone:
                values[j, i] = answers
            bar.update(i.stop - i.start)
    _warn(cautions(method, 0.0, dict(zip(("features", "targets"), checked, strict=False))))
    return pd.DataFrame(values, _names(features, p), _names(features if alone else targets, t))


def _one_by_one(method: MutualInformation, x: FloatArray, y: FloatArray) -> list[float]:
    return [method.mutual_information(column[:, None].copy(), y) for column in x.T]


def _answer(
    quantity: str,
    question: str,
    method: Any,
    arguments: tuple[Any, ...],
    samples: dict[str, FloatArray],
    series: bool = False,
) -> Estimate:
    """Ask the method, and label what it says."""
    value = float(_asked(question, method)(*arguments))
    notes = cautions(method, value, samples)
    if series:  # rows of an embedding follow each other by design
        notes = tuple(note for note in notes if not note.startswith("successive rows"))
    _warn(notes, stacklevel=4)
    sense: Sense = getattr(method, "sense", "point")
    if question == "conditional_mutual_information":
        sense = getattr(method, "conditional_sense", sense)
    return Estimate(value, repr(method), sense, quantity, notes=notes)


def _asked(question: str, method: Any) -> Callable[..., Any]:
    if isinstance(method, type) or not callable(getattr(method, question, None)):
        raise TypeError(
            f"method must be an object that answers {question}; got {method!r}, which does not. "
            "Is it a class that lacks its parentheses? docs/choose.md lists who answers what."
        )
    return getattr(method, question)


def _warn(notes: tuple[str, ...], stacklevel: int = 3) -> None:
    for note in notes:
        warnings.warn(note, UnreliableEstimate, stacklevel=stacklevel)


def _past(series: FloatArray, first: int, lag: int, steps: int) -> FloatArray:
    """Return the values at t - lag, ..., t - lag - steps + 1 side by side, for t from first on."""
    n = len(series)
    return np.hstack([series[first - lag - i : n - lag - i] for i in range(steps)])


def _names(table: Any, columns: int) -> pd.Index:
    """Return a pandas table's own names, or numbers."""
    if hasattr(table, "columns"):
        return pd.Index(table.columns)
    if hasattr(table, "to_frame") and getattr(table, "name", None) is not None:
        return pd.Index([table.name])
    return pd.RangeIndex(columns)
