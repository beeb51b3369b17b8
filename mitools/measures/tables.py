"""Every feature against every target."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mitools._processes import evaluate_all
from mitools._typing import FloatArray
from mitools._validation import as_samples, column_apart, side_by_side
from mitools.measures._answers import asked, check_labels, symbolic_of, warn
from mitools.methods import KSG
from mitools.methods._cautions import cautions
from mitools.methods.questions import MutualInformation

_NEAREST = KSG()


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
    targets : array-like, shape (n,) or (n, t), str or None
        Samples of t variables, or the name of a column of the DataFrame, which is then none of the
        features. None: the features among themselves, each pair once, as if the method were
        symmetric; the diagonal is NaN.
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
    features, targets = column_apart(features, targets, "targets")
    alone = targets is None
    known = symbolic_of(method, ("x", "y"))
    labels = {"features": known >= ({"x", "y"} if alone else {"x"}), "targets": "y" in known}
    features, targets = (
        side_by_side(given, labels[name])
        for name, given in (("features", features), ("targets", targets))
    )
    given = {"features": features} if alone else {"features": features, "targets": targets}
    checked = as_samples([name for name in given if labels[name]], **given)
    left, right = checked[0], checked[-1]
    asked("mutual_information", method)
    check_labels(method, dict(zip(given, checked, strict=True)), given, by_column=True)
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
    warn(cautions(method, 0.0, dict(zip(given, checked, strict=True)), by_column=True))
    return pd.DataFrame(values, _names(features, p), _names(features if alone else targets, t))


def _one_by_one(method: MutualInformation, x: FloatArray, y: FloatArray) -> list[float]:
    return [method.mutual_information(column[:, None].copy(), y) for column in x.T]


def _names(table: Any, columns: int) -> pd.Index:
    """Return a pandas table's own names, or numbers."""
    if hasattr(table, "columns"):
        return pd.Index(table.columns)
    if hasattr(table, "to_frame") and getattr(table, "name", None) is not None:
        return pd.Index([table.name])
    return pd.RangeIndex(columns)
