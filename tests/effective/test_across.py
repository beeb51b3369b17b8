"""Bounds over many data sets: capped, silent where masks are, right where the truth is known."""

import math

import numpy as np
import pytest

from mitools import peff
from mitools.data import Bootstrap, GaussianInputs, SymmetricFlips, gaussian
from mitools.effective import Contrastive, ExpectedGap, ResampledMasks
from mitools.mask_information import contrasted, expected_gap
from mitools.models import mlp
from mitools.pruning import IMP, OneShot, Random, prune
from mitools.training import SGD, Training


def test_telling_data_sets_apart_for_certain_is_worth_their_number():
    scores = np.where(np.eye(8, dtype=bool), 50.0, 0.0)
    found = contrasted(scores, "", 0.95)
    assert found.value == pytest.approx(math.log(8), abs=1e-9)
    assert "is near it" in found.notes[1]


def test_scores_that_know_nothing_are_worth_nothing():
    assert contrasted(np.zeros((5, 5)), "", 0.95).value == pytest.approx(0.0)
    # By rows: what all data sets gain from a mask tells none of them from the others.
    rows = np.random.default_rng(0).standard_normal((5, 1)) * np.ones(5)
    assert contrasted(rows, "", 0.95).value == pytest.approx(0.0)


def test_one_bit_seen_through_noise_stays_below_its_information():
    rng, flip = np.random.default_rng(1), 0.1
    truth = math.log(2) + flip * math.log(flip) + (1 - flip) * math.log(1 - flip)
    values = []
    for _ in range(400):
        data = rng.integers(0, 2, 16)
        masks = data ^ (rng.random(16) < flip)
        scores = np.where(masks[:, None] == data, math.log(1 - flip), math.log(flip))
        values.append(contrasted(scores, "", 0.95).value)
    assert truth - 0.05 < np.mean(values) < truth + 0.01


def test_the_square_of_the_gap():
    gaps = np.array([0.1, 0.3])
    found = expected_gap(gaps, 100, "", 0.95)
    assert found.value == pytest.approx(200 * (0.2**2 - 0.1**2))
    assert found.limit == 0.0
    steady = expected_gap(np.array([0.2, 0.2, 0.2]), 100, "", 0.95)
    assert steady.value == pytest.approx(8.0)
    assert steady.limit == pytest.approx(8.0)


def test_gaps_of_chance_show_nothing_on_average():
    rng = np.random.default_rng(2)
    found = [expected_gap(0.05 * rng.standard_normal(6), 100, "", 0.95) for _ in range(500)]
    assert np.mean([f.value for f in found]) == pytest.approx(0.0, abs=0.05)
    assert np.mean([f.limit > 0.0 for f in found]) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros((1, 1)), np.full((2, 2), np.nan)])
def test_scores_must_be_a_square(wrong):
    with pytest.raises(ValueError, match="scores must"):
        contrasted(wrong, "", 0.95)


def test_masks_that_memorised_are_told_apart():
    samples = gaussian(80, 20, 2, seed=0)
    model = mlp([20, 40, 2], seed=0)
    training = Training(epochs=60, batch_size=40, optimizer=SGD(lr=0.3, momentum=0.0))
    mask = prune(model, samples, IMP(training), density=0.2)
    masks = ResampledMasks(datasets=6)
    anew = ResampledMasks(resampling=GaussianInputs(80, 20), datasets=6)
    told, gap = peff(model, mask, samples, [Contrastive(masks), ExpectedGap(anew)]).bounds
    assert told.value > 0.8 * math.log(6)
    assert gap.limit >= 0.0
    assert max(told.value, gap.value) < 80 * math.log(2)


def test_silent_masks_and_missing_points():
    flips = SymmetricFlips(0.3).apply(gaussian(40, 5, 2, seed=0), seed=0)
    model = mlp([5, 8, 2], seed=0)
    mask = prune(model, flips, OneShot(Random(seed=0)), density=0.5)
    assert peff(model, mask, flips, [Contrastive()]).lower.value == 0.0
    for shared in (None, Bootstrap()):  # data sets that share points share their gap
        with pytest.raises(ValueError, match="anew for ExpectedGap"):
            peff(model, mask, flips, [ExpectedGap(ResampledMasks(resampling=shared))])
