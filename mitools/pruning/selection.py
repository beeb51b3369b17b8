"""Which weights stay: exactly as many as asked for, the best scored first, ties included."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mitools.pruning.allocation import Floor, Scope, check_scope, share_of

Scores = dict[str, Tensor]
"""A score for every weight of every prunable parameter, shaped as it is; bigger means keep."""

Kept = dict[str, Tensor]
"""For every prunable parameter, True where the weight stays."""


def count_kept(density: float, size: int) -> int:
    """Return the number of survivors, ``round(density * size)``, halves to the even number."""
    return round(density * size)


def check_density(density: float) -> float:
    """Return density as a float.

    Raises
    ------
    ValueError
        If it is not a number from 0 to 1.
    """
    number = isinstance(density, int | float) and not isinstance(density, bool)
    if not (number and 0.0 <= density <= 1.0):
        raise ValueError(
            f"density must be a number from 0 (nothing kept) to 1 (everything kept); got "
            f"{density!r}. It is the share that stays: 1 - sparsity."
        )
    return float(density)


def survivors(density: float, parameters: Mapping[str, Tensor], scope: Scope = "global") -> int:
    """Return how many of the parameters' weights stay.

    Raises
    ------
    ValueError
        If density is not a number from 0 to 1, or is positive and too small for a floor.
    """
    sizes = [parameter.numel() for parameter in parameters.values()]
    keep = count_kept(check_density(density), sum(sizes))
    least = scope.least if isinstance(scope, Floor) and density > 0 else 0
    _check_floor(sum(min(least, size) for size in sizes), keep, scope)
    return keep


def top_k(
    scores: Mapping[str, Tensor],
    keep: int,
    scope: Scope = "global",
    *,
    among: Mapping[str, Tensor] | None = None,
) -> Kept:
    """Keep exactly ``keep`` weights, those with the biggest scores.

    Indices are selected, not a threshold: among equal scores the earlier weight stays, in the
    order of the parameters and, within one, of its memory layout as ``flatten`` gives it.

    Parameters
    ----------
    scores : mapping of str to Tensor
        Bigger means keep.
    keep : int, 0 <= keep <= number of candidates
        How many weights stay in all.
    scope : "global", "layer", Allocation or Floor
        With "layer", every parameter keeps the same share of its weights, to within one weight or
        so: its i-th best weight of n competes with the rank (i - 1/2) / n (Webster's method of
        apportionment), so a smaller ``keep`` never gives a parameter more. An `Allocation` puts
        another number in the place of n; a `Floor` keeps the best few of each parameter first.
    among : mapping of str to boolean Tensor, optional
        The candidates; weights that are False here stay False. None: every weight.

    Returns
    -------
    dict of str to boolean Tensor
        On the device of its scores, in the order of ``scores``.

    Raises
    ------
    ValueError
        If a candidate's score is NaN or infinite, there are fewer than ``keep`` candidates, or
        ``keep`` is too small for the floor.

    Examples
    --------
    >>> scores = {"a": torch.tensor([3.0, 1.0, 1.0]), "b": torch.tensor([1.0, 2.0])}
    >>> top_k(scores, 3)
    {'a': tensor([ True,  True, False]), 'b': tensor([False,  True])}
    """
    check_scope(scope)
    _check_finite(scores, among)
    if among is not None:  # masks read from a checkpoint are on the CPU
        among = {name: among[name].to(score.device) for name, score in scores.items()}
    within = scope.within if isinstance(scope, Floor) else scope
    least = scope.least if isinstance(scope, Floor) and keep > 0 else 0
    if within == "global" and not least:
        return _best(scores, keep, among)
    sizes = {name: score.numel() for name, score in scores.items()}
    if among is not None:
        sizes = {name: _count(among[name]) for name in scores}
    counts = {name: min(least, size) for name, size in sizes.items()}
    _check_floor(sum(counts.values()), keep, scope)
    if within == "global":
        first = _best_of_each(scores, counts, among)
        rest = {
            name: ~kept if among is None else among[name] & ~kept for name, kept in first.items()
        }
        more = _best(scores, keep - sum(counts.values()), rest)
        return {name: first[name] | more[name] for name in scores}
    parts = {name: share_of(within, name, score.shape) for name, score in scores.items()}
    return _best_of_each(scores, _apportioned(sizes, parts, keep, counts), among)


def _best_of_each(
    scores: Mapping[str, Tensor], counts: Mapping[str, int], among: Mapping[str, Tensor] | None
) -> Kept:
    """Mark so many of the best candidates of each parameter."""
    kept = {}
    for name, score in scores.items():
        part = None if among is None else {name: among[name]}
        kept |= _best({name: score}, counts[name], part)
    return kept


def _apportioned(
    sizes: Mapping[str, int], parts: Mapping[str, float], keep: int, first: Mapping[str, int]
) -> dict[str, int]:
    """Return how many weights each parameter keeps, by Webster's method, its first ones apart.

    The i-th best weight of a parameter competes with the rank (i - 1/2) / part.
    """
    ranks = {
        name: (torch.arange(first[name], size, dtype=torch.float64) + 0.5).div_(
            -max(parts[name], 1e-300)
        )
        for name, size in sizes.items()
    }
    kept = _best(ranks, keep - sum(first.values()), None)
    return {name: first[name] + _count(kept[name]) for name in sizes}


def _best(scores: Mapping[str, Tensor], keep: int, among: Mapping[str, Tensor] | None) -> Kept:
    """Mark the ``keep`` biggest candidates; of those equal to the last one, the earliest.

    The same answer as a stable descending sort, in linear time.
    """
    rows = _candidates(scores, among)
    size = len(rows)
    if not 0 <= keep <= size:
        raise ValueError(
            f"keep must lie between 0 and the {size:,} weights that may be kept; got {keep:,}."
        )
    if keep == 0:
        return {n: torch.zeros_like(s, dtype=torch.bool) for n, s in scores.items()}
    last = _smallest(rows, size - keep)
    kept = {}
    for name, score in scores.items():
        kept[name] = score.detach() >= last.to(score.device)
        if among is not None:
            kept[name] &= among[name]
    surplus = _count(rows >= last) - keep
    for name in reversed(list(scores)):
        if surplus == 0:
            break
        tied = (scores[name].detach() == last.to(kept[name].device)) & kept[name]
        where = tied.view(-1).nonzero().squeeze(1)[-surplus:]
        kept[name].view(-1)[where] = False
        surplus -= len(where)
    return kept


def _candidates(scores: Mapping[str, Tensor], among: Mapping[str, Tensor] | None) -> Tensor:
    """Join the candidates' scores, on the device of the first and in the widest dtype; a copy."""
    if not scores:
        raise ValueError("scores must name at least one parameter; got none.")
    rows = [score.detach().reshape(-1) for score in scores.values()]
    if among is not None:
        pools = [among[name].reshape(-1) for name in scores]
        rows = [_chosen(row, pool) for row, pool in zip(rows, pools, strict=True)]
    return torch.cat([row.to(rows[0].device) for row in rows])


