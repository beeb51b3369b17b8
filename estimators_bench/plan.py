"""What to run: tasks and contenders chosen by name, and every unit of work they make."""

import difflib
import fnmatch
import importlib.util
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from estimators_bench.contenders.kinds import Contender
from estimators_bench.tasks.kinds import MaskTask, SampleTask, Task, by_name

Key: TypeAlias = tuple[str, str, int, int]  # task, contender, n, seed
_Named = TypeVar("_Named", bound=Any)


@dataclass(frozen=True)
class Unit:
    """One contender on one draw from one task."""

    task: Task
    contender: Contender
    n: int
    seed: int

    @property
    def key(self) -> Key:
        """What tells it from all others of a plan."""
        return self.task.name, self.contender.name, self.n, self.seed


def units(
    tasks: Iterable[Task],
    contenders: Iterable[Contender],
    sizes: Sequence[int],
    prunings: Sequence[int],
    seeds: Sequence[int],
    columns: float = math.inf,
) -> list[Unit]:
    """Return all units in the order in which records are kept.

    Mask tasks are asked with each of `prunings` masks, all others with each of `sizes` samples;
    those between samples of more than so many columns with 1,000 at most.

    Raises
    ------
    ValueError
        If two tasks or two contenders share a name, a number is out of range, or nothing is left
        because no contender takes any of the tasks.
    """
    tasks, contenders = list(tasks), list(contenders)
    for what, named in (("tasks", tasks), ("contenders", contenders)):
        by_name(named, what)
    for name, numbers, least in (
        ("sizes", sizes, 1),
        ("prunings", prunings, 1),
        ("seeds", seeds, 0),
    ):
        if any(number < least for number in numbers) or len(set(numbers)) < len(numbers):
            raise ValueError(f"{name} must be distinct and at least {least}; got {list(numbers)}.")
    made = [
        Unit(task, contender, n, seed)
        for task in tasks
        for contender in contenders
        if contender.takes(task)
        for n in (prunings if isinstance(task, MaskTask) else sizes)
        if not (n > 1_000 and isinstance(task, SampleTask) and sum(task.dims) > columns)
        for seed in seeds
    ]
    if not made:
        raise ValueError(
            "contenders must take at least one of the tasks, and there must be a size and a seed; "
            f"got {len(tasks)} tasks, {len(contenders)} contenders, sizes {list(sizes)}, prunings "
            f"{list(prunings)} and seeds {list(seeds)}. `list` shows what there is."
        )
    return made


def chosen(wanted: Iterable[str], catalogue: Mapping[str, _Named], what: str) -> dict[str, _Named]:
    """Return those entries of a catalogue that are wanted, in its order.

    Parameters
    ----------
    wanted : iterable of str
        Names, families, packages, or patterns of names such as ``"normal-*"``; case is ignored.
    catalogue : mapping
        Tasks or contenders by name.
    what : str
        What an error calls them: ``"tasks"`` or ``"methods"``.

    Raises
    ------
    ValueError
        If something wanted names nothing; near matches are given.
    """
    names: set[str] = set()
    for want in wanted:
        found = {name for name, entry in catalogue.items() if _is_meant(want, name, entry)}
        if not found:
            raise ValueError(
                f"{what} must be named as in `list`; there is no {want!r}.{_near(want, catalogue)}"
            )
        names |= found
    return {name: entry for name, entry in catalogue.items() if name in names}


def _is_meant(want: str, name: str, entry: Any) -> bool:
    if want in catalogue_words(name, entry):
        return True
    low = want.lower()
    words = [word.lower() for word in catalogue_words(name, entry)]
    return low in words or fnmatch.fnmatchcase(name.lower(), low)


def catalogue_words(name: str, entry: Any) -> tuple[str, ...]:
    """Return what an entry may be called by: its name, and its family or package."""
    group = getattr(entry, "family", None) or getattr(entry, "package", None)
    return (name, group) if group else (name,)


def _near(want: str, catalogue: Mapping[str, Any]) -> str:
    words = {word.lower(): word for n, e in catalogue.items() for word in catalogue_words(n, e)}
    near = [words[word] for word in difflib.get_close_matches(want.lower(), words, 3, 0.5)]
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def load_file(path: str | Path) -> tuple[tuple[Task, ...], tuple[Contender, ...]]:
    """Run a user's file, and return its `TASKS` and `CONTENDERS`.

    It can then be imported by the name `module_name`, so that its values travel to workers that
    have loaded it too.

    Raises
    ------
    ValueError
        If there is no such file, or it defines neither tuple.
    """
    path = Path(path).resolve()
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"--with must name a Python file; there is none at {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:  # its neighbours can be imported, as from a script
        sys.path.append(str(path.parent))
    spec.loader.exec_module(module)
    tasks, contenders = getattr(module, "TASKS", ()), getattr(module, "CONTENDERS", ())
    if not tasks and not contenders:
        raise ValueError(
            f"--with must name a file that defines CONTENDERS or TASKS, a tuple each; {path.name} "
            "has neither. Add `CONTENDERS = (MyMethod(),)` at its end."
        )
    return tuple(tasks), tuple(contenders)


def module_name(path: str | Path) -> str:
    """Return the name under which a user's file is loaded, here and in the workers."""
    return f"estimators_bench_with_{Path(path).stem}"
