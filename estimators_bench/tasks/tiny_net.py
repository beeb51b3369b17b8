"""The tiny network: every data set there is, so that masks can be counted.

Six different corners of {±1}³ with labels ±1 are 1,792 equally likely data sets; a 3-4-1 ReLU
network with biases has 21 weights (Kumar, Luo and Sellke, arXiv 2402.01089, appendix C.2). With
the corners held fixed there are 64, and what masks tell is about the labels alone.

    python -m estimators_bench.tasks.tiny_net

prints the table of exact truths below; it takes a few seconds. With ``--every-count`` it prints
the exact information of six pruners at every number of weights pruned, in half a minute;
``--figure FILE`` draws it, and ``--draws N`` sets what samples of N data sets say beside it.
``--with-replacement`` takes the 54,264 data sets of six labelled corners drawn independently, each
as likely as all its orders, and all pruners but IMP: a quarter of a minute.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.random import Generator
from scipy.special import gammaln

from estimators_bench.tasks.kinds import MaskData
from mitools._typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pruner = Literal["magnitude after training", "snip"]

TRUTHS: dict[tuple[Pruner, int, bool], float] = {
    ("magnitude after training", 3, False): 3.3228262464329124,
    ("magnitude after training", 11, False): 6.236681296640043,
    ("magnitude after training", 18, False): 5.035186213930668,
    ("magnitude after training", 3, True): 2.885855471245755,
    ("magnitude after training", 11, True): 4.093900535182178,
    ("magnitude after training", 18, True): 3.7473269449022055,
    ("snip", 3, False): 2.871252335253124,
    ("snip", 11, False): 5.236873717887971,
    ("snip", 18, False): 2.490056220897579,
    ("snip", 3, True): 2.381165799664866,
    ("snip", 11, True): 3.7608120420483813,
    ("snip", 18, True): 1.811815002729751,
}


@dataclass(frozen=True)
class TinyNet:
    """Masks of the tiny network, re-pruned on data sets drawn from all there are.

    Parameters
    ----------
    pruner : {"magnitude after training", "snip"}
        Magnitudes after 200 steps of full-batch gradient descent at 0.1 on the squared error.
    kept : int
        Weights that stay, of 21.
    inputs_fixed : bool
        Whether only the labels move; then they come with what the masked initial network says of
        each point.
    """

    pruner: Pruner
    kept: int
    inputs_fixed: bool = False

    @property
    def size(self) -> int:
        """Weights, biases counted."""
        return 21

    @property
    def nats(self) -> float:
        """Entropy of the masks over all data sets."""
        return TRUTHS[self.pruner, self.kept, self.inputs_fixed]

    def __call__(self, draws: int, rng: Generator) -> MaskData:
        """Draw data sets and look up their masks."""
        masks, labels, outputs = _enumerated(self.pruner, self.kept, self.inputs_fixed)
        which = rng.integers(0, len(masks), draws)
        sizes = (12, 4, 4, 1)
        if not self.inputs_fixed:
            return MaskData(masks[which], sizes)
        shown = np.stack([-outputs[which], outputs[which]], axis=2)
        return MaskData(masks[which], sizes, labels[which], shown)


# torch and matplotlib take a second to import: the catalogue of tasks must not wait for them.


@cache
def _scores(pruner: Pruner, inputs_fixed: bool) -> FloatArray:
    from mitools.effective.enumeration import sign_network, snip_scores, trained_scores

    rule = snip_scores if pruner == "snip" else trained_scores
    return rule(sign_network(), _data_sets(inputs_fixed))


def _data_sets(inputs_fixed: bool):
    from mitools.effective.enumeration import DataSets, sign_data_sets

    whole = sign_data_sets()
    return DataSets(whole.inputs[:64], whole.targets[:64]) if inputs_fixed else whole


@cache
def _enumerated(
    pruner: Pruner, kept: int, inputs_fixed: bool
) -> tuple[BoolArray, IntArray, FloatArray]:
    """Masks, labels as 0 or 1, and outputs of the masked initial network, of every data set."""
    from mitools.effective import enumeration

    data_sets = _data_sets(inputs_fixed)
    masks = enumeration.kept(_scores(pruner, inputs_fixed), kept)
    outputs = enumeration.outputs_of_masked(enumeration.sign_network(), data_sets, masks)
    labels = (data_sets.targets.numpy() > 0).astype(np.int64)
    return masks, labels, outputs


def main() -> None:
    """Print the truths, ready to be pasted; or a column of them for each of six pruners."""
    parser = argparse.ArgumentParser(description="exact information of the tiny network's masks")
    parser.add_argument("--every-count", action="store_true")
    parser.add_argument("--init", type=int, default=0, help="seed of the initial weights")
    parser.add_argument("--figure", type=Path, help="file to draw it into")
    parser.add_argument("--draws", type=int, help="data sets in a sample, for entropies of samples")
    parser.add_argument("--with-replacement", action="store_true", help="corners may come again")
    asked = parser.parse_args()
    if asked.every_count or asked.with_replacement:
        print_every_count(asked.init, asked.figure, asked.draws, again=asked.with_replacement)
        return
    from mitools.effective.enumeration import Enumerated

    for pruner, kept, fixed in TRUTHS:
        masks = _enumerated(pruner, kept, fixed)[0]
        nats = Enumerated(masks, np.full(len(masks), 1.0 / len(masks))).nats
        print(f'    ("{pruner}", {kept}, {fixed}): {nats!r},')


def print_every_count(
    init: int, figure: Path | None, draws: int | None, *, again: bool = False
) -> None:
    """Print nats by weights pruned, one column a pruner; draw them, and sample, where asked."""
    from mitools.effective import enumeration as them

    start = time.perf_counter()
    model = them.sign_network(seed=init)
    data_sets = them.sign_multisets() if again else them.sign_data_sets()
    rules = {
        "random": them.random_scores,
        "magnitude": them.magnitude_scores,
        "SNIP": them.snip_scores,
        "GraSP": them.grasp_scores,
        "after training": them.trained_scores,
        "IMP": them.imp_scores,
    }
    if again:
        del rules["IMP"]  # trains twenty times: minutes
    scores = {name: rule(model, data_sets) for name, rule in rules.items()}
    exact = {name: them.at_every_count(data_sets, each)[::-1] for name, each in scores.items()}
    print("pruned" + "".join(f"{name:>16}" for name in rules))
    for pruned, row in enumerate(zip(*exact.values(), strict=True)):
        print(f"{pruned:<6}" + "".join(f"{nats:16.3f}" for nats in row))
    known = -float(data_sets.law @ np.log(data_sets.law))
    print(f"{len(data_sets)} data sets of {known:.3f} nats; {time.perf_counter() - start:.0f} s")
    if figure is not None:
        drawn(exact, known).savefig(figure, dpi=150)
    for name in ("SNIP", "IMP") if draws and not again else ():
        for pruned in (3, 10, 18):
            masks = them.kept(scores[name], scores[name].shape[1] - pruned)
            print(sampled(name, pruned, masks, exact[name][pruned], draws or 0))


def sampled(name: str, pruned: int, masks: BoolArray, exact: float, draws: int) -> str:
    """Return a line: mean and spread of entropies of 100 samples of so many data sets."""
    from mitools.methods import ChaoShen, Jackknifed, MillerMadow, PlugIn

    kinds = np.unique(masks, axis=0, return_inverse=True)[1].reshape(-1)
    rules = {
        "plug-in": PlugIn(),
        "Miller-Madow": MillerMadow(),
        "jackknife": Jackknifed(),
        "Chao-Shen": ChaoShen(),
    }
    samples = np.random.default_rng(0).integers(0, len(kinds), (100, draws))
    line = f"{name}, {pruned} pruned, {draws} draws: exact {exact:.3f}"
    for label, rule in rules.items():
        found = [
            rule.entropy_of_counts(np.unique(kinds[which], return_counts=True)[1], len(kinds))
            for which in samples
        ]
        line += f", {label} {np.mean(found):.3f} ± {np.std(found):.3f}"
    return line


def drawn(exact: Mapping[str, FloatArray], ceiling: float) -> "Figure":
    """Return a figure of nats against weights pruned, with what bounds them.

    Parameters
    ----------
    exact : mapping of name to float array, shape (p + 1,)
        Nats of the masks of each pruner with 0, 1, ..., p weights pruned.
    ceiling : float
        Entropy of the data.
    """
    from matplotlib.figure import Figure

    pruned = np.arange(len(next(iter(exact.values()))))
    size = pruned[-1]
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.axhline(ceiling, color="#9aa5b1", linestyle=":", label=f"H(D) = {ceiling:.2f}")
    counting = gammaln(size + 1) - gammaln(pruned + 1) - gammaln(size - pruned + 1)
    axes.plot(pruned, counting, color="#9aa5b1", linestyle="--", label="number of masks")
    looks = zip("svo^DP", ("C7", "C8", "C2", "C4", "C0", "C3"), strict=True)
    for (name, nats), (marker, color) in zip(exact.items(), looks, strict=True):
        axes.plot(pruned, nats, marker=marker, color=color, markersize=4, label=name)
    axes.set_ylim(-0.2, ceiling + 0.6)  # the number of masks goes on to twice the data's entropy
    axes.set_xticks(pruned[::3])
    axes.set_xlabel(f"weights pruned, of {size}")
    axes.set_ylabel("I(mask; data | init), nats")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
