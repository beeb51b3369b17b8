"""What a mask leaves of a network: what was counted, how much is wired up, what has collapsed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from mitools.models import prunable
from mitools.pruning.mask import Mask
from mitools.pruning.names import fit, places
from mitools.pruning.paths import on_path

Role = Literal["layer", "shortcut", "classifier", "bias or norm"]
State = Literal["", "empty", "empty but bypassed", "off every path"]

_STATES: tuple[State, ...] = ("empty", "empty but bypassed", "off every path")
_SHORTCUTS = ("shortcut", "downsample", "skip")


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One tensor of a mask.

    Parameters
    ----------
    name : str
        Of the parameter.
    role : {"layer", "shortcut", "classifier", "bias or norm"}
        A shortcut has one of the words shortcut, downsample and skip in its name; the classifier
        is the last linear layer, in the order of the parameters.
    size, kept, on_path : int
        Weights, those kept, and those of them on a path from input to output.
    state : str
        "empty": nothing is kept, and nothing leads round it, so it cuts the network in two;
        "empty but bypassed": nothing is kept, but other layers lead round it, as round a residual
        branch or a 1 x 1 shortcut; "off every path": weights are kept, and none matters; else "".
    """

    name: str
    role: Role
    size: int
    kept: int
    on_path: int
    state: State

    @property
    def density(self) -> float:
        """Share of the weights that is kept."""
        return self.kept / self.size if self.size else 0.0

    @property
    def density_on_path(self) -> float:
        """Share of the weights that is kept and on a path."""
        return self.on_path / self.size if self.size else 0.0


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A parameter outside the mask: its name, how many numbers it has, and why it is not in it."""

    name: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class MaskReport:
    """What a mask leaves of a network; prints itself.

    Parameters
    ----------
    layers : tuple of LayerReport
        What was counted, tensor by tensor.
    uncounted : tuple of Uncounted
        What was not.
    cut_at : str or None
        None where some input still reaches some output. Else the signal is cut: the first tensor,
        in the order of the parameters, that leaves no path together with those before it.
    """

    layers: tuple[LayerReport, ...]
    uncounted: tuple[Uncounted, ...]
    cut_at: str | None

    @property
    def size(self) -> int:
        """Weights that were counted."""
        return sum(layer.size for layer in self.layers)

    @property
    def kept(self) -> int:
        """Weights kept."""
        return sum(layer.kept for layer in self.layers)

    @property
    def on_path(self) -> int:
        """Kept weights on a path from input to output."""
        return sum(layer.on_path for layer in self.layers)

    @property
    def density(self) -> float:
        """Share of the counted weights that is kept: the nominal density."""
        return self.kept / self.size if self.size else 0.0

    @property
    def density_on_path(self) -> float:
        """Share of the counted weights that is kept and on a path."""
        return self.on_path / self.size if self.size else 0.0

    def named(self, state: State) -> tuple[str, ...]:
        """Return the names of the tensors in that state."""
        return tuple(layer.name for layer in self.layers if layer.state == state)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per tensor counted: the fields of `LayerReport` and both densities."""
        return pd.DataFrame(
            [
                {**asdict(e), "density": e.density, "density_on_path": e.density_on_path}
                for e in self.layers
            ]
        )

    def __str__(self) -> str:
        share = f", {self.on_path / self.kept:.1%} of those kept" if self.kept else ""
        lines = [
            f"kept         {self.kept:,} of {self.size:,} weights ({self.density:.3%})",
            f"on a path    {self.on_path:,} ({self.density_on_path:.3%}{share})",
            f"signal       {self._signal()}",
        ]
        for state in _STATES:
            names = self.named(state)
            if names and not (state == "off every path" and self.cut_at):  # then all layers are
                lines.append(f"{state}: {_listed(names)}")
        lines += [f"not counted  {line}" for line in _grouped(self.uncounted)]
        return "\n".join([*lines, "", *self._table()])

    def _signal(self) -> str:
        if self.cut_at is None:
            return "reaches the output"
        return f"cut: no path from input to output, none beyond {self.cut_at}"

    def _table(self) -> list[str]:
        width = max(len(layer.name) for layer in self.layers)
        head = f"{'':<{width}} {'role':<12} {'kept':>10} {'of':>11} {'density':>8} {'on path':>10}"
        rows = [
            f"{e.name:<{width}} {e.role:<12} {e.kept:>10,} {e.size:>11,} {e.density:>8.2%} "
            f"{e.on_path:>10,}  {e.state}".rstrip()
            for e in self.layers
        ]
        return [head, *rows]


