"""Fit on some folds, predict the others: what every held-out method does with a model."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Protocol

import numpy as np

from mitools._typing import FloatArray, IntArray


class CrossFitting(Protocol):
    """A method with a model, and folds that its seed draws."""

    @property
    def model(self) -> Any:
        """Something with fit and predict or predict_proba."""
        ...

    @property
    def folds(self) -> int:
        """Parts in which the samples are left out in turn."""
        ...

    @property
    def seed(self) -> int:
        """Draws the folds, and is the model's random_state where that is None."""
        ...


def probabilities(told: Any, shape: tuple[int, int]) -> FloatArray:
    """Return what a classifier told, checked."""
    found = np.asarray(told, dtype=np.float64)
    if found.shape != shape or not ((found >= 0.0) & (found <= 1.0 + 1e-6)).all():
        raise ValueError(
            f"model must give probabilities of {shape[1]} labels for each of {shape[0]} samples; "
            f"got shape {found.shape}, from {found.min():g} to {found.max():g}."
        )
    return found


def source(n: int) -> str:
    """Say what the error of a mean over n held-out samples is."""
    return f"over {n} held-out samples, for the models as fitted"


def checked_model(model: object) -> None:
    """Raise ValueError unless this can be fitted and asked."""
    predicts = hasattr(model, "predict") or hasattr(model, "predict_proba")
    if isinstance(model, type) or not (hasattr(model, "fit") and predicts):
        raise ValueError(
            "model must be an object with fit and predict or predict_proba; got "
            f"{model!r}. Is it a class that lacks its parentheses?"
        )


def splits(
    method: CrossFitting, x: FloatArray, codes: IntArray | None
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the rows to fit on and the rows to forecast, labels in equal shares."""
    from sklearn.model_selection import KFold, StratifiedKFold  # slow to load, seldom needed

    if method.folds > len(x):
        raise ValueError(
            f"folds must be at most the number of samples; got folds={method.folds} with "
            f"n={len(x)}. Use more samples or fewer folds."
        )
    if codes is None or np.bincount(codes).max() < method.folds:
        yield from KFold(method.folds, shuffle=True, random_state=method.seed).split(x)
        return
    # Labels rarer than the folds cannot be in every one; they share a stratum of their own.
    rare = np.bincount(codes)[codes] < method.folds
    strata = np.where(rare, -1, codes)
    if 0 < rare.sum() < method.folds:
        strata[rare] = codes[np.flatnonzero(~rare)[0]]
    yield from StratifiedKFold(method.folds, shuffle=True, random_state=method.seed).split(
        x, strata
    )


def forecasts(method: CrossFitting, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the cross-fitted prediction of every row of y."""
    forecast = np.empty_like(y)
    for train, test in splits(method, y, None):
        forecast[test] = fitted(method, x[train], y[train], x[test])
    return forecast


def fitted(method: CrossFitting, x: FloatArray, y: FloatArray, at: FloatArray) -> FloatArray:
    """Return what is predicted at these places; the mean where x has no columns."""
    if not x.shape[1]:
        return np.repeat(y.mean(axis=0, keepdims=True), len(at), axis=0)
    target = y[:, 0] if y.shape[1] == 1 else y  # as scikit-learn wants it
    found = copied(method.model, method.seed).fit(x, target).predict(at)
    found = np.asarray(found, dtype=np.float64)
    found = found[:, None] if found.ndim == 1 else found
    if found.shape != (len(at), y.shape[1]) or not np.isfinite(found).all():
        raise ValueError(
            f"model must predict {y.shape[1]} finite numbers for each of {len(at)} samples; got "
            f"shape {found.shape}, {np.isfinite(found).mean():.0%} of it finite. Are x and y of "
            "reasonable size?"
        )
    return found


def copied(model: Any, seed: int) -> Any:
    """Return an unfitted copy that draws on nothing global."""
    if not hasattr(model, "get_params"):
        return deepcopy(model)
    from sklearn.base import clone

    fresh: Any = clone(model)
    drawn = [name for name in fresh.get_params() if name.split("__")[-1] == "random_state"]
    unset = {name: seed for name in drawn if fresh.get_params()[name] is None}
    return fresh.set_params(**unset)


def log_square(residual: FloatArray) -> FloatArray:
    """Return log residual^2, for a model of the spread; a chance hit is no sign of certainty."""
    largest = max(float(np.abs(residual).max()), np.finfo(np.float64).tiny)
    unit = residual / largest
    least = 1e-6 * np.sqrt(np.mean(unit**2))
    if least == 0.0:
        raise ValueError(
            "y must not be predicted without error, for varying=True; I(X; Y) is infinite."
        )
    return 2.0 * (np.log(np.maximum(np.abs(unit), least)) + np.log(largest))
