"""One answer for many questions: columns against one variable, shuffles of a pair.

What nearest-neighbour methods need of a variable is sorted once. Where a sample sits on an atom the
quick form does not hold; such columns and shuffles come back as NaN, to be asked one by one.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import digamma

from mitools import _kernels
from mitools._typing import FloatArray, IntArray
from mitools.methods._neighbors import first_psis, psi


def ksg_columns(x: FloatArray, y: FloatArray, k: int) -> FloatArray:
    """Return I(X_j; Y) of every column of x and one column y, by Kraskov's first estimator."""
    return _ksg(*_kernels.ksg_screen(x, y[:, 0], k, first_psis(len(y))), len(y), k)


def ksg_shuffles(x: FloatArray, y: FloatArray, k: int, orders: Iterable[IntArray]) -> FloatArray:
    """Return I(X; Y[order]) of one column each, for every order."""
    worth = first_psis(len(y))
    return _ksg(*_kernels.ksg_shuffles(x[:, 0], y[:, 0], k, orders, worth), len(y), k)


def ksg_pair(x: FloatArray, y: FloatArray, k: int) -> float:
    """Return I(X; Y) of any two variables: the same bits as above; NaN if there are atoms."""
    total, atoms = _kernels.ksg_pair(x, y, k, first_psis(len(y)))
    return float(_ksg(np.float64(total), atoms, len(y), k))


def _ksg(totals: Any, atoms: Any, n: int, k: int) -> FloatArray:
    return np.where(atoms > 0, np.nan, digamma(k) + digamma(n) - totals / n)


def ross_columns(x: FloatArray, codes: IntArray, k: int) -> FloatArray:
    """Return I(X_j; label) of every column of x, by Ross's estimator; labels repeat."""
    n = len(codes)
    totals, atoms = _kernels.ross_screen(x, codes, k, first_psis(n))
    sizes = np.bincount(codes)
    labels = sizes @ (psi(np.minimum(k, sizes - 1)) - psi(sizes))
    return np.where(atoms > 0, np.nan, digamma(n) + (labels - totals) / n)
