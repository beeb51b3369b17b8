"""The boundary: untrusted input becomes checked arrays, or an error that says what to change."""

import numbers
import operator
import re
from collections.abc import Collection
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from mitools._typing import FloatArray

_EXACT_INTEGERS = 2**53
_SMALLEST = 1e-300  # of which the reciprocal is still a number

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""A place in memory: a repr that holds one says another thing in every process."""


class FileFormatError(ValueError):
    """A file or text does not hold what it should: corrupt, cut short, or of another kind."""


class MaskError(ValueError):
    """A mask that does not fit its model, or is no mask at all."""


class UnreliableEstimate(UserWarning):
    """An estimate was made where its method is known to mislead; the message says why."""


def as_samples(symbolic: Collection[str] = (), /, **arrays: Any) -> tuple[FloatArray, ...]:
    """Return each array as C-contiguous float64 of shape (n, d), one n for all.

    Takes lists, numpy and masked arrays (nothing masked), pandas Series and DataFrames, torch
    tensors on any device, of any integer, boolean or real floating dtype. One dimension means n
    samples of one coordinate. Those named in ``symbolic`` may hold labels, as strings, categories
    or other objects that can be ordered: column by column they become 0, 1, ..., in the order of
    the categories, or else ascending.

    Raises
    ------
    ValueError
        If an array is not numeric, is empty, has no or more than two dimensions, holds NaN or
        infinity or a missing label or numbers below 1e-300 only, or if the arrays differ in length.
    """
    samples = {
        name: _as_rows(name, coded(name, array) if name in symbolic else array)
        for name, array in arrays.items()
    }
    lengths = {name: len(rows) for name, rows in samples.items()}
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(
            f"{' and '.join(samples)} must hold the same number of samples; {got}. "
            "Rows are samples and columns are coordinates: is one of them transposed?"
        )
    return tuple(samples.values())


def side_by_side(variables: Any, symbolic: bool = False) -> Any:
    """Return a list of one-dimensional arrays as columns of one table; anything else as it is.

    A list of plain numbers or of rows stays what numpy makes of it. Symbolic ones may hold labels.
    """
    if not isinstance(variables, list | tuple) or len(variables) < 2:
        return variables
    if any(isinstance(v, list | tuple) or getattr(v, "ndim", None) != 1 for v in variables):
        return variables
    named = {f"features[{i}]": v for i, v in enumerate(variables)}
    return np.hstack(as_samples(named if symbolic else (), **named))


def column_apart(features: Any, target: Any, argument: str = "target") -> tuple[Any, Any]:
    """Return features and target; one that is a name, as the column of that table, which goes.

    Raises
    ------
    ValueError
        If the target is a name, and features have no such column.
    """
    if not isinstance(target, str):
        return features, target
    if isinstance(features, pd.DataFrame) and target in features:
        return features.drop(columns=target), features[target]
    known = getattr(features, "columns", None)
    has = "no named columns" if known is None else ", ".join(map(str, known))
    raise ValueError(
        f"{argument} must be samples, or name a column of features, a DataFrame; got {target!r}, "
        f"and features have {has}. Pass the samples themselves."
    )


def coded(name: str, array: Any) -> Any:
    """Return labels as numbers, column by column; what is numeric already, or no table, as it is.

    Raises
    ------
    ValueError
        If a label is missing, or labels cannot be ordered.
    """
    if hasattr(array, "detach") or _numbers(array):
        return array
    if isinstance(array, np.ma.MaskedArray):
        array = _unmasked(name, array)
    if isinstance(array, pd.DataFrame):
        columns = [column for _, column in array.items()]
    elif isinstance(getattr(array, "dtype", None), pd.api.extensions.ExtensionDtype):
        columns = [pd.Series(array)]
    else:
        plain = array if isinstance(array, np.ndarray) else np.asarray(array, dtype=object)
        if plain.ndim not in (1, 2) or plain.dtype.kind in "cmM" or not plain.size:
            return array
        columns = [pd.Series(c, dtype=object) for c in plain.reshape(len(plain), -1).T]
    return np.column_stack([_codes(name, column) for column in columns])


def _numbers(array: Any) -> bool:
    """Return whether an array, table or list holds numbers or truth values only."""
    types = getattr(array, "dtypes", getattr(array, "dtype", None))
    if types is None:
        try:
            types = np.asarray(array).dtype
        except ValueError:  # not rectangular, as will be said elsewhere
            return True
    return all(t.kind in "biuf" for t in np.atleast_1d(np.asarray(types, dtype=object)))


def _codes(name: str, column: pd.Series) -> np.ndarray:
    if _numbers(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = column.isna()
    if missing.any():
        raise ValueError(
            f"{name} must have no missing labels; {missing.sum()} of {len(column)} rows lack one, "
            f"the first at row {int(missing.to_numpy().argmax())}. Drop those rows, or give them a "
            "label of their own."
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy()
    try:
        return np.unique(column.to_numpy(dtype=object), return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(
            f"{name} must hold labels that can be ordered; numpy says: {error}. "
            "Turn them all into strings."
        ) from None


def checked_count(name: str, value: object, least: int = 1) -> int:
    """Return value as an int of at least `least`.

    Raises
    ------
    ValueError
        If it is not one.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise ValueError(f"{name} must be an integer; got {value!r}. Convert it first.") from None
    if count < least:
        raise ValueError(f"{name} must be at least {least}; got {name}={count}.")
    return count


