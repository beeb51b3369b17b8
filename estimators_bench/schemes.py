"""What masks seem to know where other data sets come from resampling, and how much they do know.

    python -m estimators_bench.schemes [--repeats 24] [--draws 400]

In each task the bits of a mask are independent, so its information is a sum of binary entropies;
under a scheme it is the same sum, with the frequencies that the scheme gives. Nothing is coded or
estimated from few masks, so what differs from the truth is the scheme's own bias. In nats, mean
over repeats, with the share of the truth. Fresh data are drawn by the generator itself, or as new
label noise. Folds are smaller data sets, of n / 8 points.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm

from mitools._typing import BoolArray, FloatArray
from mitools.data import (
    Bootstrap,
    Folds,
    FreshNoise,
    GaussianInputs,
    HalfSamples,
    Resampling,
    Samples,
    SymmetricFlips,
)

_N, _P, _FOLDS = 128, 200, 8


@dataclass(frozen=True)
class Task:
    """A mask that is a known function of data of a known law.

    Parameters
    ----------
    name : str
    truth : float
        Its information, in nats.
    sample : callable
        Draws a data set from a seed.
    mask : callable
        What a pruner would make of a data set, as bits.
    fresh : Resampling
        Draws from the law itself.
    """

    name: str
    truth: float
    sample: Callable[[int], Samples]
    mask: Callable[[Samples], BoolArray]
    fresh: Resampling

    def masks(self, scheme: Resampling, seed: int, draws: int) -> BoolArray:
        """Return the masks of so many data sets that the scheme makes of one sample."""
        samples = self.sample(seed)
        count = scheme.count_limit(samples) or draws
        return np.array([self.mask(scheme.draw(samples, i, seed)) for i in range(count)])


def thresholds(rate: float) -> Task:
    """Return a mask of the coordinates whose mean exceeds what a share `rate` of means does."""
    above = norm.isf(rate) / math.sqrt(_N)
    generator = GaussianInputs(_N, _P)
    return Task(
        f"{_P} thresholds of means, kept with probability {rate:g}",
        _P * float(_entropy(np.array(rate))),
        lambda seed: generator.draw(None, 0, seed),
        lambda samples: samples.inputs.mean(dim=0).numpy() > above,
        generator,
    )


def lookup(rate: float) -> Task:
    """Return a mask whose bit i says whether the label of point i is wrong, as it is at `rate`."""
    inputs = torch.eye(_N)
    clean = Samples(inputs, torch.zeros(_N, dtype=torch.int64), classes=2)
    noise = SymmetricFlips(rate)

    def mask(samples: Samples) -> BoolArray:
        known = torch.zeros(_N, dtype=torch.int64)  # a point that was not drawn leaves its bit at 0
        known[samples.inputs.argmax(dim=1)] = samples.targets
        return known.bool().numpy()

    return Task(
        f"lookup of {_N} labels, wrong at {rate:g}",
        _N * float(_entropy(np.array(rate))),
        lambda seed: noise.apply(clean, seed),
        mask,
        FreshNoise(),
    )


def information(task: Task, scheme: Resampling, repeats: int, draws: int) -> float:
    """Return what the masks seem to know under a scheme, in nats, averaged over samples."""
    found = [task.masks(scheme, seed, draws) for seed in range(repeats)]
    if isinstance(scheme, Folds):  # data sets of their own: all of one law, whatever the sample
        found = [np.concatenate(found)]
    return float(np.mean([_entropies(masks).sum() for masks in found]))


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line a task."""
    parser = argparse.ArgumentParser(description="bias of the schemes that other data come from")
    parser.add_argument("--repeats", type=int, default=24)
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args(argv)
    print("| task | truth | fresh | " + " | ".join(SCHEMES) + " |")
    print("| --- | ---: | ---: |" + " ---: |" * len(SCHEMES))
    for task in TASKS:
        cells = [
            information(task, scheme, options.repeats, options.draws)
            for scheme in (task.fresh, *SCHEMES.values())
        ]
        shown = " | ".join(f"{cell:.1f} ({cell / task.truth:.2f})" for cell in cells)
        print(f"| {task.name} | {task.truth:.1f} | {shown} |", flush=True)


def _entropies(masks: BoolArray) -> FloatArray:
    """Return the entropy of each bit, corrected for the bias of frequencies (Miller-Madow)."""
    share = masks.mean(axis=0)
    return _entropy(share) + ((share > 0.0) & (share < 1.0)) / (2.0 * len(masks))


def _entropy(share: FloatArray) -> FloatArray:
    inside = np.clip(share, 1e-300, 1.0 - 1e-16)
    return -inside * np.log(inside) - (1.0 - inside) * np.log1p(-inside)


TASKS = thresholds(0.5), thresholds(0.1), thresholds(0.01), lookup(0.5), lookup(0.1)
SCHEMES = {"Folds": Folds(_FOLDS), "HalfSamples": HalfSamples(), "Bootstrap": Bootstrap()}

if __name__ == "__main__":
    main()
