"""Two dimensions: k-th neighbours of points (x, y) under the maximum norm, by slabs.

Points are cut along x into slabs of equal occupancy and sorted by y inside each. A point's
neighbours are looked for up and down its own slab, then in the slabs to the right and to the left
until a slab starts too far away. Points of a slab are taken in order of y, so the place to start
from in another slab only moves upwards. Slabs of equal occupancy do not mind outliers or clusters.
"""

from functools import partial
from itertools import pairwise

import numpy as np
from numba import njit

from mitools._kernels.kdtree import grow
from mitools._kernels.leaves import kth_in_leaves
from mitools._kernels.line import Line, span_sorted, taken
from mitools._kernels.threads import over_ranges, split, threads_for, together


def slab_size(n: int, k: int) -> int:
    """Points a slab, a power of two: about as wide as its points' neighbourhoods."""
    return 1 << max(3, round(float(np.log2(1.4 * np.sqrt(k * n)))))


@njit(cache=True, nogil=True)
def slab_edges(xs, size):
    """Return the first and the last of the sorted xs in each slab, (slabs, 2)."""
    n = xs.shape[0]
    edges = np.empty((-(-n // size), 2))
    for slab in range(edges.shape[0]):
        edges[slab, 0] = xs[slab * size]
        edges[slab, 1] = xs[min(n, (slab + 1) * size) - 1]
    return edges


@njit(cache=True, nogil=True, forceinline=True)
def _logarithm(size):
    shift = 0
    while 1 << shift < size:
        shift += 1
    return shift


@njit(cache=True, nogil=True)
def _slab_counts(first, last, places, size, counts):
    """Count how many of places[first:last] each slab holds."""
    shift = _logarithm(size)
    for r in range(first, last):
        counts[places[r] >> shift] += 1


@njit(cache=True, nogil=True)
def fill_slabs(first, last, xs, ys, places, size, ends, slabs, where):
    """Sort points into slabs: slabs (2, n) of x and y, where (n,) of places in xs.

    xs and ys are the sorted coordinates and places[r] the place in xs of the point at place r in
    ys, first <= r < last. ends are where the next point of each slab goes. O(n) time.
    """
    shift = _logarithm(size)
    for r in range(first, last):
        place = places[r]
        slab = place >> shift
        end = ends[slab]
        ends[slab] = end + 1
        slabs[0, end] = xs[place]
        slabs[1, end] = ys[r]
        where[end] = place


def in_slabs(
    xs: np.ndarray, ys: np.ndarray, places: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return slabs and where as `fill_slabs` fills them, by as many threads as there are."""
    n = len(xs)
    slabs, where = np.empty((2, n)), np.empty(n, places.dtype)
    parts = list(pairwise(split(n, threads_for(n))))
    ends = np.zeros((len(parts), -(-n // size)), np.int64)
    if len(parts) > 1:  # a part goes on where the parts before it will end
        counts = np.zeros_like(ends)
        jobs = [
            partial(_slab_counts, *part, places, size, counts[p]) for p, part in enumerate(parts)
        ]
        together(jobs, n)
        ends[1:] = counts.cumsum(axis=0)[:-1]
    ends += np.arange(ends.shape[1]) * size
    jobs = [
        partial(fill_slabs, *part, xs, ys, places, size, ends[p], slabs, where)
        for p, part in enumerate(parts)
    ]
    together(jobs, n)
    return slabs, where


@njit(cache=True, nogil=True, forceinline=True)
def _offer(r, a, b, c, d):
    """Return the four smallest of r and a <= b <= c <= d, in order, without a branch."""
    t = max(r, a)
    a = min(r, a)
    u = max(t, b)
    b = min(t, b)
    t = max(u, c)
    c = min(u, c)
    return a, b, c, min(t, d)


@njit(cache=True, nogil=True, forceinline=True)
def _exchange(r, nearest):
    """Put r into the ascending distances and return the largest, which it displaces."""
    slot = nearest.shape[0] - 1
    displaced = nearest[slot]
    while slot > 0 and nearest[slot - 1] > r:
        nearest[slot] = nearest[slot - 1]
        slot -= 1
    nearest[slot] = r
    return displaced


@njit(cache=True, nogil=True, forceinline=True)
def _first_at_least(y, start, stop, value):
    """Return the first place in the sorted y[start:stop] whose value is at least this one."""
    step = 1
    while start + step <= stop and y[start + step - 1] < value:
        start += step
        step *= 2
    while step > 1:
        step >>= 1
        if start + step <= stop and y[start + step - 1] < value:
            start += step
    return start


@njit(cache=True, nogil=True)
def kth_in_slabs(first, last, slabs, where, edges, size, k, radius):
    """Write radius[place], the k-th distance, for the points of slabs first..last - 1.

    The largest four of the k nearest distances, a <= b <= c <= d, stay in registers. Returns how
    many pairs were looked at, some 12 a point at k = 3.
    """
    x, y = slabs[0], slabs[1]
    n, m = x.shape[0], edges.shape[0]
    starts = np.empty(m, np.int64)
    nearer = np.empty(max(k - 4, 1))
    many = k > 4
    largest = max(k - 5, 0)
    looked = 0
    for own in range(first, last):
        for s in range(m):
            starts[s] = s * size
        for i in range(own * size, min(n, (own + 1) * size)):
            xi, yi = x[i], y[i]
            a = -1.0 if k < 4 else np.inf
            b = -1.0 if k < 3 else np.inf
            c = -1.0 if k < 2 else np.inf
            d = np.inf
            nearer[:] = np.inf
            starts[own] = i
            s, step, gap = own, 1, 0.0
            while True:
                if gap < d:
                    low, high = s * size, min(n, (s + 1) * size)
                    p = _first_at_least(y, starts[s], high, yi) if s != own else i
                    starts[s] = p
                    for way in (1, -1):
                        j = p - 1 if way < 0 else (p + 1 if s == own else p)
                        while low <= j < high:
                            r = abs(y[j] - yi)
                            looked += 1
                            if r >= d:
                                break
                            a, b, c, d = _offer(max(abs(x[j] - xi), r), a, b, c, d)
                            if many and a < nearer[largest]:
                                a = _exchange(a, nearer)
                            j += way
                elif step < 0:
                    break
                else:
                    s, step = own, -1
                s += step
                if s == m:
                    s, step = own - 1, -1
                if s < 0:
                    break
                gap = edges[s, 0] - xi if step > 0 else xi - edges[s, 1]
            radius[where[i]] = d
    return looked


@njit(cache=True, nogil=True)
def corner_counts(places, size):
    """Return table[a, b], how many points lie before x place a * size and y place b * size.

    places[r] is the place in x of the point at place r in y. About n cells if size is about
    sqrt(n); whole tiles only.
    """
    n = places.shape[0]
    m = n // size
    table = np.zeros((m + 1, m + 1), np.int32)
    for r in range(m * size):
        a = places[r] // size
        if a < m:
            table[a + 1, r // size + 1] += 1
    for a in range(1, m + 1):
        run = 0
        for b in range(1, m + 1):
            run += table[a, b]
            table[a, b] = run + table[a - 1, b]
    return table


@njit(cache=True, nogil=True, forceinline=True)
def _between(places, start, stop, low, high):
    """Return how many of places[start:stop] lie in [low, high)."""
    hits = 0
    part = places[start:stop]
    for r in range(part.shape[0]):
        hits += (part[r] >= low) & (part[r] < high)
    return hits


@njit(cache=True, nogil=True)
def count_boxes(first, last, spans, in_x, in_y, table, size, counts):
    """Count for x places first..last - 1 the others in a box of places: spans (n, 4).

    A box is x places spans[i, 0] to spans[i, 1] and y places spans[i, 2] to spans[i, 3], ends
    excluded, and holds its own point. in_x[r] is the x place of the point at y place r, in_y its
    inverse. Strips that the table does not know are counted one by one: O(sqrt(n)) a point at most.
    """
    for i in range(first, last):
        x0, x1, y0, y1 = spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3]
        if x1 - x0 <= 1 or y1 - y0 <= 1:
            counts[i] = 0
            continue
        a, b = -(-x0 // size), x1 // size
        c, d = -(-y0 // size), y1 // size
        if a >= b or x1 - x0 < 2 * size:
            hits = _between(in_y, x0, x1, y0, y1)
        elif c >= d or y1 - y0 < 2 * size:
            hits = _between(in_x, y0, y1, x0, x1)
        else:
            hits = table[b, d] - table[a, d] - table[b, c] + table[a, c]
            hits += _between(in_y, x0, a * size, y0, y1) + _between(in_y, b * size, x1, y0, y1)
            hits += _between(in_x, y0, c * size, a * size, b * size)
            hits += _between(in_x, d * size, y1, a * size, b * size)
        counts[i] = hits - 1


class Plane:
    """Points (x, y), sorted both ways, ready for questions."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        sides = together([partial(Line.of, x), partial(Line.of, y)], len(x))
        self.swapped = sides[1].ties > sides[0].ties  # slabs are cut along what repeats more
        self.x, self.y = reversed(sides) if self.swapped else sides
        self.in_x = taken(self.x.place, self.y.order)
        """Place in x of the point at each place in y."""

    def radius(self, k: int) -> np.ndarray:
        """K-th distances in the order of x."""
        n = len(self.in_x)
        size = slab_size(n, k)
        if self._crowded(size):  # slabs at one place would all have to be visited
            in_order = self.y.values[self.y.place[self.x.order]]
            return self._radius_by_tree(np.column_stack((self.x.values, in_order)), k)
        slabs, where = in_slabs(self.x.values, self.y.values, self.in_x, size)
        edges = slab_edges(self.x.values, size)
        radius = np.empty(n)
        over_ranges(kth_in_slabs, len(edges), 2 * n, slabs, where, edges, size, k, radius)
        return radius

    def _crowded(self, size: int) -> bool:
        """Whether many an x is repeated more often than a slab has points."""
        n, xs = len(self.in_x), self.x.values
        if self.x.ties <= n // 10:
            return False
        return bool(np.count_nonzero(xs[size:] == xs[:-size]) > n // 10)

    @staticmethod
    def _radius_by_tree(points: np.ndarray, k: int) -> np.ndarray:
        n = len(points)
        tree = grow(points)
        distances, indices = np.empty((n, k)), np.empty((n, k), np.int64)
        over_ranges(kth_in_leaves, len(tree.blocks), n, tree, False, False, distances, indices)
        return distances[:, -1].copy()

    def kth_distance(self, k: int) -> np.ndarray:
        """Distance (n,) of each point to its k-th nearest other point, maximum norm."""
        return taken(self.radius(k), self.x.place)

    def ksg_counts(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """K-th distances, and strict counts inside them in x and in y."""
        radius = self.radius(k)
        back, nx, ny = together(
            [
                lambda: taken(radius, self.x.place),
                lambda: taken(self.x.count_sorted(radius), self.x.place),
                lambda: taken(self.y.count_sorted(taken(radius, self.in_x)), self.y.place),
            ],
            len(radius),
        )
        return (back, ny, nx) if self.swapped else (back, nx, ny)

    def count_within(self, radius: np.ndarray) -> np.ndarray:
        """How many others (n,) at distance < radius[i], maximum norm."""
        n = len(self.in_x)
        size = slab_size(n, 1)
        in_x = self.in_x
        spans = np.empty((n, 4), in_x.dtype)
        in_y = taken(self.y.place, self.x.order)
        own = np.arange(n, dtype=in_x.dtype)

        def span(side: int, line: Line, where: np.ndarray) -> None:
            limit = taken(radius, line.order)
            over_ranges(span_sorted, n, n, line.values, line.table, limit, where, spans, side)

        together([partial(span, 0, self.x, own), partial(span, 2, self.y, in_x)], n)
        corners = corner_counts(in_x, size)
        counts = np.empty(n, np.int64)
        over_ranges(count_boxes, n, 2 * n, spans, in_x, in_y, corners, size, counts)
        return taken(counts, self.x.place)
