"""Nearest neighbours and counts, compiled: arrays in, arrays out.

Callers promise what is not checked here: C-contiguous float64 arrays of shape (n, d), d >= 1, all
values finite, and 1 <= k < n. Distances are maxima over coordinates of ``abs(a - b)`` unless
``euclidean`` is set. Comparisons are exact: no tolerance, no jitter, ties count as defined.
"""

from mitools._kernels.neighbors import (
    count_within,
    farthest,
    ksg_counts,
    kth_distance,
    kth_neighbors,
    reach,
)
from mitools._kernels.screening import ksg_pair, ksg_screen, ksg_shuffles, ross_screen
from mitools._kernels.threads import together

__all__ = [
    "count_within",
    "farthest",
    "ksg_counts",
    "ksg_pair",
    "ksg_screen",
    "ksg_shuffles",
    "kth_distance",
    "kth_neighbors",
    "reach",
    "ross_screen",
    "together",
]
