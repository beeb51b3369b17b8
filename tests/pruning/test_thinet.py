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
from mitools.pruning import Random, Structured, ThiNet, prune
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
