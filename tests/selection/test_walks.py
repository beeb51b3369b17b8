"""Steps against independent computations: refits, enumerated shuffles, contingency tables."""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from scipy.stats import f as f_law

from mitools.methods import Gaussian, GaussianCopula, MillerMadow, PlugIn
from mitools.methods._symbols import symbols
from mitools.selection import OwnTest, Shuffled
from mitools.selection.asking import AskingWalk
from mitools.selection.covariance import CovarianceWalk
from mitools.selection.significance import tail
from mitools.selection.strata import Strata, SymbolWalk, nothing


def conditioned(seed, spread, n=200, d=6, t=2):
    """Return features of which all are close to a common one, and targets linear in them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 1)) + spread * rng.standard_normal((n, d))
    return x, x @ rng.standard_normal((d, t)) + rng.standard_normal((n, t))


def refitted(x, y, i, others):
    """Return Wilks' lambda of x_i given others, from two least-squares fits."""

    def scatter(columns):
        design = np.column_stack([np.ones(len(x)), x[:, columns]])
        rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        return np.linalg.det(rest.T @ rest)

    return scatter([i, *others]) / scatter(others)


@pytest.mark.parametrize(("spread", "exact"), [(1.0, 1e-10), (1e-3, 1e-8)])
@pytest.mark.parametrize("t", [1, 2])
def test_downdates_equal_refits(spread, exact, t):
    x, y = conditioned(0, spread, t=t)
    order, kept = [3, 0, 5, 1, 4, 2], [False, True, False, False, True, True]
    walk = CovarianceWalk(x, y, order, correction=True)
    raw = CovarianceWalk(x, y, order, correction=False)
    left = set(order)
    for i, keep in zip(order, kept, strict=True):
        found, plain, others = walk.find(), raw.find(), sorted(left - {i})
        wilks = refitted(x, y, i, others)
        assert plain.phi == pytest.approx(-np.log(wilks) / 2, abs=exact)
        rest = len(x) - len(left) - t
        expected = f_law.sf((1 / wilks - 1) * rest / t, t, rest)
        assert found.p_value == plain.p_value == pytest.approx(expected, rel=1e-5)
        given = (x[:, [i]], y, x[:, others])
        truth = Gaussian().conditional_mutual_information(*given) if others else None
        assert truth is None or found.phi == pytest.approx(truth, abs=exact)
        walk.settle(keep)
        raw.settle(keep)
        left -= set() if keep else {i}


def test_exact_functions_of_others_and_of_the_target():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 100))
    walk = CovarianceWalk(np.column_stack([a, b, a - b, c]), (a + b)[:, None], [0, 1, 2, 3], True)
    first = walk.find()  # it is the sum of the second and the third
    assert (first.phi, first.p_value) == (0.0, 1.0)
    walk.settle(False)
    found = []
    for _ in range(3):
        found.append(walk.find())
        walk.settle(found[-1].p_value < 0.01)
    assert [each.p_value < 0.01 for each in found] == [True, True, False]
    assert 10.0 < found[0].phi < 15.0  # no noise at all: infinite, up to the floor
    twins = np.column_stack([a + b, a + b, -a - b])
    one, same = (
        CovarianceWalk(np.column_stack([a, c]), targets, [0, 1], True).find()
        for targets in (twins, twins[:, :1])
    )
    assert one.p_value == pytest.approx(same.p_value)


def strata_of(rows):
    x, t, z = (symbols(np.array(column, float)[:, None]) for column in zip(*rows, strict=True))
    return Strata(x, t, z)


def test_shuffles_within_strata_are_all_equally_likely():
    """Three strata; the shares of the shuffled sums against every order there is."""
    x, t, z = [0, 1, 1, 0, 1, 2, 0, 1], [0, 1, 1, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 1, 2, 2]
    strata = strata_of(zip(x, t, z, strict=True))
    every = []
    for first in itertools.permutations(x[:3]):
        for second in itertools.permutations(x[3:6]):
            pairs = list(zip([*first, *second], t[:6], z[:6], strict=True))
            counts = np.array([pairs.count(pair) for pair in set(pairs)])
            every.append(float(counts @ np.log(counts)))
    draws = list(itertools.islice(strata.shuffled(np.random.default_rng(0)), 4_000))
    values, shares = np.unique(np.round(every, 9), return_counts=True)
    found = [np.isclose(draws, value).mean() for value in values]
    assert sum(found) == pytest.approx(1.0)
    assert found == pytest.approx(shares / len(every), abs=0.03)  # four standard errors
    assert strata.together() == pytest.approx(every[0])
    assert strata.freedom == 1 * 1 + 2 * 1  # the third stratum has one target only


