"""How often the 95% limits of the bounds on mask information hold, where the truth is known.

    python -m estimators_bench.coverage [--runs 200] [--masks 16] [--jobs 2]
        [--tasks PATTERN] [--contenders PATTERN]

Each line is an exact mask task, of the small ones in the catalogue, and a contender that bounds it
with an interval: the truth, the median of its limits, and the share of runs in which they hold.
Lines at the end are no tasks: the limit from one mask alone, and, as a caution, what bootstrap
resamples give instead of a bound.
"""

import argparse
import fnmatch
import math
from collections.abc import Callable

import numpy as np
from joblib import Parallel, delayed
from numpy.random import Generator

from estimators_bench.contenders.kinds import Contender
from estimators_bench.contenders.masks import CONTENDERS
from estimators_bench.tasks.kinds import MaskTask
from estimators_bench.tasks.mask_laws import Lookup
from estimators_bench.tasks.masks import TASKS
from mitools.mask_information import decoded_classes, independent_code

SIZE = 1_000  # weights of the largest task that is run 200 times in minutes
Case = Callable[[Generator], tuple[float, float, bool]]  # truth, limit, whether the limit holds


def main() -> None:
    """Print one line a task and contender."""
    parser = argparse.ArgumentParser(description="coverage of the bounds on mask information")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--masks", type=int, default=16, help="data sets that are pruned on")
    parser.add_argument("--tasks", default="*", help="names to take, with * and ?")
    parser.add_argument("--contenders", default="*", help="likewise")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    asked = parser.parse_args()
    print(f"{asked.runs} runs, {asked.masks} masks each; nats; share of runs in which it holds")
    print(f"{'task':<36}{'contender':<32}{'truth':>8}{'limit':>9}{'holds':>8}")
    entering = [each for each in CONTENDERS if fnmatch.fnmatch(each.name, asked.contenders)]
    small = [
        task for task in TASKS if task.size <= SIZE and fnmatch.fnmatch(task.name, asked.tasks)
    ]
    with Parallel(n_jobs=asked.jobs) as pool:
        for task in small:
            for each in entering:
                if each.takes(task):
                    runs = [delayed(once)(task, each, asked.masks, s) for s in range(asked.runs)]
                    _show(task.name, each.name, list(pool(runs)))
        for name, case in OTHERS.items():
            if fnmatch.fnmatch(name, asked.tasks):
                runs = [delayed(case)(np.random.default_rng([s, 0])) for s in range(asked.runs)]
                _show("", name, list(pool(runs)))


def once(
    task: MaskTask, contender: Contender, masks: int, seed: int
) -> tuple[float, float, bool] | None:
    """Return truth, limit, and whether it holds; None for what is no bound with an interval."""
    answer = contender.answer(task, task.draw(masks, seed), seed)
    truth = task.truth.nats
    if answer.interval is None or answer.sense not in ("lower", "upper"):
        return None
    limit = answer.interval[answer.sense == "upper"]
    return truth, limit, limit <= truth if answer.sense == "lower" else limit >= truth


def _show(task: str, name: str, found: list[tuple[float, float, bool] | None]) -> None:
    runs = [each for each in found if each is not None]
    if runs:
        truth, limit = runs[0][0], np.median([limit for _, limit, _ in runs])
        held = np.mean([held for *_, held in runs])
        print(f"{task:<36}{name:<32}{truth:8.1f}{limit:9.1f}{held:8.3f}", flush=True)


# ---- what is no task ----


def one_mask(law: Lookup) -> Case:
    """Decode a single mask: its limit is one on what that mask tells, of which I is the mean."""

    def run(rng: Generator) -> tuple[float, float, bool]:
        data = law(1, rng)
        assert data.shown is not None and data.labels is not None
        prior = np.tile(np.log(law.law), (law.points, 1))
        limit = decoded_classes(data.shown[0], data.labels[0], prior, "", 0.95).limit
        return law.nats, limit, limit <= law.nats

    return run


def resampled(size: int = 2_000, n: int = 100, draws: int = 16) -> Case:
    """Code masks of bootstrap resamples: is the mean of a coordinate positive?"""

    def run(rng: Generator) -> tuple[float, float, bool]:
        points = rng.standard_normal((n, size))
        masks = np.array([points[rng.integers(0, n, n)].mean(axis=0) > 0 for _ in range(draws)])
        limit = independent_code(masks).upper("").limit
        return size * math.log(2), limit, limit >= size * math.log(2)

    return run


OTHERS: dict[str, Case] = {
    "one mask, fair labels": one_mask(Lookup(1_000, 100)),
    "one mask, labels 10% wrong": one_mask(Lookup(1_000, 100, law=(0.9, 0.1))),
    "16 bootstrap resamples (proxy)": resampled(),
}


if __name__ == "__main__":
    main()
