"""Nearest neighbours and counts in n log n time, in moderate dimension: a k-d tree of full leaves.

Nodes are numbered in preorder: the left child of node v is v + 1 and the right child v + 2 l, where
l leaves hang under the left one. Leaf f holds the points f * LEAF to (f + 1) * LEAF - 1 of the
tree's own order, a coordinate a row; only the last leaf can have empty places, at infinity.

The points of a leaf ask together: one walk over the tree serves them all. Bounds come from the same
subtractions as distances, and rounding is monotone, so nothing is skipped that could matter.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

LEAF = 32


class Tree(NamedTuple):
    """Points in the order of their leaves, and the box around each node."""

    blocks: np.ndarray  # (leaves, d, LEAF), empty places at infinity
    order: np.ndarray  # (n,) index of each point before sorting
    low: np.ndarray  # (nodes, d)
    high: np.ndarray  # (nodes, d)
    smallest: np.ndarray  # (nodes,) the smallest index below
    axis: np.ndarray  # (nodes,) the coordinate that separates a node from its sibling
    extent: np.ndarray  # (nodes,) the longest side of the box


def grow(points):
    """Return the tree of the points. O(n d log n) time, O(n d) memory."""
    n, d = points.shape
    leaves = -(-n // LEAF)
    tree = Tree(
        np.full((leaves, d, LEAF), np.inf),
        np.arange(n),
        np.empty((2 * leaves - 1, d)),
        np.empty((2 * leaves - 1, d)),
        np.empty(2 * leaves - 1, np.int64),
        np.zeros(2 * leaves - 1, np.int64),
        np.empty(2 * leaves - 1),
    )
    _sort_into_leaves(points.copy(), tree)
    return tree


@njit(cache=True, nogil=True)
def _split(points, order, start, stop, middle, c):
    """Reorder rows start..stop - 1 so that those before middle are not larger in coordinate c."""
    while stop - start > 1:
        a, b, e = points[start, c], points[(start + stop) // 2, c], points[stop - 1, c]
        pivot = max(min(a, b), min(max(a, b), e))
        i, j = start, stop - 1
        while i <= j:
            while points[i, c] < pivot:
                i += 1
            while points[j, c] > pivot:
                j -= 1
            if i <= j:
                for t in range(points.shape[1]):
                    points[i, t], points[j, t] = points[j, t], points[i, t]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            stop = j + 1
        elif middle >= i:
            start = i
        else:
            return


@njit(cache=True, nogil=True)
def _sort_into_leaves(points, tree):
    """Fill the tree; points is scratch."""
    n, d = points.shape
    stack = [(0, 0, tree.blocks.shape[0])]
    while len(stack) > 0:
        node, first, leaves = stack.pop()
        start, stop = first * LEAF, min(n, (first + leaves) * LEAF)
        low, high = tree.low[node], tree.high[node]
        low[:] = np.inf
        high[:] = -np.inf
        smallest = n
        for i in range(start, stop):
            smallest = min(smallest, tree.order[i])
            for c in range(d):
                low[c] = min(low[c], points[i, c])
                high[c] = max(high[c], points[i, c])
        tree.smallest[node] = smallest
        widest = 0
        for c in range(1, d):
            if high[c] - low[c] > high[widest] - low[widest]:
                widest = c
        tree.extent[node] = high[widest] - low[widest]
        if leaves == 1:
            for i in range(start, stop):
                for c in range(d):
                    tree.blocks[first, c, i - start] = points[i, c]
            continue
        left = leaves // 2
        _split(points, tree.order, start, stop, (first + left) * LEAF, widest)
        tree.axis[node + 1] = tree.axis[node + 2 * left] = widest
        stack.append((node + 2 * left, first + left, leaves - left))
        stack.append((node + 1, first, left))


# Below, whole arrays and places in them are passed around: a slice passed on costs an atomic count.


@njit(cache=True, nogil=True)
def _to_places(blocks, own, lane, other, euclidean, out):
    """Write a point's distance (its square, if Euclidean) to each place of leaf other."""
    d = blocks.shape[1]
    row = blocks[other, 0]
    q = blocks[own, 0, lane]
    if euclidean:
        for j in range(LEAF):
            out[j] = (row[j] - q) * (row[j] - q)
        for c in range(1, d):
            row = blocks[other, c]
            q = blocks[own, c, lane]
            for j in range(LEAF):
                out[j] += (row[j] - q) * (row[j] - q)
        return
    for j in range(LEAF):
        out[j] = abs(row[j] - q)
    c = 1
    while c + 3 <= d:
        row, row1, row2 = blocks[other, c], blocks[other, c + 1], blocks[other, c + 2]
        q, q1, q2 = blocks[own, c, lane], blocks[own, c + 1, lane], blocks[own, c + 2, lane]
        for j in range(LEAF):
            t = max(abs(row[j] - q), abs(row1[j] - q1))
            out[j] = max(max(abs(row2[j] - q2), out[j]), t)
        c += 3
    while c < d:
        row = blocks[other, c]
        q = blocks[own, c, lane]
        for j in range(LEAF):
            out[j] = max(abs(row[j] - q), out[j])
        c += 1


