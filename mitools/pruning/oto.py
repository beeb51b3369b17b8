"""OTO: train once, with a penalty that makes whole channels exactly zero."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mitools.models import copied, prunable, tensors_of
from mitools.pruning.channel_sums import ChannelSums
from mitools.pruning.channels import channel_mask, example_of
from mitools.pruning.coupling import prunable_groups
from mitools.pruning.gradual import steps_in_all
from mitools.pruning.half_space import HalfSpace, Stage
from mitools.pruning.levels import Levels
from mitools.pruning.pruners import size_of
from mitools.pruning.scoring import parameters_named, reproducibly, undisturbed
from mitools.pruning.selection import check_density, count_kept
from mitools.pruning.slopes import Losses, scaled
from mitools.pruning.structured import check_competition, top_channels
from mitools.pruning.trained import Ticket, check_training, mask_of_run
from mitools.training import Training, TrainState, state_of, train
from mitools.training.loop import check_trainable
from mitools.training.state import copy_of


@dataclass(frozen=True)
class OTO:
    """Only train once: one training under a group penalty, whose channels of norm 0 go for nothing.

    The groups are those of `ChannelGroup` without the columns that read them: filter, bias and
    batch norm of a channel, and of its residual siblings. If all are 0 the channel is 0 (where the
    activation keeps 0 at 0), so taking it out changes no output. HSPG, the first version's
    optimiser: a warm-up with proximal steps of the penalty ``λ Σ_s ‖x_s‖``, then half-space steps,
    which set a channel to 0 when a step would turn its weights by too much; see `HalfSpace`.

    The mask keeps the channels of largest norm, as many as the density has room for; those at 0 go
    first. λ, ε and the length of training decide how many are at 0, as in the paper; if too few,
    others go as well and the output changes: `run` gives the trained network, to be trained on.
    Half-space steps stop where the density is reached, and leave ``least`` channels in each group.

    With ``dual=True``, DHSPG, the second version's optimiser: a warm-up without penalty; then the
    channels that are to go for the density asked for are chosen, by the mean of two terms, each
    divided by its norm over all channels: the cosine between x_s and the slope of the loss, and one
    over ``‖x_s‖`` per weight. Only these are penalised, the more the more they grow.

    The defaults are for trainings of 10⁵ steps: a channel's norm falls by α λ a step, so shorter
    ones need a larger λ. Momentum, which the authors leave out, keeps channels swinging near 0.

    Differences from the authors' code: its warm-up takes subgradient steps
    (``warm_up_steps="subgradient"``), its half-space step chooses at random where too many channels
    would go, and each layer has its own limit. Parameters that require no gradient stay as they
    are. Its DHSPG chooses by the slope of one batch and takes 5% more channels than asked for; with
    Adam it has λ = 0.01, amplify=20 and ceiling=1000. The third version, HESSO, is not offered.

    Parameters
    ----------
    training : Training
        The one training, whose optimiser's steps are used; without early stopping.
    penalty : float, at least 0
        λ.
    epsilon : float in [0, 1)
        ε: the larger, the more channels go in a half-space step.
    warm_up : float in [0, 1]
        The share of the training before half-space steps.
    warm_up_steps : "proximal" or "subgradient"
        What is done in it, unless dual.
    dual : bool
        Whether to choose the channels to be penalised beforehand.
    amplify, ceiling : float, at least 1
        For dual: see `HalfSpace`.
    scope : "global" or "layer"
        Whether channels compete across all groups by their norm, or only within their own.
    least : int, at least 1
        Channels that every group keeps.

    References
    ----------
    Chen et al., *Only train once: a one-shot neural network training and pruning framework*, arXiv
    2107.07467; Chen et al., *OTOv2: automatic, generic, user-friendly*, ICLR 2023, for DHSPG, which
    is as in its code.
    """

    training: Training = Training()
    penalty: float = 1e-3
    epsilon: float = 0.0
    warm_up: float = 0.2
    warm_up_steps: Literal["proximal", "subgradient"] = "proximal"
    dual: bool = False
    amplify: float = 2.0
    ceiling: float = 10.0
    scope: Literal["global", "layer"] = "global"
    least: int = 1

    def __post_init__(self) -> None:
        check_training(self.training)
        check_competition(self.scope, self.least)
        if self.training.early_stopping is not None:
            raise ValueError(
                "training must not stop early, or there might be no half-space steps; got "
                f"early_stopping={self.training.early_stopping!r}. Leave it None."
            )
        if not 0.0 <= self.penalty < float("inf"):
            raise ValueError(f"penalty must be a number of at least 0; got {self.penalty!r}.")
        for name, value in (("amplify", self.amplify), ("ceiling", self.ceiling)):
            if not 1.0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number of at least 1; got {value!r}.")
        if not 0.0 <= self.epsilon < 1.0:
            raise ValueError(f"epsilon must lie in [0, 1); got {self.epsilon!r}. 0 is usual.")
        if not 0.0 <= self.warm_up <= 1.0:
            raise ValueError(
                f"warm_up must be a share of the training, from 0 to 1; got {self.warm_up!r}."
            )
        if self.warm_up_steps not in ("proximal", "subgradient"):
            raise ValueError(
                "warm_up_steps must be 'proximal' (the paper's) or 'subgradient' (the code's); got "
                f"{self.warm_up_steps!r}."
            )

    mask = mask_of_run

    def run(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str] | None = None,
        *,
        progress: bool = False,
        checkpoint: str | Path | None = None,
    ) -> Ticket:
        """Return the mask, and the trained weights, to be shrunk or fine-tuned from.

        Parameters
        ----------
        model : nn.Module
            At its initial weights; not changed.
        loader : DataLoader, Dataset, `Samples`, or pair
            The training data; it must know its number of batches.
        density : float in [0, 1]
            The share of the weights that stays.
        names : sequence of str, optional
            Parameters that take part; None: what `mitools.models.prunable` names.
        progress : bool
            Whether to show a bar for each stage on stderr.
        checkpoint : path of a directory, optional
            Where what is done is kept; the same call goes on.

        Raises
        ------
        ValueError
            If no channels can be removed, the density is below what ``least`` channels in each
            group need, or the checkpoint is of another run.
        """
        check_trainable(model)
        names = tuple(prunable(model)) if names is None else tuple(names)
        keep = count_kept(check_density(density), size_of(model, names))
        with reproducibly():
            trained = copied(model)
            groups = prunable_groups(trained, example_of(trained, loader), names)
            learning = {name for name, p in trained.named_parameters() if p.requires_grad}
            channels = ChannelSums(groups, among=learning)
            if not channels.names:
                raise ValueError(
                    "model must have channels that are trained; all weights that produce some are "
                    "frozen. Unfreeze them, or take a pruner that does not train, such as SOSP."
                )

            def largest(norms: Tensor) -> dict[str, Tensor]:
                values, weights = channels.by_group(norms), parameters_named(model, names)
                return top_channels(
                    groups, values, weights, keep, scope=self.scope, least=self.least
                )

            largest(torch.zeros(channels.size))  # too low a density shows before the training
            levels = Levels(checkpoint, self, [keep], model, loader)
            self._train(trained, loader, channels, largest, levels, progress)
            kept = largest(channels.norms(dict(trained.named_parameters())))
            mask = channel_mask(model, groups, kept, names)
            levels.save(1, mask)
        weights = copy_of(tensors_of(trained))
        mask.apply_(trained)
        return Ticket((mask,), state_of(trained), weights)

    def _train(
        self,
        model: nn.Module,
        loader: Any,
        channels: ChannelSums,
        largest: Callable[[Tensor], dict[str, Tensor]],
        levels: Levels,
        progress: bool,
    ) -> None:
        """Train in place: the warm-up, and half-space steps to the end."""

        def may_go(norms: Tensor, leaving: Tensor) -> Tensor:
            return droppable(norms, leaving, largest)

        def training(stage: Stage, penalised: Tensor | None = None) -> Training:
            optimizer = HalfSpace(
                *(self.training.optimizer, stage, self.penalty, self.epsilon),
                *(dict(model.named_parameters()), channels, may_go),
                *(self.amplify, self.ceiling, penalised),
            )
            return replace(self.training, optimizer=optimizer)

        total = steps_in_all(self.training, model, loader)
        warm, path = round(self.warm_up * total), levels.training_at
        state: TrainState | None = None
        if warm:
            first = self.training if self.dual else training(self.warm_up_steps)
            state = train(
                model, loader, first, steps=warm, checkpoint=path(0), progress=progress
            ).state
        if warm == total:
            return
        last = training("half-space")
        if self.dual:
            kept = largest(-_redundancy(model, loader, channels))
            last = training("dual", ~torch.cat(list(kept.values())))
        train(model, loader, last, start=state, checkpoint=path(1), progress=progress)


def droppable(
    norms: Tensor, leaving: Tensor, largest: Callable[[Tensor], dict[str, Tensor]]
) -> Tensor:
    """Return which of the leaving channels may go until the density is reached.

    The others stay before any that leaves, whatever their norms; those at 0 are gone already.
    """
    last = torch.where(leaving | (norms == 0), norms - norms.max() - 1.0, norms)
    return leaving & ~torch.cat(list(largest(last).values())).to(leaving.device)


def _redundancy(model: nn.Module, loader: Any, channels: ChannelSums) -> Tensor:
    """Return how much each channel asks to be penalised: DHSPG's score."""
    with undisturbed(model):
        losses = Losses(model, loader, channels.names, statistics="batch", precision="double")
        weights, slopes = losses.weights, losses.slope()
    norms = channels.norms(weights)
    scale = norms * channels.norms(slopes)
    towards = channels.sums(scaled(weights, slopes))
    cosine = torch.where(scale > 0, towards / torch.where(scale > 0, scale, 1.0), 0.0)
    smallness = 1.0 / (norms / channels.counts(weights) + 1e-6)
    return 0.5 * normalize(cosine, dim=0) + 0.5 * normalize(smallness, dim=0)
