"""Pruning: which weights of a network stay, and what decides it.

A pruner is a score, a selection and a repetition, in a frozen value: ``OneShot(SNIP())``,
``Iterative(SynFlow(), rounds=100)``. `prune` asks it for a `Mask`.
"""

from mitools.pruning.allocation import ERK, Allocation, Floor
from mitools.pruning.autosparse import AutoSparse, Predictor
from mitools.pruning.channels import ChannelGroup, Part, channel_mask, kept_channels
from mitools.pruning.coupling import channel_groups, left_out
from mitools.pruning.force import FORCE
from mitools.pruning.gradual import GradualMagnitude
from mitools.pruning.grasp import GraSP, SquaredGradient
from mitools.pruning.lamp import LAMP
from mitools.pruning.magnitude import Magnitude
from mitools.pruning.mask import Mask
from mitools.pruning.oto import OTO
from mitools.pruning.prospr import ProsPr
from mitools.pruning.pruners import Iterative, OneShot, Pruner, Score, prune
from mitools.pruning.random import Random
from mitools.pruning.reporting import MaskReport, report
from mitools.pruning.selection import Scores, top_k
from mitools.pruning.shrink import Costs, cost_table, costs, shrink
from mitools.pruning.shuffled import Shuffled, shuffled
from mitools.pruning.snip import SNIP
from mitools.pruning.sosp import SOSP
from mitools.pruning.structured import Structured, top_channels
from mitools.pruning.synflow import SynFlow
from mitools.pruning.thinet import ThiNet
from mitools.pruning.trained import IMP, MagnitudeAfterTraining, Ticket

PRUNERS: dict[str, Pruner] = {
    "random": OneShot(Random()),
    "random-layerwise": OneShot(Random(), scope="layer"),
    "random-erk": OneShot(Random(), scope=ERK()),
    "magnitude": OneShot(Magnitude()),
    "lamp": OneShot(LAMP()),
    "snip": OneShot(SNIP()),
    "snip-shuffled": Shuffled(OneShot(SNIP())),
    "iter-snip": Iterative(SNIP(), rounds=60),
    "force": FORCE(),
    "grasp": OneShot(GraSP()),
    "iter-grasp": Iterative(GraSP(), rounds=60),
    "prospr": OneShot(ProsPr()),
    "synflow": Iterative(SynFlow(), rounds=100),
    "magnitude-after-training": MagnitudeAfterTraining(),
    "gradual-magnitude": GradualMagnitude(),
    "imp": IMP(),
    "autosparse": AutoSparse(),
    "structured-random": Structured(Random(), scope="layer"),
    "structured-magnitude": Structured(Magnitude()),
    "structured-snip": Structured(SNIP()),
    "structured-grasp": Structured(GraSP()),
    "structured-synflow": Structured(SynFlow(), rounds=100),
    "sosp-h": SOSP(),
    "thinet": ThiNet(),
    "thinet-forward": ThiNet("forward"),
    "oto": OTO(),
    "oto-v2": OTO(dual=True),
}
"""Names for the command line. The library itself never looks a pruner up."""

__all__ = [
    "ERK",
    "FORCE",
    "IMP",
    "LAMP",
    "OTO",
    "PRUNERS",
    "SNIP",
    "SOSP",
    "Allocation",
    "AutoSparse",
    "ChannelGroup",
    "Costs",
    "Floor",
    "GraSP",
    "GradualMagnitude",
    "Iterative",
    "Magnitude",
    "MagnitudeAfterTraining",
    "Mask",
    "MaskReport",
    "OneShot",
    "Part",
    "Predictor",
    "ProsPr",
    "Pruner",
    "Random",
    "Score",
    "Scores",
    "Shuffled",
    "SquaredGradient",
    "Structured",
    "SynFlow",
    "ThiNet",
    "Ticket",
    "channel_groups",
    "channel_mask",
    "cost_table",
    "costs",
    "kept_channels",
    "left_out",
    "prune",
    "report",
    "shrink",
    "shuffled",
    "top_channels",
    "top_k",
]
