"""Mutual information you can trust, and the effective parameter count of pruned networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mitools._validation import UnreliableEstimate as UnreliableEstimate
    from mitools.activations import capture as capture
    from mitools.activations import layer_information as layer_information
    from mitools.effective import Counting as Counting
    from mitools.effective import GeneralisationGap as GeneralisationGap
    from mitools.effective import LabelNoiseDecoding as LabelNoiseDecoding
    from mitools.effective import ResampledMasks as ResampledMasks
    from mitools.effective import peff as peff
    from mitools.measures import (
        conditional_mutual_information as conditional_mutual_information,
    )
    from mitools.measures import entropy as entropy
    from mitools.measures import multi_information as multi_information
    from mitools.measures import mutual_information as mutual_information
    from mitools.measures import pairwise as pairwise
    from mitools.measures import transfer_entropy as transfer_entropy
    from mitools.models import prunable as prunable
    from mitools.pruning import Mask as Mask
    from mitools.pruning import prune as prune
    from mitools.results import EffectiveParameters as EffectiveParameters
    from mitools.results import Estimate as Estimate
    from mitools.selection import Selection as Selection
    from mitools.selection import TERCSelector as TERCSelector
    from mitools.selection import terc as terc
    from mitools.training import Training as Training
    from mitools.training import train as train
    from mitools.uncertainty import permutation_test as permutation_test
    from mitools.uncertainty import transfer_entropy_test as transfer_entropy_test
    from mitools.uncertainty import with_error as with_error

_HOME = {
    "Counting": "mitools.effective",
    "EffectiveParameters": "mitools.results",
    "Estimate": "mitools.results",
    "GeneralisationGap": "mitools.effective",
    "LabelNoiseDecoding": "mitools.effective",
    "Mask": "mitools.pruning",
    "ResampledMasks": "mitools.effective",
    "Selection": "mitools.selection",
    "TERCSelector": "mitools.selection",
    "Training": "mitools.training",
    "UnreliableEstimate": "mitools._validation",
    "capture": "mitools.activations",
    "conditional_mutual_information": "mitools.measures",
    "entropy": "mitools.measures",
    "layer_information": "mitools.activations",
    "multi_information": "mitools.measures",
    "mutual_information": "mitools.measures",
    "pairwise": "mitools.measures",
    "peff": "mitools.effective",
    "permutation_test": "mitools.uncertainty",
    "prunable": "mitools.models",
    "prune": "mitools.pruning",
    "terc": "mitools.selection",
    "train": "mitools.training",
    "transfer_entropy": "mitools.measures",
    "transfer_entropy_test": "mitools.uncertainty",
    "with_error": "mitools.uncertainty",
}
# Names and rooms resolve on first use (PEP 562), so that estimates between arrays never load torch.

_ROOMS = frozenset(
    {
        *("activations", "data", "effective", "experiments", "mask_information", "methods"),
        *("mipp", "models", "neural", "plotting", "pruning", "results", "selection", "training"),
        *("measures", "uncertainty"),
    }
)

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"mitools.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'mitools' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_ROOMS])
