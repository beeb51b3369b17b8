"""Bounds on the information of boolean masks, against closed forms and enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitools.mask_information import (
    counting,
    decoded_classes,
    decoded_values,
    generalisation_gap,
    independent_code,
)


def binary_entropy(p):
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


@given(size=st.integers(0, 60), data=st.data())
def test_counting_is_log_binomial(size, data):
    kept = data.draw(st.integers(0, size))
    assert counting(kept, size).value == pytest.approx(math.log(math.comb(size, kept)), abs=1e-10)


def test_empty_and_full_masks_carry_exactly_nothing():
    assert counting(0, 10**8).value == 0.0
    assert counting(10**8, 10**8).value == 0.0


def test_counting_refuses_an_impossible_count():
    with pytest.raises(
        ValueError, match=r"kept must be between 0 and size; got kept=5 with size=4"
    ):
        counting(5, 4)


def slow_length(masks, j, strength, mean, rest):
    """The code's definition, weight by weight, for one layer."""
    others = np.delete(masks, j, axis=0)
    assert mean + rest == pytest.approx(1.0)
    kept = (others.sum(axis=0) + strength * mean) / (len(others) + strength)
    return -np.log(np.where(masks[j], kept, 1 - kept)).sum()


def test_code_lengths_equal_their_definition_at_the_fitted_prior():
    from mitools.mask_information.codes import _fitted_beta

    rng = np.random.default_rng(0)
    masks = rng.random((7, 400)) < rng.beta(0.3, 1.0, 400)
    code = independent_code(masks, [150, 250])
    for j in range(7):
        expected = 0.0
        for part in (slice(0, 150), slice(150, 400)):
            others = np.delete(masks[:, part], j, axis=0)
            seen = np.bincount(others.sum(axis=0), minlength=7)
            expected += slow_length(masks[:, part], j, *_fitted_beta(seen))
        assert code.lengths[j] == pytest.approx(expected, rel=1e-12)


def test_code_is_a_distribution():
    """Summed over every possible mask, exp(-length) is 1: nothing is charged too little."""
    rng = np.random.default_rng(1)
    others = rng.random((4, 6)) < 0.4
    total = 0.0
    for bits in itertools.product([False, True], repeat=6):
        masks = np.vstack([others, np.array(bits)])
        total += math.exp(-independent_code(masks, [2, 4]).lengths[-1])
    assert total == pytest.approx(1.0, abs=1e-12)


def test_upper_bound_holds_and_tightens_on_independent_weights():
    rng = np.random.default_rng(2)
    p = rng.beta(0.5, 2.0, 5_000)
    truth = binary_entropy(p).sum()
    values = []
    for draws in (4, 16, 64):
        code = independent_code(rng.random((draws, 5_000)) < p)
        upper = code.upper("code")
        assert upper.interval is not None
        assert upper.value + 4 * (upper.std_error or 0) > truth
        values.append(upper.value)
    assert values[0] > values[1] > values[2]
    assert values[2] < 1.04 * truth
    assert code.point("code").value == pytest.approx(truth, rel=0.02)


def test_dependent_weights_are_overcharged_never_undercharged():
    """Blocks of copies: the truth is one bit a block, the independent code pays for each copy."""
    rng = np.random.default_rng(3)
    blocks, copies, draws = 40, 8, 32
    masks = np.repeat(rng.random((draws, blocks)) < 0.5, copies, axis=1)
    upper = independent_code(masks).upper("code").value
    assert upper == pytest.approx(blocks * copies * math.log(2), rel=0.1)


def test_identical_masks_cost_next_to_nothing():
    masks = np.tile(np.random.default_rng(4).random(10_000) < 0.2, (5, 1))
    code = independent_code(masks)
    assert code.upper("code").value < 1e-3
    assert code.distinct == 1


@pytest.mark.parametrize("value", [False, True])
def test_layers_kept_or_dropped_whole_cost_nothing_at_any_size(value):
    masks = np.full((16, 200_000), value)
    code = independent_code(masks)
    assert np.isfinite(code.lengths).all() and np.isfinite(code.entropy)
    assert max(code.lengths) < 1e-3


def test_a_count_that_may_depend_on_the_data_is_paid_for():
    assert counting(5, 5, fixed_count=False).value == pytest.approx(math.log(6))


def test_impossible_targets_are_refused():
    with pytest.raises(ValueError, match="1 of 2 have probability 0"):
        decoded_classes(
            np.eye(2), np.array([0, 0]), np.array([[0.0, -np.inf], [-np.inf, 0.0]]), "d", 0.95
        )


def test_a_network_without_outputs_certifies_no_real_noise():
    assert decoded_values(np.zeros((90, 1)), np.zeros((90, 1)), 1.0, "d", 0.95).value == 0.0


