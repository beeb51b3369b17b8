"""The counts of ``mitools._kernels`` by torch, in blocks, on any device; equal bit for bit.

All pairs are looked at: O(n² d) time. Memory is linear in n; a block of distances takes a few times
32 MB. Points are float64 tensors of shape (n, d), finite, with 1 <= k < n; answers are on the same
device.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mitools._kernels.neighbors import _square_limit

_BLOCK = 1 << 22  # distances at a time: small enough for the caches of a GPU


def kth_distance(points: Tensor, k: int, euclidean: bool = False) -> Tensor:
    """Return the distance (n,) from each point to its k-th nearest other point."""
    found = [_kth(block, k) for _, block in _blocks(points, euclidean)]
    return _rooted(torch.cat(found), euclidean)


def kth_neighbors(points: Tensor, k: int, euclidean: bool = False) -> tuple[Tensor, Tensor]:
    """Return distances (n, k) and indices (n, k) of the k nearest others, ascending, ties by index.

    Euclidean ties are those of the squared distance.
    """
    distances, indices = [], []
    for _, block in _blocks(points, euclidean):
        reach = _kth(block, k)[:, None]
        nearer = block < reach
        level = block == reach
        spare = k - nearer.sum(1, keepdim=True)
        chosen = nearer | (level & (level.cumsum(1) <= spare))
        index = chosen.nonzero()[:, 1].view(-1, k)
        distance, order = block.gather(1, index).sort(dim=1, stable=True)
        distances.append(distance)
        indices.append(index.gather(1, order))
    return _rooted(torch.cat(distances), euclidean), torch.cat(indices)


def count_within(
    points: Tensor, radius: Tensor, strict: bool = True, euclidean: bool = False
) -> Tensor:
    """Return how many other points (n,) lie at distance < radius[i], or <= if not strict."""
    # As in the kernels: d <= r is d < r', exactly, if r' is the next number after r.
    limit = radius if strict else radius.nextafter(torch.full_like(radius, torch.inf))
    if euclidean:
        limit = torch.from_numpy(_square_limit(limit.cpu().numpy())).to(points.device)
    counts = [(block < limit[rows, None]).sum(1) for rows, block in _blocks(points, euclidean)]
    return torch.cat(counts)


def ksg_counts(x: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return each point's k-th joint distance and its strict counts inside it in x and in y.

    Maximum norm within and across the two spaces.
    """
    radius, near_x, near_y = [], [], []
    for (_, in_x), (_, in_y) in zip(_blocks(x, False), _blocks(y, False), strict=True):
        reach = _kth(torch.maximum(in_x, in_y), k)
        radius.append(reach)
        near_x.append((in_x < reach[:, None]).sum(1))
        near_y.append((in_y < reach[:, None]).sum(1))
    return torch.cat(radius), torch.cat(near_x), torch.cat(near_y)


def _blocks(points: Tensor, euclidean: bool) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of rows and their distances (squares, if Euclidean) to all; NaN to themselves.

    Coordinate by coordinate in the order of the compiled kernels, so that sums round alike.
    """
    n = len(points)
    columns = points.T.contiguous()
    height = max(1, _BLOCK // n)
    for start in range(0, n, height):
        rows = slice(start, min(n, start + height))
        whole = _apart(columns[0], rows, euclidean)
        for column in columns[1:]:
            part = _apart(column, rows, euclidean)
            whole = whole.add_(part) if euclidean else torch.maximum(whole, part, out=whole)
        own = torch.arange(rows.start, rows.stop, device=points.device)
        whole[own - start, own] = torch.nan  # sorts last, and no comparison holds
        yield rows, whole


def _apart(column: Tensor, rows: slice, euclidean: bool) -> Tensor:
    part = column - column[rows, None]
    return part.mul_(part) if euclidean else part.abs_()


def _kth(block: Tensor, k: int) -> Tensor:
    return block.topk(k, dim=1, largest=False).values[:, -1]


def _rooted(distances: Tensor, euclidean: bool) -> Tensor:
    """Return roots if Euclidean; by numpy, as torch's on a CPU can be wrong in the last bit."""
    if not euclidean:
        return distances
    return torch.from_numpy(np.sqrt(distances.cpu().numpy())).to(distances.device)
