"""Lower bounds from one mask that learn as they go: label noise decoded point after point.

Each decoder predicts the noise of a point from the mask, the initial weights, the inputs, and the
noise of the points before it; and mixes that with what `LabelNoiseDecoding` sees. The points come
in a random order.
"""

import copy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mitools._typing import FloatArray
from mitools._validation import checked_count
from mitools.data import Samples
from mitools.data.seeds import stream
from mitools.effective.decoding import (
    KnownLabels,
    KnownResiduals,
    LabelNoiseDecoding,
    class_scores,
    decoded,
    masked_outputs,
    noise_in,
    noisy_samples,
)
from mitools.effective.evidence import Evidence, MaskInformation, remembered_pruner
from mitools.effective.tangents import Tangents
from mitools.mask_information import regressed_classes, regressed_values, threshold_scores
from mitools.mask_information.decoders import unit_size
from mitools.pruning import SNIP, Mask, OneShot
from mitools.results import Estimate
from mitools.training import SGD, Training, train


@dataclass(frozen=True)
class TangentDecoding:
    """Predict each point's noise by what the masked network, linearised, learns from the others.

    A network that trains only a little is linear in its weights around the initial ones, and then
    learns as a Gaussian process whose kernel is the inner product of the points' Jacobians (Jacot
    et al. 2018). With the kernel over kept weights the mask decides what is learnt easily, and a
    mask that was chosen to fit the noise makes it easy to learn. The process starts from a share of
    the masked network's outputs, or of what those change to first order by the mask.

    Parameters
    ----------
    points : int
        As many of the points, drawn at random, are decoded: time grows with their cube.
    directions : int
        Random directions of weights that stand for all where the Jacobian is too large.
    batch_size : int
    seed : int
        Of the order of the points, and of the directions.
    """

    points: int = 1024
    directions: int = 256
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        checked_count("points", self.points)
        checked_count("directions", self.directions)

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError where the data do not know their noise."""
        samples = noisy_samples(evidence, type(self).__name__)
        return (self.decode(evidence.model, evidence.mask, samples, evidence.confidence),)

    def decode(self, model: nn.Module, mask: Mask, samples: Samples, confidence: float) -> Estimate:
        """Bound the information of one mask by decoding the label noise that samples know."""
        samples = _shuffled(samples, self.points, self.seed)
        outputs = masked_outputs(model, mask, samples, self.batch_size)
        known = noise_in(samples)
        try:
            masked = Tangents(model, mask, samples.inputs, pruned=True)
            kernel = masked.kernel(self.directions, self.seed)
            means = [outputs, _first_order(model, mask, samples)]
        except RuntimeError as error:  # whatever torch says to a network that leaves torch
            raise ValueError(
                "model must be one that torch can differentiate for TangentDecoding; it says: "
                f"{error}. LabelNoiseDecoding only runs it."
            ) from error
        if isinstance(known, KnownLabels):
            scores = [class_scores(mean, known.log_prior.shape[1]) for mean in means]
            centred = [unit_size(score - score.mean(axis=1, keepdims=True)) for score in scores]
            found = regressed_classes(kernel, centred, known.targets, known.log_prior)
        else:
            centred = [unit_size(mean - mean.mean(axis=0)) for mean in means]
            found = regressed_values(kernel, centred, known.noise)
        return decoded(outputs, samples, repr(self), confidence, found)


@dataclass(frozen=True)
class PrequentialDecoding:
    """Train the masked network on the noisy labels of earlier blocks, predict the next block.

    Parameters
    ----------
    training : Training
        From the initial weights, once for each block but the first. A few epochs say more than
        many: a network that has memorised some labels predicts others worse.
    blocks : int, at least 2
        Parts of nearly equal size, in random order.
    batch_size : int
    seed : int
        Of the order.

    References
    ----------
    Dawid, *Prequential analysis*, JRSS A 147, 278 (1984), for predictions scored in sequence.
    """

    training: Training = Training(epochs=10, batch_size=64, optimizer=SGD(lr=0.1, momentum=0.0))
    blocks: int = 8
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        checked_count("blocks", self.blocks, least=2)

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError where the data do not know their noise."""
        samples = noisy_samples(evidence, type(self).__name__)
        samples = _shuffled(samples, len(samples), self.seed)
        untrained = masked_outputs(evidence.model, evidence.mask, samples, self.batch_size)
        known = noise_in(samples)
        trained = untrained.copy()
        edges = np.linspace(0, len(samples), min(self.blocks, len(samples)) + 1).astype(int)
        for start, stop in tqdm(
            list(pairwise(edges[1:])),
            "blocks",
            disable=not evidence.progress,
            leave=False,
        ):
            network = copy.deepcopy(evidence.model)
            train(network, samples.take(range(start)), self.training, mask=evidence.mask)
            part = samples.take(range(start, stop))
            trained[start:stop] = masked_outputs(network, evidence.mask, part, self.batch_size)
        if isinstance(known, KnownLabels):
            scores = class_scores(trained, known.log_prior.shape[1])
            found = [scores - scores.mean(axis=1, keepdims=True)]
        else:
            assert samples.clean is not None
            clean = samples.clean.double().cpu().numpy().reshape(known.noise.shape)
            found = [_calibrated((trained - clean) / known.std, known, edges)]
        bound = decoded(untrained, samples, repr(self), evidence.confidence, found)
        return (bound,)


