"""Every method recovers closed forms within the spread over seeds; wrong ones do not."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mitools.methods import (
    KSG,
    LNC,
    Binned,
    GaoMixed,
    Gaussian,
    GaussianCopula,
    KernelDensity,
    MesnerShalizi,
    Quantiles,
)


def gaussian(rho, cube=False):
    def draw(seed, n):
        rng = np.random.default_rng([seed, int(100 * rho)])
        x = rng.standard_normal((n, 1))
        y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, 1))
        return (x**3, y) if cube else (x, y)

    return draw, -math.log(1 - rho**2) / 2


def uniform_noise(width):
    """X ~ U(0, 1), Y = X + U(-e, e), e <= 1/2: I = e - log 2e."""

    def draw(seed, n):
        rng = np.random.default_rng([seed, 7])
        x = rng.random((n, 1))
        return x, x + rng.uniform(-width, width, (n, 1))

    return draw, width - math.log(2 * width)


def vectors(seed, n):
    rng = np.random.default_rng([seed, 3])
    x = rng.standard_normal((n, 2))
    return x, 0.6 * x + 0.8 * rng.standard_normal((n, 2))


TASKS = {
    "independent": gaussian(0.0),
    "gaussian": gaussian(0.8),
    "vectors": (vectors, -2 * math.log(0.8)),
    "noise": uniform_noise(0.1),
    "cube": gaussian(0.8, cube=True),
}


def check_recovers(method, task, *, n=400, seeds=16, bias=0.06):
    """Mean error within 6% of 1 + I plus four standard errors of the mean over the seeds."""
    draw, truth = TASKS[task]
    errors = [method.mutual_information(*draw(seed, n)) - truth for seed in range(seeds)]
    noise = np.std(errors, ddof=1) / math.sqrt(seeds)
    assert abs(np.mean(errors)) < bias * (1 + truth) + 4 * noise


GENERAL = ("independent", "gaussian", "vectors", "noise")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "method",
    [
        KSG(scale="rank"),
        KSG(k=5, variant=2, scale="rank"),
        LNC(k=5, scale="rank"),
        GaoMixed(scale="rank"),
        MesnerShalizi(scale="rank"),
    ],
    ids=repr,
)
def test_nearest_neighbours_recover_everything_after_ranking(method, task):
    check_recovers(method, task)


@pytest.mark.parametrize("task", GENERAL)
@pytest.mark.parametrize("method", [KSG(), KSG(variant=2), KSG(k=8)], ids=repr)
def test_ksg_recovers_as_the_data_come(method, task):
    check_recovers(method, task)


@pytest.mark.parametrize("task", ["independent", "gaussian", "vectors", "cube"])
def test_copula_recovers_what_has_a_gaussian_copula(task):
    check_recovers(GaussianCopula(), task)


@pytest.mark.parametrize("task", ["independent", "gaussian", "vectors"])
@pytest.mark.parametrize("method", [Gaussian(), KernelDensity()], ids=repr)
def test_gaussian_and_kernels_recover_gaussians(method, task):
    check_recovers(method, task)


@dataclass(frozen=True)
class Faulty:
    """KSG with one of the faults that were seen in published code."""

    fault: str
    k: int = 3

    def mutual_information(self, x, y):
        right = KSG(self.k).mutual_information(x, y)
        n = len(x)
        return {
            "bits": lambda: right / math.log(2),
            "doubled": lambda: 2 * right,
            "zero": lambda: 0.0,
            "ignores y": lambda: KSG(self.k).mutual_information(x, x[::-1].copy()),
            "shuffled": lambda: KSG(self.k).mutual_information(x, np.roll(y, n // 2, axis=0)),
            "entropy": lambda: right + math.log(n) / 20,
            "no unit": lambda: KSG(self.k, scale=None).mutual_information(x, 1e4 * y),
        }[self.fault]()


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            Faulty(f)
            for f in ("bits", "doubled", "zero", "ignores y", "shuffled", "entropy", "no unit")
        ),
        Gaussian(),
        KSG(k=150),
        Binned(Quantiles(3)),
        GaoMixed(k=1, form="paper"),
    ],
    ids=repr,
)
def test_the_check_rejects_wrong_methods(wrong):
    def failed(task):
        try:
            check_recovers(wrong, task)
        except AssertionError:
            return True
        return False

    assert any(failed(task) for task in TASKS)
