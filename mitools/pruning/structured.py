"""Structured pruning by any score: whole channels stay, those whose weights score best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Size, Tensor, nn
from tqdm import tqdm

from mitools._validation import checked_choice, checked_count
from mitools.models import copied
from mitools.pruning.channel_sums import ChannelSums
from mitools.pruning.channels import ChannelGroup, channel_mask, example_of
from mitools.pruning.coupling import prunable_groups
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import (
    Score,
    check_score,
    decreasing,
    geometric_counts,
    size_of,
)
from mitools.pruning.scoring import parameters_named
from mitools.pruning.selection import Scores

Aggregate = Literal["sum", "mean", "norm"]
Competition = Literal["global", "layer"]


@dataclass(frozen=True)
class Structured:
    """Keep whole channels, or attention heads: the best ones, as many as the density has room for.

    The score of a channel is made of the scores of the weights that produce it: its row in every
    layer of its group, so of all residual siblings together, and its filter where depthwise; not
    of the weights that read it. With the channels in order of their scores, the mask keeps the
    longest beginning of that order with no more than ``round(density * size)`` weights: the next
    channel would not have fit. A channel that goes takes along the weights that read it, and what
    belongs to no group stays whole. So the mask is that of the smaller network, which `shrink`
    makes of it.

    In one round a smaller density keeps a part of what a larger one keeps.

    Parameters
    ----------
    score : Score
        Such as ``SNIP()``. Signs are kept: a channel's ``GraSP()`` is the sum of its weights'
        ``θ · Hg``, as in most re-implementations, and ``GraSP(signed=False)`` gives the L1 norm
        that the MIPP paper takes.
    aggregate : "sum", "mean" or "norm"
        Of the weights' scores: their sum, which is the L1 norm for scores that are not negative;
        their mean, which does not favour channels of many weights; or the root of the sum of their
        squares, so that ``Magnitude()`` gives L2.
    scope : "global" or "layer"
        Whether channels compete across all groups, or every group keeps the same share of its
        channels. ``Structured(Random(), scope="layer")`` is the control: globally, sums of noise
        mostly tell how many weights a channel has.
    least : int, at least 1
        Channels that every group keeps, so that no signal is cut.
    rounds : int, at least 1
        Score, remove, repeat, with densities as in `Iterative`; channels that are out stay out.
        SynFlow wants 100: in one round it leaves layers of a single channel.
    """

    score: Score
    aggregate: Aggregate = "sum"
    scope: Competition = "global"
    least: int = 1
    rounds: int = 1

    def __post_init__(self) -> None:
        check_score(self.score)
        checked_count("rounds", self.rounds)
        checked_choice("aggregate", self.aggregate, ("sum", "mean", "norm"))
        check_competition(self.scope, self.least)

    def mask(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str],
        *,
        progress: bool = False,
    ) -> Mask:
        """Return the mask of the network without the other channels.

        Raises
        ------
        ValueError
            If no channels can be removed, or the density is below what ``least`` channels in each
            group need; the message says how much that is.
        """
        size = size_of(model, names)
        counts = list(decreasing(geometric_counts(size, density, self.rounds), size))
        groups = prunable_groups(model, example_of(model, loader), names)
        parameters = parameters_named(model, names)
        if counts:
            _check_room(groups, parameters, counts[-1], self.least)
        kept, mask, pruned = None, Mask.ones_like(parameters), copied(model)
        silent = not progress or self.rounds == 1
        for keep in tqdm(counts, "pruning", disable=silent, leave=False):
            scores = aggregated(groups, self.score.scores(pruned, loader, names), self.aggregate)
            kept = top_channels(
                groups, scores, parameters, keep, scope=self.scope, least=self.least, among=kept
            )
            mask = channel_mask(model, groups, kept, names)
            mask.apply_(pruned)
        return mask


def aggregated(
    groups: Sequence[ChannelGroup], scores: Scores, aggregate: Aggregate = "sum"
) -> dict[str, Tensor]:
    """Return a score for every channel, from those of the weights that produce it.

    Parameters
    ----------
    groups : sequence of ChannelGroup
        From `channel_groups`.
    scores : mapping of str to Tensor
        Of the weights, by parameter.
    aggregate : "sum", "mean" or "norm"
        See `Structured`.

    Returns
    -------
    dict of str to Tensor, shape (size,)
        By group, in float64.
    """
    own = ChannelSums(groups, ("produces",))
    if aggregate == "norm":
        return own.by_group(own.norms(scores))
    totals = own.sums(scores)
    return own.by_group(totals if aggregate == "sum" else totals / own.counts(scores))


def top_channels(
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    keep: int | Mapping[str, int],
    *,
    scope: Competition = "global",
    least: int = 1,
    among: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the channels that stay: the best, as many as there is room for, or as many as stated.

    Of equal channels the one that comes first stays.

    Parameters
    ----------
    groups : sequence of ChannelGroup
        From `channel_groups`.
    scores : mapping of str to Tensor, shape (size,)
        By group; bigger means keep.
    parameters : mapping of str to Tensor
        The weights that are counted, by name; only shapes matter.
    keep : int, or mapping of str to int
        How many weights may stay in all: the longest beginning of the order of channels that fits
        stays. Or widths: how many channels stay in each group; groups not named stay whole, and
        scope and least are not used.
    scope : "global" or "layer"
        With "layer", the i-th best of n channels competes with the share (i - 1/2) / n.
    least : int, at least 1
        Channels that every group keeps first.
    among : mapping of str to bool Tensor, optional
        The candidates; channels that are False here stay out.

    Returns
    -------
    dict of str to bool Tensor, shape (size,)
        By group, on the CPU.

    Raises
    ------
    ValueError
        If a score is missing, of another shape or not finite; if keep is too small for the floor;
        if a width is not that of a group, or lies outside 1 to its size.
    """
    check_competition(scope, least)
    ranks = {group.name: _ranked(group, scores, among) for group in groups}
    if isinstance(keep, Mapping):
        return _of_widths(groups, ranks, keep)
    _check_room(groups, parameters, keep, least)
    order: list[tuple[bool, float, int, int]] = []  # sorts: the floor first, then the best
    for number, group in enumerate(groups):
        values = scores[group.name].detach().double().cpu()
        for rank, channel in enumerate(ranks[group.name]):
            key = (rank + 0.5) / group.size if scope == "layer" else -float(values[channel])
            order.append((rank >= least, key, number, channel))
    order.sort()
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    low, high = sum(not beyond for beyond, *_ in order), len(order)
    while low < high:
        middle = (low + high + 1) // 2
        counts = [0] * len(groups)
        for _, _, number, _ in order[:middle]:
            counts[number] += 1
        fits = weights_of(groups, counts, shapes) <= keep
        low, high = (middle, high) if fits else (low, middle - 1)
    kept = {group.name: torch.zeros(group.size, dtype=torch.bool) for group in groups}
    for _, _, number, channel in order[:low]:
        kept[groups[number].name][channel] = True
    return kept


