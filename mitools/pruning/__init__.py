"""Pruning: which weights of a network stay, and what decides it.

A pruner is a score, a selection and a repetition, in a frozen value: ``OneShot(SNIP())``,
``Iterative(SynFlow(), rounds=100)``. `prune` asks it for a `Mask`.
"""

from mitools.pruning.grasp import GraSP, SquaredGradient
from mitools.pruning.magnitude import Magnitude
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import Iterative, OneShot, Pruner, Score, prune
from mitools.pruning.random import Random
from mitools.pruning.selection import Scores, top_k
from mitools.pruning.snip import SNIP
from mitools.pruning.synflow import SynFlow
from mitools.pruning.trained import IMP, MagnitudeAfterTraining, Ticket

PRUNERS: dict[str, Pruner] = {
    "random": OneShot(Random()),
    "magnitude": OneShot(Magnitude()),
    "snip": OneShot(SNIP()),
    "grasp": OneShot(GraSP()),
    "synflow": Iterative(SynFlow(), rounds=100),
    "magnitude-after-training": MagnitudeAfterTraining(),
    "imp": IMP(),
}
"""Names for the command line. The library itself never looks a pruner up."""

__all__ = [
    "IMP",
    "PRUNERS",
    "SNIP",
    "GraSP",
    "Iterative",
    "Magnitude",
    "MagnitudeAfterTraining",
    "Mask",
    "OneShot",
    "Pruner",
    "Random",
    "Score",
    "Scores",
    "SquaredGradient",
    "SynFlow",
    "Ticket",
    "prune",
    "top_k",
]
