"""Mutual information you can trust, and the effective parameter count of pruned networks."""
