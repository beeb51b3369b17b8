"""Experiments that put the pieces together: plain values in, tables out."""

from mitools.experiments.demo import Demo, Row, demo

__all__ = ["Demo", "Row", "demo"]
