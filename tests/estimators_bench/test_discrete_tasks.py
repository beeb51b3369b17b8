"""Discrete tasks: truths against their definition, formulas and samples."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from sample_checks import check_draws
from scipy.stats import poisson

from estimators_bench.tasks.discrete import TASKS
from estimators_bench.tasks.finite import Law, binary_entropy, law
from estimators_bench.tasks.kinds import Truth
from mitools import measures
from mitools.methods import Grassberger

BY_NAME = {task.name: task for task in TASKS}
every = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def slow_information(task):
    """The definition, cell by cell, from the law that the task draws from."""
    joint = task.sampler.func.__self__
    dims = (*task.dims, 0)[:3]
    marginals = [defaultdict(float) for _ in range(4)]

    def parts(outcome):
        x, y, z = (tuple(part) for part in np.split(outcome, np.cumsum(dims)[:-1]))
        return (x, y, z), (x, z), (y, z), z

    for outcome, weight in zip(joint.outcomes, joint.weights, strict=True):
        for table, key in zip(marginals, parts(outcome), strict=True):
            table[key] += weight
    total = 0.0
    for (x, y, z), p in marginals[0].items():
        pxz, pyz, pz = marginals[1][x, z], marginals[2][y, z], marginals[3][z]
        total += p * math.log(p * pz / (pxz * pyz))
    return total


@every
def test_draws_are_as_described(task):
    check_draws(task)


@every
def test_truth_is_the_sum_over_the_law(task):
    assert task.truth.nats == pytest.approx(slow_information(task), abs=1e-9)


def recovered(task, n=100_000):
    question = getattr(measures, task.question)
    return question(*task.draw(n, 7), Grassberger()).value


def check_recovered(task):
    # What is left of Grassberger's bias, and five standard errors of the widest law.
    assert recovered(task) == pytest.approx(task.truth.nats, abs=0.012)


@every
def test_truth_is_recovered_from_samples(task):
    check_recovered(task)


@pytest.mark.parametrize("name", ["bsc-strong", "zipf-100", "given-xor"])
def test_checks_notice_wrong_truths_and_samplers(name):
    task = BY_NAME[name]
    bits = replace(task, truth=Truth(task.truth.nats / math.log(2)))
    with pytest.raises(AssertionError):
        assert bits.truth.nats == pytest.approx(slow_information(bits), abs=1e-9)
    with pytest.raises(AssertionError):
        check_recovered(bits)

    def shuffled(n, rng):
        first, *rest = task.sampler(n, rng)
        return (rng.permutation(first), *rest)

    with pytest.raises(AssertionError):
        check_recovered(replace(task, sampler=shuffled))


def entropy(p):
    p = np.ravel(p)
    p = p[p > 0]
    return -float(p @ np.log(p))


def test_zipf_symbols_by_rows_of_the_channel():
    p = 1 / np.arange(1, 101)
    p /= p.sum()
    rows = 0.5 * np.eye(100) + 0.5 * p
    expected = entropy(p) - sum(p[x] * entropy(rows[x]) for x in range(100))
    assert BY_NAME["zipf-100"].truth.nats == pytest.approx(expected, abs=1e-9)


def test_shared_counts_by_their_conditional_laws():
    """A + C given C is A shifted; the pair is a mixture over C, and either count Poisson(3)."""
    k = np.arange(50)
    shifted = [poisson.pmf(k - c, 1.0) for c in k]
    pair = sum(poisson.pmf(c, 2.0) * np.outer(shifted[c], shifted[c]) for c in k)
    expected = 2 * entropy(poisson.pmf(k, 3.0)) - entropy(pair)
    assert BY_NAME["shared-counts"].truth.nats == pytest.approx(expected, abs=1e-9)


def test_three_columns_by_convolution():
    """Given z, y is x shifted with noise of its own: H of both noises together less H of one."""
    of_x, of_y = np.array([0.85, 0.05, 0.05, 0.05]), np.array([0.625, 0.125, 0.125, 0.125])
    both = sum(of_x[i] * np.roll(of_y, i) for i in range(4))
    expected = entropy(both) - entropy(of_y)
    assert BY_NAME["given-3-columns"].truth.nats == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("name", "nats"), [("dirichlet-5", 0.44586), ("dirichlet-30", 1.47448)])
def test_random_tables_stay_what_they_are(name, nats):
    assert BY_NAME[name].truth.nats == pytest.approx(nats, abs=5e-6)


def test_a_law_keeps_possible_cells_only():
    joint = law((2, 3), lambda x, y: 4.0 * (x == 1) * (y > 0))
    np.testing.assert_array_equal(joint.outcomes, [[1, 1], [1, 2]])
    np.testing.assert_array_equal(joint.weights, [0.5, 0.5])


def test_repeated_outcomes_count_together():
    joint = Law(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0.25, 0.25, 0.5]))
    assert joint.entropy([0, 1]) == pytest.approx(math.log(2))
    assert joint.information([0], [1]) == pytest.approx(math.log(2))
    assert joint.information([0], [1], [1]) == pytest.approx(0.0)
    assert joint.entropy([]) == 0.0


def test_binary_entropy():
    assert binary_entropy(0.5) == pytest.approx(math.log(2))
    assert binary_entropy(0.11) == pytest.approx(0.4999 * math.log(2), abs=1e-4)  # half a bit
