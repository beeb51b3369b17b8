"""Upper bounds from many masks: run the pruner again on other data, all its seeds the same."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import t as student_t
from tqdm import tqdm

from mitools._typing import BoolArray, FloatArray
from mitools._validation import checked_choice, checked_count
from mitools.data import Bootstrap, FreshNoise, Resampling, Samples
from mitools.effective.decoding import knows_noise
from mitools.effective.evidence import (
    Evidence,
    LabelEntropy,
    MaskInformation,
    count_was_asked_for,
    remembered_pruner,
)
from mitools.effective.prequential import affordable_decoders
from mitools.effective.repruning import (
    Finished,
    batched_like,
    check_same,
    repruned,
    run,
    sealed_run,
    stacked,
)
from mitools.mask_information import (
    DATA,
    NOISE,
    certified_limit,
    channel_code,
    channel_in_order,
    independent_code,
)
from mitools.pruning import Mask, Pruner
from mitools.pruning.written import is_ours
from mitools.results import Estimate


@dataclass(frozen=True)
class ResampledMasks:
    """Run the pruner on resampled data, from the same weights and seeds, and code its masks.

    The pruner must make the given mask again from the given data. One that never opens the loader
    cannot have learnt from it: it is first run on a sealed loader, and if that stays shut the
    answer is 0, exactly. Otherwise the masks of `datasets` data sets are charged by half of
    `mask_information.independent_code` and, up to 2^27 weights in all, half of `channel_code`,
    which knows initial weights, rows, columns, weights that depend on each other and channels that
    go as a whole; each mask by the code fitted on the others. Where the data know their label
    noise, it is also decoded from each mask, and its entropy is a second upper bound.
    Pruners that train do so on many data sets at once, see `repruned`.

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
    n_jobs : int or None
        Processes; None leaves it to `joblib.parallel_config`.
    decoder : MaskInformation or None
        What decodes the noise from each mask. None: `ScoreDecoding` for SNIP's masks, and else
        `TangentDecoding` where the network is small enough, as `mitools.peff` chooses for one mask.
    limit : {"certified", "student"}
        The upper limit: one that holds for every law of masks, at a price that falls with the
        number of data sets (`mask_information.certified_limit`), or Student's t over masks, which
        is close, approximate, and blind to events rarer than one in `datasets`.
    """

    pruner: Pruner | None = None
    resampling: Resampling | None = None
    datasets: int = 16
    seed: int = 0
    n_jobs: int | None = None
    decoder: MaskInformation | None = None
    limit: Literal["certified", "student"] = "certified"

    def __post_init__(self) -> None:
        checked_count("datasets", self.datasets)
        checked_choice("limit", self.limit, ("certified", "student"))

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return an upper bound, a point and, where noise can be decoded, a lower bound."""
        made = self.prune_again(evidence)
        if made is None:
            return self._nothing_read(self._pruner(evidence))
        return self._coded(made, evidence)

    def prune_again(self, evidence: Evidence) -> "Repruned | None":
        """Return the masks of other data sets; None if the pruner never opens its loader."""
        pruner = self._pruner(evidence)
        mask, model, samples = evidence.mask, evidence.model, evidence.samples
        unread = sealed_run(pruner, model, mask, samples)
        if unread is not None:
            check_same(unread, mask)
            return None
        if samples is None:
            raise ValueError("loader must be given to run a pruner that reads data; got None.")
        scheme = self.resampling or (FreshNoise() if knows_noise(samples) else Bootstrap())
        self._check_count(scheme, samples)
        self._check_made(pruner, evidence)
        drawn = [scheme.draw(samples, index, self.seed) for index in range(self.datasets)]
        loaders = [batched_like(evidence.loader, part) for part in drawn]
        masks = repruned(
            pruner,
            model,
            mask,
            loaders,
            n_jobs=self.n_jobs,
            progress=evidence.progress,
            checkpoint=evidence.checkpoint,
        )
        return Repruned(tuple(masks), tuple(drawn), scheme)

    def _check_made(self, pruner: Pruner, evidence: Evidence) -> None:
        """Raise ValueError unless the pruner makes the mask again, by itself and not together."""
        kept = Finished(evidence.checkpoint, pruner, evidence.model, evidence.mask)
        again = kept.load(evidence.loader)
        if again is None:
            (again,) = run(pruner, evidence.model, [evidence.loader], evidence.mask)
            kept.save(evidence.loader, again)
        check_same(again, evidence.mask)

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

    def _coded(self, made: "Repruned", evidence: Evidence) -> tuple[Estimate, ...]:
        told, _, source = made.scheme.quantity.partition(": ")
        quantity = _BOUNDED.get(told, told)
        rows = stacked(made.masks)
        independent = independent_code(rows, [layer.size for layer in made.masks[0].layers()])
        code = independent
        if rows.size <= _MIXED:
            code = independent.mixed_with(channel_code(rows, *_layout(evidence)))
        limit = self._certified(rows, evidence) if self.limit == "certified" else None
        student = code.upper(repr(self), quantity=quantity, confidence=evidence.confidence)
        coded = code.upper(
            repr(self), quantity=quantity, confidence=evidence.confidence, certified=limit
        )
        notes = [*coded.notes, f"{made.scheme!r}: {source}"]
        if limit is not None:
            notes.append(f"Student's limit, blind to rare masks, would be {student.limit:,.4g}")
        coded = dataclasses.replace(coded, notes=tuple(notes))
        if told not in _BOUNDED:
            return (dataclasses.replace(coded, sense="proxy", interval=None),)
        found = [coded, independent.point(repr(self), quantity=quantity)]
        if quantity == NOISE:
            found.append(self._decoded(made.masks, list(made.drawn), evidence))
            if made.drawn[0].classes is not None:
                found.extend(LabelEntropy().bounds(evidence))
        return tuple(found)

    def _certified(self, rows: BoolArray, evidence: Evidence) -> float:
        mask = evidence.mask
        kept = mask.nonzeros if count_was_asked_for(mask) else None
        shapes, weights = _layout(evidence)
        # For a limit every mask is coded several times: quick codes where there are many weights.
        few = len(rows) * rows.shape[1] ** 2 <= _PAIRED
        code = partial(channel_in_order, weights=weights, featured=few)
        return certified_limit(rows, shapes, kept=kept, confidence=evidence.confidence, code=code)

    def _decoded(self, masks: Sequence[Mask], drawn: list[Samples], evidence: Evidence) -> Estimate:
        """Mean over data sets of what each mask tells about its own noise."""
        decoder = self.decoder
        if decoder is None:
            decoder = affordable_decoders(masks[0], drawn[0], runs=len(masks))[-1]
        tasks = [
            dataclasses.replace(
                evidence, mask=mask, samples=samples, loader=samples, original=True, progress=False
            )
            for mask, samples in zip(masks, drawn, strict=True)
        ]
        runs = Parallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(decoder.bounds)(task) for task in tasks
        )
        bar = tqdm(runs, "decoding", len(tasks), disable=not evidence.progress, leave=False)
        found = [next(bound for bound in bounds or () if bound.sense == "lower") for bounds in bar]
        values = np.array([bound.value for bound in found])
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