@pytest.mark.parametrize(
    "masks, sizes, message",
    [
        (np.zeros((2, 5), bool), None, "at least 3 rows"),
        (np.zeros((4, 5)), None, "dtype float64"),
        (np.zeros(5, bool), None, r"shape \(5,\)"),
        (np.zeros((4, 5), bool), [2, 2], "sizes must sum to the 5 weights"),
    ],
)
def test_code_refuses(masks, sizes, message):
    with pytest.raises(ValueError, match=message):
        independent_code(masks, sizes)


# ---- decoding ----

FAIR = math.log(0.5)


def test_decoding_a_known_channel_comes_close_to_its_information():
    """Labels through a binary symmetric channel: I = n (log 2 - h(0.2))."""
    rng = np.random.default_rng(5)
    n, flips, bounds = 2_000, 0.2, []
    for _ in range(30):
        targets = rng.integers(0, 2, n)
        seen = targets ^ (rng.random(n) < flips)
        outputs = np.eye(2)[seen]
        bounds.append(decoded_classes(outputs, targets, np.full((n, 2), FAIR), "d", 0.95))
    values = [bound.value for bound in bounds]
    truth = n * (math.log(2) - binary_entropy(flips))
    # I is a mean, from which one mask's value strays by 25 nats: Markov's 3 would not do.
    assert sum(bound.limit > truth for bound in bounds) <= 5  # P(more of 30 at 0.05) = 0.003
    spread = np.std(values, ddof=1) / math.sqrt(len(values))
    assert truth - 8 < np.mean(values) + 4 * spread
    assert np.mean(values) - 4 * spread < truth


def test_silent_outputs_reach_no_certificate_more_often_than_promised():
    rng = np.random.default_rng(6)
    n, classes, repeats = 200, 4, 300
    prior = np.full((n, classes), math.log(1 / classes))
    limits, values = [], []
    for _ in range(repeats):
        targets = rng.integers(0, classes, n)
        bound = decoded_classes(rng.standard_normal((n, classes)), targets, prior, "d", 0.9)
        limits.append(bound.limit)
        values.append(bound.value)
    assert np.mean(np.array(limits) > 0) <= 0.1
    assert np.mean(np.exp(values)) == pytest.approx(1.0, abs=0.35)  # a likelihood ratio has mean 1
    assert min(values) >= -math.log(2) - 1e-9


def test_decoder_cannot_learn_from_the_prior_alone():
    """Flips at rate 0.3: knowing the clean label is in the prior, so it must not count."""
    rng = np.random.default_rng(7)
    n, classes, rate = 3_000, 5, 0.3
    clean = rng.integers(0, classes, n)
    flip = rng.random(n) < rate
    targets = np.where(flip, (clean + rng.integers(1, classes, n)) % classes, clean)
    prior = np.full((n, classes), math.log(rate / (classes - 1)))
    prior[np.arange(n), clean] = math.log(1 - rate)
    bound = decoded_classes(3.0 * np.eye(classes)[clean], targets, prior, "d", 0.95)
    assert bound.value < 3.0


def test_decoding_gaussian_noise_comes_close_to_its_information():
    rng = np.random.default_rng(8)
    n, rho, bounds = 1_000, 0.6, []
    for _ in range(30):
        noise = rng.standard_normal((n, 1))
        outputs = rho * noise + math.sqrt(1 - rho**2) * rng.standard_normal((n, 1))
        bounds.append(decoded_values(outputs, 2.5 * noise, 2.5, "d", 0.95))
    values = [bound.value for bound in bounds]
    truth = -0.5 * n * math.log(1 - rho**2)
    assert sum(bound.limit > truth for bound in bounds) <= 5  # P(more of 30 at 0.05) = 0.003
    spread = np.std(values, ddof=1) / math.sqrt(len(values))
    assert truth - 10 < np.mean(values) + 4 * spread
    assert np.mean(values) - 4 * spread < truth


def test_a_constant_network_decodes_nothing():
    targets = np.random.default_rng(9).integers(0, 2, 50)
    bound = decoded_classes(np.ones((50, 2)), targets, np.full((50, 2), FAIR), "d", 0.95)
    assert bound.value == pytest.approx(0.0, abs=1e-12)


def test_gap_of_equal_errors_is_below_zero_and_of_a_memoriser_large():
    silent = generalisation_gap(250, 500, 250, 500, "g", 0.95)
    memoriser = generalisation_gap(0, 500, 450, 500, "g", 0.95)
    assert silent.value < 0
    assert silent.limit < 0
    assert memoriser.limit > 500
    assert memoriser.value > memoriser.limit


def test_gap_certificate_holds_for_silent_masks():
    rng = np.random.default_rng(10)
    wrong = rng.binomial(300, 0.7, 500), rng.binomial(100, 0.7, 500)
    limits = [
        generalisation_gap(a, 300, b, 100, "g", 0.95).limit for a, b in zip(*wrong, strict=True)
    ]
    assert np.mean(np.array(limits) > 0) <= 0.05
