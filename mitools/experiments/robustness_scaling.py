"""Law of robustness, measured: networks that fit noise, and how steep they are by what is left."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from mitools._processes import evaluate_all
from mitools._validation import checked_count
from mitools.data import Samples
from mitools.data.seeds import derived_seed
from mitools.effective import lipschitz_bound, local_lipschitz, peff, spectral_product
from mitools.experiments.averages import averaged
from mitools.experiments.noise_correlation import student_teacher
from mitools.experiments.reseeding import repetitions, reseeded
from mitools.models import mlp
from mitools.pruning import Mask, Pruner, prune
from mitools.training import Adam, Training, evaluate, train
from mitools.training.evaluation import place_of
from mitools.training.passes import passes_over

_LOOKS = 5  # epochs between two looks at the training error


@dataclass(frozen=True)
class NoisyTeacher:
    """Points of a random teacher with noisy targets, and the student that fits them.

    Parameters
    ----------
    points, dimension : int
        Gaussian inputs N(0, I).
    noise : float
        Standard deviation of the noise; the teacher's outputs have 1.
    hidden : tuple of int
        Widths of the student's hidden layers.
    fit : float in (0, 1)
        Networks are trained until their mean squared error is below this share of the noise's
        variance: all fit as well, and ``ε = (1 - fit) σ²``.
    training : Training
        How; its epochs are the most there can be.
    """

    points: int = 200
    dimension: int = 20
    noise: float = 1.0
    hidden: tuple[int, ...] = (100, 100)
    fit: float = 0.5
    training: Training = Training(epochs=2_000, batch_size=200, optimizer=Adam(lr=1e-3))


def robustness_scaling(
    pruners: Mapping[str, Pruner],
    densities: Sequence[float],
    job: NoisyTeacher = NoisyTeacher(),
    *,
    seeds: int = 3,
    n_jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Lipschitz constants of pruned networks that fit below the noise, beside their p_eff.

    Parameters
    ----------
    pruners : mapping of str to Pruner
        By the names they get in the table; the number of the repetition is added to their seeds.
    densities : sequence of float
        Shares of the weights kept.
    job : NoisyTeacher
        Data, network and training.
    seeds : int
        Repetitions, each with its own teacher, points and initial weights.
    n_jobs : int
        Processes.
    progress : bool
        Whether to show a bar on stderr.

    Returns
    -------
    DataFrame
        A row for each network: pruner, density, seed; kept (weights); error (training, of σ²);
        fitted (whether it is below `fit`); at_points, the largest exact gradient norm at training
        points and as many fresh ones: a lower bound on the Lipschitz constant; typical, their
        median; product of the layers' norms: an upper bound; p_eff_low and p_eff_high, in nats,
        from `mitools.peff`'s limits; and what the theorems ask for: by_weights, of Bubeck and
        Sellke for the weights kept, and by_p_eff_low and by_p_eff_high, of Kumar, Luo and Sellke
        for either end of p_eff. Those hold with probability 0.95 up to their conditions on n, with
        W the diameter of the ball that holds the trained weights and J the largest norm of the
        gradient by weights at the points.
    """
    checked_count("seeds", seeds)
    cases = [(*case, job) for case in repetitions(pruners, densities, seeds)]
    return pd.DataFrame(list(evaluate_all(_row, cases, len(cases), n_jobs, progress)))


