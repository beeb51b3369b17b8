"""What every pruner owes, as functions: ``for check in CHECKS: check(pruner, make)``.

To test a pruner of your own, parametrise over `CHECKS` and `example_nets.NETS`; `make` returns a
fresh (model, samples). Pass ``exact=False`` checks aside for structured pruners, which state their
own rule of counting.
"""

import copy
import pickle
import random

import numpy as np
import torch
from torch.utils.data import DataLoader

import mitools.pruning
import mitools.training
from mitools.models import prunable
from mitools.pruning import Mask, prune


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


def check_nested(pruner, make, exact=True):
    """For pruners of one ranking: a smaller density keeps a part of what a larger one keeps."""
    model, data = make()
    masks = [prune(model, data, pruner, density=d) for d in (0.8, 0.4, 0.1)]
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
