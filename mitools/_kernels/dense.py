"""Nearest neighbours and counts from all pairs: for few points or many dimensions.

Points come transposed, (d, n), so that a coordinate of all points is contiguous. A few rows of the
distance matrix are filled together, tile by tile, while a tile's coordinates are in the cache.
"""

import numpy as np
from numba import njit

ROWS = 8  # units that work is shared out in, points whose rows are filled together
_TILE = 128
_CHUNK = 32


@njit(cache=True, nogil=True, forceinline=True)
def _fill(columns, i, start, stop, euclidean, rows, slot):
    """Write distances (squares, if Euclidean) of point i to points start..stop - 1."""
    d = columns.shape[0]
    out = rows[slot, start:stop]
    row = columns[0, start:stop]
    m = stop - start
    q = columns[0, i]
    if euclidean:
        for j in range(m):
            out[j] = (row[j] - q) * (row[j] - q)
        for c in range(1, d):
            row = columns[c, start:stop]
            q = columns[c, i]
            for j in range(m):
                out[j] += (row[j] - q) * (row[j] - q)
        return
    for j in range(m):
        out[j] = abs(row[j] - q)
    c = 1
    while c + 3 <= d:
        row = columns[c, start:stop]
        row1 = columns[c + 1, start:stop]
        row2 = columns[c + 2, start:stop]
        q, q1, q2 = columns[c, i], columns[c + 1, i], columns[c + 2, i]
        for j in range(m):
            t = max(abs(row[j] - q), abs(row1[j] - q1))
            out[j] = max(max(abs(row2[j] - q2), out[j]), t)
        c += 3
    while c < d:
        row = columns[c, start:stop]
        q = columns[c, i]
        for j in range(m):
            out[j] = max(abs(row[j] - q), out[j])
        c += 1


@njit(cache=True, nogil=True, forceinline=True)
def _fill_rows(columns, first, last, euclidean, rows):
    """Write the distance rows of points first..last - 1."""
    n = columns.shape[1]
    for start in range(0, n, _TILE):
        stop = min(n, start + _TILE)
        for i in range(first, last):
            _fill(columns, i, start, stop, euclidean, rows, i - first)


@njit(cache=True, nogil=True, forceinline=True)
def _smallest(rows, slot, own, distances, indices, at):
    """Write the smallest of a row, ascending, the earlier first among equals, without place own."""
    n = rows.shape[1]
    k = distances.shape[1]
    row = rows[slot]
    limit = np.inf
    found = 0
    for start in range(0, n, _CHUNK):
        stop = min(n, start + _CHUNK)
        part = row[start:stop]
        hits = 0
        for j in range(part.shape[0]):
            hits += part[j] < limit
        if hits == 0 and found == k:
            continue
        for j in range(start, stop):
            r = row[j]
            if j == own or not (r < limit or found < k):
                continue
            s = min(found, k - 1)
            while s > 0 and r < distances[at, s - 1]:
                distances[at, s] = distances[at, s - 1]
                indices[at, s] = indices[at, s - 1]
                s -= 1
            distances[at, s] = r
            indices[at, s] = j
            found = min(found + 1, k)
            if found == k:
                limit = distances[at, k - 1]


@njit(cache=True, nogil=True, forceinline=True)
def _below(rows, slot, own, radius):
    """Return how many places of a row other than own hold less than the radius."""
    row = rows[slot]
    hits = 0
    for j in range(row.shape[0]):
        hits += row[j] < radius
    return hits - (row[own] < radius)


@njit(cache=True, nogil=True)
def _larger(a, b, out):
    """Write the larger of two rows."""
    for j in range(out.shape[0]):
        out[j] = max(a[j], b[j])


@njit(cache=True, nogil=True)
def kth_by_rows(first, last, columns, euclidean, distances, indices):
    """Write the k nearest others of ROWS points a unit, ascending, ties by index.

    Squares, if Euclidean. O(n d) time a point.
    """
    n = columns.shape[1]
    rows = np.empty((ROWS, n))
    for unit in range(first, last):
        start, stop = unit * ROWS, min(n, (unit + 1) * ROWS)
        _fill_rows(columns, start, stop, euclidean, rows)
        for i in range(start, stop):
            _smallest(rows, i - start, i, distances, indices, i)


@njit(cache=True, nogil=True)
def count_by_rows(first, last, columns, radius, euclidean, counts):
    """Count the others at distance (square, if Euclidean) < radius of ROWS points a unit."""
    n = columns.shape[1]
    rows = np.empty((ROWS, n))
    for unit in range(first, last):
        start, stop = unit * ROWS, min(n, (unit + 1) * ROWS)
        _fill_rows(columns, start, stop, euclidean, rows)
        for i in range(start, stop):
            counts[i] = _below(rows, i - start, i, radius[i])


@njit(cache=True, nogil=True)
def ksg_by_rows(first, last, x, y, k, radius, nx, ny):
    """Write k-th joint distances and strict marginal counts inside them; maximum norm.

    x and y are transposed. Each distance is computed once.
    """
    n = x.shape[1]
    rows_x = np.empty((ROWS, n))
    rows_y = np.empty((ROWS, n))
    joint = np.empty((1, n))
    nearest = np.empty((1, k))
    indices = np.empty((1, k), np.int64)
    for unit in range(first, last):
        start, stop = unit * ROWS, min(n, (unit + 1) * ROWS)
        _fill_rows(x, start, stop, False, rows_x)
        _fill_rows(y, start, stop, False, rows_y)
        for i in range(start, stop):
            _larger(rows_x[i - start], rows_y[i - start], joint[0])
            _smallest(joint, 0, i, nearest, indices, 0)
            r = nearest[0, k - 1]
            radius[i] = r
            nx[i] = _below(rows_x, i - start, i, r)
            ny[i] = _below(rows_y, i - start, i, r)
