"""Mixed tasks: truths against log density ratios at the samples, and against estimators."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sample_checks import check_draws, check_mean
from scipy.special import digamma, expit, gammaln, xlogy
from scipy.stats import binom, expon, multivariate_normal, norm, poisson

from estimators_bench.tasks.labels import label_information
from estimators_bench.tasks.mixed import TASKS, inflated_nats
from mitools import measures
from mitools.methods import GaoMixed, MesnerShalizi, PlugIn, Ross

BY_NAME = {task.name: task for task in TASKS}
every = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
SHARES = np.array([0.5, 0.3, 0.2])


def of_labels(label, densities, shares):
    """log p(x | label) / p(x), from the densities (labels, n) of all labels at each x."""
    label = label.ravel().astype(int)
    own = densities[label, np.arange(len(label))]
    with np.errstate(divide="ignore"):  # where a label never is, the ratio is 0
        return np.log(own) - np.log(np.asarray(shares) @ densities)


def ross_uniforms(label, x):
    starts = np.array([[0.0], [1.0], [2.5]])
    inside = (starts <= x.ravel()) & (x.ravel() <= starts + 2)
    return of_labels(label, 0.5 * inside, SHARES)


def ross_normals(x, label):
    laws = [norm(-1, 1), norm(0, 0.25), norm(2, 2)]
    return of_labels(label, np.array([each.pdf(x.ravel()) for each in laws]), SHARES)


def steps(x, y, *_):
    x, y = x.ravel(), y.ravel()
    labels = sum((s <= y) & (y <= s + 2) for s in range(5))
    return np.where((x <= y) & (y <= x + 2), np.log(5.0 / labels), -np.inf)


def classes_2d(x, label):
    centres = [(-1, -1), (1, -1), (-1, 1), (1, 1)]
    order = [0, 2, 1, 3]  # the first coordinate weighs 2
    laws = [multivariate_normal(centres[i], np.eye(2)) for i in order]
    return of_labels(label, np.array([each.pdf(x) for each in laws]), [0.25] * 4)


def classes_5d(label, x):
    laws = [multivariate_normal(np.zeros(5), s**2 * np.eye(5)) for s in (1, 2)]
    return of_labels(label, np.array([each.pdf(x) for each in laws]), [0.5, 0.5])


def classes_10d(x, label):
    laws = [multivariate_normal(np.full(10, m / math.sqrt(10)), np.eye(10)) for m in (-2, 0, 2)]
    return of_labels(label, np.array([each.pdf(x) for each in laws]), SHARES)


def normal_ratio(x, y, r):
    return norm.logpdf(y, r * x, math.sqrt(1 - r**2)) - norm.logpdf(y)


def atoms(x, y, *_):
    """Half the mass is normal and half on four points; a point has both its margins' atoms."""
    x, y = x[:, 0], y[:, 0]
    coins = (np.abs(x) == 1.0) + 1 * (np.abs(y) == 1.0)
    smooth = math.log(0.5 / 0.25) + normal_ratio(x, y, 0.9)
    both = np.log(0.5 * np.where(x == y, 0.45, 0.05) / 0.25**2)
    return np.choose(coins, (smooth, -np.inf, both))


def atoms_and_steps(x, y):
    return atoms(x, y) + steps(x[:, 1], y[:, 1])


def inflated(x, y):
    x, y = x.ravel(), y.ravel()
    extra = 0.15 * (y == 0)
    here = extra + 0.85 * poisson.pmf(y, x)
    return np.log(here) - np.log(extra + 0.85 * 0.5 ** (y + 1))


def quartiles(x, y):
    ends = norm.ppf([0, 0.25, 0.5, 0.75, 1])
    y = y.ravel().astype(int)
    below, above = (norm.cdf((ends[y + i] - 0.8 * x.ravel()) / 0.6) for i in (0, 1))
    return np.log((above - below) / 0.25)


def rectified(x, y):
    x, y = x.ravel(), y.ravel()
    return np.where(y > 0, normal_ratio(x, y, 0.8), np.log(norm.cdf(-0.8 * x / 0.6) / 0.5))


def switched(x, y, z):
    x, y, gain = x.ravel(), y.ravel(), z.ravel() - 1
    return norm.logpdf(y, gain * x, 0.5) - norm.logpdf(y, 0, np.sqrt(gain**2 + 0.25))


def given_rectified(x, y, z):
    return (norm.logpdf(y, x + z, 1) - norm.logpdf(y, 2 * z, math.sqrt(2))).ravel()


RATIOS = {
    "ross-uniforms": ross_uniforms,
    "ross-normals": ross_normals,
    "gao-uniform-5": steps,
    "classes-2d": classes_2d,
    "classes-5d": classes_5d,
    "classes-10d": classes_10d,
    "gao-atoms": atoms,
    "gao-atoms-and-steps": atoms_and_steps,
    "inflated-counts": inflated,
    "quartiles": quartiles,
    "rectified-normal": rectified,
    "steps-given-coins": steps,
    "atoms-given-coins": atoms,
    "given-switch": switched,
    "given-rectified": given_rectified,
}


@every
def test_draws_are_as_described(task):
    check_draws(task)


@pytest.mark.parametrize("name", RATIOS)
def test_truth_is_the_mean_log_density_ratio(name):
    task = BY_NAME[name]
    check_mean(RATIOS[name](*task.draw(60_000, 1)), task.truth.nats)


PAIRS = [name for name in RATIOS if len(BY_NAME[name].kinds) == 2]


