"""Layer by layer: weights that make the best of what the pruned network itself computes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mitools._validation import checked_count
from mitools.activations.watching import watched
from mitools.data import as_batches
from mitools.mipp.moments import labelled
from mitools.mipp.patches import CONVOLUTIONS, place_rows, reads_of
from mitools.mipp.pooling import Pool, slices
from mitools.mipp.rewriting import columns_of, solved
from mitools.models import copied
from mitools.pruning.mask import Mask
from mitools.pruning.names import places as places_of
from mitools.pruning.scoring import reproducibly
from mitools.training.evaluation import place_of, placed


def refitted(
    model: nn.Module,
    mask: Mask,
    loader: Any,
    *,
    places: int | None = 64,
    ridge: float = 1e-6,
    seed: int = 0,
    progress: bool = False,
) -> nn.Module:
    """Return a pruned copy of a network, every layer in turn fitted to the dense one's by data.

    As `reconstructed`, but a layer is fitted to what the pruned network computes before it, layers
    before it refitted already, so that errors do not pile up. With A' what the pruned network reads
    there, W_s and b what the mask leaves of the weights, and T the dense pre-activations::

        W_s <- W_s + D,   b <- b + mean of (T - W_s A' - b) - D mean of A'

    with D the regression of T - W_s A' on A'. It takes no labels, and a pass of both networks over
    the data for each layer. Layers that read the same as in the dense network stay as they are, and
    so do grouped convolutions, normalisations and attention that is one module.

    Parameters
    ----------
    model : Module
        Dense; not changed.
    mask : Mask
        Of whole channels, by whatever pruner.
    loader : DataLoader, Dataset, `Samples`, pair, or array of inputs
        The data: several times as many rows as a layer reads variables.
    places : int or None
        How many places of each sample a convolution takes, at random; None: all.
    ridge : float, >= 0
        Added to the variance of each variable of A', in units of it.
    seed : int
        Of the places.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Module
        Masked.

    Raises
    ------
    ValueError
        If the mask is not of whole channels, or a covariance is singular and ridge 0.
    MaskError
        If the mask does not fit the model.

    References
    ----------
    The order is that of He, Zhang and Sun, *Channel pruning*, arXiv 1707.06168, section 3.2.
    """
    if places is not None:
        checked_count("places", places)
    checked_count("seed", seed, least=0)
    pruned, loader = mask.apply_(copied(model)), labelled(loader)
    layers = _layers(model, mask)
    with reproducibly():
        for name in tqdm(_called(model, layers, loader), "refitting", disable=not progress):
            fit = _Fit(layers[name], pruned.get_submodule(name), mask[_weight(name)], places, seed)
            for ours, theirs in _pairs(model, pruned, name, loader):
                fit.add(ours, theirs)
            fit.write_(ridge)
    return mask.apply_(pruned)


class _Fit:
    """One layer, in the dense network and in the pruned one."""

    def __init__(
        self, dense: nn.Module, pruned: nn.Module, mask: Tensor, places: int | None, seed: int
    ) -> None:
        self._module, self._places = pruned, places
        self._chance = torch.Generator().manual_seed(seed)
        weight = dense.get_parameter("weight")
        kernel = weight[0, 0].numel()
        self._stay = columns_of(_weight(""), mask).repeat_interleave(kernel)
        self._live = mask.flatten(1).any(1)
        self._theirs = reads_of(weight, kernel)[self._live].T
        self._ours = reads_of(pruned.get_parameter("weight"), kernel)[self._live].T
        self._pool = Pool()

    def add(self, ours: Tensor, theirs: Tensor) -> None:
        """Add what both read of a batch."""
        axis = 1 if isinstance(self._module, CONVOLUTIONS) else -1
        for part, _ in slices(torch.cat([ours, theirs], axis)):
            rows = place_rows(part, self._module, self._places, self._chance)
            rows = rows.to(self._theirs.device, torch.float64)
            a, dense = rows.chunk(2, 1)
            gap = dense @ self._theirs - a @ self._ours
            self._pool.add(torch.cat([a[:, self._stay], gap], 1))

    def write_(self, ridge: float) -> None:
        """Give the layer of the pruned network its new weights and bias."""
        bias = self._module._parameters.get("bias")
        mean, gram = self._pool.mean, self._pool.covariance
        if bias is None:
            gram = gram + torch.outer(mean, mean)
        d = int(self._stay.sum())
        change = solved(gram[:d, :d], gram[:d, d:], ridge, "a layer")
        new = torch.zeros(len(self._live), len(self._stay), dtype=torch.float64)
        at = self._live.nonzero(), self._stay.nonzero()[:, 0]
        with torch.no_grad():
            weight = self._module.get_parameter("weight")
            new[at] = change.T.cpu()
            weight += new.view_as(weight).to(weight)
            if bias is not None:
                bias[self._live] += (mean[d:] - mean[:d] @ change).to(bias)


def _weight(layer: str) -> str:
    return f"{layer}.weight" if layer else "weight"


def _layers(model: nn.Module, mask: Mask) -> dict[str, nn.Module]:
    """Return the linear layers and plain convolutions that a mask covers."""
    plain = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, *CONVOLUTIONS)) and getattr(module, "groups", 1) == 1
    }
    at = places_of(model)
    return {
        name: module
        for name, module in plain.items()
        if _weight(name) in mask and at[_weight(name)].attribute == "weight"
    }


def _called(model: nn.Module, layers: Mapping[str, nn.Module], loader: Any) -> list[str]:
    """Return the names of layers in the order in which they run."""
    x, _ = next(iter(as_batches(loader)))
    modules = {name: model.get_submodule(name) for name in layers}
    with watched(model, modules, "input", lambda _, value: value[:0].clone()) as reads:
        model(placed(x[:1], *place_of(model)))
    return list(dict.fromkeys(each.partition("#")[0] for each in reads))


def _pairs(
    model: nn.Module, pruned: nn.Module, name: str, loader: Any
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what a layer reads in the pruned network and in the dense one, batch by batch."""
    for x, _ in as_batches(loader):
        found = []
        for net in (pruned, model):
            layer = {name: net.get_submodule(name)}
            with watched(net, layer, "input", lambda _, value: value.clone()) as reads:
                net(placed(x, *place_of(net)).clone())
            found.append(reads)
        for call in found[0]:
            yield found[0][call], found[1][call]
