"""The paper's figure 1a: how many points of pure noise does a pruned network memorise?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mitools._processes import evaluate_all
from mitools._validation import checked_count
from mitools.data import gaussian
from mitools.data.seeds import derived_seed
from mitools.effective import memorised
from mitools.experiments.averages import averaged
from mitools.experiments.reseeding import reseeded
from mitools.models import mlp
from mitools.pruning import Pruner, prune
from mitools.pruning.pruners import check_pruner
from mitools.pruning.selection import check_density
from mitools.training import Adam, Training, train


def memorisation_capacity(
    pruners: Mapping[str, Pruner],
    densities: Sequence[float],
    *,
    seeds: int = 250,
    points: int = 30,
    dimension: int = 30,
    hidden: Sequence[int] = (24, 24),
    training: Training = Training(epochs=300, batch_size=30, optimizer=Adam(lr=0.01)),
    confidence: float = 0.95,
    n_jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Share of random labels that pruned networks memorise, over new data and new networks.

    Parameters
    ----------
    pruners : mapping of str to Pruner
        By the names they get in the table. The number of the repetition is added to every field
        ``seed`` inside, and inside the training: random masks differ between repetitions.
    densities : sequence of float
        Shares of the weights kept.
    seeds : int, at least 2
        Repetitions, each with its own points and initial weights.
    points, dimension : int
        Gaussian inputs, with two classes drawn as fair coins.
    hidden : sequence of int
        Widths of the hidden ReLU layers; (24, 24) gives about the paper's 1,322 weights.
    training : Training
        Of the pruned network, from its initial weights. The paper fixes the learning rate 0.01 and
        the cross-entropy, not the optimiser.
    confidence : float
        Of the interval, Student's over seeds.
    n_jobs : int
        Processes.
    progress : bool
        Whether to show a bar on stderr.

    Returns
    -------
    DataFrame
        Columns pruner, density, memorised, std_error, low, high, seeds.

    References
    ----------
    Kumar, Luo and Sellke, arXiv 2402.01089, section 5.1 and figure 1a: points whose cross-entropy
    is at most log(2) / 10 count as memorised.
    """
    _check(pruners, densities)
    for name, count in (("points", points), ("dimension", dimension)):
        checked_count(name, count)
    checked_count("seeds", seeds, least=2)
    jobs = [
        (name, pruner, density, seed, points, dimension, tuple(hidden), training)
        for name, pruner in pruners.items()
        for density in densities
        for seed in range(seeds)
    ]
    rows = list(evaluate_all(_row, jobs, len(jobs), n_jobs, progress))
    return averaged(pd.DataFrame(rows), ["pruner", "density"], "memorised", confidence)


def _check(pruners: Any, densities: Any) -> None:
    """Raise TypeError or ValueError unless there are pruners by name, and densities."""
    if not isinstance(pruners, Mapping) or not pruners:
        raise TypeError(
            f"pruners must map names to pruners; got {pruners!r}. For instance "
            "{'random': OneShot(Random())}."
        )
    for pruner in pruners.values():
        check_pruner(pruner)
    if not isinstance(densities, Sequence | np.ndarray) or not len(densities):
        raise TypeError(f"densities must be a sequence of numbers; got {densities!r}. Try [0.1].")
    for density in densities:
        check_density(float(density) if isinstance(density, np.floating) else density)


def _row(
    name: str,
    pruner: Pruner,
    density: float,
    seed: int,
    points: int,
    dimension: int,
    hidden: tuple[int, ...],
    training: Training,
) -> dict[str, Any]:
    samples = gaussian(points, dimension, 2, seed=derived_seed(seed, "memorisation data"))
    model = mlp((dimension, *hidden, 2), seed=derived_seed(seed, "memorisation weights"))
    mask = prune(model, samples, reseeded(pruner, seed), density=density)
    train(model, samples, reseeded(training, seed), mask=mask)
    return {"pruner": name, "density": density, "memorised": memorised(model, samples)}
