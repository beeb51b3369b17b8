"""ThiNet: what channels contribute, the greedy rules, and the scales that make up for losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conformance import STRUCTURED_CHECKS
from example_nets import CHANNEL_NETS, plain, samples
from torch import nn
from torch.utils.data import DataLoader

from mitools.data import digits
from mitools.models import copied, mlp
from mitools.pruning import ChannelGroup, Part, Random, Structured, ThiNet, prune
from mitools.pruning.channels import channel_mask, kept_channels
from mitools.pruning.contributions import contributions, drawn
from mitools.pruning.coupling import channel_groups
from mitools.pruning.thinet import forward_selection, greedy_removal, least_squares
from mitools.training import Training, train

SMALL = ThiNet(images=20, pairs=8)


def seeded(make):
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(4)
        return make().double().eval()


@pytest.mark.parametrize("reader", [
    lambda: nn.Conv2d(5, 4, 3),
    lambda: nn.Conv2d(5, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    lambda: nn.Conv2d(5, 4, 3, padding="same", padding_mode="reflect", bias=False),
])  # fmt: skip
def test_contributions_are_those_of_one_channel_at_a_time(reader):
    first, last = nn.Conv2d(1, 5, 3), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = seeded(lambda: nn.Sequential(first, nn.ReLU(), reader(), *last, nn.Linear(4, 2)))
    images = samples((1, 9, 9), n=7).inputs.double()
    group = channel_groups(model, images[:1])[0]
    assert (group.name, group.size) == ("0", 5)
    found = contributions(model, group, images, pairs=6, seed=0)
    assert found.shape == (7 * 6, 5) and found.dtype == torch.float64
    seen = F.relu(model[0](images)).detach()
    alone = []
    for c in range(5):
        only = torch.zeros_like(seen)
        only[:, c] = seen[:, c]
        bias = 0.0 if model[2].bias is None else model[2].bias.detach().view(1, -1, 1, 1)
        alone.append((model[2](only).detach() - bias).flatten(1))
    every = torch.stack(alone, 2)  # image, (filter, position), channel
    chosen = set()
    for row, i in zip(found, [i for i in range(7) for _ in range(6)], strict=True):
        distance = (every[i] - row).abs().amax(1)
        assert distance.min() < 1e-12
        chosen.add(int(distance.argmin()))
    assert len(chosen) > 20  # not one and the same
    places = torch.tensor(sorted(chosen))
    sizes = model[2](seen).shape[1:]
    for i, index in enumerate(torch.unravel_index(places, sizes)):
        assert set(index.tolist()) == set(range(sizes[i]))  # every filter, row and column


def test_several_inputs_of_a_channel_and_several_readers():
    model, data = CHANNEL_NETS["convolutional"]()
    group = channel_groups(model, data.inputs[:1])[-1]
    model = model.double().eval()
    rows = contributions(model, group, data.inputs[:3].double(), pairs=4, seed=0)
    seen = model[:7](data.inputs[:3].double()).detach()  # n, 8, 4, 4
    weight = model[8].weight.detach().view(3, 8, 16)
    every = (seen.flatten(2).unsqueeze(1) * weight).sum(3)  # n, class, channel
    for row, i in zip(rows, [0] * 4 + [1] * 4 + [2] * 4, strict=True):
        assert (every[i] - row).abs().amax(1).min() < 1e-12
    model, data = CHANNEL_NETS["separable"]()
    first = channel_groups(model, data.inputs[:1])[0]
    assert len(list(first.of_role("consumes"))) == 2
    assert len(contributions(model.eval(), first, data.inputs, 4, 0)) == 2 * 4 * len(data.inputs)


def test_tokens_are_drawn_as_well_as_units():
    class Tokens(nn.Sequential):
        def forward(self, x):
            return super().forward(x).mean(1)

    model = seeded(lambda: Tokens(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)))
    images = samples((6, 3), n=9).inputs.double()
    group = channel_groups(model, images[:1])[0]
    rows = contributions(model, group, images, pairs=7, seed=0)
    every = model[1](model[0](images)).detach().unsqueeze(2) * model[2].weight.detach()
    every = every.flatten(1, 2)  # image, (token, unit), channel
    assert every.shape == (9, 30, 4)
    chosen = set()
    for row, i in zip(rows, [i for i in range(9) for _ in range(7)], strict=True):
        distance = (every[i] - row).abs().amax(1)
        assert distance.min() < 1e-12
        chosen.add(int(distance.argmin()))
    assert {c // 5 for c in chosen} == set(range(6)) and {c % 5 for c in chosen} == set(range(5))


def test_all_images_are_seen_however_many_go_at_once():
    model, data = plain((6, 8, 3)).double(), samples((6,), n=150)
    group = channel_groups(model, data.inputs[:1].double())[0]
    rows = contributions(model, group, data.inputs.double(), pairs=2, seed=3)
    assert rows.shape == (300, 8)
    seen = F.relu(model[1](data.inputs.double())).detach()
    every = seen.unsqueeze(1) * model[3].weight.detach()  # image, class, channel
    nearest = (every.repeat_interleave(2, 0) - rows.unsqueeze(1)).abs().amax(2).amin(1)
    assert nearest.max() < 1e-12


def test_each_reader_draws_pairs_of_its_own():
    class Twice(nn.Module):
        """Two equal layers read the same channels."""

        def __init__(self):
            super().__init__()
            self.first, self.one, self.two = nn.Linear(6, 5), nn.Linear(5, 7), nn.Linear(5, 7)
            self.last = nn.Linear(7, 2)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.last(torch.relu(self.one(x)) + torch.relu(self.two(x)))

    model, images = seeded(Twice), samples((6,), n=40).inputs.double()
    model.two.load_state_dict(model.one.state_dict())
    group = next(g for g in channel_groups(model, images[:1]) if g.name == "first")
    one, two = contributions(model, group, images, pairs=3, seed=0).split(120)
    assert (one == two).all(1).double().mean() < 0.5
    other = contributions(model, group, images, pairs=3, seed=1)[:120]
    assert (one == other).all(1).double().mean() < 0.5


def slow_removal(x, keep):
    """As published, with a norm for every candidate."""
    dropped, total = [], np.zeros(len(x))
    for _ in range(x.shape[1] - keep):
        norms = [
            np.inf if j in dropped else np.linalg.norm(total + x[:, j]) for j in range(x.shape[1])
        ]
        dropped.append(int(np.argmin(norms)))
        total = total + x[:, dropped[-1]]
    return [j not in dropped for j in range(x.shape[1])]


def slow_forward(x, keep):
    """As published, with least squares anew for every pick."""
    y, picked = x.sum(1), []
    left = y
    for _ in range(keep):
        norms = []
        for j in range(x.shape[1]):
            square = x[:, j] @ x[:, j]
            w = x[:, j] @ left / square if square > 0 else 0.0
            norms.append(np.inf if j in picked else np.linalg.norm(left - w * x[:, j]))
        picked.append(int(np.argmin(norms)))
        left = y - x[:, picked] @ np.linalg.lstsq(x[:, picked], y, rcond=None)[0]
    return [j in picked for j in range(x.shape[1])]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("keep", [0, 1, 5, 11, 12])
@pytest.mark.parametrize(("rule", "slow"), [
    (greedy_removal, slow_removal), (forward_selection, slow_forward),
])  # fmt: skip
def test_greedy_rules_against_their_definitions(rule, slow, keep, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12)
    x[:, 3] = 0.0  # dead
    found = rule(torch.as_tensor(x.T @ x), keep)
    assert found.tolist() == slow(x, keep)
    assert int(found.sum()) == keep


@pytest.mark.parametrize("seed", range(6))
def test_forward_selection_among_columns_that_are_nearly_alike(seed):
    """Here what is left of a column differs much from the column."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 9)) + 0.1 * rng.normal(size=(50, 9))
    for keep in range(1, 9):
        assert forward_selection(torch.as_tensor(x.T @ x), keep).tolist() == slow_forward(x, keep)


