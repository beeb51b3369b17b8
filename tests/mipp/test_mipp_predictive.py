"""MIPP as published, and amortised: known answers, gains against linear algebra, layers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mitools.data import digits
from mitools.mipp import Elimination, Engine, Gaussian, Layer, Predictive, layer_of, mipp
from mitools.mipp.forecasts import forecast_of
from mitools.mipp.perceptrons import Shape, drawn
from mitools.models import lenet5, mlp

QUICK = {
    "retrained": Predictive(steps=400, retrain=150, attempts=3, repeats=3, rows=500),
    "amortised": Predictive(training="amortised", steps=500, retrain=150, repeats=3, rows=500),
}
both = pytest.mark.parametrize("engine", QUICK.values(), ids=QUICK)


def bits(seed: int, n: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (n, count))


def redundant(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:, [0, 1, 2, 0, 0, 0]], (x == x[:, :1]).all(1)


def triplets(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:, [0, 1, 2, 0, 1, 2]], (x == x[:, :1]).all(1)


def pair(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:, [0, 1, 1]], x[:, 0] + 2 * x[:, 1]


def exclusive_or(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:, :2], x[:, 0] ^ x[:, 1]


def total(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.column_stack([x[:, :2], x[:, 0] + x[:, 1]]), x[:, 0] + x[:, 1]


def symbol(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.column_stack([x[:, :2], 2 * x[:, 0] + x[:, 1]]), 2 * x[:, 0] + x[:, 1]


KNOWN = {
    redundant: [{1, 2, i} for i in (0, 3, 4, 5)],
    triplets: [{a, b, c} for a in (0, 3) for b in (1, 4) for c in (2, 5)],
    pair: [{0, 1}, {0, 2}],
    exclusive_or: [{0, 1}],
    total: [{2}],
    symbol: [{2}],
}


def kept(found: Elimination) -> set[int]:
    return set(found.kept.nonzero().flatten().tolist())


def numbers(seed: int, n: int, d: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, x[:, 0] + x[:, 1] + noise * rng.standard_normal(n)


@pytest.mark.parametrize(
    ("training", "make"),
    [("retrained", pair), ("retrained", exclusive_or), ("amortised", pair), ("amortised", total)],
)
def test_minimal_sets_of_known_laws(training, make):
    x, target = make(bits(1, 600, 3))
    found = QUICK[training].eliminate(layer_of(x, target, classes=True), least=0)
    assert kept(found) in KNOWN[make]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("training", QUICK)
@pytest.mark.parametrize("make", KNOWN)
def test_minimal_sets_of_all_known_laws(make, training, seed):
    x, target = make(bits(seed, 2_000, 3))
    engine = Predictive(training=training, seed=seed)
    found = engine.eliminate(layer_of(x, target, classes=True), least=0)
    assert kept(found) in KNOWN[make]


@pytest.mark.slow
@pytest.mark.parametrize("training", QUICK)
@pytest.mark.parametrize("seed", range(3))
def test_secret_key(training, seed):
    x = np.random.default_rng(seed).integers(0, 11, (2_000, 25))
    target = 3 * x[:, 0] - 3 * x[:, 1] + x[:, 2]
    found = Predictive(training=training, seed=seed).eliminate(layer_of(x, target), least=0)
    assert kept(found) == {0, 1, 2}


@both
def test_a_spread_is_seen_by_the_normal_head_alone(engine):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.chisquare(1, 900), rng.standard_normal(900)])
    layer = layer_of(x, np.sqrt(x[:, 0]) * rng.standard_normal(900))
    assert kept(engine.eliminate(layer, least=0)) == set()
    assert kept(replace(engine, head="normal").eliminate(layer, least=0)) == {0}


@both
def test_useless_features_go_and_tell_nothing_held_out(engine):
    rng = np.random.default_rng(3)
    layer = layer_of(rng.standard_normal((90, 20)), rng.standard_normal(90))
    found = engine.eliminate(layer, least=0)
    assert len(kept(found)) <= 2
    # A least-squares fit explains a fifth of the variance on its own 90 rows: 0.12 nats.
    assert found.before < 0.04


def test_information_of_linear_numbers_is_that_of_the_closed_form():
    layer = layer_of(*numbers(0, 1_500, 3))
    found, exact = Predictive(steps=800, repeats=4).eliminate(layer), Gaussian().eliminate(layer)
    assert kept(found) == kept(exact) == {0, 1}
    assert found.before == pytest.approx(exact.before, abs=0.03)
    told = {step.channel: step.phi for step in found.steps}
    truth = {step.channel: step.phi for step in exact.steps}
    assert [told[i] for i in range(2)] == pytest.approx([truth[i] for i in range(2)], abs=0.05)


def test_gains_are_log_determinants_of_held_out_errors():
    rng = np.random.default_rng(0)
    layer = layer_of(rng.standard_normal((60, 2)), rng.standard_normal((60, 3)))
    forecast = forecast_of(layer.relations[0], "squared", 0.2, 3, torch.Generator())
    less, more = (torch.from_numpy(rng.standard_normal((3, 20, 3)) * s) for s in (1.0, 0.3))
    terms = forecast.gains(less, more)
    assert terms.shape == (3, 20)
    for k in range(3):
        sizes = [
            np.linalg.slogdet(e[k].numpy().T @ e[k].numpy() / 20 + 0.2 * np.eye(3))[1] / 2
            for e in (less, more)
        ]
        assert float(terms[k].mean()) == pytest.approx(sizes[0] - sizes[1], abs=1e-12)


def test_every_row_is_judged_once_by_networks_that_never_saw_it():
    layer = layer_of(*numbers(0, 103, 2))
    forecast = forecast_of(layer.relations[0], "squared", 0.1, 5, torch.Generator())
    assert len(set(forecast.judge.flatten().tolist())) == forecast.judge.numel() == 100
    for k in range(5):
        fit, choose, judge = (
            set(rows[k].tolist())
            for rows in (forecast.rows.fit, forecast.rows.choose, forecast.judge)
        )
        assert len(fit | choose | judge) == len(fit) + len(choose) + len(judge) == 100


def test_networks_without_an_input_are_those_that_read_zero_there():
    networks = drawn(2, Shape(4, 3, 5, True), torch.zeros(3), torch.Generator().manual_seed(0))
    for weight in networks.weights:
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    x, gone = torch.randn(2, 7, 4), torch.tensor([False, True, False, True])
    masked = networks(x * ~gone)
    assert torch.allclose(networks.without(gone)(x[..., ~gone]), masked, atol=1e-6)
    assert not torch.allclose(networks(x), masked, atol=1e-2)


@both
def test_columns_go_together_and_those_of_nobody_stay(engine):
    x, target = numbers(2, 500, 5)
    groups = [[0, 4], [2, 3]]  # column 1, which matters, is nobody's
    found = engine.eliminate(layer_of(x, target, groups=groups), least=0)
    assert kept(found) == {0}
    assert found.after == pytest.approx(0.5 * math.log(2.25 * 1.1 / (0.25 + 0.225)), abs=0.12)


@both
@pytest.mark.parametrize("width", [1, 2, 4])
def test_widths_are_met_and_the_best_stay(engine, width):
    x, target = numbers(4, 300, 4)
    found = engine.eliminate(layer_of(x, target), width=width)
    assert len(kept(found)) == width
    assert (kept(found) <= {0, 1}) if width < 3 else kept(found) == set(range(4))
    assert [step.kept for step in found.steps] == [False] * (4 - width) + [True] * width
    assert all(math.isfinite(step.phi) for step in found.steps)


@both
def test_a_seed_decides_and_nothing_global_does(engine):
    layer = layer_of(*numbers(5, 120, 3))
    engine = replace(engine, steps=40, retrain=20)
    state = torch.random.get_rng_state()
    first = engine.eliminate(layer)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert engine.eliminate(layer).steps == first.steps
        assert replace(engine, seed=1).eliminate(layer).steps != first.steps
    finally:
        torch.set_num_threads(threads)


@both
def test_a_dead_unit_goes_and_a_copy_goes(engine):
    model = mlp((64, 5, 10))
    assert isinstance(model.fc1, nn.Linear)
    with torch.no_grad():
        model.fc1.weight[1] = 0.0  # a dead unit: relu(-1)
        model.fc1.bias[1] = -1.0
        model.fc1.weight[4] = 5.0 * model.fc1.weight[2]
        model.fc1.bias[4] = 5.0 * model.fc1.bias[2]
    found = mipp(model, digits(), replace(engine, margin=0.1, steps=1_500, rows=1_000))
    stays = found.kept["fc1"]
    assert not stays[1]
    assert int(stays[2]) + int(stays[4]) == 1
    assert found.mask.nonzeros == int(stays.sum()) * (64 + 10)


@both
def test_filters_go_as_groups(engine):
    model = lenet5(size=8)
    data = digits()
    data = type(data)(data.inputs.reshape(-1, 1, 8, 8), data.targets)
    few = replace(engine, rows=200, steps=20, retrain=10, attempts=1)
    found = mipp(model, data, few, widths={"conv1": 3})
    assert int(found.kept["conv1"].sum()) == 3
    assert set(found.kept) == {"conv1"}


@pytest.mark.parametrize("engine", [Predictive(), Predictive(margin=0.5, head="normal", steps=9)])
def test_values(engine):
    assert isinstance(engine, Engine)
    assert eval(repr(engine)) == engine
    assert engine.at(0.0).margin < engine.at(0.5).margin < engine.at(1.0).margin


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.5}, "confidence"),
        ({"margin": -1.0}, "margin"),
        ({"noise": math.nan}, "noise"),
        ({"training": "distilled"}, "training"),
        ({"head": "poisson"}, "head"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"repeats": 1}, "repeats"),
        ({"steps": 0}, "steps"),
        ({"hidden": 2.5}, "hidden"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Predictive(**options)


def test_bad_rows():
    layer = layer_of(*numbers(0, 10, 2))
    with pytest.raises(ValueError, match="rows must be at least four"):
        Predictive().eliminate(layer)
    bare = Layer("a", 2, (replace(layer.relations[0], features=None),))
    with pytest.raises(ValueError, match="must come with rows"):
        Predictive().eliminate(bare)
    with pytest.raises(ValueError, match="width must be at most 2, the channels of 'features'"):
        Predictive().eliminate(layer, width=3)
    constant = layer_of(np.ones((40, 1)), np.ones(40))
    with pytest.raises(ValueError, match="noise must be positive"):
        Predictive(noise=0.0, steps=1, repeats=2).eliminate(constant)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups": [[0], [2]]}, "column 2"),
        ({"groups": [[0], [0]]}, "twice"),
        ({"groups": [[0], [0.5]]}, "integer; got 0.5"),
        ({"groups": [[0], []]}, "without columns"),
        ({"groups": []}, "none"),
        ({"target": np.zeros((30, 2)), "classes": True}, "one column"),
        ({"target": np.zeros(29)}, "same number"),
        ({"target": np.full(30, np.nan)}, "target"),
    ],
)
def test_bad_arrays(given, message):
    x, target = numbers(0, 30, 2)
    with pytest.raises(ValueError, match=message):
        layer_of(x, **{"target": target, **given})
