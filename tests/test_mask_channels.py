"""The code of whole rows: a distribution, next to nothing beyond the rows' bits, safe elsewhere."""

import itertools
import math
from functools import partial

import numpy as np
import pytest

from mitools.mask_information import (
    certified_limit,
    channel_code,
    channel_in_order,
    independent_code,
    mixed_code,
)
from mitools.mask_information.limits import length_cap

SHAPES = [(20, 12), (15, 20), (4, 60)]  # columns of the last: four weights for each unit before
UNITS = [20, 15]


def structured(rng, draws, following=True):
    """Masks of fair units; the columns follow them, or all stay. The last layer's rows stay."""
    units = rng.random((draws, sum(UNITS))) < 0.5
    first, second = np.split(units, [20], axis=1)
    inputs = first if following else np.ones_like(first)
    outputs = np.repeat(second if following else np.ones_like(second), 4, axis=1)
    layers = [
        np.repeat(first, 12, axis=1),
        (second[:, :, None] & inputs[:, None]).reshape(draws, -1),
        np.tile(outputs, (1, 4)),
    ]
    return np.hstack(layers), units


@pytest.mark.parametrize(
    ("shapes", "whole"),
    [([(2, 2), (1, 2)], False), ([(2, 2), (1, 2)], True), ([(3, 1), (1, 3)], True)],
)
def test_channel_code_is_a_distribution(shapes, whole):
    """Summed over every possible mask, exp(-length) is at most 1, and 1 but for what is doubled."""
    rng = np.random.default_rng(1)
    others = rng.random((4, 6)) < 0.4
    if whole:
        others[:, : shapes[0][0] * shapes[0][1]] = True
    every = np.array(list(itertools.product([False, True], repeat=6)))
    for code in (
        lambda m: channel_code(m, shapes).lengths[-1],
        lambda m: channel_in_order(m, shapes)[-1],
        lambda m: channel_in_order(m, shapes, featured=False)[-1],
    ):
        total = sum(math.exp(-code(np.vstack([others, row]))) for row in every)
        assert 0.5 < total <= 1.0 + 1e-12


@pytest.mark.parametrize("following", [True, False])
def test_whole_rows_are_charged_for_their_bits_alone(following):
    masks, units = structured(np.random.default_rng(2), 16, following)
    found = np.array(channel_code(masks, SHAPES).lengths)
    bits = np.hstack([units, np.ones((16, 4), np.bool_)])
    alone = np.array(independent_code(bits, [*UNITS, 4]).lengths)
    # Two mixtures of two, the share kept for counting, and the doubt whether columns follow.
    assert (found < alone + 2 * math.log(2) + 0.03).all()
    assert np.mean(found) > 35 * math.log(2)
    if following:  # where columns do not, weights of a row are equal, and shared codes see that
        assert np.mean(found) < 0.2 * np.mean(mixed_code(masks, SHAPES).lengths)


def test_other_masks_cost_little_more_than_by_the_mixed_code():
    masks = np.random.default_rng(3).random((6, 780)) < 0.3
    found, mixed = channel_code(masks, SHAPES).lengths, mixed_code(masks, SHAPES).lengths
    price = np.subtract(found, mixed)
    assert (price < math.log(2) - math.log(0.98) + 1e-9).all() and (price > 0.0).all()


def test_one_weight_out_of_its_row_is_not_taken_for_a_whole_row():
    masks, _ = structured(np.random.default_rng(4), 8)
    spoilt = masks.copy()
    spoilt[-1, np.flatnonzero(masks[-1])[0]] = False
    bits = channel_code(masks, SHAPES).lengths[-1]
    assert channel_code(spoilt, SHAPES).lengths[-1] > bits + 10.0


def test_lengths_in_order_do_not_look_ahead_and_no_mask_costs_more_than_the_cap():
    rng = np.random.default_rng(5)
    masks = np.vstack([structured(rng, 4)[0], rng.random((4, 780)) < 0.5])
    other = masks.copy()
    other[4:] ^= True
    for featured in (True, False):
        found = channel_in_order(masks, SHAPES, featured=featured)
        np.testing.assert_array_equal(
            channel_in_order(other, SHAPES, featured=featured)[:4], found[:4]
        )
        assert (found <= length_cap(780)).all()


def test_the_certified_limit_of_channels_is_lower_by_this_code():
    masks, _ = structured(np.random.default_rng(6), 24)
    code = partial(channel_in_order, featured=False)
    limit = certified_limit(masks, SHAPES, code=code, orders=2)
    assert 35 * math.log(2) < limit
    assert limit < 0.6 * certified_limit(masks, [240, 300, 240], orders=2)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="sizes must sum to the 780 weights"):
        channel_code(np.ones((4, 780), np.bool_), SHAPES[:2])
