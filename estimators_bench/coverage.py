"""How often the 95% limits of the bounds on mask information hold, where the truth is known.

    python -m estimators_bench.coverage [--runs 200]

Each line is a task with a mask whose information is exact, in nats; the limits of the last four
are known not to reach 95%, and docs/information.md says why.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from mitools.mask_information import decoded_classes, independent_code

Task = Callable[[Generator], tuple[float, float, bool]]  # truth, limit, whether the limit holds


def main() -> None:
    """Print one line a task."""
    parser = argparse.ArgumentParser(description="coverage of the bounds on mask information")
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    print(f"{runs} runs; truth and median limit in nats; share of runs in which the limit holds")
    for name, task in TASKS.items():
        found = [task(np.random.default_rng([seed, 0])) for seed in range(runs)]
        truth, limit = found[0][0], np.median([limit for _, limit, _ in found])
        print(f"{name:<58}{truth:9.1f}{limit:9.1f}{np.mean([held for *_, held in found]):8.3f}")


def lookup(rate: float, silent: bool = False, n: int = 100) -> Task:
    """Masks spell out n label flips, or say nothing; decode them: limits from below."""

    def run(rng: Generator) -> tuple[float, float, bool]:
        flips = (rng.random(n) < rate).astype(np.int64)
        shown = rng.standard_normal((n, 2)) if silent else np.eye(2)[flips]
        prior = np.tile(np.log([1.0 - rate, rate]), (n, 1))
        limit = decoded_classes(shown, flips, prior, "", 0.95).limit
        truth = 0.0 if silent else n * _entropy(rate)
        return truth, limit, limit <= truth

    return run


def coded(draw: Callable[[Generator, int], np.ndarray], truth: float, draws: int = 16) -> Task:
    """Code as many masks as there are draws: limits from above."""

    def run(rng: Generator) -> tuple[float, float, bool]:
        limit = independent_code(draw(rng, draws)).upper("").limit
        return truth, limit, limit >= truth

    return run


def bits(rate: float, live: int, size: int) -> Callable[[Generator, int], np.ndarray]:
    """Draw masks of which `live` weights follow independent bits of the data."""
    return lambda rng, draws: rng.random((draws, size)) < np.where(np.arange(size) < live, rate, 0)


def by_one_bit(rate: float, size: int = 1_000) -> Callable[[Generator, int], np.ndarray]:
    """Draw masks that one rare bit of the data decides as a whole."""
    return lambda rng, draws: np.repeat(rng.random((draws, 1)) < rate, size, axis=1)


def mean_thresholds(size: int = 2_000, n: int = 100) -> Callable[[Generator, int], np.ndarray]:
    """Draw masks from bootstrap resamples: is the mean of a coordinate positive?"""

    def draw(rng: Generator, draws: int) -> np.ndarray:
        points = rng.standard_normal((n, size))
        return np.array([points[rng.integers(0, n, n)].mean(axis=0) > 0 for _ in range(draws)])

    return draw


def _entropy(rate: float) -> float:
    return -rate * math.log(rate) - (1.0 - rate) * math.log1p(-rate)


TASKS: dict[str, Task] = {
    "below: silent mask, fair labels": lookup(0.5, silent=True),
    "below: silent mask, 20% of labels wrong": lookup(0.2, silent=True),
    "below: lookup of fair labels": lookup(0.5),
    "above: 200 fair bits among 1,000 weights, 16 masks": coded(
        bits(0.5, 200, 1_000), 200 * math.log(2)
    ),
    "above: 200 bits at 10% among 1,000 weights, 16 masks": coded(
        bits(0.1, 200, 1_000), 200 * _entropy(0.1)
    ),
    "below: lookup of labels that are wrong at 10%": lookup(0.1),
    "above: a whole mask by one bit at 10%, 16 masks": coded(by_one_bit(0.1), _entropy(0.1)),
    "above: a whole mask by one bit at 2%, 16 masks": coded(by_one_bit(0.02), _entropy(0.02)),
    "proxy: 2,000 thresholds of means, 16 bootstrap resamples": coded(
        mean_thresholds(), 2_000 * math.log(2)
    ),
}


if __name__ == "__main__":
    main()