@njit(cache=True, nogil=True)
def _to_box(blocks, own, low, high, node, euclidean, bounds, depth):
    """Write each point's smallest possible distance (square) to a node, 0 inside its box."""
    out = bounds[depth]
    for j in range(LEAF):
        out[j] = 0.0
    for c in range(low.shape[1]):
        row = blocks[own, c]
        a, b = low[node, c], high[node, c]
        if euclidean:
            for j in range(LEAF):
                t = max(max(a - row[j], row[j] - b), 0.0)
                out[j] += t * t
        else:
            for j in range(LEAF):
                out[j] = max(max(a - row[j], row[j] - b), out[j])


@njit(cache=True, nogil=True)
def _approach(blocks, own, low, high, node, axis, bounds, depth):
    """Write a weaker, faster `_to_box` for maxima: the bound of the node above, and one axis."""
    above, out = bounds[depth - 1], bounds[depth]
    row = blocks[own, axis]
    a, b = low[node, axis], high[node, axis]
    for j in range(LEAF):
        out[j] = max(max(a - row[j], row[j] - b), above[j])


@njit(cache=True, nogil=True)
def _to_far_side(blocks, own, low, high, node, euclidean, out):
    """Write each point's largest possible distance (square) to a node's box."""
    for j in range(LEAF):
        out[j] = 0.0
    for c in range(low.shape[1]):
        row = blocks[own, c]
        a, b = low[node, c], high[node, c]
        if euclidean:
            for j in range(LEAF):
                t = max(b - row[j], row[j] - a)
                out[j] += t * t
        else:
            for j in range(LEAF):
                out[j] = max(max(b - row[j], row[j] - a), out[j])


@njit(cache=True, nogil=True)
def _across(low, high, a, b, euclidean):
    """Return the smallest possible distance (square) between the boxes of two nodes."""
    total = 0.0
    for c in range(low.shape[1]):
        t = max(max(low[a, c] - high[b, c], low[b, c] - high[a, c]), 0.0)
        total = total + t * t if euclidean else max(total, t)
    return total


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _first_limits(blocks, own, members, euclidean, nearest, offered, worst):
    """Write each point's k-th smallest distance inside its own leaf: infinity if there are fewer.

    All points of the leaf at once, and no branches: the k nearest so far bubble through.
    """
    nearest[:] = np.inf
    for lane in range(members):
        _to_places(blocks, own, lane, own, euclidean, offered)
        offered[lane] = np.inf
        for slot in range(nearest.shape[0]):
            row = nearest[slot]
            for j in range(LEAF):
                r = offered[j]
                t = row[j]
                row[j] = min(r, t)
                offered[j] = max(r, t)
    for lane in range(LEAF):
        worst[lane] = nearest[nearest.shape[0] - 1, lane] if lane < members else -np.inf


