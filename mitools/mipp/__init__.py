"""MIPP: the channels that tell of the next layer what all channels tell, in closed form."""

from mitools.mipp.answers import LayerReport, Preserved
from mitools.mipp.arrays import layer_of
from mitools.mipp.asking import MIPP, mipp
from mitools.mipp.engines import Elimination, Engine, Layer, Reads, Relation, Step
from mitools.mipp.gaussian import Gaussian
from mitools.mipp.moments import Moments, Reading, moments
from mitools.mipp.predictive import Predictive
from mitools.mipp.refitting import refitted
from mitools.mipp.rewriting import reconstructed

__all__ = [
    "MIPP",
    "Elimination",
    "Engine",
    "Gaussian",
    "Layer",
    "LayerReport",
    "Moments",
    "Predictive",
    "Preserved",
    "Reading",
    "Reads",
    "Relation",
    "Step",
    "layer_of",
    "mipp",
    "moments",
    "reconstructed",
    "refitted",
]
