"""MIPP: the channels that tell of the next layer what all channels tell, in closed form."""

from mitools.mipp.answers import LayerReport, Preserved
from mitools.mipp.asking import MIPP, mipp
from mitools.mipp.engines import Elimination, Engine, Layer, Reads, Relation, Step
from mitools.mipp.gaussian import Gaussian
from mitools.mipp.moments import Moments, Reading, moments
from mitools.mipp.rewriting import reconstructed

__all__ = [
    "MIPP",
    "Elimination",
    "Engine",
    "Gaussian",
    "Layer",
    "LayerReport",
    "Moments",
    "Preserved",
    "Reading",
    "Reads",
    "Relation",
    "Step",
    "mipp",
    "moments",
    "reconstructed",
]
