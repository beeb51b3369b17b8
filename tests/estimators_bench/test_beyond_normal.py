"""The 40 tasks are the paper's: published truths, dimensions, and definitions point by point."""

import math

import numpy as np
import pytest
from scipy import stats

from estimators_bench.tasks.beyond_normal import TASKS
from mitools import mutual_information
from mitools.methods import KSG, Gaussian

PUBLISHED = {
    "normal-1x1": 0.41334,
    "cdf-1x1": 0.41334,
    "additive-noise-0.1": 1.70944,
    "additive-noise-0.75": 0.33333,
    "bimodal-1x1": 0.41334,
    "wiggly-1x1": 0.41334,
    "half-cube-1x1": 0.41334,
    "student-1x1-nu1": 0.22417,
    "asinh-student-1x1-nu1": 0.22417,
    "swiss-roll-2x1": 0.41334,
    "dense-2x2": 0.29389,
    "dense-3x3": 0.41334,
    "dense-5x5": 0.59281,
    "dense-25x25": 1.29218,
    "dense-50x50": 1.62427,
    "2pair-2x2": 1.02165,
    "2pair-3x3": 1.02165,
    "2pair-5x5": 1.02165,
    "2pair-25x25": 1.02165,
    "student-2x2-nu1": 0.43195,
    "student-2x2-nu2": 0.19315,
    "student-3x3-nu2": 0.29092,
    "student-3x3-nu3": 0.17871,
    "student-5x5-nu2": 0.44815,
    "student-5x5-nu3": 0.29854,
    "cdf-2pair-3x3": 1.02165,
    "cdf-2pair-5x5": 1.02165,
    "cdf-2pair-25x25": 1.02165,
    "half-cube-2pair-3x3": 1.02165,
    "half-cube-2pair-5x5": 1.02165,
    "half-cube-2pair-25x25": 1.02165,
    "spiral-2pair-3x3": 1.02165,
    "spiral-2pair-5x5": 1.02165,
    "spiral-2pair-25x25": 1.02165,
    "spiral-cdf-2pair-3x3": 1.02165,
    "spiral-cdf-2pair-5x5": 1.02165,
    "spiral-cdf-2pair-25x25": 1.02165,
    "asinh-student-2x2-nu1": 0.43195,
    "asinh-student-3x3-nu2": 0.29092,
    "asinh-student-5x5-nu2": 0.44815,
}

BY_NAME = {task.name: task for task in TASKS}