def slopes(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Slope of the log of measured constants against that of p_eff, over the densities of a seed.

    Parameters
    ----------
    table : DataFrame
        Of `robustness_scaling`; networks that did not fit are left out, and pruners with fewer
        than two seeds in which two fitted.
    confidence : float
        Of the interval, Student's over seeds.

    Returns
    -------
    DataFrame
        Columns pruner, measured ("at_points", "typical" or "product"), against ("kept",
        "p_eff_low" or "p_eff_high"), slope, std_error, low, high, seeds. The laws say -1/2 for the
        least constant that there can be.
    """
    rows: list[dict[str, str | float]] = []
    for pruner in dict.fromkeys(table["pruner"]):
        ours = pd.DataFrame(table[table["fitted"] & (table["pruner"] == pruner)])
        runs = [pd.DataFrame(ours[ours["seed"] == seed]) for seed in dict.fromkeys(ours["seed"])]
        several = [run for run in runs if len(run) > 1]
        if len(several) > 1:  # a single seed tells no error
            rows.extend({"pruner": pruner, **row} for run in several for row in _slopes(run))
    return averaged(pd.DataFrame(rows), ["pruner", "measured", "against"], "slope", confidence)


def _row(
    name: str, pruner: Pruner, density: float, seed: int, job: NoisyTeacher
) -> dict[str, float | str | bool]:
    samples, fresh = student_teacher(job.points, job.dimension, job.noise, seed=seed)
    model = mlp((job.dimension, *job.hidden, 1), seed=derived_seed(seed, "student"))
    mask = prune(model, samples, pruner, density=density)
    answer = peff(model, mask, samples)
    student = copy.deepcopy(model)
    variance = job.noise**2
    error = _fit(student, samples, reseeded(job.training, seed), mask, job.fit * variance)
    places = torch.cat([samples.inputs, fresh[: job.points]])
    steep = local_lipschitz(student, places)
    epsilon = variance - error
    row = {
        "pruner": name,
        "density": density,
        "seed": seed,
        "kept": mask.nonzeros,
        "error": error / variance,
        "fitted": error <= job.fit * variance,
        "at_points": float(steep.max()),
        "typical": float(np.median(steep)),
        "product": spectral_product(student, places[:1]),
        "p_eff_low": answer.plain().low,
        "p_eff_high": answer.plain().high,
    }
    if epsilon <= 0.0 or not mask.nonzeros:
        return row | dict.fromkeys(("by_weights", "by_p_eff_low", "by_p_eff_high"), math.nan)
    diameter = 2.0 * math.sqrt(sum(float(w.detach().square().sum()) for w in student.parameters()))
    reach = _by_weights(student, places)
    # N(0, I) is d-isoperimetric, as N(0, I / d) is 1-isoperimetric.
    least = partial(
        lipschitz_bound, n=job.points, d=job.dimension, isoperimetry=job.dimension, epsilon=epsilon
    )
    effective = answer.theorem4(diameter=diameter, lipschitz=reach, epsilon=epsilon)
    old = least(mask.nonzeros, form="bubeck-sellke", diameter=diameter, lipschitz=reach)
    return row | {
        "by_weights": old.value,
        "by_p_eff_low": least(effective.low).value,
        "by_p_eff_high": least(effective.high).value,
    }


def _fit(
    model: nn.Module, samples: Samples, training: Training, mask: Mask, target: float
) -> float:
    """Train in place until the mean squared error is at most `target`; return what it is."""
    steps = passes_over(samples, training.batch_size, training.seed, *place_of(model)).steps
    assert steps is not None  # samples in memory know their number
    state, error = None, math.inf
    for epoch in range(_LOOKS, training.epochs + _LOOKS, _LOOKS):
        epoch = min(epoch, training.epochs)
        state = train(model, samples, training, mask=mask, start=state, steps=epoch * steps).state
        error = evaluate(model, samples).loss
        if error <= target:
            break
    return error


def _by_weights(model: nn.Module, places: torch.Tensor) -> float:
    """Return the largest norm, over points, of the gradient of the output by all parameters."""
    state = {name: tensor.detach() for name, tensor in model.named_parameters()}

    def output(weights: dict[str, torch.Tensor], point: torch.Tensor) -> torch.Tensor:
        return functional_call(model, weights, (point[None],)).squeeze()

    slopes_at = vmap(grad(output), in_dims=(None, 0))
    squares = torch.zeros(len(places))
    for start in range(0, len(places), 64):
        found = slopes_at(state, places[start : start + 64])
        squares[start : start + 64] = sum(g.square().flatten(1).sum(1) for g in found.values())
    return math.sqrt(float(squares.max()))


def _slopes(networks: pd.DataFrame) -> Iterator[dict[str, str | float]]:
    for measured in ("at_points", "typical", "product"):
        for against in ("kept", "p_eff_low", "p_eff_high"):
            x, y = (np.log(networks[name].to_numpy(float)) for name in (against, measured))
            slope = float(np.polyfit(x, y, 1)[0])
            yield {"measured": measured, "against": against, "slope": slope}
