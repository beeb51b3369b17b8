"""Time series: truths against another derivation, and against what estimators say of the draws."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sample_checks import check_draws, check_mean
from scipy.integrate import quad
from scipy.stats import norm

from estimators_bench.tasks import series
from estimators_bench.tasks.kinds import Truth
from estimators_bench.tasks.series import TASKS, Autoregression
from mitools import measures
from mitools._validation import UnreliableEstimate
from mitools.methods import KSG, Gaussian, PlugIn

BY_NAME = {task.name: task for task in TASKS}
every = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
NORMAL = [task for task in TASKS if task.name.startswith("var-")]


@every
def test_draws_are_as_described(task):
    check_draws(task)


# Normal processes --------------------------------------------------------------------------------


def slow_covariance(process, steps, terms=400):
    """Sum of the responses to all past shocks, which the recursion gives one after another."""
    p, m, _ = process.coefficients.shape
    responses = [np.zeros((m, m))] * (p - 1) + [np.eye(m)]
    for _ in range(terms):
        recent = zip(process.coefficients, reversed(responses), strict=False)
        responses.append(sum(a @ b for a, b in recent))
    responses = responses[p - 1 :]

    def lagged(i):  # of z(t) with z(t - i)
        pairs = zip(responses[i:], responses, strict=False)
        return sum(late @ process.noise @ early.T for late, early in pairs)

    def block(i, j):
        return lagged(j - i) if j >= i else lagged(i - j).T

    return np.block([[block(i, j) for j in range(steps)] for i in range(steps)])


def left_over(covariance, of, by):
    """Covariance of the residual of a regression."""
    cross = covariance[np.ix_(of, by)]
    explained = cross @ np.linalg.solve(covariance[np.ix_(by, by)], cross.T)
    return covariance[np.ix_(of, of)] - explained


def geweke(task):
    """Half the log ratio of residual variances, without and with the source's past."""
    process, source, target = task.sampler.args
    m, options = len(process.noise), {"lag": 1, **task.options}
    history, lag = options["history"], options["lag"]
    covariance = slow_covariance(process, history + lag + 1)
    now = list(target)
    own = [m * i + j for i in range(1, history + 1) for j in target]
    past = [m * (lag + i) + j for i in range(history) for j in source]
    without, with_ = (left_over(covariance, now, by) for by in (own, own + past))
    return 0.5 * math.log(np.linalg.det(without) / np.linalg.det(with_))


@pytest.mark.parametrize("task", NORMAL, ids=lambda task: task.name)
def test_transfer_entropy_is_gewekes_over_summed_shocks(task):
    assert task.truth.nats == pytest.approx(geweke(task), abs=1e-9)


def test_driven_process_by_hand():
    """x(t) = .5 x(t-1) + e, y(t) = .8 x(t-1) + .5 y(t-1) + e': given y(t-1), half is known of x."""
    of_x = 1 / (1 - 0.25)
    both = 0.5 * 0.8 * of_x / (1 - 0.25)
    of_y = (1 + 0.64 * of_x + 2 * 0.8 * 0.5 * both) / (1 - 0.25)
    hidden = of_x - both**2 / of_y
    assert BY_NAME["var-forward"].truth.nats == pytest.approx(0.5 * math.log1p(0.64 * hidden))
    assert BY_NAME["var-backward"].truth.nats == pytest.approx(0.0, abs=1e-12)
    assert BY_NAME["var-delayed"].truth.nats == pytest.approx(0.5 * math.log(1.64))


def recovered(task, method, n):
    return getattr(measures, task.question)(*task.draw(n, 2), method, **task.options).value


@pytest.mark.parametrize("task", NORMAL, ids=lambda task: task.name)
def test_normal_truth_is_recovered_from_samples(task):
    assert recovered(task, Gaussian(), 20_000) == pytest.approx(task.truth.nats, abs=0.015)


def test_recovery_notices_another_direction_history_or_lag():
    for name, other in (("var-forward", "var-backward"), ("var-feedback", "var-feedback-short")):
        wrong = replace(BY_NAME[name], truth=BY_NAME[other].truth)
        with pytest.raises(AssertionError):
            test_normal_truth_is_recovered_from_samples(wrong)
    late = BY_NAME["var-delayed"]
    with pytest.raises(AssertionError):
        test_normal_truth_is_recovered_from_samples(replace(late, options={"history": 1}))


