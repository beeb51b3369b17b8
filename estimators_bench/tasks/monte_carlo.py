"""Truths that are averages, computed anew.

    python -m estimators_bench.tasks.monte_carlo [--samples 20000000]

prints each mixture's I(X; Y) in nats and half of its 95% interval, as they stand in
`estimators_bench.tasks.continuous`.
"""

import argparse

import numpy as np

from estimators_bench.tasks.continuous import TASKS
from estimators_bench.tasks.kinds import Truth
from estimators_bench.tasks.mixtures import NormalMixture
from estimators_bench.tasks.samplers import Sampler

_BLOCK = 1_000_000


def mixtures() -> dict[str, NormalMixture]:
    """Return the mixtures of the continuous tasks, by the names of these."""
    laws = {t.name: t.sampler.distribution for t in TASKS if isinstance(t.sampler, Sampler)}
    return {name: law for name, law in laws.items() if isinstance(law, NormalMixture)}


def measured(mixture: NormalMixture, samples: int, seed: int = 0) -> Truth:
    """Return the mean log density ratio of that many samples, with its error.

    Parameters
    ----------
    mixture : NormalMixture
    samples : int
        In whole blocks of a million, or fewer than one.
    seed : int
        Equal seeds give equal samples.
    """
    rng = np.random.default_rng(seed)
    size = min(samples, _BLOCK)
    sums = np.zeros(2)
    blocks = samples // size
    for _ in range(blocks):
        ratio = mixture.pointwise(*mixture.draw(size, rng))
        sums += ratio.sum(), (ratio**2).sum()
    mean, square = sums / (blocks * size)
    error = 1.96 * float(np.sqrt((square - mean**2) / (blocks * size)))
    return Truth(float(mean), "Monte Carlo", error)


def main() -> None:
    """Print one line a mixture."""
    parser = argparse.ArgumentParser(description="truths by Monte Carlo")
    parser.add_argument("--samples", type=int, default=20_000_000)
    samples = parser.parse_args().samples
    for name, mixture in mixtures().items():
        truth = measured(mixture, samples)
        print(f"{name:16s} {truth.nats:.5f} ± {truth.error:.5f} nats")


if __name__ == "__main__":
    main()
