"""TERC as a scikit-learn selector."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import validation

from mitools._validation import coded
from mitools.selection.terc import terc


class TERCSelector(SelectorMixin, BaseEstimator):
    """`mitools.selection.terc` for pipelines.

    Parameters
    ----------
    method : MutualInformation or None
        Any method that answers I(X; Y); None: the one that suits the columns.
    confidence : float
        Of all tests together.
    correction : {"holm", "bonferroni", "none"}
        How the number of tests is accounted for.
    order : str
        In which features are visited.
    test : Shuffled, OwnTest or None
        How a feature's share is judged.

    Attributes
    ----------
    selection_ : Selection
        What was chosen, by whose numbers.
    n_features_in_ : int
        Features seen by fit.
    feature_names_in_ : array of str
        Their names, where they have any.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mitools.methods import Gaussian
    >>> from mitools.selection import TERCSelector
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame(rng.standard_normal((300, 3)), columns=["age", "height", "shoe"])
    >>> selector = TERCSelector(Gaussian()).set_output(transform="pandas")
    >>> list(selector.fit_transform(table, table["age"] - table["shoe"]))
    ['age', 'shoe']
    """

    def __init__(
        self,
        method: Any = None,
        *,
        confidence: float = 0.95,
        correction: str = "holm",
        order: Any = "least-informative",
        test: Any = None,
    ) -> None:
        self.method = method
        self.confidence = confidence
        self.correction = correction
        self.order = order
        self.test = test

    def fit(self, X: Any, y: Any) -> "TERCSelector":
        """Choose features of X (n, d) that tell of y, (n,) or (n, t), all that X tells.

        Raises
        ------
        ValueError
            As for `mitools.selection.terc`.
        """
        X, y = _checked(self, X, y, multi_output=True, ensure_min_samples=2, dtype="numeric")
        names = getattr(self, "feature_names_in_", None)
        X = X if names is None else pd.DataFrame(X, columns=names)
        options: dict[str, Any] = {
            name: value for name, value in self.get_params(deep=False).items() if name != "method"
        }
        self.selection_ = terc(X, coded("y", y), self.method, **options)
        return self

    def _get_support_mask(self) -> Any:
        validation.check_is_fitted(self)
        mask = np.zeros(len(self.selection_.features), bool)
        mask[list(self.selection_.chosen)] = True
        return mask

    def __sklearn_tags__(self) -> Any:
        """Say that y is needed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _more_tags(self) -> dict[str, bool]:
        return {"requires_y": True}  # as scikit-learn before 1.6 asks


def _checked(estimator: Any, *data: Any, **options: Any) -> Any:
    """Return X and y as scikit-learn checks them, which notes on the estimator what it saw."""
    since_1_6 = getattr(validation, "validate_data", None)
    if since_1_6 is None:
        return estimator._validate_data(*data, **options)
    return since_1_6(estimator, *data, **options)
