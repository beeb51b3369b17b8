"""How surprising each value of y is before anything is known of x: the terms of H(Y)."""

import math

import numpy as np

from mitools import _kernels
from mitools._typing import FloatArray
from mitools.methods._neighbors import scaled
from mitools.methods._symbols import Symbols
from mitools.methods.knn import KozachenkoLeonenko

_DISTANCES = KozachenkoLeonenko()

NUMBERS_NOTE = (
    f"H(Y) of the numbers in y is itself an estimate, by {_DISTANCES!r}, so that this is a lower "
    "bound only up to the bias of that"
)


def of_labels(label: Symbols) -> FloatArray:
    """Return -log of the frequency of each sample's symbol: their mean is the plug-in entropy."""
    return math.log(len(label.codes)) - np.log(label.counts[label.codes])


def of_numbers(y: FloatArray) -> FloatArray:
    """Return -log of the density at each sample, by distances: their mean is the entropy."""
    entropy = _DISTANCES.entropy(y)
    if not math.isfinite(entropy):
        return np.full(len(y), entropy)
    radius = _kernels.kth_distance(scaled(y, _DISTANCES.scale), _DISTANCES.k)
    reach = y.shape[1] * np.log(radius)
    return entropy + (reach - reach.mean())
