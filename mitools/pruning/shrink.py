"""A network without its dead channels, and what it costs to keep and to run one."""

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mitools._validation import MaskError, checked_count
from mitools.models import copied, untouched
from mitools.pruning.channels import kept_channels
from mitools.pruning.coupling import prunable_groups
from mitools.pruning.mask import Mask
from mitools.pruning.paths import arguments_of
from mitools.pruning.removal import remove_channels_


def shrink(model: nn.Module, mask: Mask | Mapping[str, Any], example_input: Any) -> nn.Module:
    """Return a smaller network that computes what the masked one does.

    Every channel that is dead in the mask is cut out of its layers: all of a structured mask's,
    and those that a mask of single weights happened to kill, because nothing reads them any more.
    Weights that the mask removes elsewhere are set to zero. In evaluation mode and in training
    mode the outputs equal those of ``mask.apply_(model)`` up to rounding; only dropout draws
    differently. Layers that run in training mode alone, such as a second head, are not seen, and no
    longer fit.

    A group without any channel alive keeps one, of zeros, if the signal goes around it.

    Parameters
    ----------
    model : Module
        Stays as it is.
    mask : Mask, or anything that `Mask.of` reads
        Of this model.
    example_input : Tensor, tuple, dict, or data
        One batch, or positional or keyword arguments, of the right shapes; one sample is enough,
        and is what is taken of a DataLoader or data set.

    Returns
    -------
    Module
        Of the same classes, with the same names of parameters; without gradients.

    Raises
    ------
    ImportError
        If Torch-Pruning is not installed.
    MaskError
        If the mask does not fit the model, or lets no signal through.
    ValueError
        If the model cannot be traced, or has no channels that can be taken out.

    Examples
    --------
    >>> from mitools.models import mlp
    >>> model = mlp((4, 3, 2))
    >>> mask = Mask({"fc2.weight": [[1, 0, 1], [1, 0, 0]]})
    >>> small = shrink(model, mask, torch.ones(1, 4))
    >>> small.fc1, small.fc2
    (Linear(in_features=4, out_features=2, bias=True),
     Linear(in_features=2, out_features=2, bias=True))
    """
    mask = Mask.of(mask, model)
    mask.check_fits(model)
    groups = prunable_groups(model, example_input)
    kept = kept_channels(groups, mask)
    empty = [name for name, alive in kept.items() if not bool(alive.any())]
    if empty and not mask.on_path(model, example_input).nonzeros:
        raise MaskError(
            "mask must let a signal through from input to output; it keeps no channel of "
            f"{', '.join(empty)}, and no other way leads around. The network's output would be "
            "constant. Prune less, or with a floor: Structured(..., least=1), scope=Floor(1)."
        )
    for name in empty:
        kept[name][0] = True  # layers need a channel; all that reads this one is zero
    small = mask.apply_(copied(model))
    return remove_channels_(small, groups, kept)


@dataclass(frozen=True)
class Costs:
    """What a network costs.

    Attributes
    ----------
    parameters : int
        Numbers it learns, all of them.
    macs : int
        Multiply-accumulate operations of convolutions and matrix products in one pass over the
        example, as torch counts them: half its floating-point operations. Biases, norms and
        activations are not counted, zeros are; recurrent and bilinear layers count as nothing.
    bytes : int
        Size of its state dict, saved by ``torch.save``.
    seconds : float
        Of one pass over the example on one CPU thread (on a GPU, until it is done): the median.
    """

    parameters: int
    macs: int
    bytes: int
    seconds: float


def costs(model: nn.Module, example_input: Any, *, repeats: int = 11) -> Costs:
    """Return what a network costs; measured in evaluation mode, without gradients.

    Parameters
    ----------
    model : Module
        Only read.
    example_input : Tensor, tuple or dict
        What one pass is over; its first axis counts: a batch of n costs n times the operations.
    repeats : int, at least 1
        Passes that are timed, after one that is not.
    """
    checked_count("repeats", repeats)
    args, kwargs = arguments_of(example_input)
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    with untouched(model):
        with _unfused(), FlopCounterMode(display=False) as f:
            model(*args, **kwargs)
        seconds = _seconds(model, args, kwargs, repeats)
    return Costs(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=f.get_total_flops() // 2,
        bytes=saved.getbuffer().nbytes,
        seconds=seconds,
    )


@contextmanager
def _unfused() -> Iterator[None]:
    """Compute attention by products that are counted; frozen layers would take a fused path."""
    mha: Any = torch.backends.mha
    fused = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(fused)


def _seconds(model: nn.Module, args: tuple, kwargs: dict[str, Any], repeats: int) -> float:
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    threads = torch.get_num_threads()
    taken = []
    try:
        torch.set_num_threads(1)
        with torch.no_grad():
            for _ in range(repeats + 1):
                start = time.perf_counter()
                model(*args, **kwargs)
                if on_gpu:
                    torch.cuda.synchronize()
                taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return median(taken[1:])


def cost_table(before: Costs, after: Costs) -> pd.DataFrame:
    """Return a row for each cost: before, after, and how many times smaller it became.

    Examples
    --------
    >>> cost_table(Costs(100, 90, 1_000, 0.5), Costs(50, 30, 500, 0.25))["ratio"].tolist()
    [2.0, 3.0, 2.0, 2.0]
    """
    first, last = (pd.Series(asdict(cost), dtype=object) for cost in (before, after))
    return pd.DataFrame({"before": first, "after": last, "ratio": (first / last).astype(float)})
