"""What is timed: samples, our call, and which of the peers' calls answers the same question."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from estimators_bench.speed.peers import PEERS, Ask, K
from mitools.measures import mutual_information, pairwise
from mitools.methods import KSG, Ross
from mitools.uncertainty import permutation_test

Question = Literal["pair", "vectors", "screen", "classes", "shuffles"]

SHUFFLES = 1_000


@dataclass(frozen=True)
class Case:
    """A row of the table: n samples of a question, and the ratio asked for."""

    name: str
    question: Question
    n: int
    d: int
    goal: float | None = None

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Gaussian x (n, d) and y, correlated .6 coordinate by coordinate; y of labels for classes.

        For screening, every column of x is correlated with the one target.
        """
        rng = np.random.default_rng([self.n, self.d])
        x = rng.standard_normal((self.n, self.d))
        if self.question in ("screen", "classes"):
            y = x[:, :10].sum(axis=1, keepdims=True) + rng.standard_normal((self.n, 1))
            y /= y.std()  # peers differ in how they scale
            return x, (np.digitize(y, [-0.6, 0.6]) if self.question == "classes" else y)
        return x, 0.6 * x + 0.8 * rng.standard_normal((self.n, self.d))

    def ours(self, x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
        """Our call, from the public interface."""
        method = KSG(k=K, scale=None)
        if self.question == "screen":
            return lambda: float(pairwise(x, y, method).to_numpy().sum())
        if self.question == "classes":
            return lambda: float(pairwise(x, y, Ross(k=K, scale=None)).to_numpy().sum())
        if self.question == "shuffles":
            return lambda: (
                permutation_test(
                    x, y, method, permutations=SHUFFLES, stop_after=None
                ).estimate.value
            )
        return lambda: mutual_information(x, y, method).value

    def theirs(self, x: np.ndarray, y: np.ndarray) -> dict[str, Callable[[], float]]:
        """Calls of the peers that answer this question and are installed.

        No peer keeps its sorts across shuffles; each is asked for 1 in 20, and counted 20 times.
        """
        question = "pair" if self.question == "shuffles" else self.question
        calls: dict[str, Callable[[], float]] = {}
        for peer in PEERS:
            ask: Ask | None = getattr(peer, question)
            if ask is None or peer.missing():
                continue
            if self.question == "shuffles":
                calls[peer.name] = _shuffled(ask, x, y)
            else:
                calls[peer.name] = lambda ask=ask: ask(x, y)
        return calls

    @property
    def weight(self) -> int:
        """How many times a peer's timed call has to be made for the whole question."""
        return SAMPLING if self.question == "shuffles" else 1


SAMPLING = 20


def _shuffled(ask: Ask, x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    def call() -> float:
        value = ask(x, y)
        rng = np.random.default_rng(0)
        for _ in range(SHUFFLES // SAMPLING):
            ask(x, y[rng.permutation(len(y))])
        return value

    return call


CASES = (
    Case("(1,1), n = 1e3", "pair", 1_000, 1),
    Case("(1,1), n = 1e4", "pair", 10_000, 1),
    Case("(1,1), n = 1e5", "pair", 100_000, 1, 10.0),
    Case("(1,1), n = 1e6", "pair", 1_000_000, 1, 20.0),
    Case("(2,2), n = 1e4", "vectors", 10_000, 2),
    Case("(2,2), n = 1e5", "vectors", 100_000, 2, 7.0),
    Case("(5,5), n = 1e5", "vectors", 100_000, 5, 7.0),
    Case("(10,10), n = 1e4", "vectors", 10_000, 10, 5.0),
    Case("pairwise, 200 x 5,000", "screen", 5_000, 200, 8.0),
    Case("pairwise, 200 x 5,000, classes", "classes", 5_000, 200, 15.0),
    Case("1,000 permutations, n = 5,000", "shuffles", 5_000, 1, 20.0),
)
