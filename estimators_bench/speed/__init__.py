"""How long estimates take, beside the packages that compute the same definition.

``python -m estimators_bench.speed`` prints one table and writes it as CSV and JSON, with a figure
of how cost grows. Peers that are not installed are named with the reason they are missing.
"""
