"""Nearest neighbours by looking at every pair: the reference, and the choice for small n."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _distance(a, b, euclidean):
    """Distance between two rows; for Euclidean, the square is summed from the first coordinate on."""
    total = 0.0
    if euclidean:
        for c in range(a.shape[0]):
            t = a[c] - b[c]
            total += t * t
        return np.sqrt(total)
    for c in range(a.shape[0]):
        t = abs(a[c] - b[c])
        if t > total:
            total = t
    return total


@njit(cache=True, nogil=True)
def kth_neighbors(points, k, euclidean=False):
    """Return distances (n, k) and indices (n, k) of the k nearest others, ascending, ties by index.

    O(n^2 (d + k)) time.
    """
    n = points.shape[0]
    distances = np.full((n, k), np.inf)
    indices = np.full((n, k), -1, np.int64)
    for i in range(n):
        for j in range(n):
            if j == i:
                continue
            r = _distance(points[i], points[j], euclidean)
            slot = k
            while slot > 0 and (r < distances[i, slot - 1] or indices[i, slot - 1] < 0):
                if slot < k:
                    distances[i, slot] = distances[i, slot - 1]
                    indices[i, slot] = indices[i, slot - 1]
                slot -= 1
            if slot < k:
                distances[i, slot] = r
                indices[i, slot] = j
    return distances, indices


@njit(cache=True, nogil=True)
def kth_distance(points, k, euclidean=False):
    """Return the distance (n,) from each point to its k-th nearest other point."""
    return kth_neighbors(points, k, euclidean)[0][:, k - 1].copy()


@njit(cache=True, nogil=True)
def count_within(points, radius, strict=True, euclidean=False):
    """Return how many other points (n,) lie at distance < radius[i], or <= if not strict."""
    n = points.shape[0]
    counts = np.zeros(n, np.int64)
    for i in range(n):
        for j in range(n):
            if j != i:
                r = _distance(points[i], points[j], euclidean)
                counts[i] += r < radius[i] or (not strict and r == radius[i])
    return counts


@njit(cache=True, nogil=True)
def ksg_counts(x, y, k):
    """Return each point's k-th joint distance and its strict counts inside it in x and in y."""
    radius = kth_distance(np.hstack((x, y)), k, False)
    return radius, count_within(x, radius, True, False), count_within(y, radius, True, False)
