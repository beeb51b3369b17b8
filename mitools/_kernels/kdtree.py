"""A k-d tree of full leaves, and distances from a leaf's points to its nodes.

Nodes are numbered in preorder: the left child of node v is v + 1 and the right child v + 2 l, where
l leaves hang under the left one. Leaf f holds the points f * LEAF to (f + 1) * LEAF - 1 of the
tree's own order, a coordinate a row; only the last leaf can have empty places, at infinity.

Whether to look closer is decided on coordinates moved and scaled into [-1, 1], in single precision
if that tells the points of a leaf apart, with a slack above all rounding. What counts in the end
are distances in double precision.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from numba import njit

from mitools._kernels.threads import FEWEST, together

LEAF = 32
# Rounding of a difference relative to the largest coordinate, 16 times the worst, and a number
# whose square is still a normal one.
_SLACK = {np.float32: (2.0**-20, 1e-18), np.float64: (2.0**-49, 1e-150)}
_PIECES = 16  # about as many are sorted each at a time
_SOME = 1_000  # points that tell where the middle is; any point near it will do
_COARSE = 2.0**10  # leaves this many times the slack long are told apart well enough


class Tree(NamedTuple):
    """Points in the order of their leaves, and the box around each node."""

    blocks: np.ndarray  # (leaves, d, LEAF) float64, empty places at infinity
    short: np.ndarray  # the same, moved and scaled, float32 or float64
    order: np.ndarray  # (n,) index of each point before sorting
    low: np.ndarray  # (nodes, d), scaled and of the type of short
    high: np.ndarray  # (nodes, d)
    size: np.ndarray  # (nodes,) the largest absolute scaled coordinate
    smallest: np.ndarray  # (nodes,) the smallest index below
    axis: np.ndarray  # (nodes,) the coordinate that separates a node from its sibling
    slack: np.ndarray  # (2,) rounding, relative and absolute
    unit: float  # the scale, a power of two


def grow(points: np.ndarray, precision: type = np.float32) -> Tree:
    """Return the tree of the points. O(n d log n) time, O(n d) memory."""
    n, d = points.shape
    leaves = -(-n // LEAF)
    nodes = 2 * leaves - 1
    some = points[:: -(-n // _SOME)]
    middle = np.partition(some, len(some) // 2, axis=0)[len(some) // 2]
    reach = _reach(points, middle)
    tree = Tree(
        blocks=np.full((leaves, d, LEAF), np.inf),
        short=np.full((leaves, d, LEAF), np.inf, precision),
        order=np.arange(n),
        low=np.empty((nodes, d), precision),
        high=np.empty((nodes, d), precision),
        size=np.empty(nodes, precision),
        smallest=np.empty(nodes, np.int64),
        axis=np.zeros(nodes, np.int64),
        slack=np.array(_SLACK[precision], precision),
        unit=float(np.ldexp(1.0, -int(np.clip(np.frexp(reach)[1], -1000, 1000)))),
    )
    scratch = points.copy()  # sorted in place
    coarse = _fill(scratch, middle, tree, 0, 0, leaves)
    if coarse > leaves // 50 and precision is np.float32:
        return grow(points, np.float64)
    return tree


@njit(cache=True, nogil=True)
def _reach(points, middle):
    reach = 0.0
    for i in range(points.shape[0]):
        for c in range(points.shape[1]):
            reach = max(reach, abs(points[i, c] - middle[c]))
    return reach


def _fill(
    scratch: np.ndarray, middle: np.ndarray, tree: Tree, node: int, first: int, leaves: int
) -> int:
    """Sort points from a node on, halves at the same time; return how many leaves are coarse."""
    points = leaves * LEAF * scratch.shape[1]
    alone = leaves > 1 and points >= max(FEWEST, scratch.size // _PIECES)
    coarse = _sort_into_leaves(scratch, middle, tree, node, first, leaves, alone)
    if alone:  # the two halves have nothing in common
        left = leaves // 2
        halves = ((node + 1, first, left), (node + 2 * left, first + left, leaves - left))
        coarse += sum(together([partial(_fill, scratch, middle, tree, *h) for h in halves], points))
    return coarse


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


@njit(cache=True, nogil=True, forceinline=True)
def slack(rounding, size, a, b):
    """Return what rounding can do to a scaled difference between points of two nodes, and more."""
    return rounding[0] * (size[a] + size[b]) + rounding[1]


@njit(cache=True, nogil=True)
def _sort_into_leaves(points, middle, tree, node, first, leaves, alone):
    """Fill the tree from a node of so many leaves on, or that node alone; points is scratch.

    Returns how many leaves are small beside the slack.
    """
    n, d = points.shape
    coarse = 0
    low, high = np.empty(d), np.empty(d)
    stack = [(node, first, leaves)]
    while len(stack) > 0:
        node, first, leaves = stack.pop()
        start, stop = first * LEAF, min(n, (first + leaves) * LEAF)
        low[:] = np.inf
        high[:] = -np.inf
        smallest = n
        for i in range(start, stop):
            smallest = min(smallest, tree.order[i])
            for c in range(d):
                low[c] = min(low[c], points[i, c])
                high[c] = max(high[c], points[i, c])
        tree.smallest[node] = smallest
        tree.size[node] = 0.0
        widest = 0
        for c in range(d):
            if high[c] - low[c] > high[widest] - low[widest]:
                widest = c
            tree.low[node, c] = (low[c] - middle[c]) * tree.unit
            tree.high[node, c] = (high[c] - middle[c]) * tree.unit
            tree.size[node] = max(
                tree.size[node], max(abs(tree.low[node, c]), abs(tree.high[node, c]))
            )
        if leaves == 1:
            length = (high[widest] - low[widest]) * tree.unit
            coarse += 0.0 < length < _COARSE * slack(tree.slack, tree.size, node, node)
            for i in range(start, stop):
                for c in range(d):
                    tree.blocks[first, c, i - start] = points[i, c]
                    tree.short[first, c, i - start] = (points[i, c] - middle[c]) * tree.unit
            continue
        left = leaves // 2
        _split(points, tree.order, start, stop, (first + left) * LEAF, widest)
        tree.axis[node + 1] = tree.axis[node + 2 * left] = widest
        if alone:
            break
        stack.append((node + 2 * left, first + left, leaves - left))
        stack.append((node + 1, first, left))
    return coarse


# Below, whole arrays are passed and indexed in full, since a slice costs atomic counts; and loops
# run to a length the compiler does not know, or it unrolls them before it could use vectors.


@njit(cache=True, nogil=True)
def path(leaves, own, stack):
    """Stack up the siblings of a leaf's ancestors, the nearest on top; return its node; how many.

    A row of the stack is a node, its first leaf, its number of leaves, and a depth, here 0.
    """
    node, at, size, depth = 0, 0, leaves, 0
    while size > 1:
        left = size // 2
        stack[depth, 3] = 0
        if own < at + left:
            stack[depth, 0], stack[depth, 1] = node + 2 * left, at + left
            stack[depth, 2] = size - left
            node, size = node + 1, left
        else:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = node + 1, at, left
            node, at, size = node + 2 * left, at + left, size - left
        depth += 1
    return node, depth


@njit(cache=True, nogil=True, forceinline=True)
def limits(radius, by, d, euclidean, out):
    """Write what a computed bound is below if a true distance is at most radius; by is the slack.

    With -by instead, what it is below only if the true distance is less. Squares, if Euclidean.
    """
    if euclidean:
        by *= np.float32(np.sqrt(d))
        spread = np.float32(1.0 + np.sign(by) * (d + 4) * 2.0**-22)
        for j in range(out.shape[0]):
            t = radius[0, j] + by
            out[j] = t * t * spread if t > 0 else -spread
    else:
        for j in range(out.shape[0]):
            out[j] = radius[0, j] + by


@njit(cache=True, nogil=True, forceinline=True)
def to_places(blocks, own, lane, other, euclidean, out):
    """Write a point's distance (its square, if Euclidean) to each place of leaf other."""
    d, width = blocks.shape[1], out.shape[0]
    q = blocks[own, 0, lane]
    if euclidean:
        for j in range(width):
            out[j] = (blocks[other, 0, j] - q) * (blocks[other, 0, j] - q)
        for c in range(1, d):
            q = blocks[own, c, lane]
            for j in range(width):
                out[j] += (blocks[other, c, j] - q) * (blocks[other, c, j] - q)
        return
    for j in range(width):
        out[j] = abs(blocks[other, 0, j] - q)
    c = 1
    while c + 3 <= d:
        q, r, s = blocks[own, c, lane], blocks[own, c + 1, lane], blocks[own, c + 2, lane]
        for j in range(width):
            t = max(abs(blocks[other, c, j] - q), abs(blocks[other, c + 1, j] - r))
            out[j] = max(max(abs(blocks[other, c + 2, j] - s), out[j]), t)
        c += 3
    while c < d:
        q = blocks[own, c, lane]
        for j in range(width):
            out[j] = max(abs(blocks[other, c, j] - q), out[j])
        c += 1


