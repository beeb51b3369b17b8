"""The tuning tasks: apart from the catalogue, and true."""

import numpy as np
import pytest

from estimators_bench.choice import main
from estimators_bench.tasks import beyond_normal, tuning
from mitools.methods import KSG

SMALL = [task for task in tuning.TASKS if sum(task.dims) <= 4 and task.truth.nats < 2]


def test_names_are_unique_and_not_among_the_forty():
    names = [task.name for task in tuning.TASKS]
    assert len(set(names)) == len(names)
    assert not set(names) & {task.name for task in beyond_normal.TASKS}


def test_draws_have_the_dimensions_and_depend_on_the_seed_alone():
    for task in tuning.TASKS:
        x, y = task.draw(5, 1)
        assert (x.shape, y.shape) == ((5, task.dims[0]), (5, task.dims[1]))
        assert (task.draw(5, 1)[0] == x).all()
        assert np.isfinite(x).all()
        assert np.isfinite(y).all()


@pytest.mark.parametrize("task", SMALL, ids=lambda task: task.name)
def test_neighbours_agree_in_few_dimensions(task):
    found = KSG(scale="rank").mutual_information(*task.draw(4_000, 0))
    assert found == pytest.approx(task.truth.nats, abs=0.05)


def test_clayton_by_quadrature():
    theta, points = 2.0, (np.arange(2_000) + 0.5) / 2_000
    u, v = np.meshgrid(points, points)
    s = u**-theta + v**-theta - 1.0
    density = (1 + theta) * (u * v) ** (-1 - theta) * s ** (-2 - 1 / theta)
    slow = np.mean(density * np.log(density))
    assert tuning._clayton_nats(theta) == pytest.approx(slow, abs=2e-3)


def test_common_factor_by_determinants():
    whole = np.full((9, 9), 0.8**2)
    np.fill_diagonal(whole, 1.0)
    parts = [np.linalg.slogdet(block)[1] for block in (whole[:2, :2], whole[2:, 2:], whole)]
    assert tuning._factor_nats(0.8, 2, 7) == pytest.approx((parts[0] + parts[1] - parts[2]) / 2)


def test_maps_can_be_undone():
    x = np.random.default_rng(0).standard_normal((50, 4))
    there = tuning.twirl(x, 0, 2, 1.5, 3.0)
    assert tuning.twirl(there, 0, 2, -1.5, 3.0) == pytest.approx(x)
    assert np.abs(there - x).max() > 0.5
    there = tuning.vortex(x, 0.8)
    assert tuning.vortex(there, -0.8) == pytest.approx(x)
    moved = tuning.shear(x, 0.7)
    back = moved.copy()
    for j in (1, 2, 3):
        back[:, j] = moved[:, j] - 0.7 * np.sin(2.0 * back[:, j - 1])
    assert back == pytest.approx(x)
    bent = tuning.bend(x, 0.3) @ np.linalg.qr(np.random.default_rng(4).standard_normal((4, 4)))[0].T
    assert bent[:, 2:] == pytest.approx(x[:, 2:])
    undone = (bent[:, :2] - 0.3 * (x[:, 2:] ** 2 - 1)) / np.exp(0.5 * np.tanh(x[:, 2:]))
    assert undone == pytest.approx(x[:, :2])


def test_the_table_is_printed(capsys):
    main(["--n", "300", "--methods", "KSG", "Gaussian copula", "--tasks", "additive"])
    printed = capsys.readouterr().out
    assert "tuning-additive-2" in printed
    assert "mean absolute error over 2 tasks, 1 seeds, n = 300" in printed
