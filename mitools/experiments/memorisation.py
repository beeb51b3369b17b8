"""The paper's figure 1a: how many points of pure noise does a pruned network memorise?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mitools._processes import evaluate_all
from mitools._validation import checked_count
from mitools.data import gaussian
from mitools.data.seeds import derived_seed
from mitools.effective import memorised
from mitools.experiments.averages import averaged
from mitools.experiments.reseeding import repetitions, reseeded
from mitools.models import mlp
from mitools.pruning import Pruner, prune
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
    for name, count in (("points", points), ("dimension", dimension)):
        checked_count(name, count)
    checked_count("seeds", seeds, least=2)
    setting = (points, dimension, tuple(hidden), training)
    cases = [(*case, *setting) for case in repetitions(pruners, densities, seeds)]
    rows = list(evaluate_all(_row, cases, len(cases), n_jobs, progress))
    return averaged(pd.DataFrame(rows), ["pruner", "density"], "memorised", confidence)


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
    mask = prune(model, samples, pruner, density=density)
    train(model, samples, reseeded(training, seed), mask=mask)
    return {"pruner": name, "density": density, "memorised": memorised(model, samples)}
