"""Lower bounds over many data sets: which mask belongs to which data, and the expected gap."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from mitools.effective.decoding import class_scores, decoded, masked_outputs
from mitools.effective.evidence import Evidence
from mitools.effective.resampled import ResampledMasks
from mitools.mask_information import contrasted, expected_gap
from mitools.results import Estimate


@dataclass(frozen=True)
class Contrastive:
    """Tell which data set each mask was made from, by what the masked networks say of the labels.

    A mask and a data set are scored by the likelihood ratio of `LabelNoiseDecoding`. The answer
    cannot exceed the logarithm of the number of data sets.

    Parameters
    ----------
    masks : ResampledMasks
        How the pruner is run again; the data must know their label noise.

    References
    ----------
    Van den Oord et al. 2018 (InfoNCE); Poole et al. 2019.
    """

    masks: ResampledMasks = dataclasses.field(default_factory=ResampledMasks)

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError where the data do not know their noise."""
        made = self.masks.prune_again(evidence)
        if made is None:
            return ()
        if made.quantity != "I(mask; label noise | inputs)":
            raise ValueError(
                "loader must know its label noise for Contrastive, and resampling be FreshNoise; "
                f"the data sets were drawn by {made.scheme!r}."
            )
        scores = np.empty((len(made.masks), len(made.masks)))
        for row, mask in zip(scores, made.masks, strict=True):
            # Inputs are the same in all data sets, so one pass tells what the mask shows of each.
            outputs = masked_outputs(evidence.model, mask, made.drawn[0], 256)
            row[:] = [decoded(outputs, samples, "", 0.95).value for samples in made.drawn]
        return (contrasted(scores, repr(self), evidence.confidence),)


@dataclass(frozen=True)
class ExpectedGap:
    """Mistakes on each data set against mistakes on held-out points, averaged over data sets.

    `GeneralisationGap` bounds the same from one data set, in another form. The networks have their
    initial weights.

    Parameters
    ----------
    masks : ResampledMasks
        How the pruner is run again.

    References
    ----------
    Xu and Raginsky, NeurIPS 2017.
    """

    masks: ResampledMasks = dataclasses.field(default_factory=ResampledMasks)

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError without held-out points or for real-valued targets."""
        samples, heldout = evidence.samples, evidence.heldout
        if samples is None or heldout is None or samples.targets.is_floating_point():
            raise ValueError(
                "heldout must be given for ExpectedGap, and hold classes as loader does: points of "
                "the same population that neither pruning nor training has used."
            )
        if heldout.targets.is_floating_point() or heldout.noise != samples.noise:
            raise ValueError(
                "heldout must be of the same population as loader, its label noise included; "
                f"loader has noise {samples.noise} and heldout {heldout.noise}."
            )
        made = self.masks.prune_again(evidence)
        if made is None:
            return ()
        classes = max(samples.classes or 1, heldout.classes or 1)

        def mistakes(index: int, fresh: bool) -> float:
            data = heldout if fresh else made.drawn[index]
            outputs = masked_outputs(evidence.model, made.masks[index], data, 256)
            predicted = class_scores(outputs, classes).argmax(axis=1)
            return float((predicted != data.targets.cpu().numpy()).mean())

        gaps = [mistakes(i, True) - mistakes(i, False) for i in range(len(made.masks))]
        return (expected_gap(np.array(gaps), len(samples), repr(self), evidence.confidence),)
