"""A first look: an MLP that memorises random labels, and what its masks know of them."""

import pytest

from mitools.data import gaussian
from mitools.effective import Counting, LabelNoiseDecoding, ResampledMasks, peff
from mitools.models import mlp
from mitools.pruning import IMP, SNIP, MagnitudeAfterTraining, OneShot, prune
from mitools.training import SGD, Training

TRAINING = Training(epochs=100, batch_size=64, optimizer=SGD(lr=0.2, momentum=0.0))


@pytest.fixture(scope="module")
def answers():
    samples = gaussian(500, 50, 2, seed=0)
    model = mlp([50, 100, 100, 2], seed=0)
    methods = (Counting(), LabelNoiseDecoding(), ResampledMasks(datasets=8, n_jobs=2))
    pruners = {
        "snip": OneShot(SNIP()),
        "after": MagnitudeAfterTraining(TRAINING),
        "imp": IMP(TRAINING),
    }
    return {
        name: peff(model, prune(model, samples, pruner, density=0.2), samples, methods)
        for name, pruner in pruners.items()
    }


def coding(answer):
    return next(b for b in answer.bounds if b.sense == "upper" and "Resampled" in b.method)


@pytest.mark.slow
def test_trained_masks_carry_more_than_masks_at_initialisation(answers):
    """theory: coding upper bounds order IMP > magnitude after training > SNIP at 20% density."""
    coded = {name: coding(answer).value for name, answer in answers.items()}
    assert coded["snip"] < coded["after"] < coded["imp"]


@pytest.mark.slow
def test_decoded_information_has_the_same_order(answers):
    lower = {name: answer.lower.limit for name, answer in answers.items()}
    assert 40 < lower["snip"] < lower["after"] < lower["imp"]


@pytest.mark.slow
def test_bounds_do_not_cross(answers):
    for answer in answers.values():
        assert answer.lower.limit <= answer.upper.limit
