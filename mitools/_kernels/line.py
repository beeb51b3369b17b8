"""One dimension: everything is a search in sorted values.

Distances are the same subtractions as anywhere else, ``abs(a - b)``, which rounding leaves monotone
along sorted values. So a search that asks ``a - b < radius`` finds exactly the points that a
comparison of all pairs would count; searching for ``x - radius`` would not.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from mitools._kernels.threads import over_ranges

_PEEK = 8  # places looked at around the place that the table proposes


@njit(cache=True, nogil=True, forceinline=True)
def _bucket(position, top):
    """Return the number of a bucket in 0..top, whatever the position: even infinity times 0."""
    if position >= top:
        return top
    return int(position) if position > 0.0 else 0


def places(n: int) -> type:
    """Return the short type that numbers n places: these are moved about in memory a lot."""
    return np.int32 if n < 2**31 else np.int64


def bucket_table(values: np.ndarray) -> np.ndarray:
    """Return for 2n equal buckets of [min, max] the first sorted place in each, (2n + 2,).

    A guess to start searching from, never trusted. O(n) time.
    """
    table = np.empty(2 * len(values) + 2, places(len(values)))
    _fill_table(values, table)
    return table


@njit(cache=True, nogil=True)
def _fill_table(values, table):
    n = values.shape[0]
    buckets = 2 * n
    scale = bucket_scale(values)
    filled = 0
    for i in range(n):
        bucket = _bucket((values[i] - values[0]) * scale, buckets)
        while filled <= bucket:
            table[filled] = i
            filled += 1
    while filled < buckets + 2:
        table[filled] = n
        filled += 1


@njit(cache=True, nogil=True, forceinline=True)
def bucket_scale(values):
    """Return buckets per unit of value; 0 where the values do not differ."""
    n = values.shape[0]
    span = values[n - 1] - values[0]
    scale = (2 * n) / span if span > 0.0 else 0.0
    return scale if scale < np.inf and span < np.inf else 0.0


@njit(cache=True, nogil=True, forceinline=True)
def _last_within(values, i, radius, guess, crowd):
    """Return the last sorted place j >= i with values[j] - values[i] < radius; radius > 0."""
    n = values.shape[0]
    x = values[i]
    j = max(guess, i)
    if crowd <= _PEEK and j + _PEEK < n:
        near = 0
        for t in range(_PEEK):
            near += values[j + t] - x < radius
        j += near
        if near == _PEEK:
            crowd = n
    else:
        crowd = n
    if crowd == n:  # gallop
        step = 1
        while j + step - 1 < n and values[j + step - 1] - x < radius:
            j += step
            step *= 2
        while step > 1:
            step >>= 1
            if j + step - 1 < n and values[j + step - 1] - x < radius:
                j += step
    while j > i + 1 and not values[j - 1] - x < radius:  # the guess was rounded upwards
        j -= 1
    return max(j - 1, i)


@njit(cache=True, nogil=True, forceinline=True)
def _first_within(values, i, radius, guess, crowd):
    """Return the first sorted place j <= i with values[i] - values[j] < radius; radius > 0."""
    x = values[i]
    j = min(guess, i)
    if crowd <= _PEEK and j >= _PEEK:
        near = 0
        for t in range(_PEEK):
            near += x - values[j - 1 - t] < radius
        j -= near
        if near == _PEEK:
            crowd = -1
    else:
        crowd = -1
    if crowd == -1:  # gallop
        step = 1
        while j - step >= 0 and x - values[j - step] < radius:
            j -= step
            step *= 2
        while step > 1:
            step >>= 1
            if j - step >= 0 and x - values[j - step] < radius:
                j -= step
    while j < i and not x - values[j] < radius:
        j += 1
    return j


@njit(cache=True, nogil=True, forceinline=True)
def _reach(values, table, scale, i, radius):
    """Return the first and last sorted places at distance < radius from place i, radius > 0."""
    low = values[0]
    top = table.shape[0] - 2
    bucket = _bucket((values[i] + radius - low) * scale, top)
    place = table[bucket]
    right = _last_within(values, i, radius, place, table[bucket + 1] - place)
    bucket = _bucket((values[i] - radius - low) * scale, top)
    place = table[bucket + 1]
    return _first_within(values, i, radius, place, place - table[bucket]), right


@njit(cache=True, nogil=True)
def count_sorted(first, last, values, table, radius, counts):
    """Count for sorted places first..last - 1 the others at distance < radius[place].

    Writes counts[first:last]. About O(1) a point on smooth data, O(log n) on any.
    """
    scale = bucket_scale(values)
    for i in range(first, last):
        if radius[i] > 0.0:
            left, right = _reach(values, table, scale, i, radius[i])
            counts[i] = right - left
        else:
            counts[i] = 0


@njit(cache=True, nogil=True)
def span_sorted(first, last, values, table, radius, where, spans, side):
    """Write the places at distance < radius[place] as spans[where[place], side:side + 2].

    From the first to one past the last, for sorted places first..last - 1; empty if radius is 0.
    """
    scale = bucket_scale(values)
    for i in range(first, last):
        left, right = i, i - 1
        if radius[i] > 0.0:
            left, right = _reach(values, table, scale, i, radius[i])
        spans[where[i], side] = left
        spans[where[i], side + 1] = right + 1


@njit(cache=True, nogil=True)
def kth_sorted(first, last, values, k, radius):
    """Write radius[first:last], the distance from each sorted place to its k-th nearest other.

    The k nearest are k + 1 neighbouring places, this one among them. O(k) a point.
    """
    n = values.shape[0]
    for i in range(first, last):
        x = values[i]
        nearest = np.inf
        for left in range(max(0, i - k), min(i, n - 1 - k) + 1):
            r = max(x - values[left], values[left + k] - x)
            if r < nearest:
                nearest = r
        radius[i] = nearest


@njit(cache=True, nogil=True)
def _take(first, last, values, index, out):
    for i in range(first, last):
        out[i] = values[index[i]]


def taken(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return ``values[index]``, for indices known to be within bounds."""
    out = np.empty(len(index), values.dtype)
    over_ranges(_take, len(index), len(index) // 16, values, index, out)
    return out


@njit(cache=True, nogil=True)
def _repeats(values):
    hits = 0
    for i in range(1, values.shape[0]):
        hits += values[i] == values[i - 1]
    return hits


@dataclass(frozen=True, eq=False)
class Line:
    """Values of one variable, sorted, with what searches in them need."""

    values: np.ndarray
    order: np.ndarray
    """Index before sorting."""
    place: np.ndarray
    """Place of each index after sorting."""
    table: np.ndarray
    ties: int
    """How many sorted values equal the one before."""

    @classmethod
    def of(cls, values: np.ndarray) -> "Line":
        """Sort the values (n,)."""
        order = np.argsort(values)
        ordered = values[order]
        place = np.empty(len(values), places(len(values)))
        place[order] = np.arange(len(values), dtype=place.dtype)
        return cls(ordered, order, place, bucket_table(ordered), _repeats(ordered))

    def kth_distance(self, k: int) -> np.ndarray:
        """Distance (n,) of each point to its k-th nearest other."""
        n = len(self.values)
        radius = np.empty(n)
        over_ranges(kth_sorted, n, n, self.values, k, radius)
        return taken(radius, self.place)

    def count_within(self, radius: np.ndarray) -> np.ndarray:
        """How many others (n,) at distance < radius[i]."""
        return taken(self.count_sorted(taken(radius, self.order)), self.place)

    def count_sorted(self, radius: np.ndarray) -> np.ndarray:
        """How many others (n,); radii and counts in the order of the sorted values."""
        n = len(self.values)
        counts = np.empty(n, np.int64)
        over_ranges(count_sorted, n, n, self.values, self.table, radius, counts)
        return counts