@dataclass(frozen=True)
class ScoreDecoding:
    """Predict labels from the fate of each weight, knowing the score that decided it: SNIP's.

    SNIP keeps a weight if the sum over points of ``w ∂loss/∂w`` is far from 0. Labels that are
    known give the sign and size of a part of each sum; then each weight that was kept, or was not,
    says which label of the next points it would rather have seen.
    `mask_information.threshold_scores` has the predictor.

    Parameters
    ----------
    blocks : int
        Parts of the data; each is predicted from the labels before it.
    draws : int
        Sets of labels drawn to measure how much the sums vary.
    batch_size : int
    seed : int
        Of the order of the points, and of the draws.
    """

    blocks: int = 32
    draws: int = 16
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        checked_count("blocks", self.blocks)
        checked_count("draws", self.draws)

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError if the mask is not SNIP's on all the data at once."""
        samples = noisy_samples(evidence, type(self).__name__)
        pruner = remembered_pruner(evidence.mask)
        if not (isinstance(pruner, OneShot) and self.suits(evidence.mask)):
            raise ValueError(
                "mask must be made by OneShot(SNIP()) for ScoreDecoding; it was made by "
                f"{evidence.mask.pruner}. Use TangentDecoding for other pruners."
            )
        if not evidence.original:
            raise ValueError(
                "init must be the weights that the mask was made from for ScoreDecoding; the mask "
                "remembers others. Pass them as init=."
            )
        found = self.decode(
            evidence.model, evidence.mask, samples, evidence.confidence, pruner.scope == "global"
        )
        return (found,)

    @staticmethod
    def suits(mask: Mask) -> bool:
        """Return whether the mask says that one pass of SNIP over all the data made it."""
        pruner = remembered_pruner(mask)
        return isinstance(pruner, OneShot) and pruner.score == SNIP()

    def decode(
        self,
        model: nn.Module,
        mask: Mask,
        samples: Samples,
        confidence: float,
        competing: bool = True,
    ) -> Estimate:
        """Bound the information of one mask by decoding the label noise that samples know."""
        samples = _shuffled(samples, len(samples), self.seed)
        known = noise_in(samples)
        if not isinstance(known, KnownLabels):
            raise ValueError(
                "loader must hold classes for ScoreDecoding; its targets are real-valued. Use "
                "TangentDecoding or PrequentialDecoding."
            )
        outputs = masked_outputs(model, mask, samples, self.batch_size)
        network = Tangents(model, mask, samples.inputs, pruned=False)
        weights = network.flat_weights()
        classes = known.log_prior.shape[1]

        def sums(rows: slice, targets: FloatArray) -> FloatArray:
            parts = _batches(rows, self.batch_size)
            gradients = (
                network.loss_gradient(part, targets[part.start - rows.start :][: _length(part)])
                for part in parts
            )
            return weights * sum(gradients)

        def response(rows: slice, slope: FloatArray) -> FloatArray:
            # The loss of label y is a part common to all labels minus the logit of y.
            return -network.response(rows, weights * slope)[:, :classes]

        kept = mask.flat()
        sizes = [mask.size] if competing else [layer.size for layer in mask.layers()]
        scores = threshold_scores(
            sums,
            response,
            np.exp(known.log_prior),
            known.targets,
            np.split(kept, np.cumsum(sizes)[:-1]),
            blocks=self.blocks,
            draws=self.draws,
            seed=self.seed,
        )
        return decoded(outputs, samples, repr(self), confidence, [scores])


