"""Nearest neighbours and counts, by whichever way is fastest for this many points and dimensions.

Every way gives the same bits. Callers promise what is not checked here: C-contiguous float64 arrays
of shape (n, d), d >= 1, all values finite, and 1 <= k < n.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numba import njit

from mitools._kernels.dense import ROWS, count_by_rows, ksg_by_rows, kth_by_rows
from mitools._kernels.kdtree import Tree, grow
from mitools._kernels.leaves import count_in_leaves, kth_in_leaves
from mitools._kernels.line import Line
from mitools._kernels.plane import Plane
from mitools._kernels.threads import over_ranges, together


def _all_pairs(n: int, d: int) -> bool:
    """Whether looking at all pairs beats a tree; measured for Gaussian samples."""
    return n < 20 * d * d


def kth_distance(points: np.ndarray, k: int, euclidean: bool = False) -> np.ndarray:
    """Return the distance (n,) from each point to its k-th nearest other point."""
    d = points.shape[1]
    if d == 1:
        return Line.of(points[:, 0]).kth_distance(k)
    if d == 2 and not euclidean:
        return Plane(points[:, 0], points[:, 1]).kth_distance(k)
    return _kth(points, _sorted(points), k, False, euclidean)[0][:, -1].copy()


def kth_neighbors(
    points: np.ndarray, k: int, euclidean: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (n, k) and indices (n, k) of the k nearest others, ascending, ties by index.

    Euclidean ties are those of the squared distance.
    """
    return _kth(points, _sorted(points), k, True, euclidean)


def count_within(
    points: np.ndarray, radius: np.ndarray, strict: bool = True, euclidean: bool = False
) -> np.ndarray:
    """Return how many other points (n,) lie at distance < radius[i], or <= if not strict."""
    # d <= r is d < r', exactly, if r' is the next number after r.
    limit = radius if strict else np.nextafter(radius, np.inf)
    return _counter(points, euclidean)(limit)


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
    tree, in_x, in_y = together(
        [
            lambda: grow(np.hstack((x, y))),
            partial(_counter, x, False),
            partial(_counter, y, False),
        ],
        n,
    )
    radius = _kth_by_tree(tree, (n, d), k, False, False)[0][:, -1].copy()
    return radius, *together([partial(in_x, radius), partial(in_y, radius)], n)


@njit(cache=True, nogil=True)
def farthest(points, others):
    """Return the largest distance (n,) from each point to those named by others (n, k); maxima."""
    n, d = points.shape
    radius = np.zeros(n)
    for i in range(n):
        for s in range(others.shape[1]):
            for c in range(d):
                radius[i] = max(radius[i], abs(points[others[i, s], c] - points[i, c]))
    return radius


@njit(cache=True, nogil=True)
def reach(points, ends, radius, rows):
    """Return how many others of these rows lie within radius[i], and how far they reach (r, m).

    How far is told for each space, of columns ends[s - 1] .. ends[s] - 1; maxima. All pairs.
    """
    n = len(points)
    counts = np.zeros(len(rows), np.int64)
    far = np.zeros((len(rows), len(ends)))
    here = np.empty(len(ends))
    for r in range(len(rows)):
        i = rows[r]
        for j in range(n):
            first, largest = 0, 0.0
            for s in range(len(ends)):
                here[s] = 0.0
                for c in range(first, ends[s]):
                    here[s] = max(here[s], abs(points[j, c] - points[i, c]))
                largest = max(largest, here[s])
                first = ends[s]
                if largest > radius[i]:
                    break
            if largest <= radius[i] and j != i:
                counts[r] += 1
                for s in range(len(ends)):
                    far[r, s] = max(far[r, s], here[s])
    return counts, far


def _sorted(points: np.ndarray) -> Tree | None:
    """Return the tree of the points, or None where it would not help."""
    return None if _all_pairs(*points.shape) else grow(points)


def _kth(
    points: np.ndarray, tree: Tree | None, k: int, ties: bool, euclidean: bool
) -> tuple[np.ndarray, np.ndarray]:
    if tree is not None:
        return _kth_by_tree(tree, points.shape, k, ties, euclidean)
    n, d = points.shape
    distances, indices = np.empty((n, k)), np.empty((n, k), np.int64)
    columns = np.ascontiguousarray(points.T)
    over_ranges(kth_by_rows, -(-n // ROWS), n * d, columns, euclidean, distances, indices)
    return (np.sqrt(distances) if euclidean else distances), indices


def _kth_by_tree(
    tree: Tree, shape: tuple[int, ...], k: int, ties: bool, euclidean: bool
) -> tuple[np.ndarray, np.ndarray]:
    n, d = shape
    distances, indices = np.empty((n, k)), np.empty((n, k), np.int64)
    over_ranges(kth_in_leaves, len(tree.blocks), n * d, tree, ties, euclidean, distances, indices)
    return (np.sqrt(distances) if euclidean else distances), indices


def _counter(points: np.ndarray, euclidean: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that counts the others at distance < radius[i], once sorting is done."""
    n, d = points.shape
    if d == 1:
        return Line.of(points[:, 0]).count_within
    if d == 2 and not euclidean:
        return Plane(points[:, 0], points[:, 1]).count_within
    tree = _sorted(points)

    def count(radius: np.ndarray) -> np.ndarray:
        limit = _square_limit(radius) if euclidean else radius
        counts = np.empty(n, np.int64)
        if tree is None:
            columns = np.ascontiguousarray(points.T)
            over_ranges(count_by_rows, -(-n // ROWS), n * d, columns, limit, euclidean, counts)
        else:
            over_ranges(count_in_leaves, len(tree.blocks), n * d, tree, limit, euclidean, counts)
        return counts

    return count


def _square_limit(radius: np.ndarray) -> np.ndarray:
    """Return the smallest s with sqrt(s) >= radius: sqrt(t) < radius is t < s, exactly."""
    with np.errstate(over="ignore", under="ignore"):
        square = radius * radius
        while np.any(big := (np.sqrt(square) >= radius) & (square > 0.0)):
            square = np.where(big, np.nextafter(square, 0.0), square)
        while np.any(small := np.sqrt(square) < radius):
            square = np.where(small, np.nextafter(square, np.inf), square)
    return square
