"""Discrete methods against enumeration, slow twins and published constants."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import digamma, gammaln, polygamma

from mitools.methods import (
    NSB,
    ChaoShen,
    Grassberger,
    Jackknifed,
    JamesStein,
    MillerMadow,
    PlugIn,
)

LOG2 = math.log(2)
EULER = 0.5772156649015329
ALL = (
    PlugIn(),
    MillerMadow(),
    Jackknifed(),
    Grassberger(),
    Grassberger(1988),
    ChaoShen(),
    JamesStein(),
    NSB(),
)


def column(values):
    return np.array(values, dtype=float).reshape(len(values), -1)


def bits(count):
    """Every combination of so many fair bits, one a row: a uniform law, exactly."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=count)))


def equality():
    """Fair bits x0, x1, x2 and the target 1{x0 = x1 = x2}."""
    x = bits(3)
    return x, ((x[:, 0] == x[:, 1]) & (x[:, 1] == x[:, 2])).astype(float)[:, None]


def test_plug_in_on_whole_tables_is_exact():
    x, same = equality()
    four_red = np.column_stack([x, x[:, [0, 0, 0]]])
    plug = PlugIn()
    information = plug.mutual_information(four_red, same) / LOG2
    assert information == pytest.approx(0.8112781244591328, abs=1e-12)
    drop = [
        plug.conditional_mutual_information(four_red[:, [i]], same, np.delete(four_red, i, axis=1))
        for i in range(6)
    ]
    np.testing.assert_allclose(np.array(drop) / LOG2, [0, 0.5, 0.5, 0, 0, 0], atol=1e-12)
    assert plug.mutual_information(x[:, :2], same) / LOG2 == pytest.approx(0.311278, abs=1e-6)
    for i in range(3):
        assert plug.mutual_information(x[:, [i]], same) == pytest.approx(0, abs=1e-12)


def test_exclusive_or_is_seen_jointly_and_not_singly():
    x = bits(2)
    y = (x.sum(axis=1) % 2)[:, None]
    plug = PlugIn()
    assert plug.mutual_information(x, y) == pytest.approx(LOG2, abs=1e-12)
    assert plug.mutual_information(x[:, :1], y) == pytest.approx(0, abs=1e-12)
    one_given_other = plug.conditional_mutual_information(x[:, :1], y, x[:, 1:])
    assert one_given_other == pytest.approx(LOG2, abs=1e-12)
    variables = (x[:, :1], x[:, 1:], y)
    assert plug.multi_information(variables) == pytest.approx(LOG2, abs=1e-12)


def test_secret_key_literals():
    """papers.md section 7: three uniform keys on 0..10, secret = 3 y1 - 3 y2 + y3."""
    keys = np.array(list(itertools.product(range(11), repeat=3)), dtype=float)
    secret = keys @ np.array([[3.0], [-3.0], [1.0]])
    plug = PlugIn()
    assert plug.entropy(secret) / LOG2 == pytest.approx(5.7961, abs=5e-5)
    single = [plug.mutual_information(keys[:, [i]], secret) / LOG2 for i in range(3)]
    np.testing.assert_allclose(single, [0.5452, 0.5452, 1.6261], atol=5e-5)
    for i in range(3):
        rest = np.delete(keys, i, axis=1)
        phi = plug.conditional_mutual_information(keys[:, [i]], secret, rest)
        assert phi == pytest.approx(math.log(11), abs=1e-12)


def expected(method, p, n):
    """E[H estimate] over all samples of n, by enumeration of the counts."""
    total = 0.0
    for counts in itertools.product(range(n + 1), repeat=len(p)):
        if sum(counts) == n:
            log_chance = math.lgamma(n + 1) - sum(math.lgamma(c + 1) for c in counts)
            log_chance += sum(c * math.log(q) for c, q in zip(counts, p, strict=True))
            seen = np.array([c for c in counts if c])
            total += math.exp(log_chance) * method.entropy_of_counts(seen, float(len(p)))
    return total


@pytest.mark.parametrize("p", [(0.5, 0.5), (0.7, 0.2, 0.1), (0.4, 0.3, 0.2, 0.1)])
def test_corrections_beat_the_plug_in_in_exact_expectation(p):
    truth = -sum(q * math.log(q) for q in p)
    bias = {method: expected(method, p, 12) - truth for method in ALL}
    assert bias[PlugIn()] < 0
    for method in ALL[1:]:
        limit = 1.4 if method == NSB() else 0.9  # whose prior does not favour uniform laws
        assert abs(bias[method]) < limit * abs(bias[PlugIn()]), method
    assert abs(bias[Grassberger()]) < 0.05 * abs(bias[PlugIn()])
    assert abs(bias[MillerMadow()]) < 0.3 * abs(bias[PlugIn()])


