"""Upper bounds from many masks: run the pruner again on other data, all its seeds the same."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.stats import t as student_t
from torch import nn
from torch.utils.data import DataLoader, RandomSampler
from tqdm import tqdm

from mitools._typing import BoolArray
from mitools.data import Bootstrap, FreshNoise, Resampling, Samples
from mitools.effective.decoding import LabelNoiseDecoding, knows_noise
from mitools.effective.evidence import Evidence, LabelEntropy, remembered_pruner
from mitools.mask_information import DATA, NOISE, independent_code
from mitools.models import copied
from mitools.pruning import Mask, Pruner
from mitools.pruning.pruners import made_by
from mitools.pruning.scoring import reproducibly
from mitools.pruning.written import is_ours
from mitools.results import Estimate


@dataclass(frozen=True)
class ResampledMasks:
    """Run the pruner on resampled data, from the same weights and seeds, and code its masks.

    The pruner must make the given mask again from the given data. One that never opens the loader
    cannot have learnt from it: it is first run on a sealed loader, and if that stays shut the
    answer is 0, exactly. Otherwise the masks of `datasets` data sets are charged by
    `mask_information.independent_code`, each by the code fitted on the others; where the data know
    their label noise, it is also decoded from each mask, and its entropy is a second upper bound.

    Parameters
    ----------
    pruner : Pruner or None
        None: the one that the mask remembers.
    resampling : Resampling or None
        Where other data come from. None: fresh label noise where the data know theirs, else
        bootstrap resamples. It decides what the number means: only fresh noise and a generator of
        fresh data give bounds; what resamples of the same points give is a proxy, and can be too
        small.
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
        mask, model, samples = evidence.mask, evidence.model, evidence.samples
        unread = _sealed_run(pruner, model, mask, samples)
        if unread is not None:
            _check_same(unread, mask)
            return self._nothing_read(pruner)
        if samples is None:
            raise ValueError("loader must be given to run a pruner that reads data; got None.")
        scheme = self.resampling or (FreshNoise() if knows_noise(samples) else Bootstrap())
        self._check_count(scheme, samples)
        _check_same(_run(pruner, model, evidence.loader, mask), mask)
        drawn = [scheme.draw(samples, index, self.seed) for index in range(self.datasets)]
        loaders = [_batched_like(evidence.loader, part) for part in drawn]
        masks = repruned(pruner, model, mask, loaders, jobs=self.jobs, progress=evidence.progress)
        return self._coded(masks, drawn, scheme, evidence)

    def _check_count(self, scheme: Resampling, samples: Samples) -> None:
        most = scheme.count_limit(samples)
        if self.datasets < 3 or (most is not None and self.datasets > most):
            limit = "" if most is None else f" and at most {most} for {scheme!r}"
            raise ValueError(
                f"datasets must be at least 3{limit}; got {self.datasets}. "
                "A code for masks is fitted on all of them but one."
            )

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

    def _nothing_read(self, pruner: Pruner) -> tuple[Estimate, ...]:
        note = "the pruner ran to its end without opening the loader"
        if not is_ours(pruner):
            note += "; it is taken to hold none of the data itself"
        return tuple(
            Estimate(0.0, repr(self), sense, DATA, 0.0, (-math.inf, 0.0), 1.0, (note,))
            for sense in ("upper", "point")
        )

    def _coded(
        self, masks: Sequence[Mask], drawn: list[Samples], scheme: Resampling, evidence: Evidence
    ) -> tuple[Estimate, ...]:
        told, _, source = scheme.quantity.partition(": ")
        quantity = _BOUNDED.get(told, told)
        code = independent_code(stacked(masks), [layer.size for layer in masks[0].layers()])
        coded = code.upper(repr(self), quantity=quantity, confidence=evidence.confidence)
        coded = dataclasses.replace(coded, notes=(*coded.notes, source))
        if told not in _BOUNDED:
            return (dataclasses.replace(coded, sense="proxy", interval=None),)
        found = [coded, code.point(repr(self), quantity=quantity)]
        if quantity == NOISE:
            found.append(self._decoded(masks, drawn, evidence))
            if drawn[0].classes is not None:
                found.extend(LabelEntropy().bounds(evidence))
        return tuple(found)

    def _decoded(self, masks: Sequence[Mask], drawn: list[Samples], evidence: Evidence) -> Estimate:
        """Mean over data sets of what each mask tells about its own noise."""
        decoder = LabelNoiseDecoding()
        values = np.array(
            [
                decoder.decode(evidence.model, mask, samples, evidence.confidence).value
                for mask, samples in tqdm(
                    list(zip(masks, drawn, strict=True)),
                    "decoding",
                    disable=not evidence.progress,
                    leave=False,
                )
            ]
        )
        error = float(values.std(ddof=1) / math.sqrt(len(values)))
        mean = float(values.mean())
        low = mean - float(student_t.ppf(evidence.confidence, len(values) - 1)) * error
        return Estimate(
            mean,
            f"{decoder!r} over {self!r}",
            "lower",
            NOISE,
            error,
            (low, math.inf),
            evidence.confidence,
            ("the limit is approximate: a t-interval over data sets",),
        )


