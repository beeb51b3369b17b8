"""Our own methods as contenders; any object that answers questions enters the same way."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeAlias

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from estimators_bench.contenders.kinds import Answer, Contender
from estimators_bench.plan import module_name
from estimators_bench.tasks.kinds import Kind, Question, SampleTask, Task
from mitools import measures
from mitools._typing import FloatArray
from mitools.methods import (
    KSG,
    LNC,
    NSB,
    AdaptivePartition,
    Binned,
    ByKind,
    CalibratedKSG,
    ChaoShen,
    FreedmanDiaconis,
    GaoMixed,
    Gaussian,
    GaussianCopula,
    Grassberger,
    Jackknifed,
    JamesStein,
    KernelDensity,
    MesnerShalizi,
    MillerMadow,
    PlugIn,
    Predictive,
    Quantiles,
    Ross,
)
from mitools.uncertainty import Jackknife, Resampling, Subsets, with_error

Bound: TypeAlias = Literal["InfoNCE", "NWJ", "DV", "SMILE"]

_ANY: tuple[Kind, ...] = ("continuous", "discrete", "mixed")
_DENSITIES: tuple[Kind, ...] = ("continuous",)
_SYMBOLS: tuple[Kind, ...] = ("discrete",)


@dataclass(frozen=True)
class Method:
    """A method, asked what the task asks; its warnings become notes.

    Parameters
    ----------
    label : str
        Its name on the leaderboard.
    method : object
        Answers one or more questions of `mitools.measures`. Where it has a ``seed``, it gets the
        seed of the run.
    fast : bool
        Below a second at n = 1,000.
    error : Resampling or None
        Makes the interval, by `mitools.uncertainty.with_error`. None: the method's own, if any.
    kinds : tuple of {"continuous", "discrete", "mixed"}
        What a variable may be.
    columns : int or None
        How many columns the variables may have together.
    only : str or None
        The one question to answer; None: all that the method has an answer for.
    labels_last : bool
        One variable must be discrete and another not; the discrete one goes second.
    """

    label: str
    method: Any
    fast: bool = True
    error: Resampling | None = None
    kinds: tuple[Kind, ...] = _ANY
    columns: int | None = None
    only: Question | None = None
    labels_last: bool = False

    @property
    def name(self) -> str:
        """Its name on the leaderboard."""
        return self.label

    @property
    def package(self) -> str:
        """The package, or file of the user's, that defines the method."""
        module = type(self.method).__module__.partition(".")[0]
        return module.removeprefix(module_name(""))

    def takes(self, task: Task) -> bool:
        """Return whether the method answers this question about variables of these kinds."""
        if not isinstance(task, SampleTask) or self.only not in (None, task.question):
            return False
        if self.labels_last and (len(task.kinds) != 2 or task.kinds.count("discrete") != 1):
            return False
        return (
            callable(getattr(self.method, _needed(task), None))
            and set(task.kinds) <= set(self.kinds)
            and (self.columns is None or _columns(task) <= self.columns)
        )

    def answer(self, task: Task, data: Sequence[FloatArray], seed: int) -> Answer:
        """Return the estimate or bound."""
        task = of_samples(task)
        if self.labels_last and task.kinds[0] == "discrete":
            data = data[::-1]
        return ask(task, data, _seeded(self.method, seed), _seeded(self.error, seed))


@dataclass(frozen=True)
class Forecast:
    """`Predictive` with a classifier for labels and a regressor for numbers.

    The variable that is forecast is the second, or the one that is discrete.

    Parameters
    ----------
    label, fast
        As for `Method`.
    labels, numbers : Predictive
        Which is asked, by what is forecast.
    targets : int or None
        Columns that the regressor can forecast.
    """

    label: str
    labels: Predictive
    numbers: Predictive
    fast: bool = True
    targets: int | None = None
    package: str = "mitools"

    @property
    def name(self) -> str:
        """Its name on the leaderboard."""
        return self.label

    def takes(self, task: Task) -> bool:
        """Return whether the task is about a variable that has labels or a density."""
        if not isinstance(task, SampleTask) or task.question != "mutual_information":
            return False
        last = self._last(task)
        narrow = self.targets is None or task.dims[last] <= self.targets
        return task.kinds[last] == "discrete" or (task.kinds[last] == "continuous" and narrow)

    def answer(self, task: Task, data: Sequence[FloatArray], seed: int) -> Answer:
        """Return the lower bound."""
        task = of_samples(task)
        last = self._last(task)
        method = self.labels if task.kinds[last] == "discrete" else self.numbers
        return ask(task, (data[1 - last], data[last]), _seeded(method, seed))

    def _last(self, task: SampleTask) -> int:
        """Return which variable to forecast: labels, or else a density, or else the second."""
        for kind in ("discrete", "continuous"):
            if kind in task.kinds:
                return 1 if task.kinds[1] == kind else 0
        return 1


