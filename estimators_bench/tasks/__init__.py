"""The catalogue: every task, by name. Names and order are stable."""

import importlib

from estimators_bench.tasks.kinds import (
    MaskData,
    MaskTask,
    SampleTask,
    SelectionTask,
    Task,
    Truth,
    by_name,
)

__all__ = ["MaskData", "MaskTask", "SampleTask", "SelectionTask", "Task", "Truth", "catalogue"]

_MODULES = ("beyond_normal", "continuous", "discrete", "mixed", "series", "masks", "features")


def catalogue() -> dict[str, Task]:
    """Return all tasks by their names, in the order in which they are reported."""
    modules = (importlib.import_module(f"estimators_bench.tasks.{name}") for name in _MODULES)
    return by_name((task for module in modules for task in module.TASKS), "tasks")
