"""What masks know of random labels, between bounds: five pruners, five densities, one figure.

    python examples/sandwich.py                       # some minutes; writes sandwich.png and .csv
    python examples/sandwich.py --densities 0.2 0.05  # fewer

A network of 50-100-100-2 ReLU units and 500 Gaussian points whose labels are fair coins: n log 2 =
347 nats are all there is to know.
"""

import argparse
import math

import pandas as pd

from mitools import plotting
from mitools.data import gaussian
from mitools.effective import peff
from mitools.models import mlp
from mitools.pruning import (
    IMP,
    SNIP,
    Iterative,
    MagnitudeAfterTraining,
    OneShot,
    Pruner,
    Random,
    SynFlow,
    prune,
)
from mitools.training import SGD, Training

TRAINING = Training(epochs=100, batch_size=64, optimizer=SGD(lr=0.2, momentum=0.0))
PRUNERS: dict[str, Pruner] = {
    "random": OneShot(Random(seed=0)),
    "SynFlow": Iterative(SynFlow(), rounds=100),
    "SNIP": OneShot(SNIP()),
    "magnitude after training": MagnitudeAfterTraining(TRAINING),
    "IMP": IMP(TRAINING),
}


def main() -> None:
    """Prune, bound, write the figure and its table."""
    parser = argparse.ArgumentParser(description="masks and labels, between bounds")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.2, 0.1, 0.05, 0.02])
    parser.add_argument("--out", default="sandwich", help="name of the files, without their ending")
    options = parser.parse_args()
    samples = gaussian(500, 50, 2, seed=0)
    model = mlp([50, 100, 100, 2], seed=0)
    rows = []
    for name, pruner in PRUNERS.items():
        for density in options.densities:
            mask = prune(model, samples, pruner, density=density)
            answer = peff(model, mask, samples)
            rows.append(
                {
                    "pruner": name,
                    "density": density,
                    "lower": max(0.0, answer.lower.limit),
                    "upper": min(answer.upper.limit, 500 * math.log(2)),
                    "told by": answer.lower.method.split("(")[0],
                }
            )
            print(f"{name:<25}{density:6.0%}{rows[-1]['lower']:9.1f}{rows[-1]['upper']:9.1f}")
    table = pd.DataFrame(rows)
    table.to_csv(f"{options.out}.csv", index=False)
    plotting.sandwich(table, ceiling=500 * math.log(2)).savefig(f"{options.out}.png", dpi=150)


if __name__ == "__main__":
    main()