LINEARISED = 1 << 27
"""Weights times points up to which a network is linearised unasked."""


def affordable_decoders(
    mask: Mask, samples: Samples, *, runs: int = 1, original: bool = True
) -> list[MaskInformation]:
    """Return the decoders of label noise that suit so many such masks and data, the best last.

    `original` says whether the weights will be those that the masks were made from.
    """
    decoder = TangentDecoding()
    cost = mask.size * min(len(samples), decoder.points) * runs
    found: list[MaskInformation] = [decoder if cost <= LINEARISED else LabelNoiseDecoding()]
    if original and samples.classes is not None and ScoreDecoding.suits(mask):
        found.append(ScoreDecoding())
    return found


def _shuffled(samples: Samples, points: int, seed: int) -> Samples:
    """Return so many of the samples, in random order: an order by class would tell the classes."""
    order = stream(seed, "order of decoding").permutation(len(samples))[:points]
    return samples.take(torch.from_numpy(order))


def _first_order(model: nn.Module, mask: Mask, samples: Samples) -> FloatArray:
    """Outputs along (m - π) ⊙ w, with π the share kept among weights of like size in the layer."""
    network = Tangents(model, mask, samples.inputs, pruned=False)
    weights = network.flat_weights()
    kept = mask.flat().astype(np.float64)
    direction, start = np.empty(len(weights)), 0
    for layer in mask.layers():
        part = slice(start, start + layer.size)
        rank = np.argsort(np.argsort(np.abs(weights[part]), kind="stable"), kind="stable")
        bins = rank * 20 // max(layer.size, 1)
        share = np.bincount(bins, kept[part]) / np.maximum(np.bincount(bins), 1)
        direction[part] = (kept[part] - share[bins]) * weights[part]
        start += layer.size
    return network.response(slice(0, len(samples)), direction)


def _calibrated(
    predicted: FloatArray, known: KnownResiduals, edges: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return normal laws for the noise: each block's slope and variance fitted on those before."""
    mean, variance = np.zeros_like(predicted), np.ones((len(predicted), 1))
    for start, stop in pairwise(edges[1:]):
        seen, noise = predicted[edges[1] : start], known.noise[edges[1] : start]
        # Ten points of prior on "no relation" keep the first blocks modest.
        slope = float((seen * noise).sum() / (np.square(seen).sum() + 10.0))
        left = float((np.square(noise - slope * seen).sum() + 10.0) / (noise.size + 10.0))
        mean[start:stop], variance[start:stop] = slope * predicted[start:stop], left
    return mean, variance


def _batches(rows: slice, size: int) -> list[slice]:
    return [slice(a, min(a + size, rows.stop)) for a in range(rows.start, rows.stop, size)]


def _length(rows: slice) -> int:
    return rows.stop - rows.start
