"""Many questions about the same values: sorted once, asked one pair a thread.

What a sample adds to an estimate depends on its count of others alone. So a pair is answered by one
number, the sum of ``worth[count]`` over its samples, taken over the histogram of counts: exact
integers in a fixed order, hence the same bits however the work is split.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numba import njit

from mitools._kernels.line import Line, count_sorted, kth_sorted, taken
from mitools._kernels.neighbors import ksg_counts
from mitools._kernels.plane import Plane, fill_slabs, kth_in_slabs, slab_edges, slab_size
from mitools._kernels.threads import together


@njit(cache=True, nogil=True)
def _tally(counts, radius, histogram):
    """Add counts to the histogram, except those at radius 0.

    Returns how many those are, and one more than the largest of the others: where the histogram
    can end.
    """
    atoms, end = 0, 0
    for i in range(counts.shape[0]):
        if radius[i] > 0.0:
            histogram[counts[i]] += 1
            end = max(end, counts[i] + 1)
        else:
            atoms += 1
    return atoms, end


@njit(cache=True, nogil=True)
def _total(histograms, end, worth):
    """Return the worth of all counts < end in the sum of histograms, a tuple of them."""
    total = 0.0
    for c in range(end):
        times = 0
        for histogram in histograms:
            times += histogram[c]
        if times > 0:
            total += times * worth[c]
    return total


@njit(cache=True, nogil=True)
def _ksg_worth(xs, x_table, ys, y_table, in_x, size, k, worth):
    """Return the worth of the strict counts inside k-th joint distances, and how many are 0.

    in_x[r] is the x place of the point at y place r. O(n log n) time, without sorting.
    """
    n = xs.shape[0]
    slabs = np.empty((2, n))
    where = np.empty(n, in_x.dtype)
    edges = slab_edges(xs, size)
    ends = np.arange(edges.shape[0]) * size
    fill_slabs(0, n, xs, ys, in_x, size, ends, slabs, where)
    radius = np.empty(n)
    kth_in_slabs(0, edges.shape[0], slabs, where, edges, size, k, radius)
    counts = np.empty(n, np.int64)
    count_sorted(0, n, xs, x_table, radius, counts)
    histogram = np.zeros(n, np.int64)
    atoms, end = _tally(counts, radius, histogram)
    in_order = radius[in_x]
    count_sorted(0, n, ys, y_table, in_order, counts)
    end = max(end, _tally(counts, in_order, histogram)[1])
    return _total((histogram,), end, worth), atoms


@njit(cache=True, nogil=True)
def _ross_worth(xs, table, codes, starts, k, worth):
    """Return the worth of the strict counts inside k-th distances of the same label.

    codes are those of sorted places, label c has places starts[c] to starts[c + 1] - 1 when sorted
    by label, and k[c] neighbours. Also returns how many distances are 0.
    """
    n = xs.shape[0]
    ends = starts.copy()
    own = np.empty(n)
    to = np.empty(n, np.int64)
    for i in range(n):
        c = codes[i]
        own[ends[c]] = xs[i]
        to[ends[c]] = i
        ends[c] += 1
    found = np.empty(n)
    for c in range(k.shape[0]):
        a, b = starts[c], starts[c + 1]
        kth_sorted(0, b - a, own[a:b], k[c], found[a:b])
    radius = np.empty(n)
    for i in range(n):
        radius[to[i]] = found[i]
    counts = np.empty(n, np.int64)
    count_sorted(0, n, xs, table, radius, counts)
    histogram = np.zeros(n, np.int64)
    atoms, end = _tally(counts, radius, histogram)
    return _total((histogram,), end, worth), atoms


def ksg_pair(x: np.ndarray, y: np.ndarray, k: int, worth: np.ndarray) -> tuple[float, int]:
    """Return the total worth of counts, and the atoms, of x and y of any dimensions.

    As `ksg_screen`, for x (n, d) and y (n, e). Nothing returns to the order it came in.
    """
    n = len(x)

    def tally(radius: np.ndarray, counts: np.ndarray) -> tuple[int, int, np.ndarray]:
        histogram = np.zeros(n, np.int64)
        return *_tally(counts, radius, histogram), histogram

    def tally_other() -> tuple[int, int, np.ndarray]:
        other = taken(radius, plane.in_x)
        return tally(other, plane.y.count_sorted(other))

    if x.shape[1] == y.shape[1] == 1:
        plane = Plane(x[:, 0], y[:, 0])
        radius = plane.radius(k)
        jobs = [lambda: tally(radius, plane.x.count_sorted(radius)), tally_other]
        tallies = together(jobs, n)
    else:
        radius, *counts = ksg_counts(x, y, k)
        tallies = [tally(radius, some) for some in counts]
    atoms, ends, histograms = zip(*tallies, strict=True)
    return _total(histograms, max(ends), worth), atoms[0]


def ksg_screen(
    features: np.ndarray, target: np.ndarray, k: int, worth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each feature's total worth of counts, in it and in the target, and its atoms.

    Counts are those of `ksg_counts` of the pair (feature, target). An atom is a sample whose
    k-th joint distance is 0; its counts are left out of the total.

    Parameters
    ----------
    features : float64 array, shape (n, p)
        A column each.
    target : float64 array, shape (n,)
        Sorted once.
    k : int
        Neighbours.
    worth : float64 array, shape (n,)
        What a count of others adds.
    """
    y = Line.of(target)
    size = slab_size(len(target), k)

    def ask(column: np.ndarray) -> tuple[float, int]:
        # Slabs are cut along the target, so that even a feature of few values is cheap.
        x = Line.of(np.ascontiguousarray(column))
        return _ksg_worth(y.values, y.table, x.values, x.table, y.place[x.order], size, k, worth)

    return _in_threads(ask, features.T, len(features))


