"""Nearest neighbours and counts, by whichever way is fastest for this many points and dimensions.

Every way gives the same bits. Callers promise what is not checked here: C-contiguous float64 arrays
of shape (n, d), d >= 1, all values finite, and 1 <= k < n.
"""

import numpy as np

from mitools._kernels.dense import ROWS, count_by_rows, ksg_by_rows, kth_by_rows
from mitools._kernels.kdtree import grow
from mitools._kernels.leaves import count_in_leaves, kth_in_leaves
from mitools._kernels.line import bucket_table, count_sorted, kth_sorted
from mitools._kernels.plane import Plane
from mitools._kernels.threads import over_ranges


def _all_pairs(n: int, d: int) -> bool:
    """Whether looking at all pairs beats a tree: few points, or so many dimensions."""
    return n < 100 * d or d > 14


def kth_distance(points: np.ndarray, k: int, euclidean: bool = False) -> np.ndarray:
    """Return the distance (n,) from each point to its k-th nearest other point."""
    d = points.shape[1]
    if d == 1:
        return _kth_on_line(points[:, 0], k)
    if d == 2 and not euclidean:
        return Plane(points[:, 0], points[:, 1]).kth_distance(k)
    return _kth(points, k, False, euclidean)[0][:, -1].copy()


def kth_neighbors(
    points: np.ndarray, k: int, euclidean: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (n, k) and indices (n, k) of the k nearest others, ascending, ties by index.

    Euclidean ties are those of the squared distance.
    """
    return _kth(points, k, True, euclidean)


def count_within(
    points: np.ndarray, radius: np.ndarray, strict: bool = True, euclidean: bool = False
) -> np.ndarray:
    """Return how many other points (n,) lie at distance < radius[i], or <= if not strict."""
    n, d = points.shape
    # d <= r is d < r', exactly, if r' is the next number after r.
    limit = radius if strict else np.nextafter(radius, np.inf)
    if d == 1:
        return _count_on_line(points[:, 0], limit)
    if d == 2 and not euclidean:
        return Plane(points[:, 0], points[:, 1]).count_within(limit)
    if euclidean:
        limit = _square_limit(limit)
    counts = np.empty(n, np.int64)
    if _all_pairs(n, d):
        columns = np.ascontiguousarray(points.T)
        over_ranges(count_by_rows, -(-n // ROWS), n * d, columns, limit, euclidean, counts)
    else:
        tree = grow(points)
        over_ranges(count_in_leaves, len(tree.blocks), n, tree, limit, euclidean, counts)
    return counts


def ksg_counts(x: np.ndarray, y: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each point's k-th joint distance and its strict counts inside it in x and in y.

    Maximum norm within and across the two spaces.
    """
    n, d = len(x), x.shape[1] + y.shape[1]
    if d == 2:
        return Plane(x[:, 0], y[:, 0]).ksg_counts(k)
    if _all_pairs(n, d):
        radius = np.empty(n)
        nx, ny = np.empty(n, np.int64), np.empty(n, np.int64)
        columns = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
        over_ranges(ksg_by_rows, -(-n // ROWS), n * d, *columns, k, radius, nx, ny)
        return radius, nx, ny
    radius = kth_distance(np.hstack((x, y)), k)
    return radius, count_within(x, radius), count_within(y, radius)


def _kth(points: np.ndarray, k: int, ties: bool, euclidean: bool) -> tuple[np.ndarray, np.ndarray]:
    n, d = points.shape
    distances = np.empty((n, k))
    indices = np.empty((n, k), np.int64)
    if _all_pairs(n, d):
        columns = np.ascontiguousarray(points.T)
        over_ranges(kth_by_rows, -(-n // ROWS), n * d, columns, euclidean, distances, indices)
    else:
        tree = grow(points)
        over_ranges(kth_in_leaves, len(tree.blocks), n, tree, ties, euclidean, distances, indices)
    return (np.sqrt(distances) if euclidean else distances), indices


def _kth_on_line(values: np.ndarray, k: int) -> np.ndarray:
    n = len(values)
    order = np.argsort(values)
    ordered = values[order]
    found = np.empty(n)
    over_ranges(kth_sorted, n, n, ordered, k, found)
    radius = np.empty(n)
    radius[order] = found
    return radius


def _count_on_line(values: np.ndarray, radius: np.ndarray) -> np.ndarray:
    n = len(values)
    order = np.argsort(values)
    ordered = values[order]
    found = np.empty(n, np.int64)
    over_ranges(count_sorted, n, n, ordered, bucket_table(ordered), radius[order], found)
    counts = np.empty(n, np.int64)
    counts[order] = found
    return counts


def _square_limit(radius: np.ndarray) -> np.ndarray:
    """Return the smallest s with sqrt(s) >= radius: sqrt(t) < radius is t < s, exactly."""
    with np.errstate(over="ignore", under="ignore"):
        square = radius * radius
    while np.any(big := (np.sqrt(square) >= radius) & (square > 0.0)):
        square = np.where(big, np.nextafter(square, 0.0), square)
    while np.any(small := np.sqrt(square) < radius):
        square = np.where(small, np.nextafter(square, np.inf), square)
    return square