def test_grassberger_constants():
    """G(1) = -gamma - log 2, G(2) = 2 - gamma - log 2 in 2003; psi(1) - 1/2 in 1988."""
    ones = Grassberger(sampling="poisson").entropy_of_counts(np.array([1, 1]), 2)
    assert ones == pytest.approx(LOG2 + EULER + LOG2, abs=1e-12)
    two = Grassberger(sampling="poisson").entropy_of_counts(np.array([2]), 1)
    assert two == pytest.approx(LOG2 - (2 - EULER - LOG2), abs=1e-12)
    old = Grassberger(1988, "poisson").entropy_of_counts(np.array([1, 1]), 2)
    assert old == pytest.approx(LOG2 + EULER + 0.5, abs=1e-12)


def test_jackknife_leaves_each_sample_out_in_turn():
    rows = np.array([0, 0, 0, 1, 1, 2, 5])
    n, plug = len(rows), PlugIn()
    left = [plug.entropy(column(np.delete(rows, i))) for i in range(n)]
    expected = n * plug.entropy(column(rows)) - (n - 1) * np.mean(left)
    assert Jackknifed().entropy(column(rows)) == pytest.approx(expected, abs=1e-13)
    assert Jackknifed().entropy(column([3.0])) == 0.0
    assert Jackknifed().entropy(column([3.0, 3.0])) == pytest.approx(0.0, abs=1e-15)


def test_miller_madow_and_chao_shen_by_hand():
    counts = np.array([3, 1])
    plug = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert MillerMadow().entropy_of_counts(counts, 2) == pytest.approx(plug + 1 / 8, abs=1e-14)
    p = [0.75 * 0.75, 0.75 * 0.25]  # coverage 1 - 1/4
    hand = -sum(q * math.log(q) / (1 - (1 - q) ** 4) for q in p)
    assert ChaoShen().entropy_of_counts(counts, 2) == pytest.approx(hand, abs=1e-14)
    assert math.isfinite(ChaoShen().entropy_of_counts(np.array([1, 1, 1]), 3))


def test_james_stein_equals_a_twin_that_writes_out_the_table():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, 30), rng.integers(0, 4, 30)
    x[:3], y[:4] = range(3), range(4)
    table = np.zeros((3, 4))
    np.add.at(table, (x, y), 1 / 30)
    share = (1 - (table**2).sum()) / (29 * ((1 / 12 - table) ** 2).sum())
    q = min(1, share) / 12 + (1 - min(1, share)) * table
    hand = (q * np.log(q / (q.sum(1, keepdims=True) * q.sum(0, keepdims=True)))).sum()
    assert JamesStein().mutual_information(column(x), column(y)) == pytest.approx(hand, abs=1e-12)
    z = column(np.zeros(30))
    given = JamesStein().conditional_mutual_information(column(x), column(y), z)
    assert given == pytest.approx(hand, abs=1e-12)


def nsb_twin(counts, cells):
    """The posterior mean by adaptive quadrature in log b, from Wolpert and Wolf's formulas."""
    padded = np.concatenate([counts, np.zeros(int(cells) - len(counts))])
    n = counts.sum()

    def log_weight(u):
        b = math.exp(u)
        weight = gammaln(cells * b) - gammaln(n + cells * b)
        weight += (gammaln(padded + b) - gammaln(b)).sum()
        return weight + math.log(cells * polygamma(1, cells * b + 1) - polygamma(1, b + 1)) + u

    def mean(u):
        b = math.exp(u)
        share = (padded + b) / (n + cells * b)
        return digamma(n + cells * b + 1) - (share * digamma(padded + b + 1)).sum()

    peak = max(log_weight(u) for u in np.linspace(-12, 8, 200))
    top, bottom = (
        quad(lambda u, f=f: f(u) * math.exp(log_weight(u) - peak), -14, 14, limit=500)[0]
        for f in (mean, lambda u: 1.0)
    )
    return top / bottom


@pytest.mark.parametrize(
    ("counts", "cells"), [([4, 2], 2), ([5, 3, 1, 1], 10), ([1, 1, 1], 5), ([40, 30, 20, 5], 6)]
)
def test_nsb_equals_quadrature(counts, cells):
    found = NSB().entropy_of_counts(np.array(counts), float(cells))
    assert found == pytest.approx(nsb_twin(np.array(counts), cells), abs=2e-5)


