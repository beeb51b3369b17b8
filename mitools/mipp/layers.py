"""From the outputs to the inputs, layer by layer: what an engine is asked, what then is gone."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mitools.mipp.engines import Elimination, Engine, Layer, Relation
from mitools.mipp.moments import Moments, Reading
from mitools.mipp.patches import reads_of
from mitools.pruning.channels import ChannelGroup, Part, channel_mask, positions_of
from mitools.pruning.mask import Mask
from mitools.pruning.names import places


@dataclass(frozen=True, eq=False)
class Found:
    """What was found of all groups, from the last to the first.

    Parameters
    ----------
    mask : Mask
        Of all of them.
    kept : dict of str to (size,) bool tensor
        Channels that stay, by group, in forward order.
    layers : dict of str to Elimination
        By group.
    seconds : dict of str to float
        By group.
    """

    mask: Mask
    kept: dict[str, Tensor]
    layers: dict[str, Elimination]
    seconds: dict[str, float]

    @property
    def widths(self) -> dict[str, int]:
        """How many channels of each group stay."""
        return {name: int(stay.sum()) for name, stay in self.kept.items()}

    @property
    def channels(self) -> int:
        """How many channels stay in all."""
        return sum(self.widths.values())


def eliminated(
    model: nn.Module,
    moments: Moments,
    engine: Engine,
    *,
    least: int | Mapping[str, int],
    widths: Mapping[str, int] | None = None,
    progress: bool = False,
) -> Found:
    """Ask an engine of every group, each with what stayed of its consumers as the target.

    `least` channels stay in every group, or so many by group.
    """
    standing = _Standing(model)
    layers: dict[str, Elimination] = {}
    seconds: dict[str, float] = {}
    for group in reversed(moments.groups):
        if widths is not None and group.name not in widths:
            continue
        start = time.perf_counter()
        layer = standing.layer(group, moments)
        width = None if widths is None else widths[group.name]
        floor = least if isinstance(least, int) else least[group.name]
        layers[group.name] = engine.eliminate(layer, least=floor, width=width, progress=progress)
        standing.remove(group, layers[group.name].kept)
        seconds[group.name] = time.perf_counter() - start
    order = [group.name for group in moments.groups if group.name in layers]
    kept = {name: layers[name].kept for name in order}
    mask = channel_mask(model, moments.groups, kept, moments.names)
    return Found(
        mask, kept, {name: layers[name] for name in order}, {name: seconds[name] for name in order}
    )


@dataclass(frozen=True, eq=False)
class _Standing:
    """Which rows and columns of the weights are still there."""

    model: nn.Module
    gone: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def remove(self, group: ChannelGroup, kept: Tensor) -> None:
        """Take channels out of all parts of their group."""
        for part in group.parts:
            there = self.there(part.parameter, part.axis)
            there[positions_of(part, ~kept)] = False
            self.gone[part.parameter, part.axis] = there

    def there(self, weight: str, axis: int) -> Tensor:
        """Return which indices along an axis of a weight are left."""
        if (weight, axis) not in self.gone:
            size = self.model.get_parameter(weight).shape[axis]
            self.gone[weight, axis] = torch.ones(size, dtype=torch.bool)
        return self.gone[weight, axis]

    def layer(self, group: ChannelGroup, moments: Moments) -> Layer:
        """Return what an engine is asked about a group."""
        parts: dict[str, list[Part]] = {}
        for part in group.of_role("consumes"):
            parts.setdefault(part.parameter, []).append(part)
        relations = tuple(
            self._relation(group, parts[weight], moments.readings[weight], moments.target)
            for weight in parts
        )
        return Layer(group.name, group.size, relations)

    def _relation(
        self, group: ChannelGroup, parts: list[Part], reading: Reading, target: str
    ) -> Relation:
        columns = self.there(reading.weight, 1).repeat_interleave(reading.kernel)
        place = (columns.long().cumsum(0) - 1).tolist()
        variables = tuple(
            tuple(
                place[at * reading.kernel + k]
                for part in parts
                for at in part.positions[channel]
                for k in range(reading.kernel)
            )
            for channel in range(group.size)
        )
        if target == "output":
            return _of_outputs(reading, variables, columns)
        found = places(self.model)[reading.weight]
        weight = reads_of(getattr(found.module, found.attribute), reading.kernel)
        return _of_next(reading, variables, columns, weight[self.there(reading.weight, 0)])


def _of_next(
    reading: Reading, variables: tuple[tuple[int, ...], ...], columns: Tensor, weight: Tensor
) -> Relation:
    """Return the relation to the pre-activations of a consumer."""
    weight, whole = weight.to(reading.covariance.device), bool(columns.all())
    cross = None if whole else reading.covariance @ weight.T
    return Relation(
        reading.weight,
        variables,
        reading.count,
        covariance=reading.covariance[columns][:, columns],
        cross=None if cross is None else cross[columns],
        spread=None if cross is None else weight @ cross,
        weight=weight if whole else None,
        features=None if reading.rows is None else reading.rows[:, columns],
        target=None if reading.rows is None else reading.rows @ weight.T,
    )


def _of_outputs(
    reading: Reading, variables: tuple[tuple[int, ...], ...], columns: Tensor
) -> Relation:
    """Return the relation to the network's outputs."""
    d, covariance = reading.columns, reading.covariance
    rows = reading.rows
    return Relation(
        reading.weight,
        variables,
        reading.count,
        covariance=covariance[:d, :d][columns][:, columns],
        cross=covariance[:d, d:][columns],
        spread=covariance[d:, d:],
        features=None if rows is None else rows[:, :d][:, columns],
        target=None if rows is None else rows[:, d:],
    )
