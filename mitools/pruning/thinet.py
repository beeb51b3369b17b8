"""ThiNet: channels go whose loss the next layer would feel least."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from mitools._validation import checked_count
from mitools.models import copied
from mitools.pruning.channel_sums import ChannelSums
from mitools.pruning.channels import ChannelGroup, channel_mask, example_of, kept_channels
from mitools.pruning.contributions import contributions, drawn
from mitools.pruning.coupling import prunable_groups
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import size_of
from mitools.pruning.scoring import parameters_named, undisturbed
from mitools.pruning.selection import check_density, count_kept
from mitools.pruning.structured import check_competition, even_widths

Selection = Literal["removal", "forward"]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class ThiNet:
    """Layer by layer, from the inputs on, drop the channels that the next layer misses least.

    x_c is what channel c contributes to an output of the next layer, at (filter, position) pairs
    drawn at random; y = Σ_c x_c. "removal" (ICCV) drops, one after another, the channel that keeps
    ``‖Σ_dropped x‖`` smallest. "forward" (TPAMI) picks, one after another, the channel that alone
    explains most of what least squares on those picked leaves of y. Then the remaining channels are
    rescaled by the least squares of y on them, and the next layer sees the network so far.
    Every group keeps the same share of its channels.

    The mask is of the original weights: `rescaled` returns the network with the scales.

    Differences from the authors' code: images are drawn from all data, not ten of each class; there
    is no fine-tuning between layers; groups with several consumers, residual joins among them, are
    judged by all of these together, where the paper prunes inner convolutions only
    (``joined=False``); least squares takes the shortest of all solutions, so dead channels do no
    harm. It takes fully connected layers as well.

    Parameters
    ----------
    selection : "removal" or "forward"
        The greedy rule.
    images : int, at least 1
        Inputs drawn from the data, at random; the labels are not used.
    pairs : int, at least 1
        (filter, position) pairs for each image and consumer. Images times pairs should be well
        above the number of channels of a group.
    rescale : bool
        Whether later layers are chosen in the rescaled network; False: in the masked one.
    joined : bool
        Whether channels that several layers produce together are pruned.
    seed : int, >= 0
        Of the draws.
    least : int, at least 1
        Channels that every group keeps.

    References
    ----------
    Luo, Wu and Lin, *ThiNet: a filter level pruning method for deep neural network compression*,
    arXiv 1707.06342; Luo et al., *ThiNet: pruning CNN filters for a thinner net*, IEEE TPAMI 41
    (2019), for "forward".
    """

    selection: Selection = "removal"
    images: int = 1000
    pairs: int = 10
    rescale: bool = True
    joined: bool = True
    seed: int = 0
    least: int = 1

    def __post_init__(self) -> None:
        if self.selection not in get_args(Selection):
            raise ValueError(
                "selection must be 'removal' (the conference paper's) or 'forward' (the "
                f"journal's); got {self.selection!r}."
            )
        for name, least in (("images", 1), ("pairs", 1), ("seed", 0)):
            checked_count(name, getattr(self, name), least)
        check_competition("layer", self.least)

    def mask(self, model: nn.Module, loader: Any, density: float, names: Sequence[str]) -> Mask:
        """Return the mask of the network without the other channels; see `even_widths`.

        Raises
        ------
        ValueError
            If no channels can be removed, the density is below what ``least`` channels in each
            group need, or channels are read by other layers than linear ones and convolutions.
        """
        keep = count_kept(check_density(density), size_of(model, names))
        groups = self._groups(model, loader, names)
        widths = even_widths(groups, parameters_named(model, names), keep, least=self.least)
        kept: dict[str, Tensor] = {}

        def choose(group: ChannelGroup, x: Tensor) -> Tensor:
            greedy = forward_selection if self.selection == "forward" else greedy_removal
            kept[group.name] = greedy(x.T @ x, widths[group.name])
            return kept[group.name]

        smaller = [group for group in groups if widths[group.name] < group.size]
        self._walk(model, loader, smaller, choose, self.rescale)
        return channel_mask(model, groups, kept, names)

    def rescaled(self, model: Model, mask: Mask, loader: Any) -> Model:
        """Return a masked copy whose layers make up for the channels they have lost.

        From the inputs on, the weights that read a kept channel are multiplied by its coefficient
        in the least squares of ``y`` on what the kept channels contribute.

        Parameters
        ----------
        model : nn.Module
            That the mask is of; not changed.
        mask : Mask
            Of channels, from any pruner.
        loader : DataLoader, Dataset, `Samples`, or pair
            The data.
        """
        groups = prunable_groups(model, example_of(model, loader), tuple(mask))
        kept = kept_channels(groups, mask)
        smaller = [group for group in groups if not kept[group.name].all()]
        twin = self._walk(model, loader, smaller, lambda group, _: kept[group.name], True)
        mask.apply_(twin)
        return twin

    def _groups(
        self, model: nn.Module, loader: Any, names: Sequence[str]
    ) -> tuple[ChannelGroup, ...]:
        groups = prunable_groups(model, example_of(model, loader), names)
        own = groups if self.joined else tuple(filter(_single, groups))
        if not own:
            raise ValueError(
                "joined must be True for this model: all its channels are produced by several "
                f"layers together ({', '.join(group.name for group in groups)})."
            )
        return own

    def _walk(
        self,
        model: Model,
        loader: Any,
        groups: Sequence[ChannelGroup],
        choose: Callable[[ChannelGroup, Tensor], Tensor],
        rescale: bool,
    ) -> Model:
        """Return a copy in which nobody reads the channels not chosen."""
        twin = copied(model)
        images = drawn(loader, self.images, self.seed)
        parameters = dict(twin.named_parameters())
        with undisturbed(twin), torch.no_grad():
            for group in groups:
                x = contributions(twin, group, images, self.pairs, self.seed)
                stays = choose(group, x)
                scales = least_squares(x, stays) if rescale else stays.double()
                readers = ChannelSums((group,), ("consumes",))
                for name, factor in readers.factors(scales, parameters, otherwise=1.0).items():
                    parameters[name].mul_(factor)
        return twin


def greedy_removal(gram: Tensor, keep: int) -> Tensor:
    """Return which columns stay when those go, one by one, whose sum is kept shortest.

    Parameters
    ----------
    gram : Tensor, shape (c, c)
        ``XᵀX``, in float64.
    keep : int, 0 <= keep <= c
        How many stay. Of equal columns the first goes.

    Examples
    --------
    >>> x = torch.tensor([[3.0, -3.1, 0.5], [0.0, 0.0, 0.0]]).double()
    >>> greedy_removal(x.T @ x, 1)  # 0.5 goes, then -3.1, for 0.5 - 3.1 is shorter than 0.5 + 3
    tensor([ True, False, False])
    """
    stays = torch.ones(len(gram), dtype=torch.bool)
    towards = torch.zeros(len(gram), dtype=gram.dtype)  # products with the sum of what is dropped
    for _ in range(len(gram) - keep):
        cost = (2.0 * towards + gram.diagonal()).masked_fill(~stays, torch.inf)
        drop = int(cost.argmin())
        stays[drop] = False
        towards += gram[drop]
    return stays


def forward_selection(gram: Tensor, keep: int) -> Tensor:
    """Return the columns picked one by one, each to explain most of what is left of their sum.

    What is left is the residual of the least squares of ``y = X 1`` on the columns picked so far.

    Parameters
    ----------
    gram : Tensor, shape (c, c)
        ``XᵀX``, in float64.
    keep : int, 0 <= keep <= c
        How many are picked. Of equal columns the first is.
    """
    stays = torch.zeros(len(gram), dtype=torch.bool)
    squares = gram.diagonal()
    left = gram.sum(1)  # products of the columns with the residual
    outside = squares.clone()  # squares of the columns' parts outside those picked
    factor = torch.zeros(len(gram), keep, dtype=gram.dtype)  # Cholesky's, by columns picked
    for step in range(keep):
        gain = torch.where(squares > 0, left.square() / squares.clamp_min(1e-300), 0.0)
        pick = int(gain.masked_fill(stays, -1.0).argmax())
        stays[pick] = True
        if outside[pick] > 1e-12 * squares[pick]:
            column = gram[:, pick] - factor @ factor[pick]
            factor[:, step] = column / outside[pick].sqrt()
            left = left - column * (left[pick] / outside[pick])
            outside = outside - factor[:, step].square()
    return stays


def least_squares(x: Tensor, stays: Tensor) -> Tensor:
    """Return w with ``Σ_c w_c x_c`` nearest to ``Σ_c x_c``, 0 where a column does not stay.

    The shortest of all solutions, so columns of zeros get 0; in float64, shape (columns,).
    """
    weights = torch.zeros(x.shape[1], dtype=torch.float64)
    found = torch.linalg.lstsq(x[:, stays], x.sum(1, keepdim=True), driver="gelsd")
    weights[stays] = found.solution.squeeze(1)
    return weights


def _single(group: ChannelGroup) -> bool:
    return len({part.parameter for part in group.of_role("produces")}) == 1