def test_g_is_that_of_the_contingency_tables():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 300)
    x, t = rng.integers(0, 3, 300), (rng.integers(0, 3, 300) + z) % 4
    columns = [symbols(c[:, None].astype(float)) for c in (x, z)]
    target = symbols(t[:, None].astype(float))
    walk = SymbolWalk(columns, target, PlugIn(), [0, 1], OwnTest(), 0.05)
    g = freedom = 0.0
    for stratum in (0, 1):
        counts = np.histogram2d(x[z == stratum], t[z == stratum], bins=(3, 4))[0]
        seen = counts[:, counts.sum(axis=0) > 0]
        tested = chi2_contingency(seen, correction=False, lambda_="log-likelihood")
        g, freedom = g + tested.statistic, freedom + tested.dof
    strata = Strata(columns[0], target, columns[1])
    assert 2 * strata.gain() == pytest.approx(g)
    assert strata.freedom == freedom
    assert walk.find().phi == pytest.approx(g / 600)


@pytest.mark.parametrize("method", [PlugIn(), MillerMadow()])
def test_codes_joined_along_the_walk_are_the_joint_codes(method):
    rng = np.random.default_rng(0)
    features = rng.integers(0, 3, (80, 5)).astype(float)
    target = ((features[:, [0]] + features[:, [2]]) % 3).astype(float)
    order, kept = [4, 2, 0, 1, 3], [True, True, False, True, False]
    columns = [symbols(features[:, [i]]) for i in range(5)]
    walk = SymbolWalk(columns, symbols(target), method, order, Shuffled(), 0.05)
    left = list(order)
    for i, keep in zip(order, kept, strict=True):
        others = [j for j in left if j != i]
        x, z = features[:, [i]], features[:, others]
        truth = method.conditional_mutual_information(x, target, z)
        assert walk.find().phi == pytest.approx(truth, abs=1e-12)
        walk.settle(keep)
        left = left if keep else others


def test_asking_walk_asks_for_the_same_amounts():
    x, y = conditioned(1, 1.0, n=60, d=3)
    walks = [
        AskingWalk(x, y, Gaussian(), [2, 0, 1], Shuffled(permutations=1), 0.5),
        CovarianceWalk(x, y, [2, 0, 1], correction=True),
    ]
    for keep in (False, True, True):
        found = [walk.find().phi for walk in walks]
        assert found[0] == pytest.approx(found[1], abs=1e-10)
        for walk in walks:
            walk.settle(keep)


class OnlyPairs:
    """A method that knows no condition."""

    def mutual_information(self, x, y):
        return GaussianCopula(correction=False).mutual_information(x, y)


def test_two_amounts_where_a_method_knows_no_condition():
    x, y = conditioned(2, 1.0, n=100, d=2, t=1)
    whole, rest = OnlyPairs().mutual_information(x, y), OnlyPairs().mutual_information(x[:, 1:], y)
    found = AskingWalk(x, y, OnlyPairs(), [0, 1], Shuffled(), 0.1).find()
    assert found.phi == pytest.approx(whole - rest)
    assert found.p_value == pytest.approx(0.005)  # 199 shuffles, none of which reach it


def test_tail_by_hand():
    assert tail(1.0, iter([0.0, 2.0, 1.0, 0.0]), 4, 20) == 3 / 5
    assert tail(1.0, iter([0.0, 2.0, 1.0, 0.0]), 4, 2) == 2 / 3
    assert tail(1.0, iter([0.0] * 99), 50, 5) == 1 / 51
    assert tail(1.0, iter([np.nan] * 9), 9, 3) == 1.0


def test_no_condition_is_one_symbol():
    assert nothing(4).counts.tolist() == [4]