@pytest.mark.parametrize("name", PAIRS)
def test_samples_follow_the_density_ratio(name):
    """With r = p q / joint, the joint mean of r / (1 + r) is the mean of 1 / (1 + r) over p q."""
    x, y = BY_NAME[name].draw(60_000, 1)
    apart = x, np.random.default_rng(0).permutation(y)
    joint, product = expit(-RATIOS[name](x, y)), expit(RATIOS[name](*apart))
    check_mean(joint - product, 0.0)


@pytest.mark.parametrize("name", RATIOS)
def test_the_ratio_notices_a_truth_that_is_off(name):
    task = BY_NAME[name]
    with pytest.raises(AssertionError):
        check_mean(RATIOS[name](*task.draw(60_000, 1)), 1.1 * task.truth.nats)


def recovered(task, n=8_000):
    data = task.draw(n, 3)
    if len(data) == 3:
        method = MesnerShalizi()
    elif set(task.kinds) == {"continuous", "discrete"}:
        method = Ross(labels="x" if task.kinds[0] == "discrete" else "y")
    else:
        method = PlugIn() if "mixed" not in task.kinds else GaoMixed()
    return getattr(measures, task.question)(*data, method).value


# Neighbours that reach across an atom make these estimates low, by less the more samples.
SLOW = {"gao-atoms": 0.15, "gao-atoms-and-steps": 0.35, "atoms-given-coins": 0.15}


@pytest.mark.filterwarnings("ignore::mitools._validation.UnreliableEstimate")
@every
def test_truth_is_recovered_from_samples(task):
    assert recovered(task) == pytest.approx(task.truth.nats, abs=SLOW.get(task.name, 0.05))


@pytest.mark.filterwarnings("ignore::mitools._validation.UnreliableEstimate")
def test_recovery_notices_a_shuffled_sampler():
    task = BY_NAME["gao-uniform-5"]

    def shuffled(n, rng):
        x, y = task.sampler(n, rng)
        return rng.permutation(x), y

    assert recovered(replace(task, sampler=shuffled)) != pytest.approx(task.truth.nats, abs=0.05)


def test_boxes_by_hand():
    """On each piece between two ends, the labels whose boxes cover it."""
    pieces = [(1.0, (0,)), (1.0, (0, 1)), (0.5, (1,)), (0.5, (1, 2)), (1.5, (2,))]
    expected = sum(
        width * SHARES[label] * 0.5 * math.log(0.5 / (0.5 * SHARES[list(here)].sum()))
        for width, here in pieces
        for label in here
    )
    assert BY_NAME["ross-uniforms"].truth.nats == pytest.approx(expected, abs=1e-9)


def test_inflated_counts_term_by_term():
    """The integrals over the rate are gamma functions, but for the one of zeros."""
    k = np.arange(1, 300)
    known = (
        -(k + 1) / 2 + k * (digamma(k + 1) - math.log(2)) - gammaln(k + 1) + (k + 1) * math.log(2)
    )
    counted = 0.85 * float(0.5 ** (k + 1.0) @ known)
    rate, step = np.linspace(0, 50, 200_001, retstep=True)
    zero = 0.15 + 0.85 * np.exp(-rate)
    zeros = np.trapezoid(np.exp(-rate) * xlogy(zero, zero / (0.15 + 0.85 / 2)), dx=step)
    assert inflated_nats(0.15) == pytest.approx(counted + zeros, abs=1e-7)


def test_inflated_counts_have_their_zeros():
    rate, count = BY_NAME["inflated-counts"].draw(20_000, 0)
    assert np.mean(count == 0) == pytest.approx(0.15 + 0.85 / 2, abs=0.015)
    assert np.mean(count[rate > 4] == 0) == pytest.approx(0.15 + 0.85 * math.exp(-4) / 2, abs=0.08)


def test_the_published_formula_of_inflated_counts_holds_without_inflation_only():
    k = np.arange(1, 200)
    published = 2 * math.log(2) - np.euler_gamma - float(np.log(k) @ 0.5**k)
    assert inflated_nats(0.0) == pytest.approx(published, abs=1e-9)
    assert abs(inflated_nats(0.15) - 0.85 * published) > 0.02


def test_rounded_normal_by_the_bivariate_distribution_function():
    ends = np.concatenate(([-9.0], np.arange(-7, 7) / 2 + 0.25, [9.0]))  # tails in one cell each
    grid = np.stack(np.meshgrid(ends, ends, indexing="ij"), axis=-1)
    below = multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]]).cdf(grid)
    table = np.diff(np.diff(below, axis=0), axis=1)
    table = table / table.sum()
    product = np.outer(table.sum(1), table.sum(0))
    coarse = float(xlogy(table, np.maximum(table, 1e-300) / product).sum())
    assert BY_NAME["rounded-normal"].truth.nats == pytest.approx(coarse, abs=3e-4)


def test_thinned_counts_follow_their_laws():
    """The rate is exponential, the count geometric, and the noticed half binomial given it."""
    rate, noticed, count = (each.ravel() for each in BY_NAME["thinned-given-count"].draw(20_000, 0))
    assert np.mean(rate < 10) == pytest.approx(expon(scale=10).cdf(10), abs=0.02)
    assert np.mean(count == 0) == pytest.approx(1 / 11, abs=0.01)
    assert np.mean(noticed[count == 10] <= 4) == pytest.approx(binom(10, 0.5).cdf(4), abs=0.06)


def test_label_information_of_disjoint_and_equal_labels():
    def apart(x):
        return np.array([float(0 <= x < 1), float(1 <= x <= 2)])

    def equal(x):
        return np.full(2, norm.pdf(x))

    shares = (0.25, 0.75)
    disjoint = label_information(shares, apart, 0.0, 2.0, breaks=(1.0,))
    assert disjoint.nats == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75), abs=1e-9)
    assert label_information(shares, equal, -9.0, 9.0).nats == pytest.approx(0.0, abs=1e-9)
