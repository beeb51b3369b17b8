"""Upper bounds from many masks: run the pruner again on other data, all its seeds the same."""

import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import t as student_t
from torch import nn
from tqdm import tqdm

from mitools._typing import BoolArray
from mitools.data import Bootstrap, FreshNoise, Resampling, Samples
from mitools.effective.decoding import LabelNoiseDecoding, knows_noise
from mitools.effective.evidence import Evidence, remembered_pruner
from mitools.mask_information import QUANTITY, independent_code
from mitools.pruning import Mask, Pruner
from mitools.pruning.scoring import reproducibly
from mitools.results import Estimate


@dataclass(frozen=True)
class ResampledMasks:
    """Run the pruner on resampled data, from the same weights and seeds, and code its masks.

    A pruner that never opens the loader cannot have learnt from it: it is first run on a sealed
    loader, and if that stays shut the answer is 0, exactly. Otherwise the masks of `datasets` data
    sets are charged by `mask_information.independent_code`, each by the code fitted on the others.
    Where the data know their label noise, it is also decoded from each mask, and its entropy is a
    second upper bound.

    Parameters
    ----------
    pruner : Pruner or None
        None: the one that the mask remembers.
    resampling : Resampling or None
        Where other data come from. None: fresh label noise where the data know theirs, else
        bootstrap resamples. The answer names it, because it decides what the number means.
    datasets : int, at least 3
        Number of data sets; the cost is that of as many runs of the pruner.
    seed : int
        Of the data sets.
    jobs : int or None
        Processes; None leaves it to `joblib.parallel_config`.
    """

    pruner: Pruner | None = None
    resampling: Resampling | None = None
    datasets: int = 16
    seed: int = 0
    jobs: int | None = None

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return an upper bound, a point and, where noise can be decoded, a lower bound."""
        pruner = self._pruner(evidence)
        mask, model = evidence.mask, evidence.model
        if not evidence.original:
            raise ValueError(
                "model must hold the initial weights that the mask was made from, to run the "
                "pruner again; its fingerprint differs from the mask's. Pass init= with them."
            )
        unread = _sealed_run(pruner, model, mask, evidence.samples)
        if unread is not None:
            return self._nothing_read(unread, mask)
        if evidence.samples is None:
            raise ValueError("loader must be given to run a pruner that reads data; got None.")
        if self.datasets < 3:
            raise ValueError(f"datasets must be at least 3; got {self.datasets}.")
        scheme = self.resampling or (FreshNoise() if knows_noise(evidence.samples) else Bootstrap())
        most = scheme.count_limit(evidence.samples)
        if most is not None and self.datasets > most:
            raise ValueError(
                f"datasets must be at most {most} for {scheme!r}; got {self.datasets}. "
                "Ask for fewer, or take more folds."
            )
        drawn = [scheme.draw(evidence.samples, index, self.seed) for index in range(self.datasets)]
        masks = repruned(pruner, model, mask, drawn, jobs=self.jobs, progress=evidence.progress)
        return self._coded(masks, drawn, scheme, evidence)

    def _pruner(self, evidence: Evidence) -> Pruner:
        pruner = self.pruner or remembered_pruner(evidence.mask)
        if pruner is None:
            named = evidence.mask.pruner
            raise ValueError(
                "pruner must be given to ResampledMasks, because the mask "
                f"{'names none' if named is None else f'names one that is not of mitools: {named}'}"
                ". Pass ResampledMasks(pruner=...)."
            )
        return pruner

    def _nothing_read(self, again: Mask, mask: Mask) -> tuple[Estimate, ...]:
        if again != mask:
            raise ValueError(
                "pruner must be the one that made the mask; run again on the same weights it "
                f"gave another mask (overlap {again.overlap(mask):.3f}). Check its seed."
            )
        note = "the pruner ran to its end without opening the loader"
        return tuple(
            Estimate(0.0, repr(self), sense, QUANTITY, 0.0, (-math.inf, 0.0), 1.0, (note,))
            for sense in ("upper", "point")
        )

    def _coded(
        self, masks: Sequence[Mask], drawn: list[Samples], scheme: Resampling, evidence: Evidence
    ) -> tuple[Estimate, ...]:
        quantity, _, source = scheme.quantity.partition(": ")
        code = independent_code(stacked(masks), [layer.size for layer in masks[0].layers()])
        upper = code.upper(repr(self), quantity=quantity, confidence=evidence.confidence)
        found = [_noted(upper, source), code.point(repr(self), quantity=quantity)]
        if isinstance(scheme, FreshNoise):
            found.append(self._decoded(masks, drawn, quantity, evidence))
            found.append(_label_entropy(drawn[0], quantity))
        return tuple(found)

    def _decoded(
        self, masks: Sequence[Mask], drawn: list[Samples], quantity: str, evidence: Evidence
    ) -> Estimate:
        """Mean over data sets of what each mask tells about its own noise."""
        decoder = LabelNoiseDecoding()
        values = np.array(
            [
                decoder.decode(evidence.model, mask, samples, evidence.confidence).value
                for mask, samples in zip(masks, drawn, strict=True)
            ]
        )
        error = float(values.std(ddof=1) / math.sqrt(len(values)))
        mean = float(values.mean())
        low = mean - float(student_t.ppf(evidence.confidence, len(values) - 1)) * error
        return Estimate(
            mean,
            f"{decoder!r} over {self!r}",
            "lower",
            quantity,
            error,
            (low, math.inf),
            evidence.confidence,
        )


def repruned(
    pruner: Pruner,
    model: nn.Module,
    mask: Mask,
    drawn: Sequence[Samples],
    *,
    jobs: int | None = None,
    progress: bool = False,
) -> list[Mask]:
    """Run the pruner on each data set, from the same weights, to the density of mask.

    Parameters
    ----------
    pruner : Pruner
        Run once for each data set.
    model : nn.Module
        At the initial weights; not changed.
    mask : Mask
        Says which parameters take part, and the density.
    drawn : sequence of Samples
        The data sets.
    jobs : int or None
        Processes; None leaves it to `joblib.parallel_config`.
    progress : bool
        Whether to show a bar on stderr.
    """
    density = mask.requested_density if mask.requested_density is not None else mask.density
    runs = Parallel(n_jobs=jobs, return_as="generator")(
        delayed(_run)(pruner, model, samples, density, tuple(mask)) for samples in drawn
    )
    bar = tqdm(runs, "pruning again", len(drawn), disable=not progress, leave=False)
    return [again for again in bar if again is not None]  # joblib's types admit None; none is


def stacked(masks: Sequence[Mask]) -> BoolArray:
    """Return the masks as rows, shape (masks, weights)."""
    rows = np.empty((len(masks), masks[0].size), np.bool_)
    for row, mask in zip(rows, masks, strict=True):
        row[:] = mask.flat()
    return rows


def _run(
    pruner: Pruner, model: nn.Module, data: object, density: float, names: tuple[str, ...]
) -> Mask:
    with reproducibly():
        return pruner.mask(copy.deepcopy(model), data, density, names)


class _SealOpened(Exception):
    """The pruner tried to read the data."""


class _Sealed:
    """A loader that shows the shape of an input, and nothing else."""

    def __init__(self, samples: Samples | None) -> None:
        if samples is not None:
            self.input_shape = tuple(samples.inputs.shape[1:])

    def __iter__(self) -> Iterator[object]:
        raise _SealOpened

    def __len__(self) -> int:
        raise _SealOpened

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name == "input_shape":
            raise AttributeError(name)
        raise _SealOpened


def _sealed_run(
    pruner: Pruner, model: nn.Module, mask: Mask, samples: Samples | None
) -> Mask | None:
    """Return the mask that the pruner makes without data; None if it asked for them."""
    density = mask.requested_density if mask.requested_density is not None else mask.density
    try:
        return _run(pruner, model, _Sealed(samples), density, tuple(mask))
    except _SealOpened:
        return None


def _label_entropy(samples: Samples, quantity: str) -> Estimate:
    """Return n H(z): nothing can tell more about the label noise than there is of it."""
    assert samples.noise is not None
    value = len(samples) * samples.noise.entropy(samples.classes)
    if samples.classes is None:
        value = math.inf  # real-valued noise can be told without end
    return Estimate(value, "LabelEntropy()", "upper", quantity, interval=(-math.inf, value))


def _noted(estimate: Estimate, note: str) -> Estimate:
    return dataclasses.replace(estimate, notes=(*estimate.notes, note))
