"""Bounds on the information of masks as contenders: counting, codes, decoders, and plain entropies.

What a mask is charged or decoded with is what `mitools.peff` uses; only the network is missing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import t as student_t

from estimators_bench.contenders.kinds import Answer, Contender
from estimators_bench.tasks.kinds import MaskData, MaskTask, Task
from estimators_bench.tasks.mask_laws import Channels
from mitools._typing import IntArray
from mitools.mask_information import (
    CodeLengths,
    certified_limit,
    channel_code,
    channel_in_order,
    decoded_classes,
    independent_code,
    shared_code,
    tree_code,
)
from mitools.measures import entropy
from mitools.methods import ChaoShen, Jackknifed, MillerMadow, PlugIn
from mitools.methods.questions import Entropy
from mitools.results import Estimate

CONFIDENCE = 0.95
_PAIRED = 10_000


class _OfMasks:
    """What all of them share: they come with mitools, are quick, and want masks."""

    package = "mitools"
    fast = True

    def takes(self, task: Task) -> bool:
        """Return whether the task has masks."""
        return isinstance(task, MaskTask)


@dataclass(frozen=True)
class Counting(_OfMasks):
    """log C(p, k) of each mask, and log(p + 1) for saying k."""

    name: str = "counting"

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return an upper bound: the mean over masks."""
        size = data.masks.shape[1]
        kept = np.array([np.count_nonzero(row) for row in data.masks])
        lengths = gammaln(size + 1.0) - gammaln(kept + 1.0) - gammaln(size - kept + 1.0)
        lengths += math.log(size + 1.0)
        code = CodeLengths(tuple(lengths.tolist()), math.nan, _distinct(data))
        return _of_estimate(code.upper(self.name, confidence=CONFIDENCE))


@dataclass(frozen=True)
class Coded(_OfMasks):
    """Mean length of a code that is fitted on all masks but the one it is charged for.

    Exactly 0 where the pruner never opened its data, as `mitools.ResampledMasks` answers.

    Parameters
    ----------
    name : str
        On the leaderboard.
    code : callable
        ``code(masks, layers)`` returns the lengths.
    """

    name: str = "independent code"
    code: Callable[..., CodeLengths] = field(default=independent_code, repr=False)

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return an upper bound."""
        if not data.read:
            return _nothing_read("upper")
        found = self.code(data.masks, data.layers)
        return _of_estimate(found.upper(self.name, confidence=CONFIDENCE))


@dataclass(frozen=True)
class Certified(_OfMasks):
    """As `Coded` with the code of groups, and a limit that holds for every law.

    Parameters
    ----------
    name : str
        On the leaderboard.
    orders : int
        Orders of the masks that the limit averages over.
    """

    name: str = "shared code, certified limit"
    orders: int = 4
    fast = False  # codes every mask once more for each order: a minute at a million weights

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return an upper bound."""
        if not data.read:
            return _nothing_read("upper")
        limit = certified_limit(data.masks, data.layers, confidence=CONFIDENCE, orders=self.orders)
        code = shared_code(data.masks, data.layers)
        return _of_estimate(code.upper(self.name, confidence=CONFIDENCE, certified=limit))


@dataclass(frozen=True)
class ByChannel(_OfMasks):
    """A code of whole rows beside all others, and its limit that holds for every law.

    Parameters
    ----------
    name : str
        On the leaderboard.
    orders : int
        As for `Certified`.
    """

    name: str = "channel code, certified limit"
    orders: int = 4
    fast = False

    def takes(self, task: Task) -> bool:
        """Return whether rows and columns of the layers are known."""
        return isinstance(task, MaskTask) and isinstance(task.sampler, Channels)

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return an upper bound."""
        assert isinstance(task, MaskTask) and isinstance(task.sampler, Channels)  # by takes
        shapes, code = task.sampler.shapes, partial(channel_in_order, featured=False)
        limit = certified_limit(
            data.masks, shapes, confidence=CONFIDENCE, orders=self.orders, code=code
        )
        found = channel_code(data.masks, shapes)
        return _of_estimate(found.upper(self.name, confidence=CONFIDENCE, certified=limit))


@dataclass(frozen=True)
class ByTree(_OfMasks):
    """As `Coded`, with the code of weights that depend on each other; each layer is one row."""

    name: str = "tree code"

    def takes(self, task: Task) -> bool:
        """Return whether there are few enough weights for it to end in seconds."""
        return isinstance(task, MaskTask) and task.size <= _PAIRED

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return an upper bound."""
        if not data.read:
            return _nothing_read("upper")
        found = tree_code(data.masks, [(1, size) for size in data.layers])
        return _of_estimate(found.upper(self.name, confidence=CONFIDENCE))


