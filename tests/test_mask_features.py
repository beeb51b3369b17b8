"""The code that knows initial weights, rows and columns: a distribution, and worth its price."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from mitools.mask_information import certified_limit, independent_code
from mitools.mask_information.featured import (
    _SPREADS,
    _rows_and_columns,
    featured_code,
    featured_in_order,
    log_odds,
)
from mitools.mask_information.limits import length_cap
from mitools.mask_information.mixture import mixed_code, mixed_in_order
from mitools.mask_information.shared import shared_code
from mitools.mask_information.trees import tree_code

SHAPES = [(20, 30), (30, 10)]
SIZES = [600, 300]


def drawn(rng, draws, rows=0.0, columns=0.0):
    """Masks whose rows and columns gain and lose weights together, and with them small weights."""
    weights = np.concatenate([rng.standard_normal(size) for size in SIZES])
    masks = []
    for _ in range(draws):
        parts, start = [], 0
        for shape in SHAPES:
            size = np.abs(weights[start : start + shape[0] * shape[1]]).reshape(shape)
            odds = 2.0 * size - 3.0
            odds = odds + rows * rng.standard_normal((shape[0], 1))
            odds = odds + columns * rng.standard_normal(shape[1])
            parts.append((rng.random(shape) < expit(odds)).ravel())
            start += size.size
        masks.append(np.concatenate(parts))
    return np.array(masks), weights


@pytest.mark.parametrize("shapes", [[(2, 3)], [(3, 1), (1, 3)]])
def test_featured_code_is_a_distribution(shapes):
    """Summed over every possible mask, exp(-length) is 1: nothing is charged too little."""
    rng = np.random.default_rng(1)
    others, weights = rng.random((4, 6)) < 0.4, rng.standard_normal(6)
    every = np.array(list(itertools.product([False, True], repeat=6)))
    for code in (
        lambda m: featured_code(m, shapes, weights).lengths[-1],
        lambda m: featured_in_order(m, shapes, weights)[-1],
    ):
        total = sum(math.exp(-code(np.vstack([others, row]))) for row in every)
        assert total == pytest.approx(1.0, abs=1e-12)


def test_without_spread_weights_are_independent():
    """The first of the mixed laws has neither rows nor columns."""
    rng = np.random.default_rng(2)
    odds, bits = rng.standard_normal((4, 5)), rng.random((4, 5)) < 0.5
    alone = np.where(bits, np.log(expit(odds)), np.log(expit(-odds))).sum()
    assert (_SPREADS[0] == 0.0).all()
    assert _rows_and_columns(odds, bits) >= alone - math.log(len(_SPREADS))


def test_a_row_is_integrated_over_its_normal_prior():
    """One row and nothing to learn columns from: against adaptive quadrature."""
    odds, bits = np.array([[0.3, -1.0, 0.8]]), np.array([[True, False, True]])
    sign = np.where(bits, 1.0, -1.0)
    terms = []
    for row, column in _SPREADS:
        theta = odds * math.sqrt(1.0 + 0.346 * (row**2 + column**2))

        def weighted(u, theta=theta, row=row):
            return expit(sign * (theta + row * u)).prod() * norm.pdf(u)

        terms.append(quad(weighted, -9, 9)[0])
    assert _rows_and_columns(odds, bits) == pytest.approx(
        math.log(np.mean(terms)), abs=1e-4
    )  # nine nodes


def test_odds_follow_how_often_weights_were_kept_and_those_of_their_size():
    rng = np.random.default_rng(3)
    draws, rate = 12, np.repeat([0.1, 0.7], 3_000)
    masks = rng.random((draws, 6_000)) < rate
    alike = np.repeat([0, 1], 3_000)
    found = expit(log_odds(masks.sum(axis=0), draws, alike))
    np.testing.assert_allclose(found, rate, atol=0.05)  # all weights of a size are the same
    varied = rng.beta(0.2, 0.2, 6_000)
    times = (rng.random((40, 6_000)) < varied).sum(axis=0)
    found = log_odds(times, 40, np.zeros(6_000, np.int64))
    np.testing.assert_allclose(found, logit((times + 0.2) / 40.4), atol=0.3)


def test_rows_and_columns_that_move_together_are_worth_knowing():
    masks, weights = drawn(np.random.default_rng(4), 12, rows=1.2, columns=0.8)
    alone = np.mean(independent_code(masks, SIZES).lengths)
    assert np.mean(featured_code(masks, SHAPES, weights).lengths) < 0.93 * alone
    assert np.mean(featured_code(masks, SHAPES).lengths) < 0.96 * alone
    scrambled = masks[:, np.random.default_rng(5).permutation(900)]
    assert np.mean(featured_code(scrambled, SHAPES).lengths) > 0.98 * alone  # no rows, no gain


def test_initial_weights_are_worth_knowing_while_masks_are_few():
    masks, weights = drawn(np.random.default_rng(6), 4)
    without = np.mean(featured_code(masks, SHAPES).lengths)
    assert np.mean(featured_code(masks, SHAPES, weights).lengths) < 0.95 * without


def test_where_there_is_nothing_to_know_it_costs_little():
    rng = np.random.default_rng(7)
    masks = rng.random((12, 900)) < rng.beta(0.4, 2.0, 900)
    alone = np.mean(independent_code(masks, SIZES).lengths)
    assert np.mean(featured_code(masks, SHAPES, rng.random(900)).lengths) < alone + 12.0


def test_mean_length_is_above_the_entropy():
    """Independent fair rows of ten copies each: the truth is a bit a row."""
    rng = np.random.default_rng(8)
    masks = np.repeat(rng.random((16, 30)) < 0.5, 10, axis=1)
    assert np.mean(featured_code(masks, [(30, 10)]).lengths) > 30 * math.log(2)


def test_limits_by_this_code_are_lower_where_rows_move():
    masks, weights = drawn(np.random.default_rng(9), 24, rows=1.5)
    code = partial(featured_in_order, weights=weights)
    limit = certified_limit(masks, SHAPES, code=code, orders=1)
    assert limit < certified_limit(masks, SIZES, orders=1) < length_cap(900)


def test_lengths_in_order_do_not_look_ahead():
    masks, weights = drawn(np.random.default_rng(10), 6)
    other = masks.copy()
    other[4:] ^= True
    first = featured_in_order(masks, SHAPES, weights)[:4]
    np.testing.assert_array_equal(featured_in_order(other, SHAPES, weights)[:4], first)


def test_the_mixture_is_never_far_from_the_best_of_the_three():
    rng = np.random.default_rng(12)
    rows, weights = drawn(rng, 8, rows=1.5)
    blocks = np.repeat(rng.random((8, 90)) < 0.5, 10, axis=1)[:, rng.permutation(900)]
    for masks in (rows, blocks):
        groups = np.array(shared_code(masks, SIZES).lengths)
        features = np.array(featured_code(masks, SHAPES, weights).lengths)
        mixed = np.array(mixed_code(masks, SHAPES, weights).lengths)
        trees = np.array(tree_code(masks, SHAPES, weights).lengths)
        assert (mixed <= np.minimum(groups, features) + math.log(4) + 1e-9).all()
        assert (mixed <= trees + math.log(2) + 1e-9).all()
        assert (mixed >= np.minimum(groups, features) - 1e-9).all()
        assert (mixed_in_order(masks, SHAPES, weights) <= length_cap(900)).all()


def test_a_certified_limit_is_named_so_and_a_point_needs_an_entropy():
    masks, weights = drawn(np.random.default_rng(13), 6)
    code = mixed_code(masks, SHAPES, weights)
    mean = np.mean(code.lengths)
    assert code.upper("m", certified=mean + 7.0).limit == pytest.approx(mean + 7.0)
    assert code.upper("m", certified=0.0).limit == pytest.approx(mean)
    assert "holds for every law" in code.upper("m", certified=0.0).notes[1]
    assert "approximate" in code.upper("m").notes[1]
    with pytest.raises(ValueError, match="entropy must be known for a point"):
        code.point("m")


def test_weights_that_do_not_fit_are_refused():
    masks, weights = drawn(np.random.default_rng(11), 4)
    with pytest.raises(ValueError, match="weights must be the 900 initial weights"):
        featured_code(masks, SHAPES, weights[:-1])
    with pytest.raises(ValueError, match="sizes must sum to the 900 weights"):
        featured_code(masks, SHAPES[:1], weights)
