import copy
import pickle

import pandas as pd
import pytest
import torch
from conformance import same_snapshot, snapshot
from example_nets import CHANNEL_NETS, NETS, Residual, _seeded, plain, samples
from torch import nn

from mitools._validation import MaskError
from mitools.models import copied, lenet5, mlp, prunable, resnet, vgg, vit
from mitools.pruning import (
    SNIP,
    Costs,
    Magnitude,
    Mask,
    OneShot,
    Structured,
    channel_groups,
    channel_mask,
    cost_table,
    costs,
    prune,
    shrink,
)


def drawn(model, example, seed, density=0.6, singles=1.0):
    """A mask of random channels, and within them of random weights."""
    groups, names = channel_groups(model, example), tuple(prunable(model))
    rng = torch.Generator().manual_seed(seed)
    kept = {g.name: torch.rand(g.size, generator=rng) < density for g in groups}
    for alive in kept.values():
        alive[0] = True
    mask = channel_mask(model, groups, kept, names)
    rest = {n: torch.rand(t.shape, generator=rng) < singles for n, t in mask.items()}
    return Mask({name: tensor & rest[name] for name, tensor in mask.items()}), kept


def outputs(model, inputs, training):
    with torch.no_grad():
        return copied(model).train(training)(inputs)


def difference(model, mask, small, inputs):
    masked = mask.apply_(copied(model))
    pairs = [(outputs(masked, inputs, t), outputs(small, inputs, t)) for t in (False, True)]
    return max(float((a - b).abs().max()) for a, b in pairs)


BIG = {
    "vgg11": lambda: (vgg(11, width=0.25), samples((3, 32, 32), n=8)),
    "resnet20": lambda: (resnet(20), samples((3, 16, 16), n=8)),
    "resnet50": lambda: (resnet(50, width=0.125), samples((3, 8, 8), n=8)),
    "lenet5": lambda: (lenet5(), samples((1, 28, 28), n=8)),
    "vit": lambda: (vit(1, size=8, patch=2, width=12, depth=3, heads=3), samples((1, 8, 8), n=8)),
}


def stirred(model, inputs):
    """Batch norms away from their first state, as after training."""
    with torch.no_grad():
        model.train()(inputs)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.linspace(-0.3, 0.5, len(parameter)))
    return model


@pytest.mark.parametrize("singles", [1.0, 0.7], ids=["channels", "and weights"])
@pytest.mark.parametrize("net", [*CHANNEL_NETS, *BIG])
def test_masked_equals_shrunk(net, singles):
    model, data = {**CHANNEL_NETS, **BIG}[net]()
    model = stirred(model, data.inputs)
    mask, kept = drawn(model, data.inputs[:1], 3, singles=singles)
    small = shrink(model, mask, data.inputs[:1])
    assert difference(model, mask, small, data.inputs) < 1e-5
    sizes = {name: p.numel() for name, p in small.named_parameters()}
    if singles == 1.0:
        assert sum(sizes[name] for name in mask) == mask.nonzeros
        groups = {g.name: g.size for g in channel_groups(small, data.inputs[:1])}
        assert groups == {name: int(alive.sum()) for name, alive in kept.items()}
    else:
        assert mask.nonzeros < sum(sizes[name] for name in mask) < mask.size
        left = sum(int(torch.count_nonzero(small.get_parameter(name))) for name in mask)
        assert left <= mask.nonzeros


def test_the_test_notices_a_mask_that_forgets_the_readers():
    """Masking rows alone is not removal: the bias, and in training batch norm, stay."""
    model, data = CHANNEL_NETS["convolutional"]()
    model = stirred(model, data.inputs)
    mask, _ = drawn(model, data.inputs[:1], 3)
    rows = Mask({n: t if n != "8.weight" else torch.ones_like(t) for n, t in mask.items()})
    assert difference(model, rows, shrink(model, mask, data.inputs[:1]), data.inputs) > 1e-3


