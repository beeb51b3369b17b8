"""What every pruner owes, as functions: ``for check in CHECKS: check(pruner, make)``.

To test a pruner of your own, parametrise over `CHECKS` and `example_nets.NETS`; `make` returns a
fresh (model, samples). For a pruner of whole channels, take `STRUCTURED_CHECKS` and
`example_nets.CHANNEL_NETS`: it keeps at most the weights asked for, and stops because another
channel would not fit.
"""

import copy
import pickle
import random
import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import mitools.pruning
import mitools.training
from mitools.models import copied, prunable
from mitools.pruning import Mask, prune
from mitools.pruning.channels import channel_mask, kept_channels
from mitools.pruning.coupling import channel_groups
from mitools.pruning.shrink import shrink


def check_exact_count(pruner, make):
    model, data = make()
    size = prunable(model).size
    for density in (0.0, 0.03, 0.37, 1.0):
        mask = prune(model, data, pruner, density=density)
        assert (mask.nonzeros, mask.size) == (round(density * size), size)


def check_counts_with_all_weights_equal(pruner, make):
    model, data = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    mask = prune(model, data, pruner, density=0.31)
    assert mask.nonzeros == round(0.31 * mask.size)


def check_model_is_untouched(pruner, make):
    model, data = make()
    model.train()
    next(iter(model.children())).eval()  # flags of its own for a submodule
    first = next(iter(prunable(model).values()))
    names = tuple(prunable(model))
    before = snapshot(model)
    inner = {name: id(p) for name, p in model.named_parameters()}
    pruner.mask(model, data, 0.3, names)  # not by prune, which copies for foreign pruners
    assert same_snapshot(before, snapshot(model))
    assert inner == {name: id(p) for name, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 3.0)
    pruner.mask(model, data, 0.3, names)
    assert first.grad is not None and (first.grad == 3.0).all()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def check_no_global_randomness(pruner, make):
    model, data = make()
    expected = prune(model, data, pruner, density=0.3)
    states = torch.get_rng_state(), numpy_state(), random.getstate()
    prune(model, data, pruner, density=0.3)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == numpy_state()).all()
    assert states[2] == random.getstate()
    with torch.random.fork_rng([]):
        torch.manual_seed(12345)
        assert prune(model, data, pruner, density=0.3) == expected


def check_threads_do_not_matter(pruner, make):
    model, data = make()
    threads = torch.get_num_threads()
    masks = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            masks.append(prune(model, data, pruner, density=0.3))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert masks[0] == masks[1] == masks[2]


def check_a_shuffling_loader_gives_one_mask(pruner, make):
    model, data = make()
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(data, batch_size=7, shuffle=True, generator=generator)
    state = generator.get_state()
    first = prune(model, loader, pruner, density=0.3)
    assert torch.equal(state, generator.get_state())
    assert prune(model, loader, pruner, density=0.3) == first
    plain = DataLoader(data, batch_size=7, shuffle=True)
    assert prune(model, plain, pruner, density=0.3) == prune(model, plain, pruner, density=0.3)


def check_value(pruner, make):
    names = {**vars(mitools.pruning), **vars(mitools.training)}
    assert eval(repr(pruner), names) == pruner
    assert hash(pruner) == hash(pickle.loads(pickle.dumps(pruner)))
    assert copy.deepcopy(pruner) == pruner


def check_mask_knows_where_it_comes_from(pruner, make):
    from mitools.models import fingerprint

    model, data = make()
    mask = prune(model, data, pruner, density=0.3)
    assert isinstance(mask, Mask)
    assert mask.pruner == pruner and mask.requested_density == 0.3
    assert mask.fingerprint == fingerprint(model)
    mask.check_fits(model)


def check_excluded_weights_take_no_part(pruner, make):
    model, data = make()
    last = list(prunable(model))[-1]
    mask = prune(model, data, pruner, density=0.3, exclude=(last,))
    assert last not in mask
    assert mask.size == prunable(model).size - dict(model.named_parameters())[last].numel()
    assert mask.nonzeros == round(0.3 * mask.size)


CHECKS = (
    check_exact_count,
    check_counts_with_all_weights_equal,
    check_model_is_untouched,
    check_no_global_randomness,
    check_threads_do_not_matter,
    check_a_shuffling_loader_gives_one_mask,
    check_value,
    check_mask_knows_where_it_comes_from,
    check_excluded_weights_take_no_part,
)


def check_channels_that_fit(pruner, make):
    """No more weights than asked for; of the channels that are out, one at least would not fit."""
    model, data = make()
    groups, names = channels_of(model, data)
    for density in (0.35, 0.6, 0.9):
        mask = prune(model, data, pruner, density=density)
        budget = round(density * mask.size)
        assert mask.nonzeros <= budget
        assert mask.size == prunable(model).size
        kept = kept_channels(groups, mask)
        larger = []
        for name, alive in kept.items():
            for channel in (~alive).nonzero().flatten().tolist():
                more = {**kept, name: alive.clone()}
                more[name][channel] = True
                larger.append(channel_mask(model, groups, more, names).nonzeros)
        assert larger and max(larger) > budget
    assert prune(model, data, pruner, density=1.0) == Mask.ones_like(model)


