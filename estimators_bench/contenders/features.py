"""Selectors of features as contenders: what people use today. Scored by what their choice tells."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal

import numpy as np
from sklearn.feature_selection import RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.linear_model import LinearRegression, MultiTaskLassoCV
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from estimators_bench.contenders.kinds import Answer, Contender
from estimators_bench.tasks.kinds import Kind, SelectionTask, Task
from mitools._typing import FloatArray, IntArray
from mitools._validation import UnreliableEstimate
from mitools.methods import KSG, Gaussian, PlugIn, Predictive
from mitools.methods.questions import MutualInformation
from mitools.selection import OwnTest, Shuffled, mrmr, terc
from mitools.uncertainty import permutation_test


def scored(task: SelectionTask, chosen: Iterable[int]) -> Answer:
    """Return what the chosen features tell, exactly, and how well they were chosen.

    ``extra["minimal"]`` says whether they are one of the smallest sets that tell everything;
    ``extra["spare"]`` counts those that the most similar of these sets can do without.
    """
    picked = frozenset(int(i) for i in chosen)
    spare = min(len(picked - each) for each in task.minimal)
    extra = {"chosen": sorted(picked), "minimal": picked in task.minimal, "spare": spare}
    return Answer(task.information(picked), extra=extra)


def _fits(task: Task, most: int, kinds: Sequence[Kind]) -> bool:
    """Return whether a task has at most so many features, of these kinds, as has its target."""
    return (
        isinstance(task, SelectionTask)
        and task.features <= most
        and {*task.kinds} <= {*kinds}
        and task.kinds[0] == task.kinds[1]
    )


def _takes_its_kind(self: Any, task: Task) -> bool:
    """Return whether the method suits the features, and there are not too many."""
    return _fits(task, self.most, (self.kind,))


def _takes_either_kind(self: Any, task: Task) -> bool:
    """Return whether there are not too many features."""
    return _fits(task, self.most, ("discrete", "continuous"))


# By mutual information ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Univariate:
    """Every feature that depends on the target by itself: permutation tests, Holm's correction.

    Parameters
    ----------
    name : str
        Its name on the leaderboard.
    method : MutualInformation
        How one feature is compared with the target.
    kind : {"discrete", "continuous"}
        What features and target are.
    most : int
        Features it takes.
    fast : bool
        Below a second at n = 1,000.
    alpha : float
        Probability of any false discovery.
    """

    name: str
    method: MutualInformation
    kind: Kind
    most: int
    fast: bool = True
    alpha: float = 0.05
    package: str = "mitools"

    takes = _takes_its_kind

    def answer(self, task: Any, data: tuple[FloatArray, FloatArray], seed: int) -> Answer:
        """Return what the features that pass tell together."""
        features, targets = data
        enough = math.ceil(features.shape[1] / self.alpha)  # p can fall below Holm's first level
        p_values = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreliableEstimate)  # one for each feature
            for column in features.T:
                test = permutation_test(
                    column, targets, self.method, permutations=enough, seed=seed
                )
                p_values.append(test.p_value)
        return scored(task, holm(p_values, self.alpha))


def holm(p_values: Sequence[float], alpha: float) -> list[int]:
    """Return the hypotheses that Holm's step-down procedure rejects, most significant first.

    Apart from `mitools.selection.terc`, whose p-values change with what is dropped: this is its
    twin in the tests, where they do not.
    """
    order = np.argsort(p_values, kind="stable").tolist()
    for i, hypothesis in enumerate(order):
        if p_values[hypothesis] > alpha / (len(order) - i):
            return order[:i]
    return order


@dataclass(frozen=True)
class LeastRedundant:
    """mRMR [1]_: by relevance less mean redundancy, while that gains, among relevant features.

    With S chosen so far, the next maximises I(X_j; T) - mean_{i in S} I(X_j; X_i), if above 0.
    The original wants to be told when to stop. Relevant here: above all the features' information
    about each of so many shuffled targets.

    Parameters
    ----------
    name, method, kind, most, fast
        As for `Univariate`.
    shuffles : int
        A relevant feature by chance alone has probability 1 / (shuffles + 1).

    References
    ----------
    .. [1] Peng, Long and Ding, IEEE Trans. Pattern Anal. Mach. Intell. 27, 1226 (2005).
    """

    name: str
    method: MutualInformation
    kind: Kind
    most: int
    fast: bool = True
    shuffles: int = 19
    package: str = "mitools"

    takes = _takes_its_kind

    def answer(self, task: Any, data: tuple[FloatArray, FloatArray], seed: int) -> Answer:
        """Return what the chosen features tell together."""
        features, targets = data
        rng = np.random.default_rng(seed)
        columns = [np.ascontiguousarray(column[:, None]) for column in features.T]

        def about(other: FloatArray) -> FloatArray:
            return np.array([self.method.mutual_information(each, other) for each in columns])

        relevance = about(targets)
        chance = max(about(rng.permutation(targets)).max() for _ in range(self.shuffles))
        relevant = np.flatnonzero(relevance > chance)
        if not len(relevant):
            return scored(task, [])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreliableEstimate)
            found = mrmr(features[:, relevant], targets, self.method, count=len(relevant))
        # Its order does not depend on when it stops; a copy's gain is 0, up to rounding.
        gaining = takewhile(lambda step: step.phi > 1e-9, found.steps)
        return scored(task, relevant[[step.index for step in gaining]])


@dataclass(frozen=True)
class Conditional:
    """TERC [1]_: from all features, drop what adds nothing to the others, least informative first.

    Parameters
    ----------
    name, method, kind, most, fast
        As for `Univariate`.
    shuffled : bool
        Whether what a feature adds is compared with shuffles; the method's own test, otherwise.
    confidence : float
        Of all tests together, Holm's correction.

    References
    ----------
    .. [1] Westphal, Hailes, Musolesi, arXiv 2401.11512.
    """

    name: str
    method: MutualInformation
    kind: Kind
    most: int
    fast: bool = True
    shuffled: bool = True
    confidence: float = 0.95
    package: str = "mitools"

    takes = _takes_its_kind

    def answer(self, task: Any, data: tuple[FloatArray, FloatArray], seed: int) -> Answer:
        """Return what the chosen features tell together."""
        test = Shuffled(seed=seed) if self.shuffled else OwnTest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreliableEstimate)  # the notes say it
            found = terc(*data, self.method, confidence=self.confidence, test=test)
        return replace(scored(task, found.chosen), notes=found.notes)


# By prediction -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sequential:
    """scikit-learn's SequentialFeatureSelector: one feature more or less, by 3-fold score.

    Around a decision tree for symbols, and least squares for numbers. Its stop by score keeps one
    feature at least and never all of them.

    Parameters
    ----------
    direction : {"forward", "backward"}
        Whether it starts from none or from all.
    most : int
        Features it takes.
    gain : float
        The score a feature must be worth: accuracy for symbols, R^2 for numbers.
    """

    direction: Literal["forward", "backward"]
    most: int
    gain: float = 0.01
    fast: bool = True
    package: str = "scikit-learn"

    @property
    def name(self) -> str:
        """Its name on the leaderboard."""
        return f"sequential-{self.direction}"

    takes = _takes_either_kind

    def answer(self, task: Any, data: tuple[FloatArray, FloatArray], seed: int) -> Answer:
        """Return what the chosen features tell together."""
        features, targets = data
        if features.shape[1] == 1:
            return scored(task, [0])
        symbols = task.kinds[1] == "discrete"
        selector = SequentialFeatureSelector(
            DecisionTreeClassifier(random_state=seed) if symbols else LinearRegression(),
            tol=self.gain if self.direction == "forward" else -self.gain,
            direction=self.direction,
            cv=_folds(seed),
        )
        selector.fit(features, _labels(targets) if symbols else targets)
        return scored(task, _kept(selector))


@dataclass(frozen=True)
class Recursive:
    """scikit-learn's RFECV: a decision tree's least important feature goes, by 3-fold score.

    Parameters
    ----------
    most : int
        Features it takes.
    """

    most: int
    fast: bool = True
    package: str = "scikit-learn"
    name: str = "recursive-tree"

    takes = _takes_either_kind

    def answer(self, task: Any, data: tuple[FloatArray, FloatArray], seed: int) -> Answer:
        """Return what the chosen features tell together."""
        features, targets = data
        symbols = task.kinds[1] == "discrete"
        tree = DecisionTreeClassifier if symbols else DecisionTreeRegressor
        selector = RFECV(tree(random_state=seed), cv=_folds(seed))
        selector.fit(features, _labels(targets) if symbols else targets)
        return scored(task, _kept(selector))


@dataclass(frozen=True)
class Sparse:
    """scikit-learn's SelectFromModel: features with a weight in a linear model under an L1 penalty.

    The lasso of all targets together, its penalty chosen by 3-fold error, for numbers; a linear
    support vector classifier for symbols. Features are standardised.

    Parameters
    ----------
    most : int
        Features it takes.
    strength : float
        C of the classifier: small is sparse; the value is that of scikit-learn's example.
    """

    most: int
    strength: float = 0.01
    fast: bool = True
    package: str = "scikit-learn"
    name: str = "sparse-linear"

    takes = _takes_either_kind

    def answer(self, task: Any, data: tuple[FloatArray, FloatArray], seed: int) -> Answer:
        """Return what the chosen features tell together."""
        features, targets = data
        features = np.asarray(StandardScaler().fit_transform(features))
        if task.kinds[1] == "discrete":
            model = LinearSVC(
                C=self.strength, penalty="l1", dual="auto", max_iter=10_000, random_state=seed
            )
            selector = SelectFromModel(model).fit(features, _labels(targets))
        else:
            slopes = features.T @ (targets - targets.mean(axis=0)) / len(targets)
            least = float(np.linalg.norm(slopes, axis=1).max())  # penalty that leaves no feature
            penalties: Any = least * np.logspace(0, -2, 20)
            model = MultiTaskLassoCV(alphas=penalties, cv=_folds(seed))
            selector = SelectFromModel(model).fit(features, targets)
        return scored(task, _kept(selector))


def _folds(seed: int) -> Any:
    # Not stratified: a target of many symbols has some that occur once.
    return KFold(3, shuffle=True, random_state=seed)


def _kept(selector: Any) -> list[int]:
    return np.flatnonzero(selector.get_support()).tolist()


def _labels(targets: FloatArray) -> IntArray:
    """Return one label for each row."""
    return np.unique(targets, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


_TREE = Predictive(DecisionTreeClassifier(min_samples_leaf=5), base_rate=0.02)

CONTENDERS: tuple[Contender, ...] = (
    Univariate("univariate-plugin", PlugIn(), "discrete", most=30),
    Univariate("univariate-ksg", KSG(), "continuous", most=10, fast=False),
    LeastRedundant("mrmr-plugin", PlugIn(), "discrete", most=100),
    LeastRedundant("mrmr-ksg", KSG(), "continuous", most=50),
    Conditional("terc-plugin", PlugIn(), "discrete", most=100),
    Conditional("terc-gaussian", Gaussian(), "continuous", most=200, shuffled=False),
    Conditional("terc-ksg", KSG(), "continuous", most=10, fast=False),
    Conditional("terc-tree", _TREE, "discrete", most=30, fast=False, shuffled=False),
    Sequential("forward", most=50),
    Sequential("backward", most=12),
    Recursive(most=30),
    Sparse(most=200),
)
