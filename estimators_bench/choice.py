"""How far the method of choice and its ingredients are from the truth.

    python -m estimators_bench.choice                  # the tuning tasks
    python -m estimators_bench.choice --reported       # the 40 of Beyond Normal

Prints the error of every task and, at the end, mean absolute errors and seconds.
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from estimators_bench.tasks import beyond_normal, tuning
from estimators_bench.tasks.kinds import SampleTask
from mitools.methods import KSG, CalibratedKSG, GaussianCopula

METHODS: dict[str, Any] = {
    "KSG": KSG(),
    "KSG, ranks": KSG(scale="rank"),
    "Gaussian copula": GaussianCopula(),
    "calibrated, not learned": CalibratedKSG(learn=False),
    "calibrated": CalibratedKSG(),
}


def measured(task: SampleTask, method: Any, n: int, seed: int) -> tuple[float, float]:
    """Return the error in nats and the CPU seconds of one estimate."""
    x, y = task.draw(n, seed)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = method.mutual_information(x, y)
    return value - task.truth.nats, time.process_time() - start


def table(tasks: Sequence[SampleTask], methods: dict[str, Any], n: int, seeds: int) -> None:
    """Print errors by task and method, and what they come to."""
    print(f"{'':40s} {'truth':>7s}  " + "  ".join(methods))
    found = np.full((len(tasks), len(methods), seeds, 2), np.nan)
    for i, task in enumerate(tasks):
        for j, method in enumerate(methods.values()):
            for seed in range(seeds):
                found[i, j, seed] = measured(task, method, n, seed)
        mean = found[i, :, :, 0].mean(axis=1)
        cells = (f"{error:+{len(name)}.3f}" for error, name in zip(mean, methods, strict=True))
        print(f"{task.name:40s} {task.truth.nats:7.3f}  " + "  ".join(cells), flush=True)
    errors, seconds = np.abs(found[..., 0]).mean(axis=(0, 2)), found[..., 1]
    print(f"\nmean absolute error over {len(tasks)} tasks, {seeds} seeds, n = {n}")
    for j, name in enumerate(methods):
        each = seconds[:, j]
        print(
            f"  {name:24s} {errors[j]:.4f} nats; CPU seconds: median {np.median(each):.2f}, "
            f"longest {each.max():.1f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reported", action="store_true", help="the 40, not the tuning tasks")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--tasks", nargs="*", help="only tasks whose names contain one of these")
    asked = parser.parse_args(arguments)
    tasks = beyond_normal.TASKS if asked.reported else tuning.TASKS
    if asked.tasks:
        tasks = [task for task in tasks if any(part in task.name for part in asked.tasks)]
    table(tasks, {name: METHODS[name] for name in asked.methods}, asked.n, asked.seeds)


if __name__ == "__main__":
    main()