@dataclass(frozen=True)
class Neural:
    """A method of `mitools.neural`; torch is imported when it is first asked.

    Parameters
    ----------
    label : str
        Its name on the leaderboard.
    bound : str or None
        The bound of `mitools.neural.Variational`; None for `DifferenceOfEntropies`.
    scale : {"std", "rank"}
        As the method has it.
    columns : int or None
        How many columns the variables may have together.
    """

    label: str
    bound: Bound | None = None
    scale: Literal["std", "rank"] = "rank"
    columns: int | None = None
    fast: bool = False
    package: str = "mitools"

    @property
    def name(self) -> str:
        """Its name on the leaderboard."""
        return self.label

    def takes(self, task: Task) -> bool:
        """Return whether the task is about I(X; Y); a difference of entropies needs a density."""
        if not isinstance(task, SampleTask) or task.question != "mutual_information":
            return False
        if self.columns is not None and sum(task.dims) > self.columns:
            return False
        return self.bound is not None or "continuous" in task.kinds

    def answer(self, task: Task, data: Sequence[FloatArray], seed: int) -> Answer:
        """Return the bound or the estimate, with its standard error over test samples."""
        from mitools import neural

        task = of_samples(task)
        if self.bound is None:
            if task.kinds[1] != "continuous":
                data = data[::-1]
            method: Any = neural.DifferenceOfEntropies(scale=self.scale, seed=seed)
        else:
            bound = getattr(neural, self.bound)()
            method = neural.Variational(bound, scale=self.scale, seed=seed)
        return ask(task, data, method)


def of_samples(task: Task) -> SampleTask:
    """Return the task if it is one between samples.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(task, SampleTask):
        raise TypeError(f"task must be a SampleTask; got {task.name!r}. Ask takes(task) first.")
    return task


def ask(task: SampleTask, data: Sequence[FloatArray], method: Any, error: Any = None) -> Answer:
    """Return what the method says to the task's question, with every warning among the notes."""
    question = getattr(measures, task.question)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        if error is not None:
            if task.question == "transfer_entropy":
                error = replace(error, ordered=True)
            found = with_error(question, *data, method, error=error, **task.options)
        else:
            found = question(*data, method, **task.options)
    said = (*found.notes, *(str(warning.message) for warning in heard))
    return Answer(
        nats=found.value,
        sense=found.sense,
        interval=found.interval,
        confidence=found.confidence,
        notes=tuple(dict.fromkeys(said)),
        extra={} if found.std_error is None else {"std_error": found.std_error},
    )


def _needed(task: SampleTask) -> str:
    asked = task.question
    return "conditional_mutual_information" if asked == "transfer_entropy" else asked


def _columns(task: SampleTask) -> int:
    """Return how many columns the method will see: a transfer entropy's are those of its pasts."""
    if task.question != "transfer_entropy":
        return sum(task.dims)
    own = task.options.get("history", 1)
    source, target = task.dims
    return source * (task.options.get("source_history") or own) + target * (own + 1)


def _seeded(value: Any, seed: int) -> Any:
    """Return the value with this seed, if it has one."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, seed=seed) if "seed" in {f.name for f in fields(value)} else value
    return value


CONTENDERS: tuple[Contender, ...] = (
    # The method of choice goes first.
    Method("By kind", ByKind(), fast=False),
    Method("Calibrated KSG", CalibratedKSG(), fast=False, kinds=_DENSITIES),
    Method("KSG k=3", KSG(k=3), kinds=_DENSITIES),
    Method("KSG k=3, variant 2", KSG(k=3, variant=2), kinds=_DENSITIES, only="mutual_information"),
    Method("KSG k=10", KSG(k=10), kinds=_DENSITIES),
    Method("KSG k=3, ranks", KSG(k=3, scale="rank"), kinds=_DENSITIES),
    Method("KSG k=3 ± jackknife", KSG(k=3), error=Jackknife(), kinds=_DENSITIES),
    Method("KSG k=3 ± subsets", KSG(k=3), error=Subsets(), kinds=_DENSITIES),
    Method("LNC", LNC(), kinds=_DENSITIES, columns=4),
    Method("Gaussian", Gaussian(), kinds=_DENSITIES),
    Method("Gaussian ± jackknife", Gaussian(), error=Jackknife(), kinds=_DENSITIES),
    Method("Gaussian copula", GaussianCopula(), kinds=_DENSITIES),
    Method("Kernel density", KernelDensity(), kinds=_DENSITIES, columns=6),
    Method("Bins, quantiles", Binned(Quantiles(10)), columns=3),
    Method("Bins, Freedman-Diaconis", Binned(FreedmanDiaconis()), kinds=_DENSITIES, columns=3),
    Method("Adaptive partition", AdaptivePartition(), kinds=_DENSITIES, columns=2),
    Method("Gao mixed", GaoMixed()),
    Method("Mesner-Shalizi", MesnerShalizi()),
    Method("Ross", Ross(), labels_last=True),
    Method("Plug-in", PlugIn(), kinds=_SYMBOLS),
    Method("Miller-Madow", MillerMadow(), kinds=_SYMBOLS),
    Method("Jackknifed", Jackknifed(), kinds=_SYMBOLS),
    Method("Grassberger", Grassberger(), kinds=_SYMBOLS),
    Method("Grassberger ± jackknife", Grassberger(), error=Jackknife(), kinds=_SYMBOLS),
    Method("Chao-Shen", ChaoShen(), kinds=_SYMBOLS),
    Method("James-Stein", JamesStein(), kinds=_SYMBOLS),
    Method("NSB", NSB(), kinds=_SYMBOLS),
    Forecast(
        "Predictive, neighbours",
        Predictive(KNeighborsClassifier(20), base_rate=0.05),
        Predictive(KNeighborsRegressor(20)),
    ),
    Forecast(
        "Predictive, boosting",
        Predictive(HistGradientBoostingClassifier(), base_rate=0.05),
        Predictive(HistGradientBoostingRegressor()),
        fast=False,
        targets=1,
    ),
    Neural("InfoNCE", "InfoNCE"),
    Neural("NWJ", "NWJ"),
    Neural("DV", "DV"),
    Neural("SMILE", "SMILE"),
    Neural("Difference of entropies", columns=100),
)
