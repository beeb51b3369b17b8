"""SOSP-H: how much the loss would feel the loss of each channel, to second order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mitools.pruning.channel_sums import ChannelSums
from mitools.pruning.channels import ChannelGroup, channel_mask, example_of
from mitools.pruning.coupling import prunable_groups
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import size_of
from mitools.pruning.scoring import parameters_named, undisturbed
from mitools.pruning.selection import check_density, count_kept
from mitools.pruning.slopes import Losses, Precision, Statistics, check_reading, scaled
from mitools.pruning.structured import Competition, check_competition, top_channels


@dataclass(frozen=True)
class SOSP:
    """SOSP-H: ``λ(s) = |θ_s · g| + ½ |θ_s · Hθ|``; the channels with the smallest λ go, at once.

    g and H are the slope and the true Hessian of the mean loss over all points read; θ_s holds the
    weights of channel s, and θ those of all channels that may go, so that ``θ_s · Hθ`` sums what s
    has to do with every other channel. θ_s is all that `ChannelGroup` says produces the channel:
    the rows of its layer and of residual siblings and, unless ``norms=False``, their biases and
    batch-norm scales and shifts. The columns that read it are not in it, as a removed filter's are
    not. The last layer's rows are in no θ_s.

    The paper prunes trained networks. On an untrained one it is the same formula.

    Two passes over the data; memory as for `GraSP`.

    Differences: the authors published no code. Whether biases and batch norm belong to θ_s there is
    not known here; they prune a share of structures and then fine-tune, we keep a share of weights.

    Parameters
    ----------
    batches : int or None
        Read this many batches, from the first; None: the whole loader, twice. The paper reads a
        part of the training data.
    norms : bool
        Whether biases and batch norm count as part of the channel.
    statistics : {"running", "batch"}
        What batch norm normalises by. Dropout is off.
    precision : {"model", "double"}
        What to compute in; see `GraSP`.
    scope : "global" or "layer"
        Whether channels compete across all groups, or only within their own.
    least : int, at least 1
        Channels that every group keeps.

    References
    ----------
    Nonnenmacher et al., *SOSP: efficiently capturing global correlations by second-order structured
    pruning*, arXiv 2110.11395.
    """

    batches: int | None = None
    norms: bool = True
    statistics: Statistics = "running"
    precision: Precision = "model"
    scope: Competition = "global"
    least: int = 1

    def __post_init__(self) -> None:
        check_reading(self.batches, self.statistics, self.precision)
        check_competition(self.scope, self.least)

    def mask(self, model: nn.Module, loader: Any, density: float, names: Sequence[str]) -> Mask:
        """Return the mask of the network without the other channels; see `top_channels`.

        Raises
        ------
        ValueError
            If no channels can be removed, or the density is below what ``least`` channels in each
            group need.
        """
        keep = count_kept(check_density(density), size_of(model, names))
        groups = prunable_groups(model, example_of(model, loader), names)
        kept = top_channels(
            groups,
            self.channel_scores(model, loader, groups),
            parameters_named(model, names),
            keep,
            scope=self.scope,
            least=self.least,
        )
        return channel_mask(model, groups, kept, names)

    def channel_scores(
        self, model: nn.Module, loader: Any, groups: Sequence[ChannelGroup]
    ) -> dict[str, Tensor]:
        """Return λ for the channels of each group, by its name, in float64.

        Raises
        ------
        ValueError
            If an operation of the model cannot be differentiated twice.
        """
        channels = ChannelSums(groups, ("produces", "norm") if self.norms else ("produces",))
        with undisturbed(model):
            losses = Losses(
                model,
                loader,
                channels.names,
                batches=self.batches,
                statistics=self.statistics,
                precision=self.precision,
            )
            weights = losses.weights
            theirs = channels.factors(torch.ones(channels.size), weights, otherwise=0.0)
            slope = losses.slope()
            curved = losses.curvature_along({n: weights[n] * part for n, part in theirs.items()})
            first, second = (channels.sums(scaled(weights, of)).abs() for of in (slope, curved))
        return channels.by_group(first + 0.5 * second)
