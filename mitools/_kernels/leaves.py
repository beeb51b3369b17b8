"""Nearest neighbours and counts in n log n time, in moderate dimension.

The points of a leaf ask together: one walk over the tree serves them all, a lane each.
"""

import numpy as np
from numba import njit

from mitools._kernels.kdtree import (
    LEAF,
    across,
    approach,
    largest,
    limits,
    path,
    slack,
    to_box,
    to_far_side,
    to_places,
)


@njit(cache=True, nogil=True, forceinline=True)
def _insert(r, index, lane, distances, indices):
    """Put (r, index) into the lane's ascending list if it precedes its last entry."""
    slot = distances.shape[1] - 1
    last = distances[lane, slot]
    if not (r < last or (r == last and index < indices[lane, slot])):
        return
    while slot > 0:
        t = distances[lane, slot - 1]
        if not (r < t or (r == t and index < indices[lane, slot - 1])):
            break
        distances[lane, slot] = t
        indices[lane, slot] = indices[lane, slot - 1]
        slot -= 1
    distances[lane, slot] = r
    indices[lane, slot] = index


@njit(cache=True, nogil=True, forceinline=True)
def _first_limits(blocks, own, members, euclidean, nearest, offered):
    """Leave each point's k smallest distances inside its own leaf, padded with infinity.

    All points of the leaf at once, and no branches: the k nearest so far bubble through.
    """
    nearest[:] = np.inf
    for lane in range(members):
        to_places(blocks, own, lane, own, euclidean, offered)
        offered[lane] = np.inf
        for slot in range(nearest.shape[0]):
            for j in range(offered.shape[0]):
                r = offered[j]
                t = nearest[slot, j]
                nearest[slot, j] = min(r, t)
                offered[j] = max(r, t)


@njit(cache=True, nogil=True, forceinline=True)
def _offer(blocks, order, own, lane, other, euclidean, worst, distances, indices, out):
    """Offer the points of leaf other to one point of leaf own."""
    n = order.shape[0]
    start = other * LEAF
    to_places(blocks, own, lane, other, euclidean, out)
    limit = worst[lane]
    for j in range(min(LEAF, n - start)):
        if out[j] <= limit and (other != own or j != lane):
            _insert(out[j], order[start + j], lane, distances, indices)
    worst[lane] = distances[lane, distances.shape[1] - 1]


@njit(cache=True, nogil=True, forceinline=True)
def _shorten(worst, lane, unit, ties, euclidean, radius):
    """Write a lane's worst distance, scaled and rounded up; nothing is nearer than 0."""
    r = worst[lane]
    if r == 0.0 and not ties:
        r = -np.inf
    elif euclidean:
        r = np.sqrt(r)
    radius[0, lane] = r * unit * (1.0 + 2.0**-22)


@njit(cache=True, nogil=True, forceinline=True)
def _wanted(bounds, depth, bars, ties, smallest, worst, indices):
    """Whether any lane may have neighbours at the node; bars of lanes that have not are lowered."""
    if ties:  # among points at one place, only the smallest indices matter
        last = indices.shape[1] - 1
        for j in range(LEAF):
            if worst[j] == 0.0 and smallest >= indices[j, last]:
                bars[j] = np.float32(-1.0)
    hits = 0
    for j in range(bars.shape[0]):
        hits += bounds[depth, j] < bars[j]
    return hits > 0


