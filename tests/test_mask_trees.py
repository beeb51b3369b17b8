"""The code of weights that depend on each other: a distribution, its definition, what it saves."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import betaln, expit, logsumexp

from estimators_bench.tasks.dependent_laws import Branches
from mitools.mask_information import independent_code, tree_code, tree_in_order, trees
from mitools.mask_information.featured import log_odds

EVERY = np.array(list(itertools.product([False, True], repeat=6)))


@pytest.mark.parametrize("shapes", [[(2, 2), (1, 2)], [(6, 1)]])
def test_tree_code_is_a_distribution(shapes):
    """Summed over every possible mask, exp(-length) is 1: nothing is charged too little."""
    rng = np.random.default_rng(1)
    others = rng.random((6, 6)) < 0.4
    others[:, 3] = ~others[:, 1]
    others[:, 5] = True  # never moved
    for code in (
        lambda m: tree_code(m, shapes).lengths[-1],
        lambda m: tree_in_order(m, shapes)[-1],
    ):
        total = sum(math.exp(-code(np.vstack([others, row]))) for row in EVERY)
        assert total == pytest.approx(1.0, abs=1e-12)


def test_blocks_are_distributions_too(monkeypatch):
    monkeypatch.setattr(trees, "PAIRS", 9)
    others = np.random.default_rng(2).random((5, 6)) < 0.5
    total = sum(math.exp(-tree_in_order(np.vstack([others, row]), [(6, 1)])[-1]) for row in EVERY)
    assert [len(part) for part in trees._blocks(np.arange(6))] == [1] * 6
    monkeypatch.setattr(trees, "PAIRS", 18)
    assert [len(part) for part in trees._blocks(np.arange(6))] == [3, 3]
    assert total == pytest.approx(1.0, abs=1e-12)


def by_definition(row, seen):
    """Prim's order, and each weight from all before it: tables counted anew for each pair."""
    draws, size = seen.shape
    rate = expit(log_odds(seen.sum(axis=0), draws, np.zeros(size, np.int64)))

    def evidence(i, given):
        parts = [seen[given, i], seen[~given, i]]
        return sum(betaln(p.sum() + 0.5, len(p) - p.sum() + 0.5) for p in parts) - 2 * betaln(
            0.5, 0.5
        )

    def told(i, u):
        alone = evidence(i, np.ones(draws, bool)) + betaln(0.5, 0.5)
        return evidence(i, seen[:, u]) - alone + betaln(0.5, 0.5)

    def chance(i, u):
        alike = seen[seen[:, u] == row[u], i]
        kept = (alike.sum() + rate[i]) / (len(alike) + 1.0)
        return kept if row[i] else 1.0 - kept

    left, order, total = list(range(size)), [], 0.0
    while left:
        best = [max((told(i, u) for u in order), default=-math.inf) for i in left]
        i = left.pop(int(np.argmax(best)))
        odds = [0.0] + [told(i, u) - math.log(len(order)) for u in order]
        each = [rate[i] if row[i] else 1.0 - rate[i]] + [chance(i, u) for u in order]
        total += logsumexp(odds, b=each) - logsumexp(odds)
        order.append(i)
    return total


@pytest.mark.parametrize("draws", [5, 70])  # bits in one word, and in two
def test_a_mask_is_charged_by_the_definition(draws):
    rng = np.random.default_rng(3)
    masks = Branches(12, 0.2)(draws, rng).masks
    masks[:2] = [[True] * 12, [False] * 12]  # every weight has moved
    row = rng.random(12) < 0.5
    found = tree_in_order(np.vstack([masks, row]), [(12, 1)])[-1]
    spare = math.log(0.02) - math.log(math.comb(12, row.sum())) - math.log(13)
    expected = np.logaddexp(math.log(0.98) + by_definition(row, masks), spare)
    assert found == pytest.approx(-expected, abs=1e-9)


def test_lengths_in_order_do_not_look_ahead():
    masks = Branches(40, 0.1)(8, np.random.default_rng(4)).masks
    other = masks.copy()
    other[5:] ^= True
    found = tree_in_order(masks, [(5, 8)])
    np.testing.assert_array_equal(tree_in_order(other, [(5, 8)])[:5], found[:5])


@pytest.mark.parametrize(("draws", "most"), [(64, 1.15), (256, 1.05)])
def test_dependence_in_pairs_is_paid_for_once(draws, most):
    law = Branches(300, 0.1)
    masks = law(draws, np.random.default_rng(5)).masks
    assert np.mean(independent_code(masks).lengths) > 2.0 * law.nats
    assert law.nats < np.mean(tree_code(masks, [(300, 1)]).lengths) < most * law.nats


def test_independent_weights_cost_little_more_than_by_their_own_code():
    masks = np.random.default_rng(6).random((16, 300)) < 0.5
    found = np.mean(tree_code(masks, [(300, 1)]).lengths)
    assert 300 * math.log(2) < found < 1.03 * np.mean(independent_code(masks).lengths)


def test_weights_that_say_nothing_together_and_no_weights_at_all():
    same = np.tile([True, False, True], (4, 1))
    assert np.mean(tree_code(same, [(3, 1)]).lengths) < 2.0
    assert tree_code(np.zeros((3, 0), bool), [(0, 5)]).lengths == pytest.approx([0.0] * 3)
