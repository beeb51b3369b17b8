"""CalibratedKSG: closed forms, what must not change it, and each of its parts on its own."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t, spearmanr

from mitools.measures import mutual_information
from mitools.methods import KSG, CalibratedKSG, GaussianCopula
from mitools.methods._critic import Course, Critic, _slope, cross_fitted
from mitools.methods._elliptical import Elliptical, agreement, chosen, fitted, ranked
from mitools.methods._rewiring import mean_normaliser, rewired

QUICK = CalibratedKSG(learn=False)


def pairs(seed, n, d, rho, nu=math.inf):
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, n, d))
    y = rho * x + math.sqrt(1 - rho**2) * noise
    scale = np.sqrt(nu / rng.chisquare(nu, (n, 1))) if math.isfinite(nu) else 1.0
    return x * scale, y * scale


def turned(x, speed):
    angle = speed * np.hypot(x[:, 0], x[:, 1])
    a = np.cos(angle) * x[:, 0] - np.sin(angle) * x[:, 1]
    b = np.sin(angle) * x[:, 0] + np.cos(angle) * x[:, 1]
    return np.column_stack((a, b, x[:, 2:]))


@pytest.mark.parametrize(("d", "rho"), [(1, 0.3), (1, 0.95), (5, 0.5), (20, 0.3)])
def test_gaussian_pairs(d, rho):
    errors = []
    for seed in range(3):
        x, y = pairs(seed, 2_000, d, rho)
        errors.append(QUICK.mutual_information(np.exp(x), y**3) + d / 2 * math.log1p(-(rho**2)))
    assert abs(np.mean(errors)) < 0.03


def test_heavy_tails_shared_in_many_dimensions_are_seen():
    # Uncorrelated; the truth is h(4) + h(4) - h(8) for nu = 2, from the literature's closed form.
    x, y = pairs(1, 3_000, 4, 0.0, nu=2.0)
    found = QUICK.explained(x, y)
    assert found.value == pytest.approx(0.3803, abs=0.06)
    assert "t copula" in found.model
    assert abs(GaussianCopula().mutual_information(x, y)) < 0.05  # what it had to see beyond


def test_heavy_tails_of_each_alone_are_not_dependence():
    x, _ = pairs(2, 3_000, 4, 0.0, nu=1.5)
    y, _ = pairs(3, 3_000, 4, 0.0, nu=1.5)
    assert abs(QUICK.mutual_information(x, y)) < 0.02


def test_independent_variables_give_zero_on_average():
    values = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        values.append(QUICK.mutual_information(rng.random((300, 2)), rng.random((300, 1))))
    assert abs(np.mean(values)) < 3 * np.std(values) / 5 + 1e-3
    assert np.std(values) < 0.03


def test_what_only_neighbours_see():
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (2_000, 1))
    y = x**2 + 0.1 * np.random.default_rng(1).standard_normal((2_000, 1))
    found = QUICK.explained(x, y)
    assert abs(found.model_nats) < 0.1
    assert found.weight > 0.99
    assert found.value == pytest.approx(KSG(scale="rank").mutual_information(x, y), abs=0.03)


def test_the_parts_make_up_the_whole():
    found = QUICK.explained(*pairs(4, 500, 2, 0.6))
    seen = found.neighbors - np.mean(found.surrogates)
    assert found.value == pytest.approx(found.model_nats + found.weight * seen, abs=1e-12)
    assert f"{found.value:.4g}" in str(found)
    assert found.gain is None


def test_neither_order_nor_units_nor_threads_matter():
    x, y = pairs(5, 600, 2, 0.7, nu=3.0)
    y = np.column_stack((y, np.random.default_rng(0).random(600)))
    value = CalibratedKSG().mutual_information(x, y)
    assert CalibratedKSG().mutual_information(y, x) == value
    assert CalibratedKSG().mutual_information(np.exp(x / 9), 1e6 * y**3 - 5) == value
    assert CalibratedKSG(seed=1).mutual_information(x, y) == pytest.approx(value, abs=0.1)
    assert eval(repr(CalibratedKSG(5, False, 7))) == CalibratedKSG(5, False, 7)


def test_degenerate_columns():
    x, y = pairs(6, 400, 2, 0.6)
    value = QUICK.mutual_information(x, y)
    padded = np.column_stack((x, np.ones(400), x[:, 1] ** 3))
    assert QUICK.mutual_information(padded, y) == pytest.approx(value, abs=0.03)
    assert QUICK.mutual_information(np.ones((400, 1)), y) == 0.0
    assert QUICK.mutual_information(x, np.exp(x[:, :1])) == math.inf
    with pytest.raises(ValueError, match="more samples"):
        QUICK.mutual_information(x[:4], y[:4])
    with pytest.raises(ValueError, match="k must"):
        CalibratedKSG(k=0)


def test_condition_by_the_chain_rule():
    z = np.random.default_rng(7).standard_normal((2_000, 1))
    x, y = z + np.random.default_rng(8).standard_normal((2, 2_000, 1))
    assert abs(QUICK.conditional_mutual_information(x, y, z)) < 0.05
    found = QUICK.conditional_mutual_information(x, x + y, z)
    assert found == pytest.approx(math.log(2) / 2, abs=0.06)


def test_standard_error_is_that_of_repetition():
    found = [mutual_information(*pairs(seed, 500, 1, 0.6), QUICK) for seed in range(24)]
    truth = -0.5 * math.log(1 - 0.6**2)
    held = [each.interval[0] <= truth <= each.interval[1] for each in found]
    assert sum(held) >= 19  # P(fewer of 24 at 0.95) = 0.001
    spread = np.std([each.value for each in found], ddof=1)
    assert spread / 1.6 < np.mean([each.std_error for each in found]) < spread * 1.6


def test_networks_learn_what_neither_copula_nor_neighbours_see():
    # The spread of one column of four depends on x; 0.1694 nats by quadrature.
    x, y = np.random.default_rng(0).standard_normal((2, 4_000, 4))
    y[:, 0] *= np.exp(x[:, 0] / 2)
    found, plain = CalibratedKSG().explained(x, y), QUICK.explained(x, y)
    assert plain.gain is None
    assert plain.value < 0.1694 - 0.03
    assert found.gain is not None
    assert found.gain > 0.1
    assert found.value == pytest.approx(0.1694, abs=0.03)
    assert "networks" in found.model


# ---- parts


def test_log_ratio_of_the_copulas_is_that_of_their_densities():
    rho, rng = np.array([0.8, 0.3]), np.random.default_rng(0)
    left, right = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    cross = np.zeros((3, 2))
    cross[[0, 1], [0, 1]] = rho
    joint = np.block([[np.eye(3), cross], [cross.T, np.eye(2)]])
    i, j = np.array([0, 1, 4]), np.array([2, 1, 3])
    both = np.hstack((left[i], right[j]))
    for nu in (math.inf, 2.5):

        def log_density(rows, shape, nu=nu):
            if math.isinf(nu):
                return multivariate_normal(cov=shape).logpdf(rows)
            return multivariate_t(shape=shape, df=nu).logpdf(rows)

        slow = log_density(both, joint) - log_density(left[i], np.eye(3))
        slow = slow - log_density(right[j], np.eye(2))
        copula = Elliptical(left, right, rho, nu)
        assert copula.pairs(i, j) == pytest.approx(slow)
        assert copula.matrix(i, j).diagonal() == pytest.approx(slow)
        assert copula.matrix(i, j)[0, 1] == pytest.approx(copula.pairs(i[:1], j[1:2])[0])


def test_fit_finds_the_law_it_came_from():
    x, y = pairs(10, 5_000, 3, 0.6, nu=3.0)
    found = chosen(ranked(x**3), ranked(np.arctan(y)), np.random.default_rng(0).permutation(5_000))
    assert 2.4 < found.nu < 3.8
    assert found.rho == pytest.approx([0.6] * 3, abs=0.06)
    x, y = pairs(11, 5_000, 3, 0.6)
    found = chosen(ranked(x), ranked(y), np.random.default_rng(0).permutation(5_000))
    assert found.nu > 30


def test_shrinking_removes_the_bias_of_many_columns():
    x, y = pairs(12, 200, 15, 0.0)
    assert fitted(ranked(x), ranked(y)).nats < 0.2  # the plain estimate is 0.7


class Table:
    """A log ratio given as a matrix."""

    def __init__(self, ratios):
        self.ratios = ratios

    def pairs(self, i, j):
        return self.ratios[i, j]

    def matrix(self, i, j):
        return self.ratios[np.ix_(i, j)]


def test_surrogates_have_the_law_of_the_model():
    rng = np.random.default_rng(0)
    ratios = rng.standard_normal((4, 4))
    orders = [np.array(order) for order in permutations(range(4))]
    weights = np.exp([ratios[np.arange(4), order].sum() for order in orders])
    counts = dict.fromkeys(map(tuple, orders), 0)
    now, along, groups = np.arange(4), rng.standard_normal((4, 1)), np.zeros(4, np.int64)
    for _ in range(6_000):
        now, _ = rewired(Table(ratios), now, along, groups, 2, rng)
        counts[tuple(now)] += 1
    seen = np.array(list(counts.values())) / 6_000
    assert np.abs(seen - weights / weights.sum()).max() < 0.02


def test_surrogates_stay_in_their_group_and_start_is_kept():
    rng, groups, start = np.random.default_rng(0), np.arange(99) % 2, np.arange(99)
    table = Table(np.zeros((99, 99)))
    found, mean = rewired(table, start, rng.standard_normal((99, 2)), groups, 50, rng)
    assert (groups[found] == groups).all()
    assert sorted(found) == list(range(99)) == list(start)
    assert abs(spearmanr(found[::2], np.arange(99)[::2]).statistic) < 0.5
    assert mean == 0.0


def test_normaliser_takes_off_what_a_ratio_has_too_much():
    x, y = pairs(13, 2_000, 1, 0.7)
    copula = Elliptical(x, y, np.array([0.7]), math.inf)
    groups, rng = np.zeros(2_000, np.int64), np.random.default_rng(0)
    every = np.arange(2_000)
    shifted = Table(copula.matrix(every, every) + 0.4)
    assert mean_normaliser(copula, groups, rng)[0] == pytest.approx(0.0, abs=0.02)
    assert mean_normaliser(shifted, groups, rng)[0] == pytest.approx(0.4, abs=0.02)


def test_agreement_ignores_functions_of_one_variable_and_is_steepest_where_said():
    rng = np.random.default_rng(1)
    ratios = rng.standard_normal((6, 6)).astype(np.float32)
    value = agreement(ratios).mean()
    moved = ratios + np.float32(2.0)
    assert agreement(moved).mean() == pytest.approx(value, abs=1e-6)
    for i, j in ((0, 0), (2, 5)):
        step = np.zeros_like(ratios)
        step[i, j] = 1e-2
        change = agreement(ratios + step).mean() - agreement(ratios - step).mean()
        assert -change / 2e-2 == pytest.approx(_slope(ratios)[i, j], abs=1e-4)


def test_gradient_of_the_critic():
    x, y = pairs(14, 40, 2, 0.5)
    critic = Critic(fitted(ranked(x), ranked(y)), np.random.default_rng(0))
    rng, rows = np.random.default_rng(1), np.arange(20)
    for parameter in critic.parameters:
        parameter += 0.3 * rng.standard_normal(parameter.shape).astype(np.float32)
    gradient = critic.gradient(rows)
    assert [g.shape for g in gradient] == [p.shape for p in critic.parameters]
    for parameter, slope in zip(critic.parameters, gradient, strict=True):
        direction = rng.standard_normal(parameter.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        change = []
        for step in (1e-2, -2e-2):
            parameter += np.float32(step) * direction
            change.append(agreement(critic.learned().matrix(rows, rows)).mean())
        parameter += np.float32(1e-2) * direction
        steepness = (change[1] - change[0]) / 2e-2
        assert (slope * direction).sum() == pytest.approx(steepness, abs=2e-3)


def test_a_critic_starts_as_the_copula_and_gets_better():
    x, y = pairs(15, 1_000, 2, 0.8)
    copula = fitted(ranked(turned(x, 1.0)), ranked(y))
    critic, every = Critic(copula, np.random.default_rng(0)), np.arange(1_000)
    start = critic.learned().matrix(every, every)
    assert start == pytest.approx(copula.matrix(every, every), abs=1e-4)
    Course(critic, every, 200, np.random.default_rng(1)).run(200)
    better = agreement(critic.learned().matrix(every, every)).mean()
    assert better > agreement(start).mean() + 0.1


def test_nothing_is_learned_where_there_is_nothing():
    rng = np.random.default_rng(16)
    x, y = rng.standard_normal((2, 1_200, 3))
    assert cross_fitted(fitted(ranked(x), ranked(y)), rng) is None


def test_answers_say_how_sure_they_are_and_what_they_are_made_of():
    x, y = pairs(1, 500, 1, 0.6)
    found, told = QUICK.explained(x, y), mutual_information(x, y, QUICK)
    assert (told.value, told.std_error) == (found.value, found.std_error)
    assert told.value == QUICK.mutual_information(x, y)
    assert str(found) in told.notes
    assert any("bias are left out" in note for note in told.notes)
    constant = QUICK.mutual_information_with_error(np.ones((50, 1)), y[:50])
    assert constant.value == 0.0 and math.isnan(constant.std_error)