def test_draws_are_stationary_from_the_first_step():
    """Of a process that turns: its steps in the wrong order would turn back."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    process = Autoregression(np.array([0.6 * turn, -0.3 * turn]), np.diag([1.0, 0.5]))
    rng = np.random.default_rng(0)
    paths = np.array([process.draw(3, rng) for _ in range(3_000)])
    expected = process.covariance(3)
    np.testing.assert_allclose(expected, slow_covariance(process, 3), atol=1e-10)
    sampled = np.cov(paths[:, ::-1].reshape(-1, 6).T)  # latest first
    error = np.sqrt((np.outer(*[np.diag(expected)] * 2) + expected**2) / len(paths))
    assert (np.abs(sampled - expected) < 4.5 * error).all()


@pytest.mark.parametrize("name", ["slow-pair", "slow-strangers"])
def test_slow_pairs_by_their_stationary_correlation(name):
    task = BY_NAME[name]
    process = task.sampler.args[0]
    c = slow_covariance(process, 1)
    expected = -0.5 * math.log(1 - c[0, 1] ** 2 / (c[0, 0] * c[1, 1]))
    assert task.truth.nats == pytest.approx(expected, abs=1e-9)
    with pytest.warns(UnreliableEstimate, match="successive rows are correlated"):
        assert recovered(task, Gaussian(), 20_000) == pytest.approx(expected, abs=0.03)


# Symbols -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bits-copied", "bits-backward", "bits-feedback"])
def test_bits_are_recovered_from_samples(name):
    task = BY_NAME[name]
    assert recovered(task, PlugIn(), 30_000) == pytest.approx(task.truth.nats, abs=0.012)
    turned = replace(task, sampler=lambda n, rng: task.sampler(n, rng)[::-1])
    assert abs(recovered(turned, PlugIn(), 30_000) - task.truth.nats) > 0.015


def test_chain_is_stationary_and_does_what_it_is_told():
    """The law of the next pair is that of this one; rows of the step are as given."""
    driver, follower = np.array([[0.2, 0.5], [0.6, 0.8]]), np.array([[0.1, 0.6], [0.5, 0.9]])
    joint = series.chain(driver, follower)
    table = np.zeros((2, 2, 2, 2))
    table[tuple(joint.outcomes.astype(int).T)] = joint.weights
    now = table.sum((2, 3))
    np.testing.assert_allclose(now, table.sum((0, 1)), atol=1e-12)
    np.testing.assert_allclose(table[:, :, 1].sum(-1) / now, driver, atol=1e-12)
    np.testing.assert_allclose(table[..., 1].sum(-1) / now, follower, atol=1e-12)
    copied = series.chain(np.full((2, 2), 0.5), np.array([[0.1, 0.1], [0.9, 0.9]]))
    assert copied.information([3], [0], [1]) == pytest.approx(BY_NAME["bits-copied"].truth.nats)


# Maps --------------------------------------------------------------------------------------------


def test_the_logistic_map_is_one_and_its_symbols_are_fair_bits():
    orbit, above = series._logistic(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(orbit[1:], 4 * orbit[:-1] * (1 - orbit[:-1]), atol=1e-12)
    clear = np.abs(orbit - 0.5) > 1e-12
    np.testing.assert_array_equal(above[clear], orbit[clear] > 0.5)
    assert orbit.var() == pytest.approx(1 / 8, abs=0.005)  # the arcsine law's
    history = np.column_stack([above[i : i - 3] for i in range(3)])
    assert measures.mutual_information(history, above[3:], PlugIn()).value < 0.001


def pushes(task, n):
    """What was added to the noiseless map at each step, and the source then."""
    source, target = (each.ravel() for each in task.draw(n, 5))
    w = target[:-1] % 1.0
    return source[:-1], target[1:] - 3.8 * w * (1 - w)


def test_pushed_map_by_the_density_of_its_pushes():
    task = BY_NAME["map-and-squares"]
    source, push = pushes(task, 20_000)
    grid = np.linspace(push.min(), push.max(), 250)

    def density(s):  # of half a square plus noise, over where in the square it came from
        def integrand(y):
            miss = (s - 0.5 * y * y) / 0.3
            return math.exp(-0.5 * (y * y + miss * miss)) / (0.3 * math.pi)

        return quad(integrand, 0, 9, points=[math.sqrt(2 * max(s, 0.01))], limit=200)[0]

    logs = np.interp(push, grid, np.log([density(s) for s in grid]))
    check_mean(norm.logpdf(push, 0.5 * source**2, 0.3) - logs, task.truth.nats)


def test_pushed_map_by_its_two_symbols():
    task = BY_NAME["map-drives-map"]
    source, push = pushes(task, 40_000)
    low, high = norm.pdf(push, 0, 0.2), norm.pdf(push, 0.6, 0.2)
    terms = np.log(np.where(source > 0.5, high, low) / (0.5 * (low + high)))
    check_mean(terms, task.truth.nats)
    with pytest.raises(AssertionError):
        check_mean(terms, 1.05 * task.truth.nats)


def test_flipped_bits_by_their_symbols():
    task = BY_NAME["map-drives-bits"]
    source, target = task.draw(40_000, 0)
    coded = measures.transfer_entropy(1.0 * (source > 0.5), target, PlugIn())
    assert coded.value == pytest.approx(task.truth.nats, abs=0.012)


@pytest.mark.parametrize("name", ["map-and-squares", "map-drives-map"])
def test_maps_are_recovered_from_samples_alone(name):
    task = BY_NAME[name]
    assert recovered(task, KSG(), 8_000) == pytest.approx(task.truth.nats, abs=0.04)
    assert abs(recovered(task, Gaussian(), 8_000) - task.truth.nats) > 0.1


def test_the_sum_over_grids_has_converged():
    coarse, fine = (series.squares_nats(0.5, 0.3, points) for points in (500, 1_000))
    assert coarse == pytest.approx(fine, abs=1e-9)
    assert Truth(coarse, "quadrature") == BY_NAME["map-and-squares"].truth