def ksg_shuffles(
    x: np.ndarray, y: np.ndarray, k: int, orders: Iterable[np.ndarray], worth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the total worth of counts, and the atoms, of (x, y[order]) for each order.

    As `ksg_screen`, for x and y of shape (n,). Nothing is sorted again.
    """
    a, b = Line.of(x), Line.of(y)
    size = slab_size(len(x), k)

    def ask(order: np.ndarray) -> tuple[float, int]:
        in_x = np.empty_like(a.place)
        in_x[b.place[order]] = a.place
        return _ksg_worth(a.values, a.table, b.values, b.table, in_x, size, k, worth)

    return _in_threads(ask, orders, len(x))


def ross_screen(
    features: np.ndarray, codes: np.ndarray, k: int, worth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each feature's total worth of counts inside k-th distances of one label; its atoms.

    Samples of a label have min(k, others of the label) neighbours; every label must occur twice.

    Parameters
    ----------
    features : float64 array, shape (n, p)
        A column each.
    codes : int64 array, shape (n,)
        Labels 0, 1, ...
    k : int
        Neighbours.
    worth : float64 array, shape (n,)
        What a count of others, of any label, adds.
    """
    sizes = np.bincount(codes)
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    neighbors = np.minimum(k, sizes - 1)

    def ask(column: np.ndarray) -> tuple[float, int]:
        x = Line.of(np.ascontiguousarray(column))
        return _ross_worth(x.values, x.table, codes[x.order], starts, neighbors, worth)

    return _in_threads(ask, features.T, len(features))


def _in_threads(
    ask: Callable[[np.ndarray], tuple[float, int]], items: Iterable[np.ndarray], points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ask about every item, of so many points each, some at a time."""
    jobs = [partial(ask, item) for item in items]
    answers = together(jobs, points * len(jobs))
    totals, atoms = zip(*answers, strict=True) if answers else ((), ())
    return np.array(totals, np.float64), np.array(atoms, np.int64)