@njit(cache=True, nogil=True, forceinline=True)
def to_box(short, own, low, high, node, euclidean, bounds, depth):
    """Write each point's smallest possible distance (square) to a node, 0 inside its box."""
    d, width = low.shape[1], bounds.shape[1]
    zero = np.float32(0.0)
    for j in range(width):
        bounds[depth, j] = zero
    c = 0
    while c + 2 <= d and not euclidean:
        a, b = low[node, c], high[node, c]
        e, f = low[node, c + 1], high[node, c + 1]
        for j in range(width):
            t = max(a - short[own, c, j], short[own, c, j] - b)
            u = max(e - short[own, c + 1, j], short[own, c + 1, j] - f)
            bounds[depth, j] = max(max(t, u), bounds[depth, j])
        c += 2
    while c < d:
        a, b = low[node, c], high[node, c]
        for j in range(width):
            t = max(max(a - short[own, c, j], short[own, c, j] - b), zero)
            bounds[depth, j] = bounds[depth, j] + t * t if euclidean else max(t, bounds[depth, j])
        c += 1


@njit(cache=True, nogil=True, forceinline=True)
def approach(short, own, low, high, node, axis, bounds, depth):
    """Write a weaker, faster `to_box` for maxima: the bound of the node above, and one axis."""
    a, b = low[node, axis], high[node, axis]
    for j in range(bounds.shape[1]):
        t = max(a - short[own, axis, j], short[own, axis, j] - b)
        bounds[depth, j] = max(t, bounds[depth - 1, j])


@njit(cache=True, nogil=True, forceinline=True)
def to_far_side(short, own, low, high, node, euclidean, out):
    """Write each point's largest possible distance (square) to a node's box."""
    zero = np.float32(0.0)
    for j in range(out.shape[0]):
        out[j] = zero
    for c in range(low.shape[1]):
        a, b = low[node, c], high[node, c]
        for j in range(out.shape[0]):
            t = max(b - short[own, c, j], short[own, c, j] - a)
            out[j] = out[j] + t * t if euclidean else max(t, out[j])


@njit(cache=True, nogil=True, forceinline=True)
def across(low, high, a, b, euclidean):
    """Return the smallest possible distance between the boxes of two nodes."""
    total = np.float32(0.0)
    for c in range(low.shape[1]):
        t = max(max(low[a, c] - high[b, c], low[b, c] - high[a, c]), np.float32(0.0))
        total = total + t * t if euclidean else max(total, t)
    return np.sqrt(total) if euclidean else total


@njit(cache=True, nogil=True, forceinline=True)
def largest(values):
    """Return the largest of (1, n) values."""
    found = values[0, 0]
    for j in range(1, values.shape[1]):
        found = max(found, values[0, j])
    return found