@njit(cache=True, nogil=True)
def _visit(
    blocks, order, own, other, ties, euclidean, bounds, depth, worst, distances, indices, out, lanes
):
    """Offer leaf other to the points of leaf own that reach it; return how many took from it."""
    n = order.shape[0]
    start = other * LEAF
    last = distances.shape[1] - 1
    reach = bounds[depth]
    asking = 0
    taken = 0
    for lane in range(LEAF):
        lanes[asking] = lane
        asking += (reach[lane] < worst[lane]) | (ties & (reach[lane] == worst[lane]))
    for t in range(asking):
        lane = lanes[t]
        limit = worst[lane]
        _to_places(blocks, own, lane, other, euclidean, out)
        hits = 0
        if ties:
            for j in range(LEAF):
                hits += out[j] <= limit
        else:
            for j in range(LEAF):
                hits += out[j] < limit
        if hits == 0:
            continue
        taken += 1
        for j in range(min(LEAF, n - start)):
            if out[j] <= limit and (other != own or j != lane):
                _insert(out[j], order[start + j], lane, distances, indices)
        worst[lane] = distances[lane, last]
    return taken


@njit(cache=True, nogil=True)
def _path(leaves, own, stack):
    """Stack up the siblings of a leaf's ancestors, the nearest on top; return the leaf's node."""
    node, at, size, depth = 0, 0, leaves, 0
    while size > 1:
        left = size // 2
        stack[depth, 3] = 0
        if own < at + left:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = (
                node + 2 * left,
                at + left,
                size - left,
            )
            node, size = node + 1, left
        else:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = node + 1, at, left
            node, at, size = node + 2 * left, at + left, size - left
        depth += 1
    return node, depth


@njit(cache=True, nogil=True)
def _wanted(bounds, depth, ties, smallest, worst, indices):
    """Whether any point of a leaf, at these distances from a node, may have neighbours in it."""
    reach = bounds[depth]
    hits = 0
    for j in range(LEAF):
        hits += reach[j] < worst[j]
    if hits == 0 and ties:
        last = indices.shape[1] - 1
        for j in range(LEAF):
            hits += reach[j] == worst[j] and smallest < indices[j, last]
    return hits > 0


@njit(cache=True, nogil=True)
def _largest(values):
    """Return the largest of a leaf's worth of values."""
    largest = values[0]
    for j in range(1, LEAF):
        largest = max(largest, values[j])
    return largest


@njit(cache=True, nogil=True)
def kth_in_leaves(first, last, tree, ties, euclidean, distances, indices):
    """Write the k nearest others of the points of leaves first..last - 1, ascending, ties by index.

    Row i of distances and indices belongs to the point i before sorting; their width is k. Squares,
    if Euclidean. Without ties, indices are some k nearest and only the distances are defined.
    """
    n, k = distances.shape
    blocks, order, low, high = tree.blocks, tree.order, tree.low, tree.high
    near = np.empty((LEAF, k))
    near_index = np.empty((LEAF, k), np.int64)
    nearest = np.empty((k, LEAF))
    worst = np.empty(LEAF)
    bounds = np.empty((64, LEAF))
    out = np.empty(LEAF)
    lanes = np.empty(LEAF + 1, np.int64)
    stack = np.empty((128, 4), np.int64)
    gaps = np.empty(128)
    for own in range(first, last):
        members = min(LEAF, n - own * LEAF)
        near[:] = np.inf
        near_index[:] = n
        _first_limits(blocks, own, members, euclidean, nearest, out, worst)
        bounds[0] = 0.0
        _visit(
            blocks, order, own, own, True, euclidean, bounds, 0, worst, near, near_index, out, lanes
        )
        farthest = _largest(worst)
        home, top = _path(blocks.shape[0], own, stack)
        for t in range(top):
            gaps[t] = _across(low, high, home, stack[t, 0], euclidean)
        while top > 0:
            top -= 1
            gap = gaps[top]
            if not (gap < farthest or (ties and gap == farthest)):
                continue
            v, at, size, depth = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            smallest = tree.smallest[v]
            if depth > 0 and not euclidean:
                _approach(blocks, own, low, high, v, tree.axis[v], bounds, depth)
                if not _wanted(bounds, depth, ties, smallest, worst, near_index):
                    continue
            _to_box(blocks, own, low, high, v, euclidean, bounds, depth)
            if not _wanted(bounds, depth, ties, smallest, worst, near_index):
                continue
            if size == 1:
                if _visit(
                    blocks,
                    order,
                    own,
                    at,
                    ties,
                    euclidean,
                    bounds,
                    depth,
                    worst,
                    near,
                    near_index,
                    out,
                    lanes,
                ):
                    farthest = _largest(worst)
                continue
            left = size // 2
            to_a = _across(low, high, home, v + 1, euclidean)
            to_b = _across(low, high, home, v + 2 * left, euclidean)
            a = top + (to_a <= to_b)  # the nearer one on top
            b = 2 * top + 1 - a
            gaps[a], gaps[b] = to_a, to_b
            stack[a, 0], stack[a, 1], stack[a, 2], stack[a, 3] = v + 1, at, left, depth + 1
            stack[b, 0], stack[b, 1] = v + 2 * left, at + left
            stack[b, 2], stack[b, 3] = size - left, depth + 1
            top += 2
        for lane in range(members):
            i = order[own * LEAF + lane]
            for s in range(k):
                distances[i, s] = near[lane, s]
                indices[i, s] = near_index[lane, s]


