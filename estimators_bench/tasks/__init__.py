"""The catalogue: every task, by name. Names and order are stable."""

import importlib

from estimators_bench.tasks.kinds import MaskData, MaskTask, SampleTask, SelectionTask, Task, Truth

__all__ = ["MaskData", "MaskTask", "SampleTask", "SelectionTask", "Task", "Truth", "catalogue"]

_MODULES = ("beyond_normal", "continuous", "discrete", "mixed", "series", "masks", "features")


def catalogue() -> dict[str, Task]:
    """Return all tasks by their names, in the order in which they are reported."""
    tasks: dict[str, Task] = {}
    for module in _MODULES:
        for task in importlib.import_module(f"estimators_bench.tasks.{module}").TASKS:
            if task.name in tasks:
                raise ValueError(f"two tasks are named {task.name!r}; names must be unique")
            tasks[task.name] = task
    return tasks
