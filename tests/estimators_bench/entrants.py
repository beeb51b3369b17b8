"""Small tasks and contenders with faults, for the tests of the runner."""

import ctypes
import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from estimators_bench.contenders import Answer
from estimators_bench.tasks import MaskData, MaskTask, SampleTask, Truth


def pair(n, rng):
    x = rng.standard_normal((n, 1))
    return x, x + rng.standard_normal((n, 1))


def coin_masks(n, rng):
    return MaskData(rng.random((n, 8)) < 0.5, (8,))


TASKS = tuple(SampleTask(f"pair-{i}", "Pairs", Truth(0.5 * math.log(2)), pair) for i in range(3))
MASKS = MaskTask("coins", "Coins", Truth(8 * math.log(2)), coin_masks, 8)


@dataclass(frozen=True)
class Mean:
    """Answers with the mean of what it was given, and writes a line that it did."""

    name: str = "mean"
    diary: str = ""
    pause: float = 0.0
    package: str = "numpy"
    fast: bool = True

    def takes(self, task):
        return True

    def answer(self, task, data, seed):
        rows = data.masks if isinstance(data, MaskData) else data[0]
        if self.diary:
            with Path(self.diary).open("a") as file:
                file.write(f"{task.name} {self.name} {len(rows)} {seed}\n")
        time.sleep(self.pause)
        found = float(rows.mean())
        rows[:] = 100.0  # entrants may write on their data
        return Answer(found, interval=(found - 1.0, math.inf), sense="lower", extra={"seed": seed})


@dataclass(frozen=True)
class Faulty(Mean):
    """Fails in the way of its name."""

    def takes(self, task):
        return isinstance(task, SampleTask)

    def answer(self, task, data, seed):
        super().answer(task, data, seed)
        if self.name == "raises":
            raise ZeroDivisionError(f"first line, {object()}\nsecond line")
        if self.name == "hangs":
            time.sleep(600)
        while self.name == "spins":
            pass
        if self.name == "exits":
            os._exit(3)
        if self.name == "crashes":
            ctypes.string_at(0)
        if self.name == "hoards":
            np.ones(10**10)
        wrong = {"number": 1.0, "nan": Answer(math.nan), "inverted": Answer(1, "point", (2, 1))}
        return wrong[self.name]


@dataclass(frozen=True)
class Global(Mean):
    """Draws from the global generators, as some packages do."""

    def answer(self, task, data, seed):
        return Answer(float(np.random.random()))  # noqa: NPY002


def faulty(*names, **options):
    return tuple(replace(Faulty(**options), name=name) for name in names)