def report(model: nn.Module, mask: Any, example_input: Any) -> MaskReport:
    """Report what a mask leaves of a network.

    Density alone misleads both ways: weights that no path uses count in it, an empty layer need
    not cut the network, and a network without an empty layer may be cut. So paths are traced; see
    `mitools.pruning.paths.on_path`. That takes a forward and a backward pass on one sample, and
    where the signal is cut a few more to tell where.

    Parameters
    ----------
    model : nn.Module
        Only read; values of weights do not matter.
    mask : Mask, or anything `Mask.of` reads
        What is kept.
    example_input : Tensor, tuple, dict, or data
        One batch of the right shape, or several arguments; values do not matter. Of a DataLoader
        or data set the first input is taken.

    Returns
    -------
    MaskReport
        Counts, densities and collapse, tensor by tensor.

    Raises
    ------
    MaskError
        If the mask does not fit the model.
    ValueError
        If the model does not run on example_input, or cannot be traced.
    TypeError
        If example_input cannot be what a model takes.

    Examples
    --------
    >>> from mitools.models import mlp
    >>> print(report(mlp((2, 2, 1)), {"fc1.weight": [[1, 0], [0, 0]], "fc2.weight": [[0, 1]]},
    ...              torch.zeros(1, 2)))
    kept         2 of 6 weights (33.333%)
    on a path    0 (0.000%, 0.0% of those kept)
    signal       cut: no path from input to output, none beyond fc2.weight
    not counted  2 tensors of 3 numbers: a bias
    <BLANKLINE>
               role               kept          of  density    on path
    fc1.weight layer                 1           4   25.00%          0  off every path
    fc2.weight classifier            1           2   50.00%          0  off every path
    """
    mask = Mask.of(mask, model)
    paths = _Paths(model, mask, example_input)
    wired = paths.of(mask)
    cut_at = None if paths.some(wired) else _first_cut(paths, mask)
    layers = []
    for layer in mask.layers():
        through = int(torch.count_nonzero(wired[layer.name]))
        state: State = "" if through or not layer.size else "off every path"
        if layer.size and not layer.kept:
            round_it = cut_at is None or paths.lead_round(layer.name)
            state = "empty but bypassed" if round_it else "empty"
        role = paths.roles[layer.name]
        layers.append(LayerReport(layer.name, role, layer.size, layer.kept, through, state))
    return MaskReport(tuple(layers), _uncounted(model, mask), cut_at)


class _Paths:
    """Traces of a network; what a mask does not name counts as kept."""

    def __init__(self, model: nn.Module, mask: Mask, example_input: Any) -> None:
        self._model, self._example = model, example_input
        found, known = fit(mask, model), places(model)
        wires = {id(parameter) for parameter in prunable(model).values()}
        # Biases lead out of the network but not into it: they say nothing about the signal.
        self._wires = {name for name, place in found.items() if id(place.parameter) in wires}
        taken = {id(place.parameter) for place in found.values()}
        others = {
            name: torch.ones_like(place.parameter, dtype=torch.bool)
            for name, place in known.items()
            if name == place.name and id(place.parameter) in wires - taken
        }
        self._wires |= set(others)
        self._all = {**others, **{name: torch.ones_like(tensor) for name, tensor in mask.items()}}
        linear = [place.module for place in known.values() if isinstance(place.module, nn.Linear)]
        self.roles: dict[str, Role] = {
            name: _role(name, name in self._wires, place.module in linear[-1:])
            for name, place in found.items()
        }

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is on a path if these tensors are masked so, and all else is kept."""
        return on_path({**self._all, **tensors}, self._model, self._example)

    def some(self, wired: Mapping[str, Tensor]) -> bool:
        """Return whether there is a path at all."""
        return any(bool(wired[name].any()) for name in self._wires)

    def lead_round(self, name: str) -> bool:
        """Return whether a signal gets through without this tensor, all else being kept."""
        return self.some(self.of({name: torch.zeros_like(self._all[name])}))


def _first_cut(paths: _Paths, mask: Mask) -> str:
    """Return the first name such that it and those before it leave no path; by bisection."""
    names = list(mask)
    low, high = 0, len(names) - 1  # the answer lies in names[low : high + 1]
    while low < high:
        middle = (low + high) // 2
        if paths.some(paths.of({name: mask[name] for name in names[: middle + 1]})):
            low = middle + 1
        else:
            high = middle
    return names[low]


def _role(name: str, is_wire: bool, is_last: bool) -> Role:
    if not is_wire:
        return "bias or norm"
    if is_last:
        return "classifier"
    return "shortcut" if any(word in name for word in _SHORTCUTS) else "layer"


def _uncounted(model: nn.Module, mask: Mask) -> tuple[Uncounted, ...]:
    taken = {id(place.parameter) for place in fit(mask, model).values()}
    reasons = prunable(model).excluded
    return tuple(
        Uncounted(name, parameter.numel(), reasons.get(name, "a weight that the mask leaves out"))
        for name, parameter in model.named_parameters()
        if id(parameter) not in taken
    )


def _grouped(uncounted: tuple[Uncounted, ...]) -> list[str]:
    """Return a line for each reason."""
    groups: dict[str, list[Uncounted]] = {}
    for item in uncounted:
        groups.setdefault(item.reason, []).append(item)
    return [
        f"{_these(group)} of {sum(item.size for item in group):,} numbers: {reason}"
        for reason, group in groups.items()
    ]


def _listed(names: tuple[str, ...], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _these(group: list[Uncounted]) -> str:
    return group[0].name if len(group) == 1 else f"{len(group)} tensors"
