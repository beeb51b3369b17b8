"""What every pruner owes, as functions: ``for check in CHECKS: check(pruner, make)``.

To test a pruner of your own, parametrise over `CHECKS` and `example_nets.NETS`; `make` returns a
fresh (model, samples). For a pruner of whole channels, take `STRUCTURED_CHECKS` and
`example_nets.CHANNEL_NETS`: it keeps at most the weights asked for, and stops because another
channel would not fit. Besides, for pruners that read labels `check_labels_are_asked_for`, for those
that need slopes `check_every_weight_is_seen`, for those that keep checkpoints
`check_it_goes_on_when_killed`, for data-free ones `check_reads_no_data`, and for those of one
ranking `check_nested`.
"""

import copy
import pickle
import random
import re
import tempfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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


def check_densities_are_checked(pruner, make):
    model, data = make()
    names = tuple(prunable(model))
    for density in (-0.1, 1.1, 10, float("nan"), float("inf"), "0.5", None, True):
        with pytest.raises(ValueError, match="density must"):
            prune(model, data, pruner, density=density)
        with pytest.raises(ValueError, match="density must"):
            pruner.mask(model, data, density, names)


def check_integers_are_no_weights(pruner, make):
    """Quantised weights stay whole, or are refused where they are asked for by name."""
    model, data = make()
    name, weight = next(iter(prunable(model).items()))
    holder, _, attribute = name.rpartition(".")
    delattr(model.get_submodule(holder), attribute)
    whole = nn.Parameter((100 * weight.detach()).to(torch.int8), requires_grad=False)
    model.get_submodule(holder).register_parameter(attribute, whole)
    assert name not in prunable(model)
    with pytest.raises(ValueError, match=f"floating-point.*{name}|{name}.*floating"):
        pruner.mask(model, data, 0.5, (name,))


CHECKS = (
    check_densities_are_checked,
    check_integers_are_no_weights,
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
    check_densities_are_checked,
    check_integers_are_no_weights,
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


def check_labels_are_asked_for(pruner, make):
    """For pruners that read labels: what is missing or impossible is said, not guessed."""
    model, data = make()
    alone = DataLoader(TensorDataset(data.inputs), batch_size=8)
    for given in (None, data.inputs, alone, (data.inputs, None)):
        with pytest.raises((TypeError, ValueError), match=r"(loader|data)('s targets)? must"):
            prune(model, given, pruner, density=0.7)
    for targets, said in (
        (data.targets + 50, "targets must be classes 0"),
        (data.targets - 9, "targets must be classes 0"),
        (data.targets[:5], "same number of samples"),
        (torch.ones(len(data), 77), "targets must have the shape of the model's outputs"),
    ):
        with pytest.raises(ValueError, match=said):
            prune(model, (data.inputs, targets), pruner, density=0.7)


class Detached(nn.Module):
    """Three layers of which autograd does not see some, and one is not used at all."""

    def __init__(self, *hidden):
        super().__init__()
        self.first, self.last, self.spare = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(5, 5)
        self.hidden = hidden

    def forward(self, x):
        for name in ("first", "last"):
            x = getattr(self, name)(x)
            x = x.detach() if name in self.hidden else x
        return x


def check_every_weight_is_seen(pruner, make=None):
    """For pruners that need slopes: weights hidden from autograd are refused, idle ones are not."""
    data = torch.ones(9, 6), torch.arange(9) % 3
    for hidden in ("first", "last"):
        with pytest.raises(ValueError, match="model must be differentiable in"):
            prune(Detached(hidden), data, pruner, density=0.5)
    assert prune(Detached(), data, pruner, density=0.25).nonzeros == round(0.25 * 97)


class Killed(BaseException):
    pass


def check_it_goes_on_when_killed(pruner, make, density=0.6):
    """For pruners that keep checkpoints: killed at any pass, they go on, and end with the same."""
    model, data = make()
    passes, stop = [], [0]

    def counted(*_):
        passes.append(1)
        if len(passes) == stop[0]:
            raise Killed

    def found(place, last=0):
        passes.clear()
        stop[0] = last
        handle = model.register_forward_pre_hook(counted)
        try:
            return prune(model, data, pruner, density=density, checkpoint=place)
        finally:
            handle.remove()

    expected = found(None)
    total = len(passes)
    assert total > 5
    for last in (3, total // 2, total - 1):
        with tempfile.TemporaryDirectory() as place:
            with pytest.raises(Killed):
                found(place, last)
            torch.rand(3)  # something else draws in between
            assert found(place) == expected
            assert last < 4 or len(passes) < total  # it went on, and did not start anew
            assert found(place) == expected
            other = copied(model)
            with torch.no_grad():
                next(other.parameters()).add_(0.01)
            with pytest.raises(ValueError, match="checkpoint must be of"):
                prune(other, data, pruner, density=density, checkpoint=place)


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