def test_nsb_is_unbiased_under_its_own_prior():
    """A posterior mean is: draw laws from the prior, samples from the laws."""
    rng, cells, n = np.random.default_rng(0), 20, 15
    grid = np.linspace(-12, 12, 4001)
    xi = digamma(cells * np.exp(grid) + 1) - digamma(np.exp(grid) + 1)
    errors = []
    for _ in range(400):
        b = math.exp(np.interp(rng.uniform(xi[0], xi[-1]), xi, grid))
        p = rng.gamma(b, size=cells) + 1e-300
        p /= p.sum()
        truth = -(p * np.log(p)).sum()
        counts = rng.multinomial(n, p)
        errors.append(NSB().entropy_of_counts(counts[counts > 0], cells) - truth)
    assert abs(np.mean(errors)) < 4 * np.std(errors) / math.sqrt(len(errors))
    assert np.std(errors) < 0.4


def test_nsb_survives_huge_alphabets():
    counts = np.array([2, 1, 1, 1])
    assert 0 < NSB().entropy_of_counts(counts, 1e15) < math.log(1e15)


@pytest.mark.parametrize("method", ALL, ids=repr)
def test_certain_variables_carry_nothing(method):
    constant, fair = column([3.0] * 8), column([0.0, 1.0] * 4)
    slack = 0.07 if isinstance(method, Grassberger) else 1e-12  # about 1 / 2n, by definition
    assert method.entropy(constant) == pytest.approx(0, abs=slack)
    assert method.mutual_information(constant, fair) == pytest.approx(0, abs=slack)


@pytest.mark.parametrize("method", ALL, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_identities_of_tables(method, seed):
    rng = np.random.default_rng(seed)
    x, y, z = (rng.integers(0, k, (60, 1)).astype(float) for k in (3, 4, 2))
    y = np.where(rng.random((60, 1)) < 0.5, x, y)
    shared = method.mutual_information(x, y)
    assert shared == pytest.approx(method.mutual_information(y, x), abs=1e-12)
    relabelled = method.mutual_information(np.array([5.0, -1.0, 2.5])[x.astype(int)], y)
    assert shared == pytest.approx(relabelled, abs=1e-12)
    if not isinstance(method, JamesStein):  # which shrinks each joint table by its own amount
        chain = method.mutual_information(z, y)
        chain += method.conditional_mutual_information(x, y, z)
        whole = method.mutual_information(np.hstack((x, z)), y)
        assert whole == pytest.approx(chain, abs=1e-11)
        total = method.multi_information((x, y, z))
        steps = shared + method.mutual_information(np.hstack((x, y)), z)
        assert total == pytest.approx(steps, abs=1e-11)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), kinds=st.integers(1, 5))
def test_plug_in_properties(seed, n, kinds):
    rng = np.random.default_rng(seed)
    x, y, z = rng.integers(0, kinds, (3, n, 1)).astype(float)
    plug = PlugIn()
    given_z = plug.conditional_mutual_information(x, y, z)
    assert given_z > -1e-12
    coarse = np.floor(x / 2)  # data processing
    assert plug.mutual_information(coarse, y) <= plug.mutual_information(x, y) + 1e-12
    local = plug.local_mutual_information(x, y)
    assert local.mean() == pytest.approx(plug.mutual_information(x, y), abs=1e-12)
    xx, yy = (np.repeat(a, n, axis=0) for a in (x, y))  # all pairs: independent by construction
    both_x, both_y = np.hstack((xx, np.tile(x, (n, 1)))), np.hstack((yy, np.tile(y, (n, 1))))
    additive = plug.mutual_information(both_x, both_y)
    assert additive == pytest.approx(2 * plug.mutual_information(x, y), abs=1e-10)


def test_alphabets_are_checked():
    for method in (NSB(symbols=2), JamesStein(symbols=2)):
        with pytest.raises(ValueError, match="symbols=2 with 3 values"):
            method.entropy(column([0, 1, 2]))
    with pytest.raises(ValueError, match="symbols must be at least 1"):
        NSB(symbols=0)
    with pytest.raises(ValueError, match="year must be one of 2003, 1988"):
        Grassberger(year=1999)


def test_many_columns_do_not_overflow():
    rows = np.random.default_rng(0).integers(0, 10, (50, 200)).astype(float)
    assert PlugIn().entropy(rows) == pytest.approx(math.log(50))
    assert math.isfinite(JamesStein().entropy(rows))
