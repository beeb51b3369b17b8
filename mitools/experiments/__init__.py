"""Experiments that put the pieces together: plain values in, tables out."""

from mitools.experiments.demo import Demo, Row, demo
from mitools.experiments.memorisation import memorisation_capacity
from mitools.experiments.noise_correlation import noise_correlation, student_teacher

__all__ = [
    "Demo",
    "Row",
    "demo",
    "memorisation_capacity",
    "noise_correlation",
    "student_teacher",
]