def test_channels_that_single_weights_killed_go():
    model, data = mlp((20, 60, 50, 4)), samples((20,), classes=4)
    mask = prune(model, data, OneShot(SNIP()), density=0.02)
    small = shrink(model, mask, data.inputs[:1])
    assert small.fc1.out_features < 60 and small.fc2.out_features < 50
    assert (small.fc1.in_features, small.fc3.out_features) == (20, 4)
    assert difference(model, mask, small, data.inputs) < 1e-5
    nothing = Mask.ones_like(model)
    assert shrink(model, nothing, data.inputs[:1]).fc1.out_features == 60


def test_heads_go():
    model, data = BIG["vit"]()
    groups, names = channel_groups(model, data.inputs[:1]), tuple(prunable(model))
    kept = {"block2.attention": torch.tensor([False, True, False])}
    small = shrink(model, channel_mask(model, groups, kept, names), data.inputs[:1])
    assert small.block2.attention.heads == 1 and small.block1.attention.heads == 3
    assert model.block2.attention.heads == 3
    assert small.block2.attention.q.weight.shape == (4, 12)
    assert torch.equal(small.block2.attention.q.weight, model.block2.attention.q.weight[4:8])
    assert torch.equal(small.block2.attention.out.weight, model.block2.attention.out.weight[:, 4:8])


def test_an_empty_branch_keeps_a_channel_of_zeros():
    model, data = _seeded(Residual), samples((1, 8, 8))
    model = stirred(model, data.inputs)
    tensors = {n: torch.ones_like(p, dtype=torch.bool) for n, p in prunable(model).items()}
    tensors["block1.conv2.weight"][:] = False
    mask = Mask(tensors)
    small = shrink(model, mask, data.inputs[:1])
    assert small.block1.conv1.out_channels == 1 and small.block2.conv1.out_channels == 8
    assert not small.block1.conv2.weight.any()
    assert difference(model, mask, small, data.inputs) < 1e-5


def test_a_cut_signal_is_an_error():
    model = mlp((4, 3, 5, 2))
    tensors = {n: torch.ones_like(p, dtype=torch.bool) for n, p in prunable(model).items()}
    tensors["fc3.weight"][:] = False
    with pytest.raises(MaskError, match=r"keeps no channel of fc1, fc2, and no other way"):
        shrink(model, Mask(tensors), torch.ones(1, 4))