def checked_neighbors(k: int, n: int) -> int:
    """Return k if n samples have a k-th nearest neighbour.

    Raises
    ------
    ValueError
        If k >= n.
    """
    if not 1 <= k < n:
        raise ValueError(
            f"k must be at least 1 and smaller than the number of samples n; got k={k} with n={n}. "
            "Use more samples or fewer neighbours."
        )
    return k


def checked_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Check that value is one of choices.

    Raises
    ------
    ValueError
        If it is not.
    """
    if value not in choices or isinstance(value, bool):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")


def checked_share(name: str, value: float) -> None:
    """Check that value lies strictly between 0 and 1.

    Raises
    ------
    ValueError
        If it does not.
    """
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1; got {value!r}.")


def checked_known(name: str, value: float | None) -> None:
    """Check that value is a finite number, or None.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not isfinite(value):
        raise ValueError(f"{name} must be a finite number or None; got {value!r}.")


def _as_rows(name: str, array: Any) -> FloatArray:
    rows = _numeric(name, _plain_array(name, array))
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim != 2:
        raise ValueError(
            f"{name} must have shape (n,) or (n, d), samples first; got shape {rows.shape}. "
            "Flatten the other axes: array.reshape(len(array), -1)."
        )
    if 0 in rows.shape:
        raise ValueError(
            f"{name} must hold at least one sample and one coordinate; got shape {rows.shape}. "
            "Was everything filtered out?"
        )
    finite = np.isfinite(rows)
    if not finite.all():
        bad = ~finite.all(axis=1)
        raise ValueError(
            f"{name} must be finite; {bad.sum()} of {len(rows)} rows hold NaN or infinity, the "
            f"first at row {int(bad.argmax())}. Drop or impute them first."
        )
    largest = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    if ((largest > 0.0) & (largest < _SMALLEST)).any():
        raise ValueError(
            f"{name} must hold numbers that float64 resolves; a column has none larger than "
            f"{largest[largest > 0.0].min():.3g}. Change its unit."
        )
    return np.ascontiguousarray(rows)


def _plain_array(name: str, array: Any) -> np.ndarray:
    """Return the numpy array behind whatever was given, of its own dtype."""
    if hasattr(array, "detach") and hasattr(array, "cpu"):  # a torch tensor, torch not imported
        array = array.detach().cpu()
        if "bfloat16" in str(array.dtype):  # a type that numpy does not have
            array = array.float()
        array = array.numpy()
    if isinstance(array, np.ma.MaskedArray):
        array = _unmasked(name, array)
    try:
        plain = np.asarray(array)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a rectangular array of numbers; numpy says: {error}. "
            "Do all rows have the same length?"
        ) from None
    if plain.dtype == object and hasattr(array, "dtypes"):  # pandas' own types for missing values
        return _without_missing_type(array, plain)
    return plain


def _unmasked(name: str, array: np.ma.MaskedArray) -> np.ndarray:
    if np.ma.is_masked(array):
        raise ValueError(
            f"{name} must have nothing masked; {int(np.ma.count_masked(array))} values are. "
            "Drop those rows or impute them first."
        )
    return array.data


def _without_missing_type(frame: Any, plain: np.ndarray) -> np.ndarray:
    """Return a pandas table of nullable numbers as floats; any other table as it was."""
    types = np.atleast_1d(np.asarray(frame.dtypes, dtype=object))
    if all(getattr(t, "kind", "O") in "biuf" for t in types):
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return plain


def _numeric(name: str, plain: np.ndarray) -> FloatArray:
    if plain.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold real numbers here; got dtype {plain.dtype}. Use a method that takes "
            "labels (docs/choose.md) or turn them into integers (pandas.factorize), missing values "
            "into dropped rows, and objects into numbers (array.astype(float))."
        )
    if plain.dtype.kind in "iu" and plain.size and _largest(plain) > _EXACT_INTEGERS:
        raise ValueError(
            f"{name} must hold integers of at most 2**53 in size, so that float64 tells them "
            f"apart; got {_largest(plain)}. Renumber them (pandas.factorize)."
        )
    if plain.dtype.itemsize > 8 and plain.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return plain.astype(np.float64)
    return plain.astype(np.float64, copy=False)


def _largest(integers: np.ndarray) -> int:
    return max(int(integers.max()), -int(integers.min()))