def test_columns_that_say_the_same_are_picked_once():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()
    x = torch.cat([x, 2 * x, torch.zeros(40, 1).double()], 1)
    assert forward_selection(x.T @ x, 3).view(-1)[:6].view(2, 3).sum(0).tolist() == [1, 1, 1]
    assert forward_selection(x.T @ x, 6).tolist() == [True] * 6 + [False]  # the dead one comes last
    assert not greedy_removal(x.T @ x, 6)[6]


def test_least_squares_with_dead_and_equal_columns():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(1)).double()
    x[:, 1], x[:, 3] = 0.0, x[:, 0]
    stays = torch.tensor([True, True, True, False])
    torch.testing.assert_close(least_squares(x, stays), torch.tensor([2.0, 0, 1, 0]).double())
    normal = np.linalg.solve((x.T @ x)[[0, 2]][:, [0, 2]].numpy(), (x.T @ x.sum(1))[[0, 2]].numpy())
    np.testing.assert_allclose(least_squares(x, stays)[[0, 2]], normal)


def test_a_channel_there_twice_can_go_without_loss():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    with torch.no_grad():
        model[1].weight[5], model[1].bias[5] = model[1].weight[2], model[1].bias[2]
        model[3].weight[:, 5] = model[3].weight[:, 2]
    groups = channel_groups(model, data.inputs[:1])
    stays = torch.ones(8, dtype=torch.bool)
    stays[5] = False
    mask = channel_mask(model, groups, {"1": stays}, ("1.weight", "3.weight"))
    again = SMALL.rescaled(model, mask, data)
    torch.testing.assert_close(again(data.inputs), model(data.inputs), rtol=0, atol=1e-5)
    worse = mask.apply_(copied(model))(data.inputs) - model(data.inputs)
    assert worse.abs().max() > 1e-2
    assert not again[3].weight[:, 5].any() and not again[1].weight[5].any()


