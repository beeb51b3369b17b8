"""Many networks of one architecture trained at once: one optimiser step for all of them."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from mitools.data import Batches, Samples, as_batches
from mitools.models import copied, seeded, tensors_of
from mitools.training.evaluation import place_of, placed
from mitools.training.loop import Training, train
from mitools.training.losses import check_outputs, loss_of, modes_kept
from mitools.training.masking import Masking, entries_of
from mitools.training.optimizers import SGD, Adam, AdamW
from mitools.training.passes import Passes, passes_over
from mitools.training.stack import Stack, StackedData
from mitools.training.state import TrainState, copy_of

_AT_ONCE = 1 << 20  # numbers of all networks that one step touches: what caches hold
_PAYS = 1 << 18  # numbers of one network above which a step costs more than starting it
_PAYS_CONVOLVED = 1 << 16  # grouped convolutions are slow on CPUs
_ON_DEVICE = 1 << 8  # an accelerator takes so many times more
_HELD = 1 << 27  # numbers of all data sets that are held at once
_CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d

_Place = tuple[torch.device, torch.dtype]
_Batching = tuple[int, bool, bool, int | None]
"""Of a loader: batch size, whether it shuffles and drops the last, the seed of its generator."""


def train_together(
    model: nn.Module,
    datasets: Sequence[Any],
    training: Training = Training(),
    *,
    masks: Sequence[Masking] | None = None,
    starts: Sequence[TrainState] | None = None,
    steps: int | None = None,
) -> list[TrainState]:
    """Train a copy of the model on each data set, all of them in the same steps where that pays.

    What comes out is what `train` gives one after another, up to rounding: the same batches in the
    same order, the same schedule, and pruned weights that are exactly 0. Networks are stacked and
    mapped over (``torch.func.vmap``), which saves nearly all the time that small ones take. What
    cannot be mapped is trained one after another: data sets of unequal sizes and loaders other
    than torch's own over `Samples`; modules with hooks, dropout, batch norm, control flow that
    depends on the data, or weights of half precision; early stopping, and optimisers of others.

    Parameters
    ----------
    model : torch.nn.Module
        Where all of them start; not changed.
    datasets : sequence of K data sets
        As for `train`.
    training : Training
        How, the same for all: with one seed, batch b holds the same rows of every data set.
    masks : sequence of K masks, or None
        What each network keeps.
    starts : sequence of K TrainState, or None
        Where each begins, instead of the model's weights and a fresh optimiser.
    steps : int or None
        Stop after so many optimiser steps in all, those of ``starts`` included.

    Returns
    -------
    list of K TrainState
        Weights and optimisers at the end. What happened on the way is only known where networks
        were trained one after another.

    Raises
    ------
    ValueError
        As `train` does.

    Examples
    --------
    >>> from mitools.data import gaussian
    >>> from mitools.models import mlp
    >>> datasets = [gaussian(30, 8, seed=seed) for seed in range(20)]
    >>> states = train_together(mlp((8, 16, 2)), datasets, Training(epochs=5))
    >>> len(states), states[0].step
    (20, 5)
    """
    datasets = list(datasets)
    for name, given in (("masks", masks), ("starts", starts)):
        if given is not None and len(given) != len(datasets):
            raise ValueError(
                f"{name} must be as many as there are data sets, {len(datasets)}; got {len(given)}."
            )
    size = group_size(model, datasets, training)
    states: list[TrainState] = []
    for first in range(0, len(datasets), size):
        part = slice(first, first + size)
        given = datasets[part], None if masks is None else list(masks[part])
        begin = None if starts is None else list(starts[part])
        found = None
        if len(given[0]) > 1:
            stack = _stacked(model, *given, training)
            found = None if stack is None else stack.trained(begin, steps)
        states += found or _one_by_one(model, *given, training, begin, steps)
    return states


def group_size(model: nn.Module, datasets: Sequence[Any], training: Training) -> int:
    """Return how many of these trainings are best done at once; 1 is one after another.

    It depends on the network, the data's shape and the training alone, not on the machine's cores,
    because results depend on it in their last digits.
    """
    if len(datasets) < 2:
        return 1
    common = _common(datasets, training, place_of(model))
    stack = _stacked(model, list(datasets[:2]), None, training)
    if common is None or stack is None:
        return 1
    more = 1 if place_of(model)[0].type == "cpu" else _ON_DEVICE
    convolved = any(isinstance(m, _CONVOLUTIONS) for m in model.modules())
    if stack.numbers > (_PAYS_CONVOLVED if convolved else _PAYS) * more:
        return 1
    held = 1 if _same_inputs(common[0]) else common[0][0].inputs.numel()
    return max(2, min(_AT_ONCE * more // stack.numbers, _HELD // held))


def _one_by_one(
    model: nn.Module,
    datasets: Sequence[Any],
    masks: Sequence[Masking] | None,
    training: Training,
    starts: Sequence[TrainState] | None,
    steps: int | None,
) -> list[TrainState]:
    states = []
    for index, data in enumerate(datasets):
        network = copied(model)
        history = train(
            network,
            data,
            training,
            mask=None if masks is None else masks[index],
            start=None if starts is None else starts[index],
            steps=sys.maxsize if steps is None else steps,
        )
        assert history.state is not None  # there is one wherever steps are given
        # The network's own weights: those of the best epoch, if training stopped early.
        states.append(replace(history.state, model=copy_of(tensors_of(network))))
    return states


def _stacked(
    model: nn.Module, datasets: list[Any], masks: list[Masking] | None, training: Training
) -> Stack | None:
    """Return the networks, stacked; None if they cannot be, for whatever reason."""
    if training.early_stopping is not None or type(training.optimizer) not in (SGD, Adam, AdamW):
        return None
    if any(_hooked(module) for module in model.modules()):
        return None
    if any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters()):
        return None  # where the order of a sum shows
    try:
        place = place_of(model)
        common = _common(datasets, training, place)
        if common is None:
            return None
        with modes_kept(model), seeded(0, [place[0]]), warnings.catch_warnings():
            warnings.simplefilter("error")  # such as: this is slow when mapped
            data = _on_device(*common, place)
            loss = loss_of(training.loss, data.targets)
            example = data.inputs if data.shared else data.inputs[0]
            check_outputs(model, loss, example, data.targets.flatten(0, 1))
            dead = _dead(model, masks, len(datasets))
            if dead is None:
                return None
            stack = Stack(model, data, loss, training, dead)
            model.train()
            return stack if stack.can_be_mapped() else None
    except Exception:  # whatever is the matter, training one after another says it better
        return None


def _common(
    datasets: Sequence[Any], training: Training, place: _Place
) -> tuple[list[Samples], Passes] | None:
    """Return the samples, and passes over their rows; None unless all come in the same batches."""
    read = [found for found in map(_read, datasets) if found is not None]
    samples = [one for one, _ in read]
    looks = {(s.inputs.shape, s.inputs.dtype, s.targets.shape, s.targets.dtype) for s in samples}
    batchings = {batching for _, batching in read}
    if len(read) != len(datasets) or len(looks) != 1 or len(batchings) != 1:
        return None
    numbers = torch.arange(len(samples[0]))
    rows: Any = Samples(numbers[:, None], numbers)  # in whatever order rows come, targets tell it
    (batching,) = batchings
    if batching is not None:
        size, shuffle, drop_last, seed = batching
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        rows = DataLoader(rows, size, shuffle, drop_last=drop_last, generator=generator)
    return samples, passes_over(rows, training.batch_size, training.seed, *place)


def _read(data: Any) -> tuple[Samples, _Batching | None] | None:
    """Return samples and, where a loader batches them, how; None where that cannot be told."""
    source = data.source if isinstance(data, Batches) else data
    if isinstance(source, tuple):
        source = as_batches(source, argument="data").source
    if isinstance(source, Samples):
        return source, None
    if type(source) is not DataLoader or not isinstance(source.dataset, Samples):
        return None
    sampler = source.sampler
    shuffles = (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(source.dataset)
    )
    plain = type(source.batch_sampler) is BatchSampler and source.collate_fn is default_collate
    if not plain or not (shuffles or type(sampler) is SequentialSampler):
        return None
    assert source.batch_size is not None  # there is a BatchSampler
    seed = None if source.generator is None else source.generator.initial_seed()
    return source.dataset, (source.batch_size, shuffles, source.drop_last, seed)


def _same_inputs(samples: Sequence[Samples]) -> bool:
    first = samples[0].inputs
    return all(s.inputs is first or torch.equal(s.inputs, first) for s in samples)


def _on_device(samples: list[Samples], rows: Passes, place: _Place) -> StackedData:
    shared = _same_inputs(samples)
    inputs = samples[0].inputs if shared else torch.stack([s.inputs for s in samples])
    targets = torch.stack([s.targets for s in samples])
    return StackedData(placed(inputs, *place), targets.to(place[0]), rows, shared)


def _dead(model: nn.Module, masks: list[Masking] | None, count: int) -> dict[str, Tensor] | None:
    """Return where each network is pruned, stacked; None if a mask does not name parameters."""
    dead: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    first = {id(p): name for name, p in model.named_parameters()}  # a tied one has several names
    for index, mask in enumerate(masks or ()):
        entries = entries_of(mask)
        if entries is None or not entries.keys() <= parameters.keys():
            return None
        for name, keep in entries.items():
            parameter = parameters[name]
            where = dead.setdefault(
                first[id(parameter)],
                torch.zeros((count, *parameter.shape), dtype=torch.bool, device=parameter.device),
            )
            where[index] |= ~keep.to(parameter.device, torch.bool)
    return dead


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
