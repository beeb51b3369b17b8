"""SynFlow: how much of the flow from input to output passes through each weight."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from mitools.data import Samples
from mitools.pruning.scoring import canonical, precise
from mitools.pruning.selection import Scores
from mitools.pruning.synaptic_flow import SynapticFlow


@dataclass(frozen=True)
class SynFlow:
    """``theta * dR/dtheta`` with R the summed output of ``|theta|`` for an all-ones input.

    Meant for `Iterative` with 100 rounds; a single round can cut the network in two. Never opens
    the loader. Computed in evaluation mode, in float64 on one all-ones input; biases, norm shifts
    and running means count as zero, so that every layer of a chain carries the same total R, and
    biases asked for by name score 0. Where R leaves float64's range, the scores come divided by a
    common power of two.

    Layers that normalise by what passes through them (LayerNorm, GroupNorm, ...) would make the
    flow constant; here they only multiply by their scales.

    Parameters
    ----------
    input_shape : tuple of int, optional
        Shape of one input, without the batch. None: the first that is known of
        ``loader.input_shape``, ``model.input_shape``, the shape of in-memory data (not its values),
        the width of a first linear layer, and 28 x 28 or 32 x 32 for a first convolution of one
        or three channels.

    References
    ----------
    Tanaka et al., *Pruning neural networks without any data by iteratively conserving synaptic
    flow*, arXiv 2006.05467.
    """

    input_shape: tuple[int, ...] | None = None

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return the flow through every weight, in float64, up to one common factor.

        Raises
        ------
        ValueError
            If the shape of an input is not known.
        """
        return _magnitudes(self._flow(model, loader, names))

    def repeatedly(
        self, model: nn.Module, loader: object, names: Sequence[str]
    ) -> Callable[[Mapping[str, Tensor]], Scores]:
        """Return a function of a mask that scores the network as pruned by it.

        Each mask must be a part of the one before: `Iterative` asks so. One copy serves all rounds.
        """
        flow = self._flow(model, loader, names)

        def scores(mask: Mapping[str, Tensor]) -> Scores:
            flow.keep_(mask)
            return _magnitudes(flow)

        return scores

    def _flow(self, model: nn.Module, loader: object, names: Sequence[str]) -> SynapticFlow:
        shape = self.input_shape or shape_of_input(model, loader)
        device = next(model.parameters()).device
        ones = torch.ones((1, *shape), dtype=precise(device), device=device)
        return SynapticFlow(model, canonical(model, names), ones)


def _magnitudes(flow: SynapticFlow) -> Scores:
    return {name: slope.abs_() for name, slope in flow.slopes().items()}


def shape_of_input(model: nn.Module, loader: object) -> tuple[int, ...]:
    """Return the shape of one input without reading any.

    Raises
    ------
    ValueError
        If neither the loader nor the model says it.
    """
    for source in (loader, model):
        stated = getattr(source, "input_shape", None)
        if stated is not None:
            return tuple(stated)
    found = _shape_of_data(loader) or _shape_of_first_layer(model)
    if found is None:
        raise ValueError(
            "input_shape must be given, because neither the data nor the first layer of the model "
            f"({type(model).__name__}) tells it. Use SynFlow(input_shape=(channels, height, "
            "width)), without the batch."
        )
    return found


def _shape_of_data(data: object) -> tuple[int, ...] | None:
    """Return the shape that in-memory data show; nothing is indexed or iterated."""
    while isinstance(data, DataLoader | Subset):
        data = data.dataset
    if isinstance(data, Samples):
        return tuple(data.inputs.shape[1:])
    if isinstance(data, TensorDataset):
        return tuple(data.tensors[0].shape[1:])
    if isinstance(data, tuple | list) and len(data) == 2 and not isinstance(data, Dataset):
        shape = getattr(data[0], "shape", None)
        return None if shape is None else tuple(shape[1:])
    return None


def _shape_of_first_layer(model: nn.Module) -> tuple[int, ...] | None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if isinstance(module, nn.Conv2d):
            side = {1: 28, 3: 32}.get(module.in_channels)
            return None if side is None else (module.in_channels, side, side)
        if next(module.parameters(recurse=False), None) is not None:
            return None
    return None
