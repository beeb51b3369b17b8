"""The boundary: untrusted input becomes checked arrays, or an error that says what to change."""

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mitools._typing import FloatArray

_EXACT_INTEGERS = 2**53


class FileFormatError(ValueError):
    """A file or text does not hold what it should: corrupt, cut short, or of another kind."""


class MaskError(ValueError):
    """A mask that does not fit its model, or is no mask at all."""


class UnreliableEstimate(UserWarning):
    """An estimate was made where its method is known to mislead; the message says why."""


def as_samples(**arrays: ArrayLike) -> tuple[FloatArray, ...]:
    """Return each array as C-contiguous float64 of shape (n, d), one n for all.

    Takes lists, numpy and masked arrays (nothing masked), pandas Series and DataFrames, torch
    tensors on any device, of any integer, boolean or real floating dtype. One dimension means n
    samples of one coordinate.

    Raises
    ------
    ValueError
        If an array is not numeric, is empty, has no or more than two dimensions, holds NaN or
        infinity, or if the arrays differ in length.
    """
    samples = {name: _as_rows(name, array) for name, array in arrays.items()}
    lengths = {name: len(rows) for name, rows in samples.items()}
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(
            f"{' and '.join(samples)} must hold the same number of samples; {got}. "
            "Rows are samples and columns are coordinates: is one of them transposed?"
        )
    return tuple(samples.values())


def side_by_side(variables: Any) -> Any:
    """Return a list of one-dimensional arrays as columns of one table; anything else as it is.

    A list of plain numbers or of rows stays what numpy makes of it.
    """
    if not isinstance(variables, list | tuple) or len(variables) < 2:
        return variables
    if any(isinstance(v, list | tuple) or getattr(v, "ndim", None) != 1 for v in variables):
        return variables
    return np.hstack(as_samples(**{f"features[{i}]": v for i, v in enumerate(variables)}))


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
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name} must be finite; {bad.sum()} of {len(rows)} rows hold NaN or infinity, the "
            f"first at row {int(bad.argmax())}. Drop or impute them first."
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
        if np.ma.is_masked(array):
            raise ValueError(
                f"{name} must have nothing masked; {int(np.ma.count_masked(array))} values are. "
                "Drop those rows or impute them first."
            )
        array = array.data
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


def _without_missing_type(frame: Any, plain: np.ndarray) -> np.ndarray:
    """Return a pandas table of nullable numbers as floats; any other table as it was."""
    types = np.atleast_1d(np.asarray(frame.dtypes, dtype=object))
    if all(getattr(t, "kind", "O") in "biuf" for t in types):
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return plain


def _numeric(name: str, plain: np.ndarray) -> FloatArray:
    if plain.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold real numbers; got dtype {plain.dtype}. Turn labels into integers "
            "(pandas.factorize), missing values into dropped rows, and objects into numbers "
            "(array.astype(float))."
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
