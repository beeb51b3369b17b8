"""Jobs small enough for tests, and pruners that misbehave."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from mitools.experiments import ImageSet, grid, sweep
from mitools.pruning import IMP, SNIP, OneShot, Random
from mitools.training import Training

SHORT = Training(epochs=2, batch_size=64)
SMALL = ImageSet("digits", images=300, flips=0.1)
NET = "mlp:64-12-10"


def some_jobs(seeds=2):
    pruners = {"random": OneShot(Random()), "snip": OneShot(SNIP()), "IMP": IMP(SHORT)}
    return grid(NET, SMALL, pruners, [0.3, 0.1], seeds, training=SHORT)


@dataclass(frozen=True)
class Slow:
    """A random mask that takes its time, and says in a folder when it begins."""

    folder: str
    seconds: float
    seed: int = 0

    def mask(self, model, loader, density, names):
        Path(self.folder, f"{self.seed}-{density}-{time.time_ns()}").touch()
        time.sleep(self.seconds)
        return OneShot(Random(self.seed)).mask(model, loader, density, names)


@dataclass(frozen=True)
class FailsBeside:
    """Fails for seed 1, unless a file is there."""

    file: str
    seed: int = 0

    def mask(self, model, loader, density, names):
        if self.seed == 1 and not Path(self.file).exists():
            raise RuntimeError("the cat sat on it")
        return OneShot(Random(self.seed)).mask(model, loader, density, names)


@dataclass(frozen=True)
class Dies:
    """Ends its process for seed 1, as a system out of memory does."""

    seed: int = 0

    def mask(self, model, loader, density, names):
        if self.seed == 1:
            os._exit(9)
        return OneShot(Random(self.seed)).mask(model, loader, density, names)


def slow_jobs(folder, seconds):
    pruners = {"slow": Slow(folder, seconds)}
    return grid(NET, SMALL, pruners, [0.4, 0.2, 0.1], 3, training=SHORT, dense=False)


def slow_sweep(folder, begun):
    """For a process to be killed in."""
    sweep(slow_jobs(begun, 0.15), folder)
