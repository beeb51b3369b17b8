"""Effective parameters of a pruned network: the weights it keeps, and what choosing them cost."""

from mitools.effective.decoding import GeneralisationGap, LabelNoiseDecoding
from mitools.effective.evidence import Counting, Evidence, LabelEntropy, MaskInformation
from mitools.effective.parameters import peff
from mitools.effective.prequential import PrequentialDecoding, ScoreDecoding, TangentDecoding
from mitools.effective.resampled import ResampledMasks

__all__ = [
    "Counting",
    "Evidence",
    "GeneralisationGap",
    "LabelEntropy",
    "LabelNoiseDecoding",
    "MaskInformation",
    "PrequentialDecoding",
    "ResampledMasks",
    "ScoreDecoding",
    "TangentDecoding",
    "peff",
]
