"""The bias of resampling schemes where it can be computed, and the benchmark of re-training."""

import pytest

from estimators_bench import retraining, schemes
from mitools.data import Bootstrap, Folds, HalfSamples
from mitools.models import mlp
from mitools.pruning import MagnitudeAfterTraining
from mitools.training import Training


@pytest.mark.parametrize("task", [schemes.thresholds(0.1), schemes.lookup(0.1)])
def test_fresh_data_have_no_bias(task):
    assert schemes.information(task, task.fresh, 2, 300) == pytest.approx(task.truth, rel=0.05)


@pytest.mark.parametrize("scheme", [Bootstrap(), HalfSamples()], ids=repr)
def test_resampled_means_see_half_a_nat_a_bit(scheme):
    """Given the sample, P(bit) is uniform on (0, 1), and the mean of h(U) is 1/2."""
    task = schemes.thresholds(0.5)
    assert schemes.information(task, scheme, 4, 200) == pytest.approx(200 / 2, rel=0.05)


def test_folds_are_smaller_data_sets():
    """A mean of 16 points exceeds a threshold made for 128 with probability Φ(-1.2816 / √8)."""
    found = schemes.information(schemes.thresholds(0.1), Folds(8), 30, 0)
    assert found == pytest.approx(200 * 0.63076, rel=0.02)


def test_retraining_prints_both_times():
    pruner = MagnitudeAfterTraining(Training(2, 10))
    setting = retraining.Setting("small", lambda: mlp([5, 4, 2]), (5,), 20, pruner, 3)
    assert retraining._line(setting, 1, 1, "cpu").startswith("small")
