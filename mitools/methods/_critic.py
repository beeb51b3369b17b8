"""A learned log density ratio: perceptrons of x and of y that correct an elliptical copula's."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mitools._typing import FloatArray, IntArray
from mitools.methods._elliptical import Elliptical, agreement

Float32 = NDArray[np.float32]

_CANONICAL = 8  # canonical coordinates that are corrected
_MORE = 8  # products of functions of x and of y that are added
_WIDTH = 64
_DEPTH = 2
_SMOOTH = 0.5  # of the usual size of weights at the start: wild functions are learned late
_BATCH = 256
_RATE = 6e-3
_FOLDS = 3
_STEPS = 1_500  # with 10,000 samples or more; at least 450
_EVERY = 75
_PATIENCE = 300  # steps without an improvement
_SURE = 2.0  # standard errors that must be gained
_RIVALS = 500
_SLOPE = 0.3  # of a canonical pair, at least, so that it can be moved


class Perceptron:
    """A tanh network beside a linear map, with its gradient written out."""

    def __init__(self, inputs: int, outputs: int, rng: Generator) -> None:
        sizes = (inputs, *[_WIDTH] * _DEPTH)
        self.layers: list[Float32] = []
        for before, after in pairwise(sizes):
            self.layers.append(_normal((before, after), _SMOOTH / math.sqrt(before), rng))
            self.layers.append(np.zeros(after, np.float32))
        self.last = np.zeros((_WIDTH, outputs), np.float32)
        self.level = np.zeros(outputs, np.float32)
        self.linear = np.zeros((inputs, outputs), np.float32)

    @property
    def parameters(self) -> list[Float32]:
        return [*self.layers, self.last, self.level, self.linear]

    def __call__(self, rows: Float32) -> Float32:
        return self.forward(rows)[-1]

    def forward(self, rows: Float32) -> list[Float32]:
        """Return the inputs, the hidden layers and the outputs."""
        states = [rows]
        for weights, level in zip(self.layers[::2], self.layers[1::2], strict=True):
            states.append(_tanh(states[-1] @ weights + level))
        outputs: Float32 = states[-1] @ self.last
        outputs += self.level
        outputs += rows @ self.linear
        return [*states, outputs]

    def backward(self, states: list[Float32], slope: Float32) -> list[Float32]:
        """Return the gradients of the parameters, given that of the outputs."""
        found: list[Float32] = [states[0].T @ slope, slope.sum(axis=0), states[-2].T @ slope]
        upper: Float32 = slope @ self.last.T
        for weights, above, below in zip(
            self.layers[-2::-2],
            states[-2:0:-1],
            states[-3::-1],
            strict=True,
        ):
            upper *= np.float32(1.0) - above**2
            found += [upper.sum(axis=0), below.T @ upper]
            upper = upper @ weights.T
        return found[::-1]


def _tanh(rows: Float32) -> Float32:
    return np.tanh(rows, dtype=np.float32)


def _normal(shape: tuple[int, int], size: float, rng: Generator) -> Float32:
    return (size * rng.standard_normal(shape)).astype(np.float32)


class Critic:
    """The copula's ratio with each canonical coordinate moved, plus products, plus levels.

    With a, b canonical coordinates, w their weights in the copula's ratio, and f, g, u, v learned::

        ratio(x, y) = copula(x, y) + (a + f(x)) w (b + g(y)) - a w b + f'(x) g'(y) + u(x) + v(y)

    At first it is the copula's.
    """

    def __init__(self, copula: Elliptical, rng: Generator) -> None:
        self.copula = copula
        self.left = copula.left.astype(np.float32)
        self.right = copula.right.astype(np.float32)
        k = self.k = min(_CANONICAL, len(copula.rho))
        slopes = copula.rho[:k] / (1.0 - copula.rho[:k] ** 2)
        self.slopes = np.maximum(slopes, _SLOPE).astype(np.float32)
        outputs = k + _MORE + 1
        self.f = Perceptron(self.left.shape[1], outputs, rng)
        self.g = Perceptron(self.right.shape[1], outputs, rng)
        # Products that are 0 on both sides would stay so.
        self.f.last[:, k:-1] = _normal((_WIDTH, _MORE), 0.3 / math.sqrt(_WIDTH), rng)

    def factors(self, i: IntArray, j: IntArray, f: Float32, g: Float32) -> tuple[Float32, Float32]:
        """Return what is multiplied: of x and of y, given the outputs of their networks."""
        k, a, b = self.k, self.left[i, : self.k], self.right[j, : self.k]
        of_x = np.hstack(((a + f[:, :k]) * self.slopes, a * self.slopes, f[:, k:-1]))
        return of_x, np.hstack((b + g[:, :k], -b, g[:, k:-1]))

    def gradient(self, rows: IntArray) -> list[Float32]:
        """Return the gradient of minus the agreement of a batch."""
        f, g = self.f.forward(self.left[rows]), self.g.forward(self.right[rows])
        of_x, of_y = self.factors(rows, rows, f[-1], g[-1])
        ratios: Float32 = self.copula.matrix(rows, rows).astype(np.float32)
        ratios += of_x @ of_y.T
        ratios += f[-1][:, -1:] + g[-1][:, -1]
        slope = _slope(ratios)
        by_x, by_y = slope @ of_y, slope.T @ of_x
        k = self.k
        down_x = np.hstack((by_x[:, :k] * self.slopes, by_x[:, 2 * k :], slope.sum(1)[:, None]))
        down_y = np.hstack((by_y[:, :k], by_y[:, 2 * k :], slope.sum(0)[:, None]))
        return self.f.backward(f, down_x) + self.g.backward(g, down_y)

    @property
    def parameters(self) -> list[Float32]:
        return self.f.parameters + self.g.parameters

    def learned(self) -> "Learned":
        """Return the ratio at all samples, as it is now."""
        every = np.arange(len(self.left))
        f, g = self.f(self.left), self.g(self.right)
        of_x, of_y = self.factors(every, every, f, g)
        return Learned(self.copula, of_x, of_y, f[:, -1].copy(), g[:, -1].copy())


def _slope(ratios: Float32) -> Float32:
    """Return the derivative of minus the mean `agreement` by the ratios."""
    slope = np.zeros_like(ratios)
    for axis in (0, 1):
        weights = np.exp(ratios - ratios.max(axis=axis, keepdims=True))
        slope += weights / (2 * weights.sum(axis=axis, keepdims=True))
    slope[np.diag_indices(len(slope))] -= 1.0
    return slope / np.float32(len(slope))


@dataclass(frozen=True, eq=False)
class Learned:
    """A critic's ratio at the samples."""

    copula: Elliptical
    of_x: Float32
    of_y: Float32
    level_x: Float32
    level_y: Float32

    def pairs(self, i: IntArray, j: IntArray) -> FloatArray:
        """Return the log density ratio of x_i and y_j, shape (m,), for m of either."""
        more = np.einsum("mk,mk->m", self.of_x[i], self.of_y[j])
        return self.copula.pairs(i, j) + more + self.level_x[i] + self.level_y[j]

    def matrix(self, i: IntArray, j: IntArray) -> FloatArray:
        """Return the log density ratio of every x_i and every y_j, shape (len(i), len(j))."""
        return self.copula.matrix(i, j) + self.more(i, j)

    def more(self, i: IntArray, j: IntArray) -> Float32:
        """Return what the critic adds to the copula's `matrix`."""
        return self.of_x[i] @ self.of_y[j].T + self.level_x[i][:, None] + self.level_y[j]

    def take(self, other: "Learned", rows: IntArray) -> None:
        """Take these rows from another critic."""
        self.of_x[rows], self.of_y[rows] = other.of_x[rows], other.of_y[rows]
        self.level_x[rows], self.level_y[rows] = other.level_x[rows], other.level_y[rows]