@dataclass(frozen=True, eq=False)
class Repruned:
    """Masks, the data set that each was made from, and how those were drawn."""

    masks: tuple[Mask, ...]
    drawn: tuple[Samples, ...]
    scheme: Resampling

    @property
    def quantity(self) -> str:
        """What the masks are about, by the way their data were drawn."""
        return self.scheme.quantity.partition(": ")[0]


def _layout(evidence: Evidence) -> tuple[list[tuple[int, int]], FloatArray]:
    """Return rows and columns of each layer, and the initial weights, in the order of a mask."""
    parameters = dict(evidence.model.named_parameters(remove_duplicate=False))
    shapes = [(len(keep), keep.numel() // max(len(keep), 1)) for keep in evidence.mask.values()]
    weights = [parameters[name].detach().double().cpu().numpy().ravel() for name in evidence.mask]
    return shapes, np.concatenate(weights)


_MIXED = 1 << 27
"""Masks times weights up to which rows, columns, groups and pairs of weights are coded too."""

_PAIRED = 1 << 25
"""Masks times pairs of weights up to which the certified limit has all codes, and not only some."""

_BOUNDED = {"I(mask; data)": DATA, "I(mask; label noise | inputs)": NOISE}
"""What schemes draw from the law of the data themselves, and so bound; others only come close."""