_BOUNDED = {"I(mask; data)": DATA, "I(mask; label noise | inputs)": NOISE}
"""What schemes draw from the law of the data themselves, and so bound; others only come close."""


def repruned(
    pruner: Pruner,
    model: nn.Module,
    mask: Mask,
    loaders: Sequence[object],
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
    loaders : sequence of loaders
        The data sets.
    jobs : int or None
        Processes; None leaves it to `joblib.parallel_config`.
    progress : bool
        Whether to show a bar on stderr.

    Raises
    ------
    MaskError
        If the pruner gives something else than a mask over the same tensors.
    """
    runs = Parallel(n_jobs=jobs, return_as="generator")(
        delayed(_run)(pruner, model, loader, mask) for loader in loaders
    )
    bar = tqdm(runs, "pruning again", len(loaders), disable=not progress, leave=False)
    return [again for again in bar if again is not None]  # joblib's types admit None; none is


def stacked(masks: Sequence[Mask]) -> BoolArray:
    """Return the masks as rows, shape (masks, weights)."""
    rows = np.empty((len(masks), masks[0].size), np.bool_)
    for row, mask in zip(rows, masks, strict=True):
        row[:] = mask.flat()
    return rows


def _run(pruner: Pruner, model: nn.Module, loader: Any, mask: Mask) -> Mask:
    """Run the pruner to the density of mask, on a copy of the model."""
    density = mask.requested_density if mask.requested_density is not None else mask.density
    with reproducibly():
        again = pruner.mask(copied(model), loader, density, tuple(mask))
    again = made_by(pruner, again, model)
    mask.overlap(again)  # MaskError if they do not cover the same tensors
    return again


def _check_same(again: Mask, mask: Mask) -> None:
    if again != mask:
        raise ValueError(
            "pruner must be the one that made the mask; run again on these weights and data it "
            f"gave another one (overlap {again.overlap(mask):.3f}). Pass the weights that were "
            "pruned as init=, the loader that was pruned on, and the pruner with the same seed."
        )


def _batched_like(loader: object, samples: Samples) -> object:
    """Return samples in the batches, and the kind of order, in which loader gave its own."""
    if not isinstance(loader, DataLoader):
        return samples
    return DataLoader(
        samples,
        loader.batch_size or 1,
        shuffle=isinstance(loader.sampler, RandomSampler),
        drop_last=loader.drop_last,
        generator=torch.Generator() if loader.generator is not None else None,
    )


class _SealOpened(Exception):
    """The pruner tried to read the data."""


class _Sealed:
    """A loader that shows the shape of an input, and remembers whether more was asked of it."""

    def __init__(self, samples: Samples | None) -> None:
        self.opened = False
        if samples is not None:
            self.input_shape = tuple(samples.inputs.shape[1:])

    def __iter__(self) -> Iterator[object]:
        return self._open()

    def __len__(self) -> int:
        return self._open()

    def __getitem__(self, index: object) -> object:
        return self._open()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name == "input_shape":
            raise AttributeError(name)
        return self._open()

    def _open(self) -> Any:
        self.opened = True
        raise _SealOpened


def _sealed_run(
    pruner: Pruner, model: nn.Module, mask: Mask, samples: Samples | None
) -> Mask | None:
    """Return the mask that the pruner makes without data; None if it asked for them."""
    sealed = _Sealed(samples)
    try:
        unread = _run(pruner, model, sealed, mask)
    except Exception:  # whatever a pruner raises for want of data, it did not do without them
        return None
    return None if sealed.opened else unread
