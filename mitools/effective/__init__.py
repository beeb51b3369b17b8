"""Effective parameters of a pruned network: the weights it keeps, and what choosing them cost."""

from mitools.effective.across import Contrastive, ExpectedGap
from mitools.effective.decoding import GeneralisationGap, LabelNoiseDecoding
from mitools.effective.evidence import Counting, Evidence, LabelEntropy, MaskInformation
from mitools.effective.parameters import peff
from mitools.effective.prequential import PrequentialDecoding, ScoreDecoding, TangentDecoding
from mitools.effective.proxies import memorised, noise_covariance
from mitools.effective.resampled import ResampledMasks
from mitools.effective.robustness import (
    LipschitzBound,
    lipschitz_bound,
    local_lipschitz,
    spectral_product,
)

__all__ = [
    "Contrastive",
    "Counting",
    "Evidence",
    "ExpectedGap",
    "GeneralisationGap",
    "LabelEntropy",
    "LabelNoiseDecoding",
    "LipschitzBound",
    "MaskInformation",
    "PrequentialDecoding",
    "ResampledMasks",
    "ScoreDecoding",
    "TangentDecoding",
    "lipschitz_bound",
    "local_lipschitz",
    "memorised",
    "noise_covariance",
    "peff",
    "spectral_product",
]
