"""The tiny network: every data set there is, so that masks can be counted.

Six different corners of {±1}³ with labels ±1 are 1,792 equally likely data sets; a 3-4-1 ReLU
network with biases has 21 weights (Kumar, Luo and Sellke, arXiv 2402.01089, appendix C.2). With
the corners held fixed there are 64, and what masks tell is about the labels alone.

    python -m estimators_bench.tasks.tiny_net

prints the table of exact truths below; it takes a few seconds. With ``--every-count`` it prints
the exact information of six pruners at every number of weights kept, in half a minute.
"""

import argparse
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.random import Generator

from estimators_bench.tasks.kinds import MaskData
from mitools._typing import BoolArray, FloatArray, IntArray

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


# torch takes a second to import: the catalogue of tasks must not wait for it.


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
    if parser.parse_args().every_count:
        print_every_count()
        return
    from mitools.effective.enumeration import Enumerated

    for pruner, kept, fixed in TRUTHS:
        masks = _enumerated(pruner, kept, fixed)[0]
        nats = Enumerated(masks, np.full(len(masks), 1.0 / len(masks))).nats
        print(f'    ("{pruner}", {kept}, {fixed}): {nats!r},')


def print_every_count() -> None:
    """Print nats by weights kept, one column a pruner."""
    from mitools.effective import enumeration as them

    model, data_sets = them.sign_network(), them.sign_data_sets()
    rules = {
        "random": them.random_scores,
        "magnitude": them.magnitude_scores,
        "SNIP": them.snip_scores,
        "GraSP": them.grasp_scores,
        "after training": them.trained_scores,
        "IMP": them.imp_scores,
    }
    columns = [them.at_every_count(data_sets, rule(model, data_sets)) for rule in rules.values()]
    print("kept  " + "".join(f"{name:>16}" for name in rules))
    for kept, row in enumerate(zip(*columns, strict=True)):
        print(f"{kept:<6}" + "".join(f"{nats:16.3f}" for nats in row))


if __name__ == "__main__":
    main()