def rows_of(model, layer, seen, pairs, seed):
    """What channels contribute to a linear layer, at pairs that the module itself draws."""
    group = next(g for g in channel_groups(model, seen[:1]) if g.name == layer)
    return contributions(model, group, seen, pairs, seed)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("rule", ["removal", "forward"])
def test_the_walk_written_out(rule, rescale):
    """Layer by layer; the next one sees the network so far, rescaled or masked."""
    model, data = plain((6, 9, 8, 3)).double(), samples((6,), n=30)
    inputs = data.inputs.double()
    pruner = ThiNet(rule, images=30, pairs=5, rescale=rescale, seed=3)
    mask = prune(model, (inputs, data.targets), pruner, density=0.6)
    widths = [int(mask[name].any(1).sum()) for name in ("1.weight", "3.weight")]
    assert widths[0] < 9 and widths[1] < 8
    twin, slow = copied(model), {"removal": slow_removal, "forward": slow_forward}[rule]
    expected = {}
    for layer, reader, keep in (("1", twin[3], widths[0]), ("3", twin[5], widths[1])):
        x = rows_of(twin, layer, inputs, 5, 3).numpy()
        expected[layer] = kept = np.array(slow(x, keep))
        scales = np.zeros(len(kept))
        scales[kept] = 1.0
        if rescale:
            scales[kept] = np.linalg.lstsq(x[:, kept], x.sum(1), rcond=None)[0]
        with torch.no_grad():
            reader.weight.mul_(torch.as_tensor(scales))
    for layer, kept in expected.items():
        assert mask[f"{layer}.weight"].any(1).tolist() == kept.tolist()


def test_the_walks_differ_by_their_fields():
    model, data = plain((6, 40, 40, 3)), samples((6,), n=60)
    first = ThiNet(images=20, pairs=2)
    mask = prune(model, data, first, density=0.4)
    changes = {"seed": 1}, {"rescale": False}, {"images": 60}, {"pairs": 3}
    for change in changes:
        assert prune(model, data, replace(first, **change), density=0.4) != mask, change
    narrow = prune(model, data, first, density=0.02)
    groups = channel_groups(model, data.inputs[:1])
    assert min(int(kept.sum()) for kept in kept_channels(groups, narrow).values()) < 4
    held = prune(model, data, replace(first, least=5), density=0.02 * 4)
    assert min(int(kept.sum()) for kept in kept_channels(groups, held).values()) >= 5
    with pytest.raises(ValueError, match="room for 5 channels"):
        prune(model, data, replace(first, least=5), density=0.02)


def test_pairs_and_images_are_drawn_by_seeds_of_their_own():
    """The seed reaches both: with all images at hand, and with a single pair of all."""
    model, data = plain((6, 40, 2)), samples((6,), n=60)
    every = ThiNet(images=60, pairs=1)
    assert prune(model, data, every, density=0.4) != prune(
        model, data, replace(every, seed=1), density=0.4
    )
    model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 1))
    few = ThiNet(images=5, pairs=1)
    data = data.inputs, torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
    assert prune(model, data, few, density=0.4) != prune(
        model, data, replace(few, seed=1), density=0.4
    )


def test_it_walks_in_evaluation_mode():
    """Batch norm by its running statistics, dropout off, whatever the model's flags."""
    layers = nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 3)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        model, data = nn.Sequential(*layers), samples((6,))
        model[1].running_var.uniform_(0.1, 4.0)
    masks = [prune(model.train(flag), data, SMALL, density=0.4) for flag in (True, False)]
    assert masks[0] == masks[1]


