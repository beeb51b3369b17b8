"""Which weights stay: exactly as many as asked for, the best scored first, ties included."""

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
    floor = scope if isinstance(scope, Floor) and keep > 0 else None
    within = scope.within if isinstance(scope, Floor) else scope
    first = None if floor is None else _best_of_each(scores, floor.least, among)
    if within != "global":
        scores = {
            name: _shares(score, share_of(within, name, score.shape), _part(among, name))
            for name, score in scores.items()
        }
    flat = _flat(scores)
    if among is None and first is None:
        kept = _best(flat, keep)
    else:
        kept = torch.zeros_like(flat, dtype=torch.bool) if first is None else _flat(first)
        taken = 0 if first is None else _count(kept)
        _check_floor(taken, keep, scope)
        pool = ~kept
        if among is not None:  # masks read from a checkpoint are on the CPU
            pool &= _flat({n: among[n] for n in scores}).to(pool.device)
        kept.masked_scatter_(pool, _best(flat.masked_select(pool), keep - taken))
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {
        name: part.view(score.shape).to(score.device)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def _best(flat: Tensor, keep: int) -> Tensor:
    """Mark the ``keep`` biggest entries; of those equal to the last one, the earliest.

    The same answer as a stable descending sort, in linear time.
    """
    size = flat.numel()
    if not 0 <= keep <= size:
        raise ValueError(
            f"keep must lie between 0 and the {size:,} weights that may be kept; got {keep:,}."
        )
    if keep in (0, size):
        return torch.full_like(flat, keep == size, dtype=torch.bool)
    last = _smallest(flat, size - keep)
    marked = flat > last
    tied = (flat == last).nonzero().squeeze(1)
    marked[tied[: keep - _count(marked)]] = True
    return marked


def _smallest(flat: Tensor, k: int) -> Tensor:
    """Return the k-th smallest entry, counted from 0."""
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.partition(flat.numpy(), k)[k : k + 1])  # 3 times as fast
    return torch.kthvalue(flat, k + 1).values


def _count(marked: Tensor) -> int:
    return int(torch.count_nonzero(marked))  # the sum of booleans is slow


def _shares(score: Tensor, part: float, among: Tensor | None) -> Tensor:
    """Replace scores by minus the weight's rank among its parameter's candidates, over its part."""
    shares = torch.zeros(score.numel(), dtype=torch.float64, device=score.device)
    where, ranks = _ranks(score, among)
    shares[where] = -(ranks.double() + 0.5) / max(part, 1e-300)
    return shares.view(score.shape)


def _best_of_each(
    scores: Mapping[str, Tensor], least: int, among: Mapping[str, Tensor] | None
) -> Kept:
    """Mark the ``least`` best candidates of each parameter."""
    kept = {}
    for name, score in scores.items():
        marked = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
        where, ranks = _ranks(score, _part(among, name))
        marked[where[ranks < least]] = True
        kept[name] = marked.view(score.shape)
    return kept


def _ranks(score: Tensor, among: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return where the candidates of a parameter are, and their ranks, 0 for the best."""
    flat = score.detach().reshape(-1)
    where = torch.arange(flat.numel(), device=flat.device)
    if among is not None:
        where = among.reshape(-1).to(flat.device).nonzero().squeeze(1)
    order = torch.sort(flat[where], descending=True, stable=True).indices
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=flat.device)
    return where, ranks


def _part(among: Mapping[str, Tensor] | None, name: str) -> Tensor | None:
    return None if among is None else among[name]


def _check_floor(needed: int, keep: int, floor: Scope) -> None:
    if needed > keep:
        raise ValueError(
            f"density must leave enough for {floor!r}, which keeps {needed:,} weights before any "
            f"other; only {keep:,} are to stay. Raise the density, or lower the floor."
        )


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """Join the tensors into one row, on the device of the first and in the widest dtype."""
    if not tensors:
        raise ValueError("scores must name at least one parameter; got none.")
    rows = [tensor.detach().reshape(-1) for tensor in tensors.values()]
    return torch.cat([row.to(rows[0].device) for row in rows])


def _check_finite(scores: Mapping[str, Tensor], among: Mapping[str, Tensor] | None) -> None:
    for name, score in scores.items():
        if torch.isfinite(score.detach().sum()):
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
