"""One pass over the data: what every layer reads, as means and covariances in float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm

from mitools._validation import checked_choice, checked_count
from mitools.activations.watching import watched
from mitools.data import as_batches
from mitools.mipp.patches import CONVOLUTIONS, mean_rows, place_rows
from mitools.mipp.pooling import Pool, slices
from mitools.models import check_finite, fingerprint, prunable
from mitools.pruning.channels import ChannelGroup, Part, example_of
from mitools.pruning.coupling import channel_groups, prunable_groups
from mitools.pruning.names import places as places_of
from mitools.pruning.scoring import reproducibly
from mitools.training.evaluation import place_of, placed

Target = Literal["next", "output"]
Reduction = Literal["patches", "mean"]

INPUTS = "inputs"
"""What the group of the network's inputs is called."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What one layer reads, over all data.

    Parameters
    ----------
    weight : str
        The parameter with which it reads.
    kernel : int
        Columns of A for each index along axis 1 of the weight.
    count : int
        Rows: samples, times places.
    mean : (d,) float64
        Of A; with ``target="output"`` the network's outputs follow, as more columns.
    covariance : (d, d) float64
        Of the same columns.
    columns : int
        Of A alone.
    rows : (n, d) float64 or None
        A uniform choice of rows of the same columns, for engines that want some.
    """

    weight: str
    kernel: int
    count: int
    mean: Tensor
    covariance: Tensor
    columns: int
    rows: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Moments:
    """All that MIPP needs of the data; its size does not depend on the number of samples.

    Parameters
    ----------
    readings : dict of str to Reading
        By weight, for every layer that reads channels of a group.
    groups : tuple of ChannelGroup
        In forward order, after the group of the network's inputs if asked for.
    names : tuple of str
        The parameters that masks are to cover.
    samples : int
        Of the data.
    target, reduce, places, seed
        As they were asked for; see `mipp`.
    fingerprint : str
        Of the model's weights; see `mitools.models.fingerprint`.
    """

    readings: dict[str, Reading]
    groups: tuple[ChannelGroup, ...]
    names: tuple[str, ...]
    samples: int
    target: Target
    reduce: Reduction
    places: int | None
    seed: int
    fingerprint: str

    def check_of(self, model: nn.Module) -> None:
        """Check that these are moments of a model as it is now.

        Raises
        ------
        ValueError
            If they are not.
        """
        if fingerprint(model) != self.fingerprint:
            raise ValueError(
                f"moments must be of the model as it is; {self!r} are of other weights. Was the "
                "model trained or masked since? Give the one they were made of, or make new ones."
            )

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {reading.columns}" for name, reading in self.readings.items())
        return f"<Moments of {self.samples:,} samples, {sizes}>"


def moments(
    model: nn.Module,
    loader: Any,
    *,
    target: Target = "next",
    inputs: bool = False,
    reduce: Reduction | None = None,
    places: int | None = 64,
    rows: int | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Moments:
    """Return means and covariances of what layers read, from one pass in evaluation mode.

    Parameters are those of `mipp`; rows is how many rows to keep of each layer, none by default.

    Raises
    ------
    ValueError
        If a layer that reads channels is neither linear nor a plain convolution, or as `capture`.
    """
    checked_choice("target", target, ("next", "output"))
    checked_choice("reduce", reduce, ("patches", "mean", None))
    if target == "output" and reduce == "patches":
        raise ValueError(
            "reduce must be 'mean' for target='output', which has no places; got 'patches'. "
            "Leave it out."
        )
    for name, count in (("places", places), ("rows", rows)):
        if count is not None:
            checked_count(name, count)
    reduce = reduce or ("mean" if target == "output" else "patches")
    names = tuple(prunable(model)) if names is None else tuple(names)
    loader = labelled(loader)
    groups = (channel_groups if inputs else prunable_groups)(
        model, example_of(model, loader), names
    )
    rule = _Rule(reduce, places, rows, checked_count("seed", seed, least=0))
    readers = _readers(model, groups, names if inputs else ())
    with reproducibly():
        sums, samples, first = _run(model, loader, readers, target, rule, progress)
    if inputs:
        groups = (_inputs_group(first, groups), *groups)
    readings = {name: total.reading() for name, total in sums.items()}
    return Moments(
        readings, groups, names, samples, target, reduce, places, seed, fingerprint(model)
    )


def labelled(data: Any) -> Any:
    """Return data as they are, or an array of inputs alone with labels that nobody reads."""
    if type(data) is TensorDataset and len(data.tensors) == 1:
        data = data.tensors[0]
    if isinstance(data, Tensor | np.ndarray):
        return data, torch.zeros(len(data), dtype=torch.int64)
    return data


@dataclass(frozen=True)
class _Rule:
    """How what a layer reads becomes rows."""

    reduce: Reduction
    places: int | None
    rows: int | None
    seed: int


@dataclass(frozen=True, eq=False)
class _Reader:
    """A layer that reads channels, and the parameter with which it does."""

    layer: str
    module: nn.Module
    weight: str
    channels: bool  # of a group, or perhaps of the inputs


def _run(
    model: nn.Module,
    loader: Any,
    readers: Sequence[_Reader],
    target: Target,
    rule: _Rule,
    progress: bool,
) -> tuple[dict[str, "_Sum"], int, list[_Reader]]:
    """Return sums by weight, the number of samples, and which layers read the inputs."""
    check_finite(dict(model.named_parameters()))
    device, dtype = place_of(model)
    sums: dict[str, _Sum] = {}
    first: list[_Reader] = []
    samples = 0
    modules = {reader.layer: reader.module for reader in readers}
    for x, _ in tqdm(as_batches(loader), "moments", disable=not progress):
        x = placed(x, device, dtype)
        with watched(model, modules, "input", lambda _, value: value.clone()) as reads:
            outputs = model(x.clone())  # which it may overwrite
        if not sums:
            first = [reader for reader in readers if _same(reads.get(reader.layer), x)]
            _check_called(readers, reads)
            needed = [reader for reader in readers if reader.channels or reader in first]
            sums = {reader.weight: _Sum(reader, rule) for reader in needed}
            modules = {reader.layer: reader.module for reader in needed}
        for name, value in reads.items():
            for reader in readers:
                if reader.layer == name.partition("#")[0] and reader.weight in sums:
                    sums[reader.weight].add(value, outputs if target == "output" else None)
        samples += len(x)
    return sums, samples, first


class _Sum:
    """Mean and covariance of what one layer reads, batch by batch."""

    def __init__(self, reader: _Reader, rule: _Rule) -> None:
        self._reader, self._rule = reader, rule
        # Two, so that it does not matter how samples come in batches.
        self._chance, self._lots = (torch.Generator().manual_seed(rule.seed) for _ in range(2))
        self._pool, self._columns = Pool(), 0
        self._rows = self._keys = torch.zeros(0)

    def add(self, value: Tensor, outputs: Tensor | None) -> None:
        """Add a batch."""
        for part, beside in slices(value, outputs):
            if self._rule.reduce == "mean":
                rows = mean_rows(part, self._reader.module)
            else:
                rows = place_rows(part, self._reader.module, self._rule.places, self._chance)
            rows = rows.to("cpu" if rows.device.type == "mps" else rows.device, torch.float64)
            self._columns = rows.shape[1]
            if beside is not None:
                rows = torch.cat([rows, beside.flatten(1).to(rows)], dim=1)
            if self._rule.rows is not None:
                self._choose(rows, self._rule.rows)
            self._pool.add(rows)

    def reading(self) -> Reading:
        """Return what was found."""
        weight = self._reader.weight
        covariance = self._pool.covariance
        if not bool(torch.isfinite(covariance).all()):
            raise ValueError(
                f"loader must give finite activations; what {self._reader.layer!r} reads holds NaN "
                "or infinite values. Does the model overflow in its dtype? Try model.double()."
            )
        mean_only = self._rule.reduce == "mean"
        return Reading(
            weight,
            self._columns // _width(self._reader.module) if not mean_only else 1,
            self._pool.count,
            self._pool.mean,
            covariance,
            self._columns,
            None if self._rule.rows is None else self._rows,
        )

    def _choose(self, rows: Tensor, most: int) -> None:
        """Keep a uniform choice of all rows so far: those with the largest of random keys."""
        keys = torch.rand(len(rows), generator=self._lots, dtype=torch.float64).to(rows.device)
        if len(self._keys):
            keys, rows = torch.cat([self._keys, keys]), torch.cat([self._rows, rows])
        best = keys.topk(min(most, len(keys))).indices.sort().values
        self._keys, self._rows = keys[best], rows[best]


def _readers(
    model: nn.Module, groups: Sequence[ChannelGroup], names: Sequence[str]
) -> list[_Reader]:
    """Return the layers that read channels of groups, and those that may read the inputs."""
    weights = dict.fromkeys(p.parameter for g in groups for p in g.of_role("consumes"))
    at = places_of(model)
    layer_names = {id(module): name for name, module in model.named_modules()}
    readers = []
    for weight in dict.fromkeys([*weights, *names]):
        module = at[weight].module
        plain = isinstance(module, (nn.Linear, *CONVOLUTIONS)) and at[weight].attribute == "weight"
        if plain and getattr(module, "groups", 1) == 1:
            readers.append(_Reader(layer_names[id(module)], module, weight, weight in weights))
        elif weight in weights:
            raise ValueError(
                f"model must read its channels by linear layers and convolutions; {weight!r} "
                f"belongs to a {type(module).__name__}. Leave what it reads out of names."
            )
    return readers


def _inputs_group(first: Sequence[_Reader], groups: Sequence[ChannelGroup]) -> ChannelGroup:
    """Return the network's inputs as a group: values for linear layers, else channels."""
    if INPUTS in {group.name for group in groups}:
        raise ValueError(
            f"inputs must be False where a layer is called {INPUTS!r}, as the group of inputs "
            "would be. Rename the layer."
        )
    sizes = {reader.weight: _width(reader.module) for reader in first}
    if len(set(sizes.values())) != 1:
        raise ValueError(
            "inputs must be False unless linear layers or convolutions of one width read the "
            f"network's inputs as they are; such are: {sizes or 'none'}. Select inputs outside "
            "of the network instead, by mitools.selection.terc."
        )
    width = next(iter(sizes.values()))
    alone = tuple((i,) for i in range(width))
    parts = tuple(Part(reader.weight, 1, alone, "consumes") for reader in first)
    return ChannelGroup(INPUTS, width, parts)


def _same(read: Tensor | None, x: Tensor) -> bool:
    """Whether a layer reads the network's inputs as they are, if in another shape."""
    if read is None or read.numel() != x.numel() or len(read) != len(x):
        return False
    return torch.equal(read.flatten(1), x.flatten(1))


def _width(module: nn.Module) -> int:
    """Return how many features or channels a layer reads."""
    width = getattr(module, "in_features", None)
    return int(getattr(module, "in_channels", 0) if width is None else width)


def _check_called(readers: Sequence[_Reader], reads: Mapping[str, Tensor]) -> None:
    missing = [r.layer for r in readers if r.channels and r.layer not in reads]
    if missing:
        raise ValueError(
            f"model must call the layers that read channels; {', '.join(missing)} never ran. Leave "
            "their weights out of names."
        )
