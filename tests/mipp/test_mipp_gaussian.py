import math

import numpy as np
import pytest
import torch
from scipy.stats import f as f_law

from mitools.mipp import Gaussian, Layer, Relation, layer_of
from mitools.mipp.wilks import wilks_p

TOLERANCE = 1e-8


def activations(kind, d, seed=0, n=400):
    """Random rows; or badly scaled ones with a copy, a dead one and one that is nearly a copy."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    if kind == "random":
        return np.maximum(a, 0.0)
    a *= 10.0 ** rng.uniform(-4, 4, d)
    a[:, 1], a[:, 3] = a[:, 0], 0.0
    a[:, -1] = 2 * a[:, 2] * (1 + 1e-5 * rng.standard_normal(n))
    return a


def weights(a, t, seed=1):
    scale = a.std(0)
    return np.random.default_rng(seed).standard_normal((t, a.shape[1])) / np.where(scale, scale, 1)


def relation(a, w, variables, *, exact=True, name="next.weight"):
    joint = torch.from_numpy(np.cov(np.hstack([a, a @ w.T]).T, bias=True))
    d = a.shape[1]
    known = {"weight": torch.from_numpy(w)}
    measured = {"cross": joint[:d, d:], "spread": joint[d:, d:]}
    given = known if exact else measured
    return Relation(name, variables, len(a), covariance=joint[:d, :d], **given)


class Refit:
    """Straight from the definition: least squares on rows, anew for every set of channels.

    The ridge is rows of its own, below those of the data.
    """

    def __init__(self, a, w, variables, noise, ridge):
        a = a - a.mean(0)
        self.n, scale = len(a), a.std(0)
        rows = a / np.where(scale > 0, scale, 1)
        self.x = np.vstack([rows, math.sqrt(self.n * ridge) * np.eye(a.shape[1])])
        t = self.x @ (w * scale).T
        self.t = t / np.sqrt((t**2).sum(0) / self.n)
        self.variables, self.noise = variables, noise

    def information(self, channels):
        own = {v for each in self.variables for v in each}
        others = [v for v in range(self.x.shape[1]) if v not in own]
        x = self.x[:, [*others, *(v for c in channels for v in self.variables[c])]]
        rest = self.t - x @ np.linalg.lstsq(x, self.t, rcond=None)[0]
        noise = self.noise * np.eye(self.t.shape[1])
        whole, left = (np.linalg.slogdet(r.T @ r / self.n + noise)[1] for r in (self.t, rest))
        return (whole - left) / 2

    def phi(self, channels, out):
        rest = [c for c in channels if c != out]
        return self.information(channels) - self.information(rest)

    def backward(self, least=1):
        left, steps = list(range(len(self.variables))), []
        while len(left) > least:
            phi = [self.phi(left, c) for c in left]
            best = int(np.argmin(phi))
            steps.append((left.pop(best), phi[best]))
        return steps


def channels_of(size, count):
    return tuple(tuple(range(c * size, (c + 1) * size)) for c in range(count))


def dropped(answer):
    return [(step.channel, step.phi) for step in answer.steps if not step.kept]


@pytest.mark.parametrize("kind", ["random", "ill-conditioned"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("noise", [1.0, 1e-3])
def test_every_step_equals_refitting_without_each_channel(kind, size, noise):
    variables = channels_of(size, 10)
    a = activations(kind, 10 * size)
    w = weights(a, 7)
    engine = Gaussian(noise=noise)
    answer = engine.eliminate(Layer("layer", 10, (relation(a, w, variables),)), width=1)
    refit = Refit(a, w, variables, noise, engine.ridge)
    expected = refit.backward()
    assert [c for c, _ in dropped(answer)] == [c for c, _ in expected]
    assert max(abs(x - y) for (_, x), (_, y) in zip(dropped(answer), expected, strict=True)) < (
        TOLERANCE
    )
    assert answer.before == pytest.approx(refit.information(range(10)), abs=TOLERANCE)
    assert answer.before - answer.after == pytest.approx(
        sum(phi for _, phi in dropped(answer)), abs=TOLERANCE
    )
    assert answer.drift < TOLERANCE


@pytest.mark.parametrize("kind", ["random", "ill-conditioned"])
def test_those_that_stay_come_with_what_they_tell_at_the_end(kind):
    a = activations(kind, 12)
    w = weights(a, 5)
    engine = Gaussian(noise=0.1)
    answer = engine.eliminate(Layer("layer", 12, (relation(a, w, channels_of(1, 12)),)), width=4)
    refit = Refit(a, w, channels_of(1, 12), 0.1, engine.ridge)
    stay = answer.kept.nonzero().flatten().tolist()
    ends = [step for step in answer.steps if step.kept]
    assert sorted(step.channel for step in ends) == stay and len(stay) == 4
    for step in ends:
        assert step.phi == pytest.approx(refit.phi(stay, step.channel), abs=TOLERANCE)


def test_large_layers_go_through_panels_and_shrinking_unharmed():
    variables, a = channels_of(4, 90), activations("random", 360, n=900)
    w = weights(a, 20)
    engine = Gaussian(noise=0.01)
    answer = engine.eliminate(Layer("layer", 90, (relation(a, w, variables),)), width=9)
    refit = Refit(a, w, variables, 0.01, engine.ridge)
    stay = answer.kept.nonzero().flatten().tolist()
    assert answer.after == pytest.approx(refit.information(stay), abs=TOLERANCE)
    ends = [step for step in answer.steps if step.kept]
    for step in ends[:3]:
        assert step.phi == pytest.approx(refit.phi(stay, step.channel), abs=TOLERANCE)


def test_rounding_is_seen_and_everything_computed_anew():
    rng = np.random.default_rng(3)
    half = rng.standard_normal((300, 40))
    a = np.hstack([half, half + 1e-4 * rng.standard_normal((300, 40))])
    w = weights(a, 10)
    layer = Layer("layer", 80, (relation(a, w, channels_of(1, 80)),))
    answer = Gaussian(noise=0.1, ridge=0.0).eliminate(layer, width=44)  # before half are gone
    refit = Refit(a, w, channels_of(1, 80), 0.1, 0.0)
    stay = answer.kept.nonzero().flatten().tolist()
    alone = [step for step in answer.steps if step.kept and (step.channel + 40) % 80 not in stay]
    assert len(alone) > 30 and answer.drift > 0.0
    for step in alone[::6]:
        assert step.phi == pytest.approx(refit.phi(stay, step.channel), abs=TOLERANCE)


def test_consumers_add_up():
    a, b = activations("random", 8, seed=1), activations("random", 16, seed=2)
    w, v = weights(a, 4), weights(b, 6)
    pair = relation(a, w, channels_of(1, 8)), relation(b, v, channels_of(2, 8), name="other")
    answer = Gaussian(noise=0.5).eliminate(Layer("layer", 8, pair), width=2)
    first = Refit(a, w, channels_of(1, 8), 0.5, 1e-6)
    second = Refit(b, v, channels_of(2, 8), 0.5, 1e-6)
    left = list(range(8))
    for channel, phi in dropped(answer):
        both = {c: first.phi(left, c) + second.phi(left, c) for c in left}
        assert channel == min(both, key=lambda c: both[c])
        assert phi == pytest.approx(both[channel], abs=TOLERANCE)
        left.remove(channel)


@pytest.mark.parametrize("exact", [True, False])
def test_columns_of_no_channel_stay(exact):
    a = activations("random", 9)
    w = weights(a, 4)
    variables = channels_of(1, 6)
    layer = Layer("layer", 6, (relation(a, w, variables, exact=exact),))
    answer = Gaussian(noise=0.2, ridge=0.0).eliminate(layer, width=1)
    expected = Refit(a, w, variables, 0.2, 0.0).backward()
    for (c, phi), (d, psi) in zip(dropped(answer), expected, strict=True):
        assert c == d and phi == pytest.approx(psi, abs=TOLERANCE)


def test_two_independent_channels_tell_what_the_formula_says():
    rows = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1.0]])  # unit variances, no correlation
    w = np.array([[3.0, 1.0]])
    layer = Layer("layer", 2, (relation(rows, w, channels_of(1, 2)),))
    answer = Gaussian(noise=0.1, ridge=0.0).eliminate(layer, width=1)
    assert answer.before == pytest.approx(math.log(1.1 / 0.1) / 2)
    assert dropped(answer) == [(1, pytest.approx(math.log((0.1 + 0.1) / 0.1) / 2))]
    assert answer.after == pytest.approx(math.log(1.1 / (0.1 + 0.1)) / 2)


def decided(rows, target, engine):
    """Return what stays where a target is measured."""
    w = np.linalg.lstsq(rows, target, rcond=None)[0].T
    layer = Layer("layer", rows.shape[1], (relation(rows, w, channels_of(1, rows.shape[1])),))
    return set(engine.eliminate(layer).kept.nonzero().flatten().tolist())


@pytest.mark.parametrize("seed", range(20))
def test_known_answers(seed):
    rng = np.random.default_rng(seed)
    x, y, z = rng.standard_normal((3, 2_000))
    terc, back = Gaussian(order="terc"), Gaussian(order="backward")
    total = (x + y)[:, None]
    assert decided(np.column_stack([x, y, x + y]), total, terc) == {2}  # least informative first
    for engine in (terc, back):
        both = np.column_stack([x, y])
        assert decided(np.column_stack([x, y, x]), both, engine) in ({0, 1}, {1, 2})
        assert decided(np.column_stack([x, y, z, 0 * x]), both, engine) == {0, 1}


@pytest.mark.parametrize("order", ["backward", "terc"])
def test_more_noise_or_confidence_keeps_less_and_widths_are_exact(order):
    a = activations("random", 30)
    layer = Layer("layer", 30, (relation(a, weights(a, 8), channels_of(1, 30)),))
    engine = Gaussian(order=order)
    kept = [
        int(Gaussian(noise=noise, order=order).eliminate(layer).kept.sum())
        for noise in (1e-3, 3.0, 10.0, 1e4)
    ]
    assert kept == sorted(kept, reverse=True) and kept[0] > kept[1] > kept[2] > kept[3]
    sure = [
        int(Gaussian(noise=3.0, confidence=c, order=order).eliminate(layer).kept.sum())
        for c in (0.5, 0.95, 1 - 1e-9)
    ]
    assert sure[0] >= sure[1] >= sure[2] and sure[0] > sure[2]
    for width in (1, 7, 30):
        assert int(engine.eliminate(layer, width=width).kept.sum()) == width
    assert int(Gaussian(noise=1e6, order=order).eliminate(layer, least=5).kept.sum()) == 5


def test_what_stays_is_significant_and_what_goes_is_not():
    a = activations("random", 20)
    layer = Layer("layer", 20, (relation(a, weights(a, 4), channels_of(1, 20)),))
    answer = Gaussian(noise=1.0, confidence=0.99).eliminate(layer)
    assert 1 < int(answer.kept.sum()) < 20
    assert all((step.p_value <= 0.01) == step.kept for step in answer.steps)


def test_wilks_is_the_f_test_of_one_variable_and_of_one_target():
    n, others, t = 50, 6, 4
    phi = 0.11
    q = math.expm1(2 * phi)
    rest = n - (others + 1) - t
    assert wilks_p(phi, 1, t, others, n) == pytest.approx(f_law.sf(q * rest / t, t, rest))
    free = n - 1 - others - 3
    assert wilks_p(phi, 3, 1, others, n) == pytest.approx(f_law.sf(q * free / 3, 3, free))


def test_wilks_holds_its_level_where_nothing_is_told():
    rng = np.random.default_rng(0)
    n, others, g, t = 40, 3, 4, 3
    found = []
    for _ in range(600):
        x, y = rng.standard_normal((n, others + g)), rng.standard_normal((n, t))
        rests = []
        for columns in (others, others + g):
            z = np.column_stack([np.ones(n), x[:, :columns]])
            r = y - z @ np.linalg.lstsq(z, y, rcond=None)[0]
            rests.append(np.linalg.slogdet(r.T @ r)[1])
        found.append(wilks_p((rests[0] - rests[1]) / 2, g, t, others, n))
    for level in (0.05, 0.5):
        share = np.mean(np.array(found) <= level)
        assert abs(share - level) < 3.5 * math.sqrt(level * (1 - level) / 600)


def test_chance_in_many_columns_goes_though_one_column_tells_less():
    rng, stays = np.random.default_rng(0), np.zeros(2)
    for _ in range(60):
        x = rng.standard_normal((200, 10))
        y = 0.2 * x[:, 0] + rng.standard_normal(200)  # 0.02 nats; chance in nine: 0.0225
        layer = layer_of(x, y, groups=[[0], list(range(1, 10))])
        stays += Gaussian(noise=1e-6).eliminate(layer, least=0).kept.numpy()
    assert stays[0] > 35 and stays[1] < 9


@pytest.mark.parametrize("order", ["backward", "terc"])
def test_nothing_stays_where_nothing_needs_to(order):
    x = np.random.default_rng(0).standard_normal((100, 4))
    engine = Gaussian(order=order)
    for width in (0, None):
        answer = engine.eliminate(layer_of(x, np.ones(100)), least=0, width=width)
        assert not answer.kept.any() and answer.after == 0.0
    for wrong in ({"width": 5}, {"width": -1}, {"width": 2.5}, {"least": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            engine.eliminate(layer_of(x, x[:, 0]), **wrong)


def test_with_few_rows_channels_go_until_the_others_can_be_tested():
    a = activations("random", 40, n=30)
    layer = Layer("layer", 40, (relation(a, weights(a, 4), channels_of(1, 40)),))
    answer = Gaussian(noise=1e-4).eliminate(layer)
    assert 10 < int(answer.kept.sum()) < 30
    assert "30 rows are no more than variables and targets together, 44" in answer.notes[0]


def test_too_few_rows_for_any_test():
    a = activations("random", 12, n=18)
    layer = Layer("layer", 12, (relation(a, weights(a, 17), channels_of(1, 12)),))
    with pytest.raises(ValueError, match=r"more rows than targets.*got 18 rows and 17 targets"):
        Gaussian().eliminate(layer)
    assert int(Gaussian().eliminate(layer, width=3).kept.sum()) == 3


def test_singular_without_a_ridge():
    a = activations("ill-conditioned", 8)
    layer = Layer("layer", 8, (relation(a, weights(a, 3), channels_of(1, 8)),))
    with pytest.raises(ValueError, match=r"ridge must be large enough"):
        Gaussian(ridge=0.0).eliminate(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": 0.0}, "noise must be positive"),
        ({"noise": math.inf}, "noise must be positive"),
        ({"confidence": 1.0}, "confidence must lie strictly between 0 and 1"),
        ({"order": "forward"}, "order must be one of"),
        ({"ridge": -1.0}, "ridge must be finite"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(**options)


def test_engine_is_a_value():
    engine = Gaussian(noise=0.3, confidence=0.9, order="terc", ridge=1e-7)
    assert eval(repr(engine)) == engine
    assert engine.at(0.0).noise < 1e-5 < 1e5 < engine.at(1.0).noise
    assert engine.at(0.5).confidence == 0.9
