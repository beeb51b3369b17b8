"""Information as the held-out loss that a variable saves a predictor."""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import digamma
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_count
from mitools.methods._surprise import NUMBERS_NOTE, of_labels, of_numbers
from mitools.methods._symbols import symbols
from mitools.methods.questions import WithError, mean_of

_LOG_2PI = math.log(2.0 * math.pi)
# E[log r^2] = log s^2 + this, for Gaussian residuals of variance s^2
_LOG_CHI2 = float(digamma(0.5)) + math.log(2.0)


@dataclass(frozen=True, eq=False)
class Predictive:
    """The entropy of y less the held-out log-loss of a model that predicts y from x [1]_, [2]_.

    Cross-fitted: every sample is forecast by a model that was fitted on the other folds. For any
    forecast q, E[-log q(Y|X)] = H(Y|X) + E KL(p||q), hence::

        I(X; Y) >= H(Y) - E[-log q(Y|X)]

    a lower bound, tight for the best model and negative for a model worse than none.

    A model with ``predict_proba`` forecasts labels (the rows of y are symbols); H(Y) is the
    plug-in entropy, which is too small on average, so the bound stands. Any other model predicts
    numbers; the forecast is Gaussian around them, with the covariance of the model's own
    cross-fitted residuals inside the training folds, and H(Y) is estimated by
    `KozachenkoLeonenko`, whose error the bound inherits.

    The stated standard error is that of a mean over samples: the spread of their terms, the models
    taken as they were fitted. It does not know how the models would differ on other samples [3]_;
    `with_error` does, by fitting them anew. For numbers, neighbouring terms of H(Y) are taken as
    independent, at the cost of up to a fifth of the error.

    The conditional quantity is the loss saved by adding x to z. As a difference of two bounds it
    is not a bound, and is labelled a proxy; it approaches I(X; Y | Z) as the models improve.

    Parameters
    ----------
    model : object
        A scikit-learn classifier or regressor, or anything with ``fit`` and ``predict_proba`` or
        ``predict``; copied, never changed. Where its ``random_state`` is None, seed is used.
    folds : int
        Parts in which the samples are left out in turn.
    seed : int
        Draws the folds.
    base_rate : float, 0 <= base_rate <= 1
        Share of the training labels' frequencies (plus 1/2 each) mixed into a forecast of labels.
        The bound holds for every value; a model that can say exactly 0, as trees do, needs some,
        or a single surprise makes the bound -inf.
    varying : bool
        Whether the spread of a numeric forecast depends on x, by a second copy of the model fitted
        to the logarithms of squared residuals. For a single column of y.

    References
    ----------
    .. [1] Covert, Lundberg, Lee, NeurIPS 2020, arXiv 2004.00668 (cross-entropy reading).
    .. [2] Barber, Agakov, NIPS 2003 (the bound).
    .. [3] Bengio, Grandvalet, J. Machine Learning Research 5, 1089 (2004): no estimate of that is
       unbiased.

    Examples
    --------
    A bit seen through a channel that flips a tenth:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from mitools.methods import Predictive
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 2, (2_000, 1)).astype(float)
    >>> y = np.where(rng.random((2_000, 1)) < 0.1, 1 - x, x)
    >>> truth = np.log(2) + 0.1 * np.log(0.1) + 0.9 * np.log(0.9)
    >>> bound = Predictive(LogisticRegression()).mutual_information(x, y)
    >>> print(f"truth {truth:.3f}, bound {bound:.3f}")
    truth 0.368, bound 0.336
    """

    sense: ClassVar[Sense] = "lower"
    conditional_sense: ClassVar[Sense] = "proxy"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence"})
    model: Any
    folds: int = 5
    seed: int = 0
    base_rate: float = 0.0
    varying: bool = False

    def __post_init__(self) -> None:
        _checked_model(self.model)
        checked_count("folds", self.folds, least=2)
        if not 0.0 <= self.base_rate <= 1.0:
            raise ValueError(f"base_rate must lie in [0, 1]; got {self.base_rate!r}.")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def symbolic(self) -> frozenset[str]:
        """Which argument may hold labels of any kind."""
        return frozenset({"y"}) if self._classifies else frozenset()

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """Lower bound on I(X; Y) in nats."""
        return float(np.mean(self.local_mutual_information(x, y)))

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """Return the bound and its standard error over the samples, for the models as fitted."""
        notes = () if self._classifies else (NUMBERS_NOTE,)
        return mean_of(self.local_mutual_information(x, y), _source(len(x)), notes)

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the bound's term of each sample, in nats, shape (n,)."""
        surprise = of_labels(symbols(y)) if self._classifies else of_numbers(y)
        return surprise - self.losses(x, y)

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """Loss saved by adding x to z, in nats: I(X; Y | Z) for perfect models."""
        return self.conditional_mutual_information_with_error(x, y, z).value

    def conditional_mutual_information_with_error(
        self, x: FloatArray, y: FloatArray, z: FloatArray
    ) -> WithError:
        """Return the loss saved, and its standard error over the samples."""
        saved = self.losses(z, y) - self.losses(np.hstack((x, z)), y)
        return mean_of(saved, _source(len(x)))

    def losses(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return -log q(y | x) of each sample, held out, in nats, shape (n,)."""
        return (
            self._label_losses(x, symbols(y).codes)
            if self._classifies
            else self._number_losses(x, y)
        )

    @property
    def _classifies(self) -> bool:
        return hasattr(self.model, "predict_proba")

    def _label_losses(self, x: FloatArray, codes: IntArray) -> FloatArray:
        kinds = int(codes.max()) + 1
        chance = np.empty(len(x))
        for train, test in _splits(self, x, codes):
            seen, known = np.unique(codes[train], return_inverse=True)
            q = np.zeros((len(test), kinds))
            if len(seen) == 1:  # which many classifiers refuse to learn
                q[:, seen] = 1.0
            else:
                fitted = _copied(self.model, self.seed).fit(x[train], known)
                q[:, seen] = fitted.predict_proba(x[test])
            if self.base_rate:
                rates = np.bincount(codes[train], minlength=kinds) + 0.5
                q = (1.0 - self.base_rate) * q + self.base_rate * rates / rates.sum()
            chance[test] = q[np.arange(len(test)), codes[test]]
        with np.errstate(divide="ignore"):
            return -np.log(chance)

    def _number_losses(self, x: FloatArray, y: FloatArray) -> FloatArray:
        if self.varying and y.shape[1] > 1:
            raise ValueError(
                f"varying=True needs a single column of y; got {y.shape[1]}. Use varying=False."
            )
        losses = np.empty(len(x))
        for train, test in _splits(self, x, None):
            inner = replace(self, folds=min(self.folds, len(train)))
            residual = y[train] - _forecasts(inner, x[train], y[train])
            error = y[test] - _fitted(self, x[train], y[train], x[test])
            if self.varying:
                losses[test] = self._varying_loss(x, train, test, residual, error)
            else:
                losses[test] = _gaussian_loss(error, residual.T @ residual / len(train))
        return losses

    def _varying_loss(
        self,
        x: FloatArray,
        train: IntArray,
        test: IntArray,
        residual: FloatArray,
        error: FloatArray,
    ) -> FloatArray:
        log_variance = _fitted(self, x[train], np.log(residual**2), x[test])[:, 0] - _LOG_CHI2
        return (_LOG_2PI + log_variance + error[:, 0] ** 2 * np.exp(-log_variance)) / 2


@dataclass(frozen=True, eq=False)
class ExplainedVariance:
    """What a squared-error regressor explains, on the scale of Gaussian information: a proxy.

    With the cross-fitted squared errors of the model and of the training mean::

        -1/2 log( MSE(y | x) / MSE(y) )  =  -1/2 log(1 - R^2)

    This equals I(X; Y) only if x and the scalar y are jointly Gaussian and the model is linear. In
    general it can lie on either side: it is 0 where x moves only the spread of y. Given z, the
    model on z takes the place of the mean.

    Parameters
    ----------
    model : object
        A scikit-learn regressor, or anything with ``fit`` and ``predict``; copied, never changed.
    folds : int
        Parts in which the samples are left out in turn.
    seed : int
        Draws the folds, and is the model's ``random_state`` where that is None.
    """

    sense: ClassVar[Sense] = "proxy"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence"})
    model: Any
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _checked_model(self.model)
        if hasattr(self.model, "predict_proba"):
            raise ValueError(
                f"model must predict numbers; got the classifier {self.model!r}. "
                "Use Predictive for labels."
            )
        checked_count("folds", self.folds, least=2)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """-1/2 log(1 - R^2) in nats."""
        return self.mutual_information_with_error(x, y).value

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """Return -1/2 log(1 - R^2), and its standard error over the samples."""
        return self._saved(np.zeros((len(y), 0)), x, y)

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """-1/2 log( MSE(y | x, z) / MSE(y | z) ) in nats."""
        return self.conditional_mutual_information_with_error(x, y, z).value

    def conditional_mutual_information_with_error(
        self, x: FloatArray, y: FloatArray, z: FloatArray
    ) -> WithError:
        """Return what x explains beyond z, and its standard error over the samples."""
        return self._saved(z, np.hstack((x, z)), y)

    def _saved(self, less: FloatArray, more: FloatArray, y: FloatArray) -> WithError:
        if y.shape[1] > 1:
            raise ValueError(
                f"ExplainedVariance takes a single column of y; got {y.shape[1]}. The information "
                "of a vector is no function of its summed squared error; use Predictive."
            )
        before, after = ((y - _forecasts(self, x, y))[:, 0] ** 2 for x in (less, more))
        mean, rest = float(np.mean(before)), float(np.mean(after))
        if mean == 0.0 or rest == 0.0:
            value = math.inf if mean else 0.0
            return WithError(value, math.nan, len(y) - 1, _source(len(y)))
        # To first order in the two means, the value is a mean of these terms.
        told = mean_of((before / mean - after / rest) / 2, _source(len(y)))
        return replace(told, value=math.log(mean / rest) / 2)


def _source(n: int) -> str:
    return f"over {n} held-out samples, for the models as fitted"


def _checked_model(model: object) -> None:
    predicts = hasattr(model, "predict") or hasattr(model, "predict_proba")
    if isinstance(model, type) or not (hasattr(model, "fit") and predicts):
        raise ValueError(
            "model must be an object with fit and predict or predict_proba; got "
            f"{model!r}. Is it a class that lacks its parentheses?"
        )


def _splits(
    method: Predictive | ExplainedVariance, x: FloatArray, codes: IntArray | None
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the rows to fit on and the rows to forecast, labels in equal shares."""
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


def _forecasts(method: Predictive | ExplainedVariance, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the cross-fitted prediction of every row of y; the mean where x has no columns."""
    forecast = np.empty_like(y)
    for train, test in _splits(method, y, None):
        if x.shape[1]:
            forecast[test] = _fitted(method, x[train], y[train], x[test])
        else:
            forecast[test] = y[train].mean(axis=0)
    return forecast


def _fitted(
    method: Predictive | ExplainedVariance, x: FloatArray, y: FloatArray, at: FloatArray
) -> FloatArray:
    target = y[:, 0] if y.shape[1] == 1 else y  # as scikit-learn wants it
    found = _copied(method.model, method.seed).fit(x, target).predict(at)
    return np.asarray(found, dtype=np.float64).reshape(len(at), -1)


def _copied(model: Any, seed: int) -> Any:
    """Return an unfitted copy that draws on nothing global."""
    if not hasattr(model, "get_params"):
        return deepcopy(model)
    fresh: Any = clone(model)
    drawn = [name for name in fresh.get_params() if name.split("__")[-1] == "random_state"]
    unset = {name: seed for name in drawn if fresh.get_params()[name] is None}
    return fresh.set_params(**unset)


def _gaussian_loss(error: FloatArray, covariance: FloatArray) -> FloatArray:
    sign, log_det = np.linalg.slogdet(covariance)
    if sign <= 0.0:
        raise ValueError(
            "y must not be predicted without error, or hold columns that determine each other; "
            "the residuals have a singular covariance. I(X; Y) is infinite, or a column too many."
        )
    distance = np.einsum("ni,ij,nj->n", error, np.linalg.inv(covariance), error)
    return (error.shape[1] * _LOG_2PI + log_det + distance) / 2
