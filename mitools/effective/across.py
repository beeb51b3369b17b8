"""Lower bounds over many data sets: which mask belongs to which data, and the expected gap."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from mitools.data import Samples
from mitools.effective.decoding import class_scores, decoded, masked_outputs
from mitools.effective.evidence import Evidence
from mitools.effective.resampled import ResampledMasks
from mitools.mask_information import contrasted, expected_gap
from mitools.pruning import Mask
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
    """Mistakes on each data set against mistakes on another, averaged over data sets.

    `GeneralisationGap` bounds the same from one data set, in another form. The networks have their
    initial weights. All must be drawn anew for each mask, inputs too: what data sets share would
    pass for a gap.

    Parameters
    ----------
    masks : ResampledMasks
        How the pruner is run again; its `resampling` is a generator such as `GaussianInputs`.

    References
    ----------
    Xu and Raginsky, NeurIPS 2017.
    """

    masks: ResampledMasks = dataclasses.field(default_factory=ResampledMasks)

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError unless data of classes can be drawn anew."""
        samples, scheme = evidence.samples, self.masks.resampling
        if samples is None or samples.targets.is_floating_point():
            raise ValueError("loader must hold classes for ExpectedGap, whose loss is a mistake.")
        if scheme is None or scheme.quantity.partition(": ")[0] != "I(mask; data)":
            raise ValueError(
                "masks must draw whole data sets anew for ExpectedGap; got resampling "
                f"{scheme!r}. Give a generator: ResampledMasks(resampling=GaussianInputs(n, d))."
            )
        made = self.masks.prune_again(evidence)
        if made is None:
            return ()

        def mistakes(mask: Mask, data: Samples) -> float:
            outputs = masked_outputs(evidence.model, mask, data, 256)
            predicted = class_scores(outputs, data.classes or 1).argmax(axis=1)
            return float((predicted != data.targets.cpu().numpy()).mean())

        count = len(made.masks)
        unseen = [scheme.draw(samples, count + i, self.masks.seed) for i in range(count)]
        gaps = [
            mistakes(mask, fresh) - mistakes(mask, own)
            for mask, own, fresh in zip(made.masks, made.drawn, unseen, strict=True)
        ]
        n = len(made.drawn[0])
        return (expected_gap(np.array(gaps), n, repr(self), evidence.confidence),)