@njit(cache=True, nogil=True)
def _reached(bounds, depth, live):
    """Whether any lane still undecided above reaches the node."""
    reach, r = bounds[depth], live[depth - 1]
    hits = 0
    for j in range(LEAF):
        hits += reach[j] < r[j]
    return hits > 0


@njit(cache=True, nogil=True)
def _decide(bounds, depth, far, inside, live, total):
    """Settle the lanes whose radius misses the node or holds it all; return how many are left."""
    reach, above, here = bounds[depth], live[depth - 1], live[depth]
    left_over = 0
    for j in range(LEAF):
        r = above[j]
        holds = far[j] < r
        still = (reach[j] < r) & (not holds)
        total[j] += inside if holds else 0.0
        here[j] = r if still else 0.0
        left_over += still
    return left_over


@njit(cache=True, nogil=True)
def _count_leaf(blocks, own, other, euclidean, live, depth, total, out, lanes):
    """Add for each undecided lane the points of leaf other within its radius."""
    asking = 0
    radius = live[depth]
    for lane in range(LEAF):
        lanes[asking] = lane
        asking += radius[lane] > 0.0
    for t in range(asking):
        lane = lanes[t]
        r = radius[lane]
        _to_places(blocks, own, lane, other, euclidean, out)
        hits = 0
        for j in range(LEAF):
            hits += out[j] < r
        total[lane] += hits


@njit(cache=True, nogil=True)
def count_in_leaves(first, last, tree, radius, euclidean, counts):
    """Count, for the points of leaves first..last - 1, the others at distance < radius.

    radius and counts go by index before sorting; for Euclidean, radius is that of squares.
    """
    n = counts.shape[0]
    blocks, order, low, high = tree.blocks, tree.order, tree.low, tree.high
    total = np.empty(LEAF)
    far = np.empty(LEAF)
    out = np.empty(LEAF)
    bounds = np.zeros((65, LEAF))
    live = np.zeros((65, LEAF))  # a lane's radius at each depth, 0 once the lane is settled
    lanes = np.empty(LEAF + 1, np.int64)
    stack = np.empty((64, 4), np.int64)
    for own in range(first, last):
        members = min(LEAF, n - own * LEAF)
        for lane in range(LEAF):
            r = radius[order[own * LEAF + lane]] if lane < members else 0.0
            live[0, lane] = max(r, 0.0)
            total[lane] = -1.0 if r > 0.0 else 0.0  # itself
        longest = _largest(live[0])
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, 0, blocks.shape[0], 1
        top = 1
        while top > 0:
            top -= 1
            v, at, size, depth = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            if not euclidean:
                _approach(blocks, own, low, high, v, tree.axis[v], bounds, depth)
                if not _reached(bounds, depth, live):
                    continue
            _to_box(blocks, own, low, high, v, euclidean, bounds, depth)
            if euclidean or tree.extent[v] < 2.1 * longest:
                _to_far_side(blocks, own, low, high, v, euclidean, far)
            else:
                far[:] = np.inf
            inside = min(n - at * LEAF, size * LEAF)
            if _decide(bounds, depth, far, inside, live, total) == 0:
                continue
            if size == 1:
                _count_leaf(blocks, own, at, euclidean, live, depth, total, out, lanes)
                continue
            left = size // 2
            stack[top, 0], stack[top, 1] = v + 2 * left, at + left
            stack[top, 2], stack[top, 3] = size - left, depth + 1
            top += 1
            stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = v + 1, at, left, depth + 1
            top += 1
        for lane in range(members):
            counts[order[own * LEAF + lane]] = int(total[lane])
