"""Which weights stay: exactly as many as asked for, the best scored first, ties included."""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

Scores = dict[str, Tensor]
"""A score for every weight of every prunable parameter, shaped as it is; bigger means keep."""

Kept = dict[str, Tensor]
"""For every prunable parameter, True where the weight stays."""

Scope = Literal["global", "layer"]
"""Whether weights compete across all parameters, or only within their own."""


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


def check_scope(scope: str) -> None:
    """Raise ValueError unless scope is one of `Scope`."""
    if scope not in get_args(Scope):
        raise ValueError(f"scope must be 'global' or 'layer'; got {scope!r}.")


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
    scope : {"global", "layer"}
        With "layer", every parameter keeps the same share of its weights, to within one weight or
        so: its i-th best weight of n competes with the rank (i - 1/2) / n (Webster's method of
        apportionment), so a smaller ``keep`` never gives a parameter more.
    among : mapping of str to boolean Tensor, optional
        The candidates; weights that are False here stay False. None: every weight.

    Returns
    -------
    dict of str to boolean Tensor
        On the device of its scores, in the order of ``scores``.

    Raises
    ------
    ValueError
        If a candidate's score is NaN or infinite, or there are fewer than ``keep`` candidates.

    Examples
    --------
    >>> scores = {"a": torch.tensor([3.0, 1.0, 1.0]), "b": torch.tensor([1.0, 2.0])}
    >>> top_k(scores, 3)
    {'a': tensor([ True,  True, False]), 'b': tensor([False,  True])}
    """
    check_scope(scope)
    pool = None if among is None else _flat({name: among[name] for name in scores})
    _check_finite(scores, among)
    if scope == "layer":
        scores = {
            name: _shares(score, None if among is None else among[name])
            for name, score in scores.items()
        }
    flat = _flat(scores)
    kept = torch.zeros_like(flat, dtype=torch.bool)
    if pool is None:
        kept = _best(flat, keep)
    else:
        candidates = pool.nonzero().squeeze(1)
        kept[candidates[_best(flat[candidates], keep)]] = True
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
    last = torch.kthvalue(flat, size - keep + 1).values
    marked = flat > last
    tied = (flat == last).nonzero().squeeze(1)
    marked[tied[: keep - int(marked.sum())]] = True
    return marked


def _shares(score: Tensor, among: Tensor | None) -> Tensor:
    """Replace scores by minus the weight's rank among its parameter's candidates, over size."""
    flat = score.detach().reshape(-1)
    where = torch.arange(flat.numel(), device=flat.device)
    if among is not None:
        where = among.reshape(-1).to(flat.device).nonzero().squeeze(1)
    order = torch.sort(flat[where], descending=True, stable=True).indices
    ranks = torch.empty(len(order), dtype=torch.float64, device=flat.device)
    ranks[order] = torch.arange(len(order), dtype=torch.float64, device=flat.device)
    shares = torch.zeros(flat.numel(), dtype=torch.float64, device=flat.device)
    shares[where] = -(ranks + 0.5) / max(flat.numel(), 1)
    return shares.view(score.shape)


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """Join the tensors into one row, on the device of the first and in the widest dtype."""
    if not tensors:
        raise ValueError("scores must name at least one parameter; got none.")
    rows = [tensor.detach().reshape(-1) for tensor in tensors.values()]
    return torch.cat([row.to(rows[0].device) for row in rows])


def _check_finite(scores: Mapping[str, Tensor], among: Mapping[str, Tensor] | None) -> None:
    for name, score in scores.items():
        bad = ~torch.isfinite(score.detach())
        if among is not None:
            bad &= among[name].to(bad.device)
        if bad.any():
            raise ValueError(
                f"scores must be finite; {int(bad.sum()):,} of the {score.numel():,} scores of "
                f"{name!r} are NaN or infinite. Is there a NaN in the weights or the data, or "
                "does the network's output overflow?"
            )
