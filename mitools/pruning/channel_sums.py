"""From numbers for each weight to numbers for each channel, and back."""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from mitools.pruning.channels import ChannelGroup, Role
from mitools.pruning.scoring import precise


class ChannelSums:
    """Which weights each channel has, for sums over them and for factors on them.

    Channels are numbered through all groups, in the order of the groups.

    Parameters
    ----------
    groups : sequence of ChannelGroup
        From `channel_groups`.
    roles : collection of "produces", "consumes" or "norm"
        The parts of a channel that count.
    among : collection of str, optional
        The parameters that count; None: all.

    Attributes
    ----------
    names : tuple of str
        The parameters with parts that count.
    size : int
        How many channels there are in all.
    """

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        roles: Collection[Role] = ("produces", "norm"),
        among: Collection[str] | None = None,
    ) -> None:
        self._sizes = {group.name: group.size for group in groups}
        *starts, self.size = accumulate(self._sizes.values(), initial=0)
        self._parts = [
            (
                part.parameter,
                part.axis,
                slice(start, start + group.size),
                torch.tensor(part.positions),
            )
            for start, group in zip(starts, groups, strict=True)
            for part in group.parts
            if part.role in roles and (among is None or part.parameter in among)
        ]
        self.names = tuple(dict.fromkeys(name for name, *_ in self._parts))

    def sums(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the sum over each channel's weights, in float64 where the device has it.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            Shaped as the parameters.

        Returns
        -------
        Tensor, shape (size,)
        """
        device = next(iter(tensors.values())).device
        total = torch.zeros(self.size, dtype=precise(device), device=device)
        for name, axis, channels, positions in self._parts:
            tensor = tensors[name].movedim(axis, 0)
            rows = tensor.reshape(len(tensor), -1).sum(1, dtype=total.dtype).to(device)
            total[channels] += rows[positions.to(device)].sum(1)
        return total

    def counts(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return how many weights each channel has, in tensors of these shapes; shape (size,)."""
        return self.sums({name: torch.ones_like(tensors[name]) for name in self.names})

    def norms(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the root of the sum of squares of each channel's weights; shape (size,)."""
        wide = {name: tensors[name].to(precise(tensors[name].device)) for name in self.names}
        return self.sums({name: tensor.square() for name, tensor in wide.items()}).sqrt()

    def factors(
        self, values: Tensor, tensors: Mapping[str, Tensor], otherwise: float
    ) -> dict[str, Tensor]:
        """Return each channel's value at its weights, shaped so that it multiplies the parameter.

        Parameters
        ----------
        values : Tensor, shape (size,)
            One for each channel.
        tensors : mapping of str to Tensor
            The parameters, for their shapes.
        otherwise : float
            The factor of weights that belong to no channel.
        """
        found: dict[str, Tensor] = {}
        for name, axis, channels, positions in self._parts:
            tensor = tensors[name]
            if name not in found:
                shape = [n if i == axis else 1 for i, n in enumerate(tensor.shape)]
                found[name] = tensor.new_full(shape, otherwise)
            row = found[name].view(-1)
            own = values[channels].to(tensor.device, tensor.dtype)
            where = positions.to(tensor.device)
            row[where] = own.unsqueeze(1).expand(where.shape)
        return found

    def by_group(self, values: Tensor) -> dict[str, Tensor]:
        """Cut a row of one value for each channel into groups, by name."""
        parts = torch.split(values, list(self._sizes.values()))
        return dict(zip(self._sizes, parts, strict=True))
