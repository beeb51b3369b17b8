"""Codes for masks that move together, and limits that hold for every law."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import betaln

from mitools.mask_information import betting_limit, certified_limit, independent_code, shared_code
from mitools.mask_information.limits import length_cap
from mitools.mask_information.shared import Seen, lengths_in_order


def blocks(rng, draws, count, copies, rate=0.5):
    hidden = rng.random((draws, count)) < rate
    return np.tile(hidden, (1, copies)) ^ (np.arange(count * copies) // count % 2 == 1)


# ---- the code ----


@pytest.mark.parametrize("sizes", [(6,), (2, 3, 1)])
def test_shared_code_is_a_distribution(sizes):
    """Summed over every possible mask, exp(-length) is 1: nothing is charged too little."""
    rng = np.random.default_rng(1)
    others = rng.random((5, 6)) < 0.4
    others[:, 3] = ~others[:, 1]
    every = np.array(list(itertools.product([False, True], repeat=6)))
    total = sum(
        math.exp(-shared_code(np.vstack([others, row]), sizes).lengths[-1]) for row in every
    )
    assert total == pytest.approx(1.0, abs=1e-12)


def test_codes_in_order_are_distributions_given_what_came_before():
    rng = np.random.default_rng(2)
    before = rng.random((3, 5)) < 0.5
    before[:, 4] = before[:, 0]
    every = np.array(list(itertools.product([False, True], repeat=5)))
    total = sum(math.exp(-lengths_in_order(np.vstack([before, row]))[-1]) for row in every)
    assert total == pytest.approx(1.0, abs=1e-12)


def test_lengths_in_order_do_not_look_ahead():
    masks = blocks(np.random.default_rng(3), 8, 5, 4)
    lengths = lengths_in_order(masks)
    other = masks.copy()
    other[5:] ^= True
    np.testing.assert_array_equal(lengths_in_order(other)[:5], lengths[:5])


def test_groups_are_charged_by_beta_binomial_laws():
    """Straight from the definition: groups by comparing columns, products weight by weight."""
    rng = np.random.default_rng(4)
    masks = blocks(rng, 6, 3, 4)
    masks[:, 0] = True
    row, before = masks[-1], masks[:-1]
    seen = Seen.nothing((12,))
    for mask in before:
        seen.add(mask)
    found = seen._grouped(row)  # columns: 30 laws, of which (hold 1e-4, loose 0.5) is the first
    expected = np.zeros(2)
    left = set(range(12))
    while left:
        first = min(left)
        alike = before[:, first][:, None] == before[:, sorted(left)]
        group = [i for i, a in zip(sorted(left), alike.T, strict=True) if a.all() or not a.any()]
        against = [before[0, i] != before[0, first] for i in group]
        times = before[:, first].sum()
        rate = (times + 0.25) / (len(before) + 0.5)
        moved = sum(row[i] != a for i, a in zip(group, against, strict=True))
        a, b = rate * 1e-4, (1 - rate) * 1e-4
        value = betaln(a + moved, b + len(group) - moved) - betaln(a, b)
        expected[int(0 < times < len(before))] += value
        left -= set(group)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-9)


def test_a_mask_forgotten_leaves_no_trace():
    masks = blocks(np.random.default_rng(5), 5, 4, 3)
    seen = Seen.nothing((12,))
    for mask in masks[:4]:
        seen.add(mask)
    before = seen.length(masks[4])
    seen.add(masks[4])
    seen.drop(masks[4], 4)
    assert seen.length(masks[4]) == before


def test_patterns_in_a_table_are_those_found_by_sorting(monkeypatch):
    rng = np.random.default_rng(12)
    masks = np.hstack([blocks(rng, 12, 30, 5), rng.random((12, 200)) < 0.2])
    tabled = shared_code(masks).lengths
    monkeypatch.setattr("mitools.mask_information.shared._TABLED", 3)
    np.testing.assert_allclose(shared_code(masks).lengths, tabled, rtol=1e-12)


@pytest.mark.parametrize(("count", "copies", "rate"), [(100, 10, 0.5), (50, 20, 0.5)])
def test_shared_causes_are_paid_for_once(count, copies, rate):
    masks = blocks(np.random.default_rng(6), 32, count, copies, rate)
    truth = count * math.log(2)
    assert np.mean(independent_code(masks).lengths) > 0.95 * copies * truth
    assert truth < np.mean(shared_code(masks).lengths) < 1.1 * truth


def test_a_mask_moved_as_a_whole_by_a_rare_bit_costs_little_where_independent_codes_pay_all():
    masks = np.tile(np.arange(1_000) % 3 == 0, (16, 1))
    masks[7] ^= True
    assert np.mean(independent_code(masks).lengths) > 500
    assert np.mean(shared_code(masks).lengths) < 2.0


def test_independent_weights_cost_no_more_than_a_nat_or_two_beyond_their_own_code():
    rng = np.random.default_rng(7)
    masks = rng.random((16, 3_000)) < rng.beta(0.3, 2.0, 3_000)
    alone, shared = independent_code(masks), shared_code(masks)
    assert np.mean(shared.lengths) < np.mean(alone.lengths) + 5.0


def test_no_mask_costs_much_more_than_counting():
    rng = np.random.default_rng(8)
    masks = np.zeros((8, 500), bool)
    masks[3] = rng.random(500) < 0.5
    assert max(shared_code(masks).lengths) < length_cap(500)
    assert max(independent_code(masks).lengths) > 5 * length_cap(500)


def test_a_count_fixed_beforehand_is_not_paid_for_and_is_checked():
    rng = np.random.default_rng(9)
    masks = np.argsort(rng.random((6, 200)), axis=1) < 50
    assert length_cap(200, 50) == pytest.approx(math.log(math.comb(200, 50)) + math.log(50))
    assert certified_limit(masks, kept=50) < certified_limit(masks)
    with pytest.raises(ValueError, match="kept must be the number of ones in every mask; got 49"):
        shared_code(masks, kept=49)


# ---- the limit ----


def exact_coverage(limit, rate, draws, cap=10.0):
    """Probability that a limit on rate · cap holds, over all sequences of lengths 0 and cap."""
    held = 0.0
    for ones in range(draws + 1):
        # Exchangeable: one sequence of each kind per arrangement, taken at random positions.
        ways = list(itertools.combinations(range(draws), ones))
        for chosen in ways:
            lengths = np.zeros(draws)
            lengths[list(chosen)] = cap
            chance = rate**ones * (1 - rate) ** (draws - ones)
            held += chance * (limit(lengths, cap) >= rate * cap)
    return held


def t_limit(lengths, cap):
    from scipy.stats import t

    error = lengths.std(ddof=1) / math.sqrt(len(lengths))
    return lengths.mean() + t.ppf(0.95, len(lengths) - 1) * error


def betting(lengths, cap):
    return betting_limit(lengths[None], cap)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.95])
def test_betting_limit_holds_for_rare_and_for_common_events_by_enumeration(rate):
    assert exact_coverage(betting, rate, 9) >= 0.95


def test_the_enumeration_catches_a_limit_that_is_blind_to_rare_events():
    assert exact_coverage(t_limit, 0.05, 9) < 0.5


def test_lengths_that_are_all_nothing_leave_what_could_not_be_seen():
    """No valid limit can be lower than 1 - α^(1/K) of the cap; this one comes near."""
    for draws in (16, 64, 256):
        least = 1.0 - 0.05 ** (1.0 / draws)
        found = betting_limit(np.zeros((1, draws)), 1.0)
        assert least < found < 1.35 * least


def test_average_over_orders_lies_between_the_best_and_the_worst_of_them():
    lengths = np.random.default_rng(10).beta(2.0, 5.0, 40)
    orders = [np.random.default_rng(i).permutation(lengths) for i in range(6)]
    alone = [betting_limit(order[None], 1.0) for order in orders]
    assert min(alone) <= betting_limit(np.array(orders), 1.0) <= max(alone)
    assert betting_limit(lengths[None], 1.0, 0.99) > betting_limit(lengths[None], 1.0, 0.9)


def test_certified_limit_is_far_below_counting_where_there_is_little_to_know():
    masks = blocks(np.random.default_rng(11), 64, 20, 50)
    limit = certified_limit(masks, orders=2)
    assert 20 * math.log(2) < limit < 0.3 * length_cap(1_000)
    assert certified_limit(masks, orders=2) == limit