def even_widths(
    groups: Sequence[ChannelGroup],
    parameters: Mapping[str, Tensor],
    keep: int,
    *,
    least: int = 1,
) -> dict[str, int]:
    """Return how many channels of each group fit if all groups keep the same share of theirs.

    Parameters and errors are those of `top_channels`.
    """
    alike = {group.name: torch.zeros(group.size) for group in groups}
    kept = top_channels(groups, alike, parameters, keep, scope="layer", least=least)
    return {name: int(stays.sum()) for name, stays in kept.items()}


def weights_of(
    groups: Sequence[ChannelGroup], counts: Sequence[int], shapes: Mapping[str, Size]
) -> int:
    """Return how many weights the network has left with so many channels in each group."""
    left = {name: list(shape) for name, shape in shapes.items()}
    for group, count in zip(groups, counts, strict=True):
        for part in group.parts:
            if part.parameter in left:
                each = len(part.positions[0])
                left[part.parameter][part.axis] -= each * (group.size - count)
    return sum(prod(shape) for shape in left.values())


def _ranked(
    group: ChannelGroup, scores: Mapping[str, Tensor], among: Mapping[str, Tensor] | None
) -> list[int]:
    """Return the candidates of a group, the best first."""
    score = scores.get(group.name)
    if score is None or score.shape != (group.size,):
        got = "none" if score is None else f"shape {tuple(score.shape)}"
        raise ValueError(
            f"scores must hold one number for each of the {group.size} channels of "
            f"{group.name!r}; got {got}. Keys are the names of the groups."
        )
    if not bool(torch.isfinite(score).all()):
        raise ValueError(
            f"scores must be finite; {group.name!r} has channels that score NaN or infinity. Is "
            "there a NaN in the weights or the data, or does the network's output overflow?"
        )
    order = torch.sort(score.detach().cpu(), descending=True, stable=True).indices.tolist()
    return order if among is None else [c for c in order if bool(among[group.name][c])]


def _of_widths(
    groups: Sequence[ChannelGroup], ranks: Mapping[str, list[int]], widths: Mapping[str, int]
) -> dict[str, Tensor]:
    unknown = [name for name in widths if name not in ranks]
    if unknown:
        raise ValueError(
            f"keep must name groups of channels; {', '.join(unknown)} is none. There are: "
            f"{', '.join(ranks)}."
        )
    kept = {}
    for group in groups:
        width = widths.get(group.name, len(ranks[group.name]))
        if not 1 <= width <= len(ranks[group.name]):
            raise ValueError(
                f"keep must lie between 1 and the {len(ranks[group.name])} channels of "
                f"{group.name!r}; got {width}."
            )
        kept[group.name] = torch.zeros(group.size, dtype=torch.bool)
        kept[group.name][ranks[group.name][:width]] = True
    return kept


def _check_room(
    groups: Sequence[ChannelGroup], parameters: Mapping[str, Tensor], keep: int, least: int
) -> None:
    """Raise ValueError if so many channels in each group have more weights than are to stay."""
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    needed = weights_of(groups, [min(least, group.size) for group in groups], shapes)
    if needed > keep:
        size = sum(parameter.numel() for parameter in parameters.values())
        raise ValueError(
            f"density must leave room for {least} channel{'s' if least > 1 else ''} in every group "
            f"and for what belongs to none: {needed:,} of {size:,} weights, a density of "
            f"{needed / size:.3g}; only {keep:,} are to stay. Raise the density"
            f"{', or lower least.' if least > 1 else '.'}"
        )


def check_competition(scope: object, least: object) -> None:
    """Raise ValueError unless channels can compete so, each group keeping so many first."""
    checked_choice("scope", scope, ("global", "layer"))
    checked_count("least", least)