class Course:
    """Adam with a rate that rises, and then falls to 0 over so many steps."""

    def __init__(self, critic: Critic, rows: IntArray, steps: int, rng: Generator) -> None:
        self.critic, self.rows, self.steps, self.rng = critic, rows, steps, rng
        self.done = 0
        self.order = rng.permutation(rows)
        self.first = [np.zeros_like(p) for p in critic.parameters]
        self.second = [np.zeros_like(p) for p in critic.parameters]

    def run(self, steps: int) -> None:
        """Take so many steps."""
        for _ in range(min(steps, self.steps - self.done)):
            self.done += 1
            self._step(self.critic.gradient(self._batch()))

    def _batch(self) -> IntArray:
        size = min(_BATCH, len(self.rows))
        if len(self.order) < size:
            self.order = self.rng.permutation(self.rows)
        batch, self.order = self.order[:size], self.order[size:]
        return batch

    def _step(self, gradient: list[Float32]) -> None:
        size = math.sqrt(sum(float((g**2).sum()) for g in gradient))
        shorter = np.float32(1.0 / max(size, 1.0))
        falling = (1.0 + math.cos(math.pi * self.done / self.steps)) / 2
        rate = _RATE * min(1.0, self.done / 50) * falling
        rate *= math.sqrt(1.0 - 0.99**self.done) / (1.0 - 0.9**self.done)
        places = zip(self.critic.parameters, gradient, self.first, self.second, strict=True)
        for parameter, slope, first, second in places:
            slope = slope * shorter
            first += np.float32(0.1) * (slope - first)
            second += np.float32(0.01) * (slope**2 - second)
            parameter -= np.float32(rate) * first / (np.sqrt(second) + np.float32(1e-8))


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A learned ratio of samples of which none was fitted on, within groups.

    Parameters
    ----------
    ratio : Learned
        Holds between samples of the same group.
    groups : int array, shape (n,)
        Numbers of the groups.
    gain : float
        Mean agreement beyond the copula's, in nats.
    """

    ratio: Learned
    groups: IntArray
    gain: float


def cross_fitted(copula: Elliptical, rng: Generator, insist: bool = False) -> CrossFitted | None:
    """Return a ratio that was learned on other folds; None if nothing is learned.

    Half of a fold left out decides when to stop, for the other half, and the reverse. Unless told
    to insist, it gives up where the first steps gain nothing.
    """
    n = len(copula.left)
    parts = np.array_split(rng.permutation(n), _FOLDS)
    whole, groups, gains = Critic(copula, rng).learned(), np.empty(n, np.int64), np.empty(n)
    for fold, held in enumerate(parts):
        rows = np.concatenate([part for part in parts if part is not held])
        halves = [_Judge(copula, half) for half in np.array_split(held, 2)]
        course = Course(Critic(copula, rng), rows, _steps(n), rng)
        best = _stopped(course, halves, fold == 0 and not insist)
        if best is None:
            return None
        for i, judge in enumerate(halves):
            groups[judge.rows] = 2 * fold + i
            whole.take(best[1 - i], judge.rows)
            gains[judge.rows] = judge.gains(best[1 - i])
    return CrossFitted(whole, groups, float(gains.mean())) if _clear(gains) else None


def _steps(n: int) -> int:
    """Return how many steps so many samples are worth."""
    return _EVERY * round(_STEPS / _EVERY * min(1.0, max(0.3, math.sqrt(n / 10_000))))


def _stopped(course: "Course", judges: list["_Judge"], may_end: bool) -> list[Learned] | None:
    """Return the best ratio by each judge; None if there is nothing to see after a while."""
    best = [course.critic.learned()] * len(judges)
    most, last = [0.0] * len(judges), 0
    for step in range(_EVERY, course.steps + 1, _EVERY):
        course.run(_EVERY)
        now = course.critic.learned()
        gains = [judge.gains(now) for judge in judges]
        for i, gain in enumerate(gains):
            if gain.mean() > most[i]:
                most[i], best[i], last = float(gain.mean()), now, step
        if may_end and step == _PATIENCE and not _clear(np.concatenate(gains)):
            return None
        if step - last >= _PATIENCE:
            break
    return best


def _clear(gains: FloatArray) -> bool:
    return bool(gains.mean() > _SURE * gains.std() / math.sqrt(len(gains)))


class _Judge:
    """Scores ratios by how well samples that they did not see find their partners."""

    def __init__(self, copula: Elliptical, rows: IntArray) -> None:
        self.rows = rows
        self.blocks = np.array_split(rows, max(1, round(len(rows) / _RIVALS)))
        self.plain = [copula.matrix(block, block).astype(np.float32) for block in self.blocks]

        self.before = self._agreements(self.plain)

    def gains(self, learned: Learned) -> FloatArray:
        """Return by how much each row agrees better than under the copula, in nats."""
        pairs = zip(self.plain, self.blocks, strict=True)
        return self._agreements([p + learned.more(b, b) for p, b in pairs]) - self.before

    @staticmethod
    def _agreements(ratios: list[Float32]) -> FloatArray:
        return np.concatenate([agreement(each) for each in ratios]).astype(np.float64)