def check_whole_channels(pruner, make):
    """The mask is that of its channels: nothing else is out, and every group keeps one."""
    model, data = make()
    groups, names = channels_of(model, data)
    mask = prune(model, data, pruner, density=0.4)
    kept = kept_channels(groups, mask)
    assert all(alive.any() for alive in kept.values())
    assert channel_mask(model, groups, kept, names) == mask


def check_least_density_is_told(pruner, make):
    """Less than the floor needs is refused; what the message says suffices."""
    model, data = make()
    with pytest.raises(ValueError, match=r"a density of \d") as refused:
        prune(model, data, pruner, density=0.01)
    least = float(re.search(r"a density of ([\d.e-]+)", str(refused.value))[1])
    mask = prune(model, data, pruner, density=least * 1.005)
    assert 0 < mask.nonzeros <= round(least * 1.005 * mask.size)


def check_shrunk_equals_masked(pruner, make):
    """The smaller network computes the same, in both modes, holds what is kept, and trains."""
    model, data = make()
    before = snapshot(model)
    mask = prune(model, data, pruner, density=0.4)
    small = shrink(model, mask, data.inputs[:1])
    assert same_snapshot(before, snapshot(model))
    named = dict(small.named_parameters())
    assert named.keys() == dict(model.named_parameters()).keys()
    assert sum(named[name].numel() for name in mask) == mask.nonzeros < mask.size
    for training in (False, True):
        masked, other = mask.apply_(copied(model)).train(training), copied(small).train(training)
        with torch.no_grad():
            expected, got = masked(data.inputs), other(data.inputs)
        assert (expected - got).abs().max() < 1e-5 and expected.std() > 0
    small.load_state_dict(pickle.loads(pickle.dumps(small)).state_dict())
    small(data.inputs).square().sum().backward()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name for name, parameter in named.items() if parameter.grad is None} == frozen


def check_excluded_layers_stay_whole(pruner, make):
    model, data = make()
    layer = next(iter(prunable(model)))
    mask = prune(model, data, pruner, density=0.9, exclude=(layer,))
    assert layer not in mask
    small = shrink(model, mask, data.inputs[:1])
    shapes = {n: p.shape for n, p in model.named_parameters()}
    assert small.get_parameter(layer).shape == shapes[layer]
    assert sum(small.get_parameter(name).numel() for name in mask) == mask.nonzeros < mask.size


STRUCTURED_CHECKS = (
    check_channels_that_fit,
    check_whole_channels,
    check_least_density_is_told,
    check_shrunk_equals_masked,
    check_excluded_layers_stay_whole,
    check_model_is_untouched,
    check_no_global_randomness,
    check_threads_do_not_matter,
    check_a_shuffling_loader_gives_one_mask,
    check_value,
    check_mask_knows_where_it_comes_from,
)


def channels_of(model, data):
    names = tuple(prunable(model))
    return channel_groups(model, data.inputs[:1], names), names


def check_reads_no_data(pruner, make):
    """For pruners that claim to be data-free: they never open the loader."""
    model, data = make()

    class Sealed:
        input_shape = tuple(data.inputs.shape[1:])

        def __getattr__(self, name):
            raise AssertionError(f"the loader was asked for {name}")

        def __iter__(self):
            raise AssertionError("the loader was opened")

        __len__ = __getitem__ = __iter__

    mask = prune(model, Sealed(), pruner, density=0.3)
    assert mask == prune(model, data, pruner, density=0.3)


def check_nested(pruner, make, densities=(0.8, 0.4, 0.1)):
    """For pruners of one ranking: a smaller density keeps a part of what a larger one keeps."""
    model, data = make()
    masks = [prune(model, data, pruner, density=d) for d in densities]
    assert (masks[1] & masks[0]) == masks[1] and (masks[2] & masks[1]) == masks[2]


def snapshot(model):
    """Return everything that scoring might disturb."""
    tensors = {n: t.detach().clone() for n, t in model.state_dict(keep_vars=True).items()}
    flags = {n: m.training for n, m in model.named_modules()}
    grads = {n: p.requires_grad for n, p in model.named_parameters()}
    return tensors, flags, grads, {n: (t.dtype, t.device) for n, t in tensors.items()}


def same_snapshot(a, b):
    bits = all(
        torch.equal(t.contiguous().view(-1).view(torch.uint8) if t.dim() else t,
                    b[0][n].contiguous().view(-1).view(torch.uint8) if t.dim() else b[0][n])
        for n, t in a[0].items()
    )  # fmt: skip
    return bits and a[0].keys() == b[0].keys() and a[1:] == b[1:]


def numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002
