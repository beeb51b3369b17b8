"""Experiments that put the pieces together: plain values in, tables out."""

from mitools.experiments.demo import Demo, Row, demo
from mitools.experiments.jobs import ImageSet, Job
from mitools.experiments.memorisation import memorisation_capacity
from mitools.experiments.noise_correlation import noise_correlation, student_teacher
from mitools.experiments.robustness_scaling import NoisyTeacher, robustness_scaling, slopes
from mitools.experiments.running import run
from mitools.experiments.sweep import grid, summary, sweep

__all__ = [
    "Demo",
    "ImageSet",
    "Job",
    "NoisyTeacher",
    "Row",
    "demo",
    "grid",
    "memorisation_capacity",
    "noise_correlation",
    "robustness_scaling",
    "run",
    "slopes",
    "student_teacher",
    "summary",
    "sweep",
]