def test_there_are_forty_and_their_truths_are_the_published_ones():
    assert {task.name: round(task.truth.nats, 5) for task in TASKS} == PUBLISHED
    assert len(TASKS) == 40
    assert all(task.truth.error == 0 for task in TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_what_is_drawn_is_what_the_name_says(task):
    x, y = task.draw(50, seed=3)
    again = task.draw(50, seed=3)
    other = task.draw(50, seed=4)
    assert x.shape == (50, task.dims[0]) and y.shape == (50, task.dims[1])
    assert np.isfinite(x).all() and np.isfinite(y).all()
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(y, again[1])
    assert not np.array_equal(x, other[0]) and not np.array_equal(y, other[1])
    named = [word for word in task.name.split("-") if "x" in word and word[0].isdigit()]
    assert not named or named == ["x".join(map(str, task.dims))]
    assert "lambda" not in repr(task.sampler) and " at 0x" not in repr(task.sampler)


# Definitions, point by point


def image(name, x=None, y=None):
    """Pass one point through the maps of a task."""
    maps = BY_NAME[name].sampler.x if y is None else BY_NAME[name].sampler.y
    point = np.array([x if y is None else y], float)
    for each in maps:
        point = each(point)
    return point[0]


def test_spiral_turns_the_first_plane_of_x_and_the_second_of_y_at_one_over_the_dimension():
    c, s = math.cos(5 / 3), math.sin(5 / 3)  # 1 + 4 + 0 over three dimensions
    np.testing.assert_allclose(image("spiral-2pair-3x3", x=(1, 2, 0)), (c - 2 * s, s + 2 * c, 0))
    np.testing.assert_allclose(image("spiral-2pair-3x3", y=(0, 1, 2)), (0, c - 2 * s, s + 2 * c))
    c, s = math.cos(4 / 25), math.sin(4 / 25)
    far = [0.0, 1.0, 1.0] + [0.0] * 20 + [1.0, 1.0]
    np.testing.assert_allclose(image("spiral-2pair-25x25", x=far), [-s, c, *far[2:]], atol=1e-15)


def test_spiral_of_uniform_margins_turns_them_as_they_are():
    angle = 3 * 0.25 / 3  # every coordinate is 1/2: neither centred nor scaled
    c, s = math.cos(angle) / 2, math.sin(angle) / 2
    np.testing.assert_allclose(image("spiral-cdf-2pair-3x3", x=(0, 0, 0)), (c - s, s + c, 0.5))
    np.testing.assert_allclose(image("spiral-cdf-2pair-3x3", y=(0, 0, 0)), (0.5, c - s, s + c))


def test_swiss_roll_starts_and_ends_where_the_paper_says():
    at = {u: image("swiss-roll-2x1", x=(stats.norm.ppf(u),)) for u in (1e-12, 0.5, 1 - 1e-12)}
    np.testing.assert_allclose(at[1e-12], (0, -1.5 * math.pi / 21), atol=1e-9)
    np.testing.assert_allclose(at[0.5], (-3 * math.pi / 21, 0), atol=1e-9)
    np.testing.assert_allclose(at[1 - 1e-12], (0, 4.5 * math.pi / 21), atol=1e-9)


def test_wiggles_and_half_cube():
    x = 2 + 0.4 * math.sin(2) + 0.2 * math.sin(4.4) + 0.03 * math.sin(4.1)
    y = 2 - 0.4 * math.sin(0.8) + 0.17 * math.sin(6.1) + 0.02 * math.sin(6.1)
    np.testing.assert_allclose(image("wiggly-1x1", x=(2,)), x)
    np.testing.assert_allclose(image("wiggly-1x1", y=(2,)), y)
    np.testing.assert_allclose(image("half-cube-1x1", x=(-4,)), -8)
    np.testing.assert_allclose(image("asinh-student-1x1-nu1", y=(3,)), math.log(3 + math.sqrt(10)))


@pytest.mark.parametrize(
    ("column", "parts"), [(0, ((0.3, 0), (0.7, 5))), (1, ((0.5, -1), (0.5, 3)))], ids="xy"
)
def test_bimodal_margins(column, parts):
    drawn = BY_NAME["bimodal-1x1"].draw(20_000, seed=0)[column].ravel()

    def cdf(t):
        return sum(weight * stats.norm.cdf(t - mean) for weight, mean in parts)

    assert stats.kstest(drawn, cdf).pvalue > 1e-3


def test_margins_of_the_cdf_are_uniform_and_those_of_the_student_cauchy():
    for drawn in BY_NAME["cdf-1x1"].draw(20_000, seed=0):
        assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    for drawn in BY_NAME["student-1x1-nu1"].draw(20_000, seed=0):
        assert stats.kstest(drawn.ravel(), "cauchy").pvalue > 1e-3


# Consistent estimators at large n


@pytest.mark.parametrize(
    "name",
    [
        "normal-1x1",
        "cdf-1x1",
        "additive-noise-0.1",
        "additive-noise-0.75",
        "bimodal-1x1",
        "wiggly-1x1",
        "half-cube-1x1",
        "asinh-student-1x1-nu1",
        "swiss-roll-2x1",
        "dense-2x2",
        "2pair-2x2",
        "asinh-student-2x2-nu1",
    ],
)
def test_nearest_neighbours_find_the_truth(name):
    """20,000 samples, spread about .01; half-cube's cusp and the Student's tails bias by .02."""
    task = BY_NAME[name]
    found = mutual_information(*task.draw(20_000, seed=0), KSG(k=3)).value
    assert found == pytest.approx(task.truth.nats, abs=0.04)


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n.startswith(("dense", "2pair"))])
def test_the_gaussian_formula_finds_the_truth(name):
    task = BY_NAME[name]
    d = task.dims[0]
    found = mutual_information(*task.draw(20_000, seed=0), Gaussian()).value
    assert found == pytest.approx(task.truth.nats, abs=0.03 + d**2 / 40_000)