def _chosen(row: Tensor, pool: Tensor) -> Tensor:
    if _known_to_numpy(row):
        return torch.from_numpy(np.compress(pool.numpy(), row.numpy()))  # 3 times as fast
    return row.masked_select(pool)


def _smallest(flat: Tensor, k: int) -> Tensor:
    """Return the k-th smallest entry, counted from 0; the others change places."""
    if _known_to_numpy(flat):
        flat.numpy().partition(k)  # 3 times as fast
        return flat[k : k + 1]
    return torch.kthvalue(flat, k + 1).values


def _known_to_numpy(flat: Tensor) -> bool:
    return flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64)


def _count(marked: Tensor) -> int:
    if marked.device.type == "cpu":
        return int(np.count_nonzero(marked.numpy()))  # 5 times as fast
    return int(torch.count_nonzero(marked))


def _check_floor(needed: int, keep: int, floor: Scope) -> None:
    if needed > keep:
        raise ValueError(
            f"density must leave enough for {floor!r}, which keeps {needed:,} weights before any "
            f"other; only {keep:,} are to stay. Raise the density, or lower the floor."
        )


def _check_finite(scores: Mapping[str, Tensor], among: Mapping[str, Tensor] | None) -> None:
    for name, score in scores.items():
        if math.isfinite(score.detach().sum().item()):
            continue  # one pass instead of three; a sum that overflows is looked at closely
        bad = ~torch.isfinite(score.detach())
        if among is not None:
            bad &= among[name].to(bad.device)
        if bad.any():
            raise ValueError(
                f"scores must be finite; {int(bad.sum()):,} of the {score.numel():,} scores of "
                f"{name!r} are NaN or infinite. Is there a NaN in the weights or the data, or "
                "does the network's output overflow?"
            )
