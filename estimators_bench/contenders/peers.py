"""Other packages' estimators as contenders, k = 3; those that are not installed are left out."""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from estimators_bench.contenders.kinds import Answer, Contender
from estimators_bench.contenders.samples import of_samples
from estimators_bench.speed.peers import PEERS, K
from estimators_bench.tasks.kinds import SampleTask, Task
from mitools._typing import FloatArray

Way: TypeAlias = Literal["scalars", "vectors", "labels", "symbols", "conditional"]


@dataclass(frozen=True)
class Peer:
    """A package's function for variables of one kind.

    Parameters
    ----------
    package : str
        Its name where packages are installed from.
    module : str
        Its name where it is imported.
    way : {"scalars", "vectors", "labels", "symbols", "conditional"}
        What it takes: two scalars with densities; vectors; one scalar and labels; two discrete
        variables; vectors and a condition.
    """

    package: str
    module: str
    way: Way
    fast: bool = True

    @property
    def name(self) -> str:
        """Package, and what it takes where that is not numbers."""
        return self.package if self.way in ("scalars", "vectors") else f"{self.package}, {self.way}"

    def missing(self) -> str | None:
        """Return a line that says why it cannot take part, or None if it can."""
        if importlib.util.find_spec(self.module) is not None:
            return None
        return f"{self.name}: left out, {self.package} is not installed; pip install {self.package}"

    def takes(self, task: Task) -> bool:
        """Return whether its documentation says that it is for such variables."""
        if not isinstance(task, SampleTask):
            return False
        conditional = task.question == "conditional_mutual_information"
        if self.way == "conditional" or conditional:
            densities = set(task.kinds) == {"continuous"}
            return self.way == "conditional" and conditional and densities
        if task.question != "mutual_information":
            return False
        if self.way == "labels":
            point = task.dims[task.kinds.index("continuous")] if "continuous" in task.kinds else 0
            return sorted(task.kinds) == ["continuous", "discrete"] and point == 1
        kind = "discrete" if self.way == "symbols" else "continuous"
        if set(task.kinds) != {kind}:
            return False
        return self.way == "vectors" or task.dims == (1, 1)

    def answer(self, task: Task, data: Sequence[FloatArray], seed: int) -> Answer:
        """Return the package's number; it states no interval."""
        if self.way == "labels" and of_samples(task).kinds[0] == "discrete":
            data = data[::-1]
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            found = float(_function(self)(*data))
        return Answer(found, notes=tuple(dict.fromkeys(str(each.message) for each in heard)))


def _function(peer: Peer) -> Callable[..., Any]:
    return _FUNCTIONS[peer.module, peer.way]


def _npeet_conditional(x: FloatArray, y: FloatArray, z: FloatArray) -> Any:
    from npeet_plus import cmi

    return cmi(x, y, z, k=K, base=np.e)


def _npeet_symbols(x: FloatArray, y: FloatArray) -> Any:
    from npeet_plus import midd

    return midd(x, y, base=np.e)


def _ennemi_conditional(x: FloatArray, y: FloatArray, z: FloatArray) -> Any:
    from ennemi._entropy_estimators import _estimate_conditional_mi

    return _estimate_conditional_mi(x, y, z, K)


def _infomeasure(x: Any, y: Any, *given: Any, approach: str = "ksg") -> Any:
    import infomeasure

    options = {"k": K} if approach == "ksg" else {}
    if approach == "discrete":  # it warns of symbols that are floats
        x, y = x.astype(np.int64), y.astype(np.int64)
    if given:
        return infomeasure.conditional_mutual_information(
            x, y, cond=given[0], approach=approach, base="e", **options
        )
    return infomeasure.mutual_information(x, y, approach=approach, base="e", **options)


_MADE = {peer.module: peer for peer in PEERS}
_FUNCTIONS: dict[tuple[str, Way], Any] = {
    ("sklearn", "scalars"): _MADE["sklearn"].pair,
    ("sklearn", "labels"): _MADE["sklearn"].classes,
    ("npeet_plus", "vectors"): _MADE["npeet_plus"].vectors,
    ("npeet_plus", "conditional"): _npeet_conditional,
    ("npeet_plus", "symbols"): _npeet_symbols,
    ("ennemi", "vectors"): _MADE["ennemi"].vectors,
    ("ennemi", "labels"): _MADE["ennemi"].classes,
    ("ennemi", "conditional"): _ennemi_conditional,
    ("infomeasure", "vectors"): _infomeasure,
    ("infomeasure", "conditional"): _infomeasure,
    ("infomeasure", "symbols"): partial(_infomeasure, approach="discrete"),
}

ALL = (
    Peer("scikit-learn", "sklearn", "scalars"),
    Peer("scikit-learn", "sklearn", "labels"),
    Peer("npeet-plus", "npeet_plus", "vectors"),
    Peer("npeet-plus", "npeet_plus", "symbols"),
    Peer("npeet-plus", "npeet_plus", "conditional"),
    Peer("ennemi", "ennemi", "vectors"),
    Peer("ennemi", "ennemi", "labels"),
    Peer("ennemi", "ennemi", "conditional"),
    Peer("infomeasure", "infomeasure", "vectors"),
    Peer("infomeasure", "infomeasure", "symbols"),
    Peer("infomeasure", "infomeasure", "conditional"),
)

CONTENDERS: tuple[Contender, ...] = tuple(p for p in ALL if p.missing() is None)


def missing() -> tuple[str, ...]:
    """Return one line for each package that is left out."""
    lines = {peer.package: peer.missing() for peer in ALL}
    return tuple(line for line in lines.values() if line)
