"""The continuous tasks know their truth: every law of theirs is computed a second time."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from laws import CHECKS, check, check_copula, clayton
from scipy import stats

from estimators_bench.tasks import (
    beyond_normal,
    continuous,
    copulas,
    curves,
    distributions,
    images,
    kinds,
    maps,
    samplers,
)
from estimators_bench.tasks import mixtures as mixtures_
from estimators_bench.tasks.copulas import FarlieGumbelMorgenstern, Frank, Gumbel, Lomax
from estimators_bench.tasks.curves import NoisyCurve, RandomScale, Sine, VonMises, VonMisesFisher
from estimators_bench.tasks.distributions import (
    AdditiveUniform,
    DenseNormal,
    Distribution,
    NormalPairs,
    Student,
    Together,
)
from estimators_bench.tasks.kinds import Truth
from estimators_bench.tasks.mixtures import correlated
from estimators_bench.tasks.monte_carlo import measured, mixtures
from mitools import mutual_information
from mitools.methods import KSG

BY_NAME = {task.name: task for task in continuous.TASKS}
MIXTURES = mixtures()
LAWS = {
    task.sampler.distribution: task.name for task in beyond_normal.TASKS + continuous.TASKS
}  # distinct ones, each under the last name it has


@pytest.mark.parametrize("law", LAWS, ids=LAWS.get)
def test_every_law_agrees_with_a_second_computation(law):
    check(law)


@pytest.mark.parametrize("task", continuous.TASKS, ids=lambda task: task.name)
def test_what_is_drawn_is_what_the_task_says(task):
    x, y = task.draw(20, seed=3)
    again = task.draw(20, seed=3)
    assert x.shape == (20, task.dims[0]) and y.shape == (20, task.dims[1])
    assert x.dtype == y.dtype == np.float64
    assert x.flags.c_contiguous and y.flags.c_contiguous
    assert np.isfinite(x).all() and np.isfinite(y).all()
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(y, again[1])
    assert task.truth == task.sampler.information
    assert task.truth.error < 1e-3
    assert task.about.endswith(".") and "lambda" not in repr(task.sampler)


@pytest.mark.parametrize("tasks", [beyond_normal.TASKS, continuous.TASKS], ids=["40", "beyond"])
def test_a_sampler_prints_the_code_that_makes_it(tasks):
    rooms = (copulas, curves, distributions, images, kinds, maps, mixtures_, samplers)
    names = {name: value for room in rooms for name, value in vars(room).items()}
    for task in tasks:
        assert eval(repr(task.sampler), names) == task.sampler


# Literals and second formulas


@pytest.mark.parametrize(
    ("name", "nats"),
    [
        ("clayton-1x1", math.log(3) - 2 / 3),
        ("fgm-1x1", 0.0599975),  # Gauss and Legendre, of c log c over the square
        ("normal-2-nats", 2),
        ("normal-5-nats", 5),
        ("normal-10-nats", 10),
        ("normal-10-nats-5x5", 10),
        ("additive-noise-0.001", 0.001 - math.log(0.002)),
        ("hidden-1000x1000", -math.log(1 - 0.64)),
        ("spread-100x100", 1),
        ("independent-cauchy-3x3", 0),
        ("picture-clouds-256x256", -3 * math.log(0.51)),
        ("picture-square-256x256", -math.log(0.19)),
    ],
)
def test_literal_truths(name, nats):
    assert BY_NAME[name].truth.nats == pytest.approx(nats, abs=2e-7)


def test_the_clayton_copula_by_its_distribution_function():
    task = BY_NAME["clayton-1x1"]
    check_copula(task.sampler.distribution, task.draw(40_000, seed=0), clayton, 2.0)


def test_dependence_fades_where_it_should():
    assert Gumbel(1 + 1e-7).information.nats == pytest.approx(0, abs=1e-5)
    assert Frank(1e-4).information.nats == pytest.approx(0, abs=1e-8)
    assert VonMises(1e-4).information.nats == pytest.approx(0, abs=1e-8)
    assert VonMisesFisher(1e-3).information.nats == pytest.approx(0, abs=1e-6)
    assert FarlieGumbelMorgenstern(0.0).information.nats == 0
    assert Lomax(3, 2, 1e6).information.nats == pytest.approx(0, abs=1e-5)
    assert Student(NormalPairs(3, 2), 1e6).information.nats == pytest.approx(0, abs=1e-5)
    assert NoisyCurve(Sine(1.0), 30.0).information.nats == pytest.approx(1 / 3600, rel=1e-2)


def test_truths_by_monte_carlo_come_out_again():
    """Anew from other samples, within the intervals of both."""
    for mixture in MIXTURES.values():
        again = measured(mixture, 50_000, seed=1)
        assert again.source == mixture.information.source == "Monte Carlo"
        spread = 4.5 / 1.96 * (again.error + mixture.information.error)
        assert abs(again.nats - mixture.information.nats) < spread


def test_monte_carlo_errors_cover_and_blocks_add_up():
    mixture = MIXTURES["parity-2x1"]
    runs = [measured(mixture, 2_000, seed) for seed in range(60)]
    covered = [abs(run.nats - mixture.information.nats) < run.error for run in runs]
    assert stats.binomtest(sum(covered), 60, 0.95).pvalue > 1e-3


# No linear trace where the task says so, no trace in single columns


@pytest.mark.parametrize("name", ["cross-1x1", "parabola-1x1", "fast-sine-1x1", "scale-1x1"])
def test_dependence_without_much_correlation(name):
    x, y = BY_NAME[name].draw(20_000, seed=0)
    limit = 0.25 if name == "fast-sine-1x1" else 0.05
    assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < limit


def test_parity_needs_both_columns():
    x, y = BY_NAME["parity-2x1"].draw(20_000, seed=0)
    for column in x.T:
        assert abs(mutual_information(column, y, KSG(k=5)).value) < 0.03


def test_hidden_dependence_shows_little_in_any_column():
    x, y = BY_NAME["hidden-100x100"].draw(20_000, seed=0)
    among = np.corrcoef(x.T, y.T)[:100, 100:]
    assert 0.02 < np.abs(among).max() < 0.1
    assert np.linalg.svd(among, compute_uv=False)[:3] == pytest.approx([0.8, 0.8, 0.1], abs=0.1)


# Consistent estimators at large n


@pytest.mark.parametrize(
    "name",
    [
        "clayton-1x1",
        "gumbel-1x1",
        "frank-1x1",
        "fgm-1x1",
        "circle-2x2",
        "sphere-3x3",
        "swiss-roll-3x1",
        "normal-2-nats",
        "cross-1x1",
        "outliers-1x1",
        "clusters-2x2",
        "parity-2x1",
        "sine-1x1",
        "fast-sine-1x1",
        "parabola-1x1",
        "scale-1x1",
        "independent-1x1",
    ],
)
def test_nearest_neighbours_find_the_truth(name):
    """20,000 samples: the spread is about .01, the bias of curved ones up to .04."""
    task = BY_NAME[name]
    found = mutual_information(*task.draw(20_000, seed=0), KSG(k=3)).value
    assert found == pytest.approx(task.truth.nats, abs=0.06)


# Planted faults


@dataclass(frozen=True)
class Claimed:
    """A law that draws as one says and knows what another does."""

    drawn: Distribution
    known: Distribution

    def __getattr__(self, name):
        return getattr(self.known, name)

    @property
    def information(self):
        return self.known.information

    def draw(self, n, rng):
        return self.drawn.draw(n, rng)


@dataclass(frozen=True)
class OffBy:
    """A law whose truth is a little wrong."""

    law: Distribution
    nats: float

    def __getattr__(self, name):
        return getattr(self.law, name)

    @property
    def information(self):
        right = self.law.information
        return Truth(right.nats + self.nats, right.source, right.error)

    def draw(self, n, rng):
        return self.law.draw(n, rng)


def _less_crossed():
    turned = (correlated(0.93), correlated(-0.93))
    return replace(MIXTURES["cross-1x1"], covariances=turned)


@pytest.mark.parametrize(
    ("drawn", "known"),
    [
        (NormalPairs(1, 1, (0.7,)), NormalPairs(1, 1, (0.75,))),
        (NormalPairs(3, 3, (0.8, 0.0, 0.8)), NormalPairs(3, 3, (0.8, 0.8))),
        (DenseNormal(3, 3, 0.45), DenseNormal(3, 3, 0.5)),
        (NormalPairs(2, 2), Student(NormalPairs(2, 2), 2)),
        (Student(NormalPairs(2, 2), 1), Student(NormalPairs(2, 2), 2)),
        (AdditiveUniform(0.11), AdditiveUniform(0.1)),
        (Lomax(3, 3, 1.2), Lomax(3, 3, 1.0)),
        (Gumbel(1.9), Gumbel(2.0)),
        (Frank(7.0), Frank(8.0)),
        (FarlieGumbelMorgenstern(0.8), FarlieGumbelMorgenstern(1.0)),
        (NoisyCurve(Sine(0.5), 0.21), NoisyCurve(Sine(0.5), 0.2)),
        (NormalPairs(1, 1, (0.8,)), RandomScale()),
        (VonMises(4.7), VonMises(5.0)),
        (VonMisesFisher(9.0), VonMisesFisher(10.0)),
        (_less_crossed(), MIXTURES["cross-1x1"]),
    ],
    ids=lambda law: type(law).__name__,
)
def test_a_wrong_sampler_is_noticed(drawn, known):
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError):
        _check_as(known, Claimed(drawn, known), rng)


@pytest.mark.parametrize("law", LAWS, ids=LAWS.get)
def test_a_wrong_truth_is_noticed(law):
    with pytest.raises(AssertionError):
        _check_as(law, OffBy(law, 0.004), np.random.default_rng(0))


def _check_as(known, claim, rng):
    CHECKS[type(known)](claim, rng)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NormalPairs(1, 1, (1.0,)),
        lambda: NormalPairs(1, 2, (0.5, 0.5)),
        lambda: DenseNormal(2, 2, -0.5),
        lambda: Student(NormalPairs(1, 1), 0),
        lambda: AdditiveUniform(0.0),
    ],
)
def test_impossible_laws_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        wrong()


def test_parts_side_by_side_add_up():
    whole = Together((NormalPairs(1, 1, (0.6,)), MIXTURES["parity-2x1"], RandomScale()))
    assert whole.information.source == "closed form, Monte Carlo, quadrature"
    assert whole.information.error == MIXTURES["parity-2x1"].information.error
    assert [a.shape for a in whole.draw(7, np.random.default_rng(0))] == [(7, 4), (7, 3)]
