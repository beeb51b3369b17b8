"""Samplers put together: a distribution that knows its information, and maps that keep it."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from estimators_bench.tasks.distributions import Distribution, Pair
from estimators_bench.tasks.kinds import SampleTask, Truth
from estimators_bench.tasks.maps import Map


@dataclass(frozen=True)
class Sampler:
    """Draw (X, Y) and pass each through injective maps of its own, in the order given."""

    distribution: Distribution
    x: tuple[Map, ...] = ()
    y: tuple[Map, ...] = ()

    @property
    def information(self) -> Truth:
        """I(X; Y), which the maps do not change."""
        return self.distribution.information

    def __call__(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        x, y = self.distribution.draw(n, rng)
        for each in self.x:
            x = each(x)
        for each in self.y:
            y = each(y)
        return np.ascontiguousarray(x), np.ascontiguousarray(y)


def sample_task(name: str, family: str, sampler: Sampler, about: str) -> SampleTask:
    """Return the task of finding what the sampler knows; its columns are counted on a draw."""
    x, y = sampler(1, np.random.default_rng(0))
    dims = (x.shape[1], y.shape[1])
    return SampleTask(name, family, sampler.information, sampler, dims=dims, about=about)
