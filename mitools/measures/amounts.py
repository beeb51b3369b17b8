"""How much variables tell: of themselves, about each other, beyond a third, all together."""

from collections.abc import Sequence

import pandas as pd
from numpy.typing import ArrayLike

from mitools._typing import FloatArray
from mitools.measures._answers import answered, asked, checked
from mitools.methods import KSG, KozachenkoLeonenko
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
    (x,) = checked(method, x=x)
    return answered("H(X)", "entropy", method, (x,), {"x": x})


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
        If x and y differ in length, or are not finite, numeric, non-empty arrays; labels suit
        methods for labels.

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
    x, y = checked(method, x=x, y=y)
    return answered("I(X; Y)", "mutual_information", method, (x, y), {"x": x, "y": y})


def local_mutual_information(
    x: ArrayLike, y: ArrayLike, method: LocalMutualInformation = _NEAREST
) -> FloatArray:
    """Return the contribution of every sample to I(X; Y), in nats, shape (n,).

    Their mean is `mutual_information`. Parameters and errors as there.
    """
    x, y = checked(method, x=x, y=y)
    return asked("local_mutual_information", method)(x, y)


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
    x, y, z = checked(method, x=x, y=y, z=z)
    question = "conditional_mutual_information"
    return answered("I(X; Y | Z)", question, method, (x, y, z), {"x": x, "y": y, "z": z})


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
    variables = listed(variables)
    if len(variables) < 2:
        raise ValueError(
            f"variables must hold at least two variables; got {len(variables)}. "
            "Pass them as a list: multi_information([x, y, z])."
        )
    named = {f"variables[{i}]": variable for i, variable in enumerate(variables)}
    rows = checked(method, **named)
    samples = dict(zip(named, rows, strict=True))
    quantity = f"I({'; '.join(f'X{i}' for i in range(1, len(rows) + 1))})"
    return answered(quantity, "multi_information", method, (rows,), samples)


def listed(variables: Sequence[ArrayLike] | pd.DataFrame) -> list[ArrayLike]:
    """Return the variables that `multi_information` is asked about, one by one."""
    if isinstance(variables, pd.DataFrame):
        return [column for _, column in variables.items()]
    if not hasattr(variables, "__len__"):
        raise TypeError(
            f"variables must be a DataFrame or a list of arrays; got {variables!r}. "
            "Pass them as a list: multi_information([x, y, z])."
        )
    return list(variables)
