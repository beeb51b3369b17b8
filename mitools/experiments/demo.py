"""The main job on real images: five pruners, one density, noisy digits, what each mask knows."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from tqdm import tqdm

from mitools.data import Samples, SymmetricFlips, digits, flipped
from mitools.effective import Counting, ResampledMasks, peff
from mitools.effective.prequential import affordable_decoders
from mitools.models import mlp
from mitools.pruning import (
    IMP,
    SNIP,
    Iterative,
    MagnitudeAfterTraining,
    Mask,
    OneShot,
    Pruner,
    Random,
    SynFlow,
    prune,
)
from mitools.results import EffectiveParameters
from mitools.training import SGD, Training, evaluate, train


@dataclass(frozen=True)
class Demo:
    """What the demonstration does: scikit-learn's digits with noisy labels, a small network.

    Parameters
    ----------
    density : float
        Share of the weights that every pruner keeps.
    flips : float
        Share of the training labels replaced by a wrong one.
    images : int
        Number of training images.
    widths : tuple of int
        Of the multilayer perceptron.
    datasets : int
        Data sets on which each pruner that reads data runs again.
    training : Training
        How networks are trained, before and after pruning.
    seed : int
        Of the data, the weights and the pruners.
    """

    density: float = 0.1
    flips: float = 0.5
    images: int = 500
    widths: tuple[int, ...] = (64, 100, 100, 10)
    datasets: int = 5
    training: Training = Training(epochs=60, batch_size=50, optimizer=SGD(lr=0.1, momentum=0.9))
    seed: int = 0

    def pruners(self) -> dict[str, Pruner]:
        """Return the pruners compared, data-free ones first."""
        return {
            "random": OneShot(Random(seed=self.seed)),
            "SynFlow": Iterative(SynFlow(), rounds=100),
            "SNIP": OneShot(SNIP()),
            "magnitude after training": MagnitudeAfterTraining(self.training),
            "IMP": IMP(self.training),
        }


@dataclass(frozen=True)
class Row:
    """One pruner's mask, its effective parameters, and what the network makes of its weights.

    ``memorised`` is the share of the wrong labels that the pruned network reproduces after it was
    trained from its initial weights; ``accuracy`` is that on held-out images with right labels.
    """

    pruner: str
    mask: Mask
    answer: EffectiveParameters
    memorised: float
    accuracy: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row of plain columns."""
        frame = self.answer.to_frame()
        frame.insert(0, "pruner", self.pruner)
        return frame.assign(memorised=self.memorised, accuracy=self.accuracy)


def demo(job: Demo = Demo(), *, n_jobs: int | None = None, progress: bool = False) -> Iterator[Row]:
    """Prune one network with five pruners and bound what each mask knows of the noisy labels.

    Parameters
    ----------
    job : Demo
        What to do.
    n_jobs : int or None
        Processes for running pruners again; None leaves it to `joblib.parallel_config`.
    progress : bool
        Whether to show a bar on stderr.

    Yields
    ------
    Row
        One for each pruner, as soon as it is done.
    """
    clean, *_ = digits(train=True).split(job.images, seed=job.seed)
    noisy = SymmetricFlips(job.flips).apply(clean, seed=job.seed)
    heldout = digits(train=False)
    model = mlp(job.widths, seed=job.seed)
    again = ResampledMasks(datasets=job.datasets, seed=job.seed + 1, n_jobs=n_jobs)
    bar = tqdm(job.pruners().items(), "pruners", disable=not progress, leave=False)
    for name, pruner in bar:
        bar.set_postfix_str(name)
        mask = prune(model, noisy, pruner, density=job.density)
        methods = (Counting(), affordable_decoders(mask, noisy)[-1], again)
        answer = peff(model, mask, noisy, methods, progress=progress)
        yield Row(name, mask, answer, *_retrained(model, mask, noisy, heldout, job.training))


def _retrained(
    model: torch.nn.Module, mask: Mask, noisy: Samples, heldout: Samples, training: Training
) -> tuple[float, float]:
    """Return the share of wrong labels reproduced, and held-out accuracy, after training again."""
    ticket = copy.deepcopy(model)
    train(ticket, noisy, training, mask=mask)
    return _accuracy(ticket, noisy.take(flipped(noisy))), _accuracy(ticket, heldout)


def _accuracy(model: torch.nn.Module, samples: Samples) -> float:
    accuracy = evaluate(model, samples).accuracy
    assert accuracy is not None  # digits are classes
    return accuracy
