"""The paper's figures 2 and 3: how far does a network follow label noise while it is trained?"""

import copy
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch

from mitools._processes import evaluate_all
from mitools._validation import checked_count
from mitools.data import AdditiveNoise, Samples
from mitools.data.seeds import derived_seed
from mitools.effective import noise_covariance
from mitools.experiments.averages import averaged
from mitools.models import mlp
from mitools.pruning import IMP, Mask
from mitools.training import Adam, Training, TrainState, state_of, train
from mitools.training.passes import passes_over

_FRESH = 10_000  # inputs from which the population mean of a network is estimated


def student_teacher(
    points: int, dimension: int, noise: float, *, seed: int, width: int = 50
) -> tuple[Samples, torch.Tensor]:
    """Return Gaussian inputs with a random network's outputs and additive noise; and fresh inputs.

    The teacher has two hidden ReLU layers; its outputs are scaled to unit variance.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "student and teacher"))
    inputs = torch.randn(points + _FRESH, dimension, generator=generator)
    teacher = mlp((dimension, width, width, 1), seed=derived_seed(seed, "teacher"))
    with torch.no_grad():
        outputs = teacher(inputs)
    outputs = outputs / outputs.std()
    clean = Samples(inputs[:points], outputs[:points], name="student-teacher")
    return AdditiveNoise(noise).apply(clean, seed), inputs[points:]


def noise_correlation(
    pruner: IMP | None = None,
    density: float = 1.0,
    *,
    seeds: int = 25,
    points: int = 1_000,
    dimension: int = 50,
    noise: float = 1.0,
    width: int = 100,
    training: Training = Training(epochs=100, batch_size=128, optimizer=Adam(lr=1e-3)),
    confidence: float = 0.95,
    n_jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Covariance of a network's outputs with the label noise, after every epoch.

    Parameters
    ----------
    pruner : IMP or None
        Iterative magnitude pruning: every level trains again from where it rewinds to. None trains
        the dense network once.
    density : float
        Share of the weights that the last level keeps.
    seeds : int, at least 2
        Repetitions, each with its own teacher, points and initial weights.
    points, dimension, noise, width
        Inputs and their dimension, standard deviation of the noise, and width of the student's
        four hidden layers.
    training : Training
        Of the dense network; with a pruner, the pruner's own is used.
    confidence : float
        Of the interval, Student's over seeds.
    n_jobs : int
        Processes.
    progress : bool
        Whether to show a bar on stderr.

    Returns
    -------
    DataFrame
        Columns level, kept (share of the weights), epoch, covariance, std_error, low, high, seeds.

    References
    ----------
    Kumar, Luo and Sellke, arXiv 2402.01089, section 5.2: student and teacher, noise of variance 1.
    """
    checked_count("seeds", seeds, least=2)
    setting = (pruner, density, points, dimension, noise, width, training)
    found = evaluate_all(
        _curve, [(seed, *setting) for seed in range(seeds)], seeds, n_jobs, progress
    )
    rows = pd.DataFrame([row for curve in found for row in curve])
    return averaged(rows, ["level", "kept", "epoch"], "covariance", confidence)


def _curve(
    seed: int,
    pruner: IMP | None,
    density: float,
    points: int,
    dimension: int,
    noise: float,
    width: int,
    training: Training,
) -> list[dict[str, Any]]:
    samples, fresh = student_teacher(points, dimension, noise, seed=seed)
    model = mlp((dimension, *[width] * 4, 1), seed=derived_seed(seed, "student"))
    levels: list[Mask | None] = [None]
    start = state_of(model)
    if pruner is not None:
        ticket = pruner.run(model, samples, density)
        levels, start, training = [None, *ticket.levels[:-1]], ticket.start, pruner.training
    return [
        {"level": level, "kept": 1.0 if mask is None else round(mask.density, 6), **row}
        for level, mask in enumerate(levels)
        for row in _epochs(model, samples, fresh, training, mask, start)
    ]


def _epochs(
    model: torch.nn.Module,
    samples: Samples,
    fresh: torch.Tensor,
    training: Training,
    mask: Mask | None,
    state: TrainState,
) -> Iterator[dict[str, float]]:
    """Train from a state, and look after each epoch."""
    network = copy.deepcopy(model)
    place = torch.device("cpu"), torch.float32
    steps = passes_over(samples, training.batch_size, training.seed, *place).steps
    assert steps is not None  # samples in memory know their number
    for epoch in range(state.epoch + 1, training.epochs + 1):
        history = train(network, samples, training, mask=mask, start=state, steps=epoch * steps)
        assert history.state is not None
        state = history.state
        yield {"epoch": epoch, "covariance": noise_covariance(network, samples, fresh)}
