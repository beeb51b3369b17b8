"""How much faster networks are trained together than one after another, and whether masks agree.

    python -m estimators_bench.retraining [--jobs 2] [--repeats 3] [--device cpu]

Each line prunes one network after training on K data sets that differ in their labels, both ways;
times are the least of the repeats, in seconds. The first lines are the small setting of the paper
(arXiv 2402.01089): 30 points in 30 dimensions, 250 data sets.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mitools.data import FreshNoise, Samples, gaussian
from mitools.effective.repruning import repruned
from mitools.models import lenet5, lenet_300_100, mlp
from mitools.pruning import IMP, MagnitudeAfterTraining, Mask, Pruner, prune
from mitools.training import SGD, Adam, Training


@dataclass(frozen=True)
class OneByOne:
    """A pruner that knows nothing of training together."""

    pruner: Pruner

    def mask(self, model: nn.Module, loader: Any, density: float, names: Sequence[str]) -> Mask:
        """Return the pruner's mask."""
        return self.pruner.mask(model, loader, density, names)


@dataclass(frozen=True)
class Setting:
    """A network, its data and a pruner, on so many data sets."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    n: int
    pruner: MagnitudeAfterTraining | IMP
    datasets: int

    def samples(self) -> Samples:
        """Return Gaussian points with fair-coin labels."""
        size = torch.Size(self.shape).numel()
        drawn = gaussian(self.n, size, 2, seed=0)
        return Samples(
            drawn.inputs.reshape(-1, *self.shape), drawn.targets, drawn.clean, drawn.noise
        )


def _after(epochs: int, batch: int, optimizer: Any = SGD(lr=0.1)) -> MagnitudeAfterTraining:
    return MagnitudeAfterTraining(Training(epochs, batch, optimizer))


SETTINGS = (
    Setting("30-24-24-2, n = 30", lambda: mlp([30, 24, 24, 2]), (30,), 30, _after(100, 30), 250),
    Setting(
        "30-24-24-2, n = 30, Adam",
        lambda: mlp([30, 24, 24, 2]),
        (30,),
        30,
        _after(100, 30, Adam(lr=0.01)),
        250,
    ),
    Setting(
        "30-24-24-2, n = 30, IMP to 20%",
        lambda: mlp([30, 24, 24, 2]),
        (30,),
        30,
        IMP(Training(25, 30), rate=0.33),
        250,
    ),
    Setting("30-200-200-2, n = 30", lambda: mlp([30, 200, 200, 2]), (30,), 30, _after(50, 30), 16),
    Setting(
        "30-200-200-2, n = 512", lambda: mlp([30, 200, 200, 2]), (30,), 512, _after(8, 128), 16
    ),
    Setting("LeNet-300-100, n = 256", lenet_300_100, (784,), 256, _after(6, 64), 8),
    Setting("LeNet-5, n = 64", lambda: lenet5(classes=2), (1, 28, 28), 64, _after(3, 32), 8),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser(description="training together against one after another")
    parser.add_argument("--jobs", type=int, default=1, help="processes, for both ways")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="settings whose name contains this")
    options = parser.parse_args(argv)
    print(
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores; "
        f"{options.jobs} processes for both, {options.device}; least of {options.repeats}"
    )
    print(f"{'':<34}{'data sets':>10}{'at once':>9}{'one by one':>12}{'together':>10}{'ratio':>8}")
    for setting in SETTINGS:
        if options.only in setting.name:
            print(_line(setting, options.jobs, options.repeats, options.device), flush=True)


def _line(setting: Setting, jobs: int, repeats: int, device: str) -> str:
    model, samples = setting.build().to(device), setting.samples().to(device)
    drawn = [FreshNoise().draw(samples, index, 0) for index in range(setting.datasets)]
    mask = prune(model, samples, setting.pruner, density=0.2)
    ways: tuple[Pruner, Pruner] = OneByOne(setting.pruner), setting.pruner
    best, found = [float("inf")] * 2, [[], []]
    for _ in range(repeats):
        for index, pruner in enumerate(ways):
            start = time.perf_counter()
            found[index] = repruned(pruner, model, mask, drawn, n_jobs=jobs)
            best[index] = min(best[index], time.perf_counter() - start)
    other = sum(one != two for one, two in zip(*found, strict=True))
    size = min(setting.pruner.together(model, drawn), setting.datasets)
    note = "" if not other else f"   {other} masks differ by ties"
    return (
        f"{setting.name:<34}{setting.datasets:>10}{size:>9}{best[0]:>11.2f}s{best[1]:>9.2f}s"
        f"{best[0] / best[1]:>8.1f}{note}"
    )


if __name__ == "__main__":
    main()