@dataclass(frozen=True)
class IndependentEntropy(_OfMasks):
    """The entropy of masks if their weights were independent of each other."""

    name: str = "entropy of independent weights"

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return a point estimate."""
        if not data.read:
            return _nothing_read("point")
        return _of_estimate(independent_code(data.masks, data.layers).point(self.name))


@dataclass(frozen=True)
class CountedMasks(_OfMasks):
    """The entropy of masks as symbols; it says when it is near all that draws can show.

    Parameters
    ----------
    name : str
        On the leaderboard.
    method : Entropy
        A method for symbols, of `mitools.methods`.
    """

    name: str
    method: Entropy

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return a point estimate."""
        if not data.read:
            return _nothing_read("point")
        draws = len(data.masks)
        found = entropy(_symbols(data), self.method)
        note = f"{_distinct(data)} distinct masks in {draws} draws; log {draws} = "
        note += f"{math.log(draws):.2f}"
        return Answer(found.value, "point", None, CONFIDENCE, (note, *found.notes))


@dataclass(frozen=True)
class LabelEntropy(_OfMasks):
    """The entropy of the labels: nobody can know more about them."""

    name: str = "label entropy"

    def takes(self, task: Task) -> bool:
        """Return whether the law of the labels is known."""
        return isinstance(task, MaskTask) and task.label_law is not None

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return an upper bound, exact."""
        assert isinstance(task, MaskTask) and task.label_law is not None  # by takes
        assert data.labels is not None
        law = np.array(task.label_law)
        nats = data.labels.shape[1] * float(-xlogy(law, law).sum())
        return Answer(nats, "upper", (-math.inf, nats), CONFIDENCE)


@dataclass(frozen=True)
class Decoded(LabelEntropy):
    """Labels predicted from what a mask shows of them: the mean over masks, and a t-interval."""

    name: str = "label-noise decoding"

    def answer(self, task: Task, data: MaskData, seed: int) -> Answer:
        """Return a lower bound."""
        assert isinstance(task, MaskTask) and task.label_law is not None  # by takes
        assert data.labels is not None and data.shown is not None
        prior = np.tile(np.log(task.label_law), (data.labels.shape[1], 1))
        values = np.array(
            [
                decoded_classes(shown, labels, prior, self.name, CONFIDENCE).value
                for shown, labels in zip(data.shown, data.labels, strict=True)
            ]
        )
        mean, error = float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
        low = mean - float(student_t.ppf(CONFIDENCE, len(values) - 1)) * error
        note = "the limit is approximate: a t-interval over data sets"
        return Answer(mean, "lower", (low, math.inf), CONFIDENCE, (note,))


def _nothing_read(sense: Any) -> Answer:
    interval = (-math.inf, 0.0) if sense == "upper" else None
    return Answer(0.0, sense, interval, CONFIDENCE, ("the pruner never opened its data",))


def _of_estimate(found: Estimate) -> Answer:
    return Answer(found.value, found.sense, found.interval, found.confidence, found.notes)


def _symbols(data: MaskData) -> IntArray:
    """Number masks by what they are: equal ones alike."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(np.packbits(row).tobytes(), len(seen)) for row in data.masks])


def _distinct(data: MaskData) -> int:
    return int(_symbols(data).max()) + 1


CONTENDERS: tuple[Contender, ...] = (
    Counting(),
    LabelEntropy(),
    Coded(),
    Coded("shared code", shared_code),
    ByTree(),
    Certified(),
    ByChannel(),
    IndependentEntropy(),
    CountedMasks("distinct masks, plug-in", PlugIn()),
    CountedMasks("distinct masks, Miller-Madow", MillerMadow()),
    CountedMasks("distinct masks, jackknife", Jackknifed()),
    CountedMasks("distinct masks, Chao-Shen", ChaoShen()),
    Decoded(),
)
