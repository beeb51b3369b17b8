"""Information as the held-out loss that a variable saves a predictor."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import digamma

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_choice, checked_count, checked_known
from mitools.methods._cross_fitting import (
    checked_model,
    copied,
    fitted,
    forecasts,
    log_square,
    probabilities,
    source,
    splits,
)
from mitools.methods._forecasts import Contrast, Normal, contrast, groups, of_labels
from mitools.methods._symbols import symbols
from mitools.methods.questions import WithError, mean_of

_TINY = float(np.finfo(np.float64).tiny)
# E[log r^2] = log s^2 + this, for Gaussian residuals of variance s^2
_LOG_CHI2 = float(digamma(0.5)) + math.log(2.0)


@dataclass(frozen=True, eq=False)
class Predictive:
    """What a model that predicts y from x saves of the held-out log-loss [1]_, [2]_.

    Cross-fitted: every sample is forecast by a model that was fitted on the other folds. For any
    forecast q, E[-log q(Y|X)] = H(Y|X) + E KL(p||q), hence::

        I(X; Y) >= H(Y) - E[-log q(Y|X)]

    a lower bound, tight for the best model and negative for a model worse than none.

    A model with ``predict_proba`` forecasts labels (the rows of y are symbols); H(Y) is the
    plug-in entropy, which is too small on average, so the bound stands. Any other model predicts
    numbers, and the forecast is Gaussian around them, with the covariance of the model's own
    cross-fitted residuals inside the training folds. The entropy of numbers is not known unless it
    is given, and no estimate of it is sure to be small enough. Three ways out:

    - `known_entropy`: the bound above;
    - ``null="rivals"``, the default: the forecast for x_i is set against those for the other x_j of
      its fold, K in all, a lower bound for any q [3]_ that cannot exceed log K::

          I(X; Y) >= E[ log q(y_i|x_i) - log mean_j q(y_i|x_j) ]

    - ``null="gaussian"``: against a Gaussian for y alone, fitted to the same folds. It has no cap
      and is near the truth where y itself is near Gaussian, but is no bound: it is off by what the
      null lacks, KL(p(y)||null), less what the model lacks. A proxy.

    The stated standard error is that of a mean over samples: the spread of their terms, the models
    taken as they were fitted. It does not know how the models would differ on other samples [4]_;
    `with_error` does, by fitting them anew.

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
    null : {"rivals", "gaussian"}
        What a forecast of numbers is set against.
    known_entropy : float or None
        H(Y) in nats, in the units of y, where it is known; it replaces null and the plug-in.

    References
    ----------
    .. [1] Covert, Lundberg, Lee, NeurIPS 2020, arXiv 2004.00668 (cross-entropy reading).
    .. [2] Barber, Agakov, NIPS 2003 (the bound).
    .. [3] Poole et al., ICML 2019, arXiv 1905.06922, section 2.3.
    .. [4] Bengio, Grandvalet, J. Machine Learning Research 5, 1089 (2004): no estimate of that is
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

    conditional_sense: ClassVar[Sense] = "proxy"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence", "saturation", "units"})
    beyond_ceiling: ClassVar[str] = (
        'more samples, fewer folds, known_entropy=..., or null="gaussian", which is no bound'
    )
    model: Any
    folds: int = 5
    seed: int = 0
    base_rate: float = 0.0
    varying: bool = False
    null: Literal["rivals", "gaussian"] = "rivals"
    known_entropy: float | None = None

    def __post_init__(self) -> None:
        checked_model(self.model)
        checked_count("folds", self.folds, least=2)
        if not 0.0 <= self.base_rate <= 1.0:
            raise ValueError(f"base_rate must lie in [0, 1]; got {self.base_rate!r}.")
        checked_choice("null", self.null, ("rivals", "gaussian"))
        checked_known("known_entropy", self.known_entropy)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def sense(self) -> Sense:
        """A lower bound, but for numbers against a Gaussian."""
        sure = self._classifies or self.known_entropy is not None or self.null == "rivals"
        return "lower" if sure else "proxy"

    @property
    def symbolic(self) -> frozenset[str]:
        """Which argument may hold labels of any kind."""
        return frozenset({"y"}) if self._classifies else frozenset()

    def ceiling(self, n: int) -> float:
        """Return the largest value that n samples can give, in nats: log K against rivals."""
        if self._classifies or self.known_entropy is not None or self.null != "rivals":
            return math.inf
        return math.log(len(groups(-(-n // self.folds))[0]))

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """Return the bound on I(X; Y), or the proxy, in nats."""
        return float(np.mean(self.local_mutual_information(x, y)))

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """Return the same, and its standard error over the samples, for the models as fitted."""
        told = self._told(x, y)
        return replace(mean_of(told.influence, source(len(x))), value=float(np.mean(told.terms)))

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the term of each sample, in nats, shape (n,)."""
        return self._told(x, y).terms

    def _told(self, x: FloatArray, y: FloatArray) -> Contrast:
        if self.known_entropy is not None:
            terms = self.known_entropy - self.losses(x, y)
        elif self._classifies:
            terms = of_labels(symbols(y)) - self.losses(x, y)
        else:
            return self._against_null(x, y)
        return Contrast(terms, terms)

    def _against_null(self, x: FloatArray, y: FloatArray) -> Contrast:
        y = y[:, (y != y[:1]).any(axis=0)]
        terms, influence = np.zeros((2, len(y)))
        if not y.shape[1]:  # a constant tells nothing
            return Contrast(terms, influence)
        if self.null == "gaussian":
            nothing = replace(self, varying=False)
            terms = nothing.losses(np.empty((len(y), 0)), y) - self.losses(x, y)
            return Contrast(terms, terms)
        for test, forecast in self._numbers(x, y):
            for rows in groups(len(test)):
                found = contrast(forecast.scores(y[test], rows))
                terms[test[rows]], influence[test[rows]] = found.terms, found.influence
        return Contrast(terms, influence)

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """Loss saved by adding x to z, in nats: I(X; Y | Z) for perfect models."""
        return self.conditional_mutual_information_with_error(x, y, z).value

    def conditional_mutual_information_with_error(
        self, x: FloatArray, y: FloatArray, z: FloatArray
    ) -> WithError:
        """Return the loss saved, and its standard error over the samples."""
        with np.errstate(invalid="ignore"):  # a forecast that was impossible says nothing: nan
            saved = self.losses(z, y) - self.losses(np.hstack((x, z)), y)
            return mean_of(saved, source(len(x)))

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
        for train, test in splits(self, x, codes):
            seen, known = np.unique(codes[train], return_inverse=True)
            q = np.zeros((len(test), kinds))
            if len(seen) == 1:  # which many classifiers refuse to learn
                q[:, seen] = 1.0
            else:
                learnt = copied(self.model, self.seed).fit(x[train], known)
                q[:, seen] = probabilities(learnt.predict_proba(x[test]), (len(test), len(seen)))
            if self.base_rate:
                rates = np.bincount(codes[train], minlength=kinds) + 0.5
                q = (1.0 - self.base_rate) * q + self.base_rate * rates / rates.sum()
            chance[test] = q[np.arange(len(test)), codes[test]]
        with np.errstate(divide="ignore"):
            return -np.log(chance)

    def _number_losses(self, x: FloatArray, y: FloatArray) -> FloatArray:
        losses = np.empty(len(x))
        for test, forecast in self._numbers(x, y):
            losses[test] = forecast.losses(y[test])
        return losses

    def _numbers(self, x: FloatArray, y: FloatArray) -> Iterator[tuple[IntArray, Normal]]:
        """Yield the rows of every fold, and what is forecast of them."""
        if self.varying and y.shape[1] > 1:
            raise ValueError(
                f"varying=True needs a single column of y; got {y.shape[1]}. Use varying=False."
            )
        for train, test in splits(self, x, None):
            inner = replace(self, folds=min(self.folds, len(train)))
            residual = y[train] - forecasts(inner, x[train], y[train])
            means = fitted(self, x[train], y[train], x[test])
            if self.varying:
                logs = log_square(residual)
                factor = fitted(self, x[train], logs, x[test])[:, 0] - _LOG_CHI2
                yield test, Normal(means, np.eye(1), 0.0, factor)
            else:
                yield test, Normal.like(means, residual)


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
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence", "units"})
    model: Any
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        checked_model(self.model)
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
        errors = [(y - forecasts(self, x, y))[:, 0] for x in (less, more)]
        unit = max(float(np.abs(errors[0]).max()), _TINY)  # so that no square overflows
        before, after = ((error / unit) ** 2 for error in errors)
        mean, rest = float(np.mean(before)), float(np.mean(after))
        if mean == 0.0 or rest == 0.0:
            value = math.inf if mean else 0.0
            return WithError(value, math.nan, len(y) - 1, source(len(y)))
        # To first order in the two means, the value is a mean of these terms.
        told = mean_of((before / mean - after / rest) / 2, source(len(y)))
        return replace(told, value=math.log(mean / rest) / 2)
