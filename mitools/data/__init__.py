"""Data sets that know their label noise, and readers of whatever holds (input, target) pairs."""

from mitools.data.batches import Batches, as_batches, samples_of
from mitools.data.embedded import digits, gaussian
from mitools.data.images import cifar10, fashion_mnist, mnist
from mitools.data.noise import AdditiveNoise, SymmetricFlips, flipped
from mitools.data.resampling import (
    Bootstrap,
    Folds,
    FreshNoise,
    GaussianInputs,
    HalfSamples,
    Resampling,
)
from mitools.data.samples import LabelNoise, Samples

__all__ = [
    "AdditiveNoise",
    "Batches",
    "Bootstrap",
    "Folds",
    "FreshNoise",
    "GaussianInputs",
    "HalfSamples",
    "LabelNoise",
    "Resampling",
    "Samples",
    "SymmetricFlips",
    "as_batches",
    "cifar10",
    "digits",
    "fashion_mnist",
    "flipped",
    "gaussian",
    "mnist",
    "samples_of",
]