@njit(cache=True, nogil=True)
def kth_in_leaves(first, last, tree, ties, euclidean, distances, indices):
    """Write the k nearest others of the points of leaves first..last - 1, ascending, ties by index.

    Row i of distances and indices belongs to the point i before sorting; their width is k. Squares,
    if Euclidean. Without ties, indices are some k nearest and only the distances are defined.
    """
    n, k = distances.shape
    blocks, short, order, low, high = tree.blocks, tree.short, tree.order, tree.low, tree.high
    sizes, axes, smallests, unit = tree.size, tree.axis, tree.smallest, tree.unit
    rounding = tree.slack
    d, width = blocks.shape[1], blocks.shape[2]  # a width unknown to the compiler keeps sums fast
    near = np.empty((LEAF, k))
    near_index = np.empty((LEAF, k), np.int64)
    nearest = np.empty((k, width))
    worst = np.empty(width)
    out = np.empty(width)
    radius = np.empty((1, width), short.dtype)
    bars = np.empty(width, short.dtype)
    rough = np.empty(width, short.dtype)
    bounds = np.empty((64, width), short.dtype)
    lanes = np.empty(LEAF + 1, np.int64)
    stack = np.empty((128, 4), np.int64)
    gaps = np.empty(128, short.dtype)
    for own in range(first, last):
        members = min(LEAF, n - own * LEAF)
        near[:] = np.inf
        near_index[:] = n
        radius[:] = -np.inf
        worst[:] = -np.inf
        _first_limits(blocks, own, members, euclidean, nearest, out)
        for lane in range(members):
            worst[lane] = nearest[k - 1, lane]
            _offer(blocks, order, own, lane, own, euclidean, worst, near, near_index, out)
            _shorten(worst, lane, unit, ties, euclidean, radius)
        farthest = largest(radius)
        home, top = path(blocks.shape[0], own, stack)
        for t in range(top):
            v = stack[t, 0]
            gaps[t] = across(low, high, home, v, euclidean) - d * slack(rounding, sizes, home, v)
        while top > 0:
            top -= 1
            if gaps[top] > farthest:
                continue
            v, at, size, depth = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            limits(radius, slack(rounding, sizes, home, v), d, euclidean, bars)
            smallest = smallests[v]
            if depth > 0 and not euclidean:
                approach(short, own, low, high, v, axes[v], bounds, depth)
                if not _wanted(bounds, depth, bars, ties, smallest, worst, near_index):
                    continue
            to_box(short, own, low, high, v, euclidean, bounds, depth)
            if not _wanted(bounds, depth, bars, ties, smallest, worst, near_index):
                continue
            if size == 1:
                asking, taken = 0, 0
                for lane in range(LEAF):
                    lanes[asking] = lane
                    asking += bounds[depth, lane] < bars[lane]
                for t in range(asking):
                    lane = lanes[t]
                    to_places(short, own, lane, at, euclidean, rough)
                    hits = 0
                    bar = bars[lane]
                    for j in range(rough.shape[0]):
                        hits += rough[j] < bar
                    if hits > 0:
                        _offer(
                            blocks, order, own, lane, at, euclidean, worst, near, near_index, out
                        )
                        _shorten(worst, lane, unit, ties, euclidean, radius)
                        taken += 1
                if taken > 0:
                    farthest = largest(radius)
                continue
            left = size // 2
            a, b = v + 1, v + 2 * left
            to_a = across(low, high, home, a, euclidean) - d * slack(rounding, sizes, home, a)
            to_b = across(low, high, home, b, euclidean) - d * slack(rounding, sizes, home, b)
            # The nearer one on top, or among equals the one with the smallest index.
            s = top + (to_a < to_b or (to_a == to_b and smallests[a] < smallests[b]))
            t = 2 * top + 1 - s
            gaps[s], gaps[t] = to_a, to_b
            stack[s, 0], stack[s, 1], stack[s, 2], stack[s, 3] = a, at, left, depth + 1
            stack[t, 0], stack[t, 1] = b, at + left
            stack[t, 2], stack[t, 3] = size - left, depth + 1
            top += 2
        for lane in range(members):
            i = order[own * LEAF + lane]
            for s in range(k):
                distances[i, s] = near[lane, s]
                indices[i, s] = near_index[lane, s]


@njit(cache=True, nogil=True, forceinline=True)
def _decide(bounds, depth, far, inside, outer, inner, live, total):
    """Settle the lanes whose radius misses the node or holds it all; return how many are left."""
    settled = np.float32(-np.inf)
    for j in range(far.shape[0]):
        r = live[depth - 1, j]
        total[j] += inside if (far[j] < inner[j]) & (r > settled) else np.int32(0)
        live[depth, j] = r if (bounds[depth, j] < outer[j]) & (far[j] >= inner[j]) else settled
    left_over = 0
    for j in range(far.shape[0]):
        left_over += live[depth, j] > settled
    return left_over


