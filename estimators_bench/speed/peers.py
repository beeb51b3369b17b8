"""The packages compared with, each called as its documentation says, all with k = 3.

A peer computes Kraskov's first estimator, or Ross's for classes, in its own words: some add
noise of 1e-10 to the data or take 1e-12 off the radius, and agree to that. Multidimensional
variables go through the function underneath where the public one takes scalars only. Questions
about many columns are answered by the sum over them.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

K = 3

Ask = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Peer:
    """A package and its answers: None where it has no such question."""

    name: str
    module: str
    pair: Ask | None = None
    vectors: Ask | None = None
    screen: Ask | None = None
    classes: Ask | None = None

    def missing(self) -> str | None:
        """Return why the peer cannot take part, or None if it can."""
        try:
            importlib.import_module(self.module)
        except ImportError as error:
            return f"not installed here ({error}); pip install 'mitools[peers]'"
        return None


def _sklearn_pair(x: np.ndarray, y: np.ndarray) -> float:
    from sklearn.feature_selection import mutual_info_regression

    return float(mutual_info_regression(x, y[:, 0], n_neighbors=K, random_state=0).sum())


def _sklearn_classes(x: np.ndarray, y: np.ndarray) -> float:
    from sklearn.feature_selection import mutual_info_classif

    return float(mutual_info_classif(x, y[:, 0], n_neighbors=K, random_state=0).sum())


def _npeet(x: np.ndarray, y: np.ndarray) -> float:
    from npeet_plus import mi

    return float(mi(x, y, k=K, base=np.e))


def _npeet_screen(x: np.ndarray, y: np.ndarray) -> float:
    return sum(_npeet(x[:, [j]], y) for j in range(x.shape[1]))


def _ennemi_vectors(x: np.ndarray, y: np.ndarray) -> float:
    from ennemi._entropy_estimators import _estimate_single_mi

    return float(_estimate_single_mi(x, y, K))


def _ennemi_pair(x: np.ndarray, y: np.ndarray) -> float:
    from ennemi import estimate_mi

    return float(estimate_mi(y[:, 0], x, k=K, preprocess=False, max_threads=1).sum())


def _ennemi_classes(x: np.ndarray, y: np.ndarray) -> float:
    from ennemi import estimate_mi

    found = estimate_mi(y[:, 0], x, k=K, preprocess=False, discrete_y=True, max_threads=1)
    return float(found.sum())


def _infomeasure(x: np.ndarray, y: np.ndarray) -> float:
    from infomeasure import mutual_information

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(mutual_information(x, y, approach="ksg", k=K, base="e"))


def _infomeasure_screen(x: np.ndarray, y: np.ndarray) -> float:
    return sum(_infomeasure(x[:, [j]], y) for j in range(x.shape[1]))


PEERS = (
    Peer(
        "scikit-learn",
        "sklearn",
        pair=_sklearn_pair,
        screen=_sklearn_pair,
        classes=_sklearn_classes,
    ),
    Peer("npeet-plus", "npeet_plus", pair=_npeet, vectors=_npeet, screen=_npeet_screen),
    Peer(
        "ennemi",
        "ennemi",
        pair=_ennemi_pair,
        vectors=_ennemi_vectors,
        screen=_ennemi_pair,
        classes=_ennemi_classes,
    ),
    Peer(
        "infomeasure",
        "infomeasure",
        pair=_infomeasure,
        vectors=_infomeasure,
        screen=_infomeasure_screen,
    ),
)
