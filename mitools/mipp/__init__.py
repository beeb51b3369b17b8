"""MIPP: the channels that tell of the next layer all that it is told."""
