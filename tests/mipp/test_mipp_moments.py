from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mitools.mipp import moments
from mitools.models import fingerprint, lenet5, mlp, vit


@pytest.fixture
def net():
    return mlp((6, 5, 4, 3), seed=1).double()


def data(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(*shape, generator=draw, dtype=torch.float64)
    return inputs, torch.zeros(len(inputs), dtype=torch.int64)


def covariance(rows):
    return np.cov(rows.detach().numpy().T, bias=True)


def batches(pair, size):
    return [(x, y) for x, y in zip(*(t.split(size) for t in pair), strict=True)]


def test_units_have_the_moments_of_all_rows(net):
    pair = data(203, 6)
    known = moments(net, batches(pair, 32))
    hidden = net.relu2(net.fc2(net.relu1(net.fc1(pair[0]))))
    reading = known.readings["fc3.weight"]
    assert (reading.count, reading.columns, reading.kernel) == (203, 4, 1)
    np.testing.assert_allclose(reading.mean, hidden.mean(0).detach(), rtol=1e-12)
    np.testing.assert_allclose(reading.covariance, covariance(hidden), atol=1e-13)
    assert [group.name for group in known.groups] == ["fc1", "fc2"]
    assert list(known.readings) == ["fc2.weight", "fc3.weight"]


def test_moments_do_not_lose_digits_where_means_are_large(net):
    x, y = data(500, 6)
    with torch.no_grad():
        net.fc1.bias += 1e6  # every unit is on
    found = moments(net, batches((x, y), 50)).readings["fc2.weight"].covariance
    np.testing.assert_allclose(found, covariance(net.fc1(x) - 1e6), rtol=1e-5, atol=1e-8)


def test_batches_do_not_matter(net):
    pair = data(300, 6)
    one, many = (moments(net, batches(pair, size)) for size in (300, 7))
    for name, reading in one.readings.items():
        torch.testing.assert_close(reading.covariance, many.readings[name].covariance)
    images, conv = data(90, 2, 8, 8), conv_net()
    one, many = (
        moments(conv, batches(images, size), places=5, rows=50).readings["2.weight"]
        for size in (90, 7)
    )
    torch.testing.assert_close(one.covariance, many.covariance)
    torch.testing.assert_close(one.rows, many.rows)


def conv_net(**options):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3, **options), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    ).double()  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": 1}, {"stride": 2, "padding": 2, "dilation": 2}, {"padding": "same"}],
)
def test_patches_are_what_the_kernel_is_multiplied_with(options):
    net, pair = conv_net(**options), data(20, 2, 9, 9)
    reading = moments(net, pair, places=None).readings["2.weight"]
    read = net[1](net[0](pair[0]))
    plain = {k: 1 if v == "same" else v for k, v in options.items()}
    rows = F.unfold(read, 3, **plain).transpose(1, 2).flatten(0, 1)
    assert (reading.count, reading.columns, reading.kernel) == (len(rows), 27, 9)
    np.testing.assert_allclose(reading.mean, rows.mean(0).detach(), atol=1e-14)
    np.testing.assert_allclose(reading.covariance, covariance(rows), atol=1e-14)


def test_some_places_are_a_fair_sample():
    net, pair = conv_net(padding=1), data(400, 2, 9, 9)
    every = moments(net, pair, places=None).readings["2.weight"]
    some = moments(net, pair, places=10).readings["2.weight"]
    other = moments(net, pair, places=10, seed=1).readings["2.weight"]
    assert some.count == 4_000 and every.count == 400 * 49
    assert not torch.equal(some.mean, other.mean)
    deviations = every.covariance.diagonal().sqrt()
    assert ((some.mean - every.mean).abs() < 5 * deviations / np.sqrt(4_000)).all()


def test_means_over_places():
    net, pair = conv_net(), data(30, 2, 9, 9)
    reading = moments(net, pair, reduce="mean").readings["2.weight"]
    rows = net[1](net[0](pair[0])).mean((2, 3))
    assert (reading.count, reading.columns, reading.kernel) == (30, 3, 1)
    np.testing.assert_allclose(reading.covariance, covariance(rows), atol=1e-14)


def test_tokens_are_places():
    net = vit(1, size=4, patch=2, width=8, depth=1, heads=2).double()
    pair = data(25, 1, 4, 4)
    known = moments(net, pair)
    assert known.readings["block1.fc2.weight"].count == 25 * 4
    assert [g.name for g in known.groups] == ["block1.attention", "block1.fc1"]
    assert moments(net, pair, reduce="mean").readings["block1.fc2.weight"].count == 25


def test_outputs_come_as_more_columns(net):
    pair = data(100, 6)
    reading = moments(net, pair, target="output").readings["fc2.weight"]
    joint = torch.cat([net.relu1(net.fc1(pair[0])), net(pair[0])], dim=1)
    assert (reading.columns, len(reading.mean)) == (5, 8)
    np.testing.assert_allclose(reading.covariance, covariance(joint), atol=1e-13)


def test_inputs_are_a_group_of_their_own(net):
    pair = data(100, 6)
    known = moments(net, pair, inputs=True)
    assert (known.groups[0].name, known.groups[0].size) == ("inputs", 6)
    np.testing.assert_allclose(
        known.readings["fc1.weight"].covariance, covariance(pair[0]), atol=1e-13
    )
    images = moments(lenet5(size=8), data(20, 1, 8, 8), inputs=True)
    assert (images.groups[0].size, images.groups[0].parts[0].parameter) == (1, "conv1.weight")


def test_inputs_that_no_layer_reads_as_they_are():
    net = nn.Sequential(nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with pytest.raises(ValueError, match=r"inputs must be False unless.*none"):
        moments(net, data(10, 4), inputs=True)
    named = nn.Sequential(OrderedDict(inputs=nn.Linear(4, 3), out=nn.Linear(3, 2))).double()
    with pytest.raises(ValueError, match="where a layer is called 'inputs'"):
        moments(named, data(10, 4), inputs=True)


def test_rows_are_rows_of_the_data_each_at_most_once(net):
    pair = data(200, 6)
    rows = moments(net, batches(pair, 30), rows=50).readings["fc2.weight"].rows
    every = net.relu1(net.fc1(pair[0])).detach()
    where = (rows[:, None] == every).all(2).nonzero()[:, 1]
    assert rows.shape == (50, 5) and len(set(where.tolist())) == 50
    assert where.max() > 150 and where.min() < 50


def test_nothing_is_changed_and_seeds_decide(net):
    net.train()
    before, state = fingerprint(net), torch.get_rng_state()
    pair = data(64, 6)
    one, two = (moments(net, pair, rows=8, seed=3) for _ in range(2))
    assert fingerprint(net) == before and net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.readings["fc2.weight"].rows, two.readings["fc2.weight"].rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "loss"}, "target must be one of"),
        ({"reduce": "max"}, "reduce must be one of"),
        ({"target": "output", "reduce": "patches"}, "reduce must be 'mean' for target='output'"),
        ({"places": 0}, "places must be at least 1"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_options(net, options, message):
    with pytest.raises(ValueError, match=message):
        moments(net, data(10, 6), **options)


def test_activations_that_overflow(net):
    with torch.no_grad():
        net.fc1.weight *= 1e200
        net.fc2.weight *= 1e200
    with pytest.raises(ValueError, match=r"finite"):
        moments(net, data(10, 6))