@njit(cache=True, nogil=True, forceinline=True)
def _count_leaf(
    blocks, short, own, other, euclidean, exact, live, depth, outer, inner, total, rough, out, lanes
):
    """Add for each undecided lane the points of leaf other within its radius."""
    asking = 0
    for lane in range(LEAF):
        lanes[asking] = lane
        asking += live[depth, lane] > np.float32(-np.inf)
    for t in range(asking):
        lane = lanes[t]
        to_places(short, own, lane, other, euclidean, rough)
        upper, lower = outer[lane], inner[lane]
        maybe = 0
        surely = 0
        for j in range(rough.shape[0]):
            maybe += rough[j] < upper
            surely += rough[j] < lower
        if maybe > surely:
            to_places(blocks, own, lane, other, euclidean, out)
            surely = 0
            radius = exact[lane]
            for j in range(out.shape[0]):
                surely += out[j] < radius
        total[lane] += surely


@njit(cache=True, nogil=True)
def count_in_leaves(first, last, tree, radius, euclidean, counts):
    """Count, for the points of leaves first..last - 1, the others at distance < radius.

    radius and counts go by index before sorting; for Euclidean, radius is that of squares.
    """
    n = counts.shape[0]
    blocks, short, order, low, high = tree.blocks, tree.short, tree.order, tree.low, tree.high
    sizes, axes, rounding = tree.size, tree.axis, tree.slack
    d, width = blocks.shape[1], blocks.shape[2]
    total = np.empty(width, np.int32)
    exact = np.empty(width)
    far = np.empty(width, short.dtype)
    outer = np.empty(width, short.dtype)
    inner = np.empty(width, short.dtype)
    bounds = np.zeros((65, width), short.dtype)
    live = np.empty((65, width), short.dtype)  # a lane's radius at each depth, until it is settled
    rough = np.empty(width, short.dtype)
    out = np.empty(width)
    lanes = np.empty(LEAF + 1, np.int64)
    stack = np.empty((64, 4), np.int64)
    for own in range(first, last):
        members = min(LEAF, n - own * LEAF)
        live[0] = -np.inf
        exact[:] = 0.0
        total[:] = 0
        for lane in range(members):
            r = radius[order[own * LEAF + lane]]
            if r > 0.0:
                exact[lane] = r
                live[0, lane] = (np.sqrt(r) if euclidean else r) * tree.unit
                total[lane] = -1  # itself
        home = path(low.shape[0] // 2 + 1, own, stack)[0]
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, 0, low.shape[0] // 2 + 1, 1
        top = 1
        while top > 0:
            top -= 1
            v, at, size, depth = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            by = slack(rounding, sizes, home, v)
            limits(live, by, d, euclidean, outer)
            if not euclidean:
                approach(short, own, low, high, v, axes[v], bounds, depth)
                hits = 0
                for j in range(outer.shape[0]):
                    hits += bounds[depth, j] < outer[j]
                if hits == 0:
                    continue
            limits(live, -by, d, euclidean, inner)
            to_box(short, own, low, high, v, euclidean, bounds, depth)
            to_far_side(short, own, low, high, v, euclidean, far)
            inside = np.int32(min(n - at * LEAF, size * LEAF))
            if _decide(bounds, depth, far, inside, outer, inner, live, total) == 0:
                continue
            if size == 1:
                _count_leaf(
                    blocks,
                    short,
                    own,
                    at,
                    euclidean,
                    exact,
                    live,
                    depth,
                    outer,
                    inner,
                    total,
                    rough,
                    out,
                    lanes,
                )
                continue
            left = size // 2
            stack[top, 0], stack[top, 1] = v + 2 * left, at + left
            stack[top, 2], stack[top, 3] = size - left, depth + 1
            top += 1
            stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = v + 1, at, left, depth + 1
            top += 1
        for lane in range(members):
            counts[order[own * LEAF + lane]] = total[lane]