def test_what_comes_back_is_an_ordinary_network():
    model, data = CHANNEL_NETS["convolutional"]()
    model[4].eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = snapshot(model)
    mask, _ = drawn(model, data.inputs[:1], 1)
    small = shrink(model, mask, data.inputs[:1])
    assert same_snapshot(before, snapshot(model))
    assert all((parameter.grad == 1).all() for parameter in model.parameters())
    assert type(small) is type(model) and [*map(type, small)] == [*map(type, model)]
    assert all(p.grad is None and p.is_leaf for p in small.parameters())
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in small.named_parameters()} == flags
    assert [m.training for m in small.modules()] == [m.training for m in model.modules()]
    shared = {t.data_ptr() for t in model.state_dict().values()}
    assert not shared & {t.data_ptr() for t in small.state_dict().values() if t.dim()}
    again, copies = pickle.loads(pickle.dumps(small)), copy.deepcopy(small)
    torch.nn.init.zeros_(copies[3].weight)
    copies.load_state_dict(small.state_dict())
    for other in (again, copies):
        assert torch.equal(other(data.inputs), small(data.inputs))
    optimizer = torch.optim.SGD([p for p in small.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(small(data.inputs), data.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_dtype_and_float64():
    model, data = plain((6, 8, 5, 3)).to(torch.bfloat16), samples((6,))
    mask, _ = drawn(model, data.inputs[:1], 0)
    small = shrink(model, mask, data.inputs[:1])
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}
    wide = plain((6, 8, 5, 3), dtype=torch.float64)
    small = shrink(wide, mask, data.inputs[:1])
    assert difference(wide, mask, small, data.inputs.double()) < 1e-14


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("net", CHANNEL_NETS)
def test_on_a_gpu(net):
    model, data = CHANNEL_NETS[net]()
    here = prune(model, data, Structured(Magnitude()), density=0.5)
    model, inputs = model.cuda(), data.inputs.cuda()
    mask = prune(model, data, Structured(Magnitude()), density=0.5)
    assert all(torch.equal(mask[name].cpu(), here[name]) for name in here)
    small = shrink(model, mask, inputs[:1])
    assert all(parameter.is_cuda for parameter in small.parameters())
    assert difference(model, mask, small, inputs) < 1e-3  # convolutions in TF32
    assert costs(small, inputs[:1]).parameters < costs(model, inputs[:1]).parameters


def test_masks_in_other_formats():
    model = mlp((4, 3, 2))
    small = shrink(model, {"fc2": [[1, 0, 1], [1, 0, 1]]}, torch.ones(1, 4))
    assert small.fc1.out_features == 2
    assert torch.equal(small.fc1.weight, model.fc1.weight[[0, 2]])


def test_bad_input(monkeypatch):
    model = mlp((4, 3, 2))
    with pytest.raises(MaskError, match="mask must fit the model"):
        shrink(model, Mask.ones_like(mlp((4, 5, 2))), torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"run on example_input.*shape and the dtype"):
        shrink(model, Mask.ones_like(model), torch.ones(1, 7))
    tied, data = NETS["tied"]()
    with pytest.raises(ValueError, match="channels that can be taken out; found none: first"):
        shrink(tied, Mask.ones_like(tied), data.inputs[:1])
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        costs(model, torch.ones(1, 4), repeats=0)


def test_costs_are_counted():
    model = mlp((4, 3, 2))
    found = costs(model, torch.ones(5, 4), repeats=1)
    assert (found.parameters, found.macs) == (4 * 3 + 3 + 3 * 2 + 2, 5 * (4 * 3 + 3 * 2))
    assert found.bytes > 4 * found.parameters and found.seconds > 0
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, groups=6)
    )
    assert costs(net, torch.ones(1, 2, 11, 11)).macs == 25 * 6 * 2 * 9 + 9 * 6 * 9
    tokens, width = 16, 12
    attention = 4 * tokens * width**2 + 2 * tokens**2 * width
    block = attention + 8 * tokens * width**2
    model = vit(1, size=8, patch=2, width=width, depth=3, heads=3)
    expected = tokens * 4 * width + 3 * block + width * 10
    assert costs(model, torch.ones(1, 1, 8, 8)).macs == expected
    attending, data = NETS["attention"]()
    own = 5 * (4 * 64 + 2 * 8 * 12) + 2 * 25 * 8 + 8 * 3  # torch's own layer, 5 rows of 8
    assert costs(attending, data.inputs[:1]).macs == own


def test_frozen_attention_is_counted():
    layer, tokens = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), torch.ones(1, 5, 8)
    learning = costs(layer, tokens, repeats=1).macs
    assert costs(layer.requires_grad_(False), tokens, repeats=1).macs == learning > 0
    assert torch.backends.mha.get_fastpath_enabled()


def test_costs_leave_everything_as_it_was():
    model, data = CHANNEL_NETS["convolutional"]()
    before, threads, state = snapshot(model), torch.get_num_threads(), torch.get_rng_state()
    costs(model, data.inputs)
    assert same_snapshot(before, snapshot(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.get_num_threads() == threads and torch.equal(state, torch.get_rng_state())


def test_smaller_networks_cost_less():
    model, data = BIG["lenet5"]()
    mask = prune(model, data, Structured(Magnitude()), density=0.2)
    small = shrink(model, mask, data.inputs[:1])
    before, after = (costs(net, data.inputs[:1], repeats=1) for net in (model, small))
    table = cost_table(before, after)
    assert isinstance(table, pd.DataFrame)
    assert list(table.index) == ["parameters", "macs", "bytes", "seconds"]
    assert list(table.columns) == ["before", "after", "ratio"]
    assert table.loc["parameters"].tolist() == [61706, after.parameters, 61706 / after.parameters]
    assert table.loc[["parameters", "macs", "bytes"], "ratio"].min() > 1.5
    assert isinstance(before, Costs)