def test_a_convolution_in_groups_and_other_axes_are_named():
    first = nn.Conv2d(2, 4, 3, padding=1)
    model = nn.Sequential(first, nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten())
    part = Part("2.weight", 1, ((0,), (1,), (0,), (1,)), "consumes")
    group = ChannelGroup("0", 4, (part,))
    with pytest.raises(ValueError, match=r"two-dimensional convolutions; '2\.weight'"):
        contributions(model.eval(), group, samples((2, 6, 6)).inputs, 2, 0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4))
    group = ChannelGroup("0", 4, (Part("2.weight", 0, ((0,), (1,), (2,), (3,)), "consumes"),))
    with pytest.raises(ValueError, match=r"linear layers or two-dim.*; '2\.weight'"):
        contributions(model.eval(), group, samples((6,)).inputs, 2, 0)


def test_it_keeps_the_outputs_better_than_chance():
    data = digits()
    model = mlp((64, 40, 40, 10), seed=1)
    train(model, (data.inputs[:800], data.targets[:800]), Training(epochs=3, batch_size=50))

    def damage(smaller):
        return float((smaller(data.inputs) - model(data.inputs)).square().mean().detach())

    def masked(pruner):
        return prune(model, data, pruner, density=0.4).apply_(copied(model))

    chance = [damage(masked(Structured(Random(s), scope="layer"))) for s in range(4)]
    for rule in ("removal", "forward"):
        pruner = ThiNet(rule, images=200)
        again = pruner.rescaled(model, prune(model, data, pruner, density=0.4), data)
        assert damage(again) < damage(masked(pruner)) < min(chance)


def test_every_group_keeps_the_same_share():
    model, data = plain((6, 40, 20, 3)), samples((6,))
    mask = prune(model, data, SMALL, density=0.3)
    groups = channel_groups(model, data.inputs[:1])
    shares = [float(kept.double().mean()) for kept in kept_channels(groups, mask).values()]
    assert abs(shares[0] - shares[1]) <= 1 / 20 and 0.3 < shares[0] < 0.7


def test_inner_convolutions_only():
    model, data = CHANNEL_NETS["residual"]()
    groups = channel_groups(model, data.inputs[:1])
    mask = prune(model, data, replace(SMALL, joined=False), density=0.8)
    whole = {name: bool(kept.all()) for name, kept in kept_channels(groups, mask).items()}
    assert whole == {"stem": True, "block1.conv1": False, "block2.conv1": False} | {
        name: True for name in whole if name not in ("block1.conv1", "block2.conv1")
    }
    with pytest.raises(ValueError, match="density must leave room"):
        prune(model, data, replace(SMALL, joined=False), density=0.05)


def test_the_draw_does_not_depend_on_batches():
    data = samples((6,), n=50)
    expected = drawn(data, 20, 0)
    assert expected.shape == (20, 6)
    assert torch.equal(expected, drawn(DataLoader(data, batch_size=7), 20, 0))
    assert not torch.equal(expected, drawn(data, 20, 1))
    where = [int((data.inputs == row).all(1).nonzero()) for row in expected]
    assert where == sorted(set(where)) and where[0] < 10 and where[-1] >= 40
    assert torch.equal(drawn(data, 100, 0), data.inputs)


def test_readers_of_other_kinds_are_named():
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 3, 3), nn.Flatten())
    data = samples((1, 8))
    with pytest.raises(ValueError, match=r"two-dimensional convolutions; '2\.weight' belongs to"):
        prune(model, data, SMALL, density=0.6)


def test_numbers_that_are_not_finite_are_named():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    with torch.no_grad():
        model[1].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="channels of '1' are NaN or infinite"):
        prune(model, data, SMALL, density=0.5)


@pytest.mark.parametrize(("change", "match"), [
    ({"selection": "backward"}, "selection must be 'removal'"),
    ({"images": 0}, "images must be"),
    ({"pairs": 0}, "pairs must be"),
    ({"seed": -1}, "seed must be"),
    ({"least": 0}, "least must be"),
])  # fmt: skip
def test_bad_fields(change, match):
    with pytest.raises(ValueError, match=match):
        replace(SMALL, **change)


@pytest.mark.parametrize("net", CHANNEL_NETS)
@pytest.mark.parametrize("check", STRUCTURED_CHECKS, ids=lambda check: check.__name__)
def test_conformance(check, net):
    check(SMALL, CHANNEL_NETS[net])
