"""What do masks know of random labels? Five pruners on 500 Gaussian points, at two densities.

    python examples/first_look.py            # about two minutes
    python examples/first_look.py --quick    # one density, fewer data sets
    python examples/first_look.py --lr 0.1 --momentum 0.9 --epochs 60

A network of 50-100-100-2 ReLU units memorises 500 points whose labels are fair coins. Whatever a
mask knows of the labels it must have learnt from them: n log 2 = 347 nats at most. The table gives
the two-sided bound on that information, and what the pruned network memorises when it is trained
again from its initial weights.
"""

import argparse
import copy

import pandas as pd

from mitools.data import gaussian
from mitools.effective import Counting, LabelNoiseDecoding, ResampledMasks, peff
from mitools.models import mlp
from mitools.pruning import IMP, SNIP, Magnitude, MagnitudeAfterTraining, OneShot, Pruner, prune
from mitools.training import SGD, Training, evaluate, train


def pruners(training: Training) -> dict[str, Pruner]:
    """Return the pruners compared."""
    return {
        "magnitude at init": OneShot(Magnitude()),
        "SNIP": OneShot(SNIP()),
        "magnitude after training": MagnitudeAfterTraining(training),
        "IMP": IMP(training),
    }


def row(name: str, density: float, datasets: int, training: Training) -> dict[str, object]:
    """Prune once, bound the information in the mask, train the ticket."""
    samples = gaussian(500, 50, 2, seed=0)
    model = mlp([50, 100, 100, 2], seed=0)
    mask = prune(model, samples, pruners(training)[name], density=density)
    methods = (Counting(), LabelNoiseDecoding(), ResampledMasks(datasets=datasets))
    answer = peff(model, mask, samples, methods)
    counted, decoded, coded = (bound.value for bound in answer.bounds[:3])
    ticket = copy.deepcopy(model)
    train(ticket, samples, training, mask=mask)
    return {
        "kept": f"{density:.0%}",
        "pruner": name,
        "I lower": round(answer.lower.limit, 1),
        "I upper": round(answer.upper.limit),
        "code": round(coded),
        "code / log C(p, k)": round(coded / counted, 2),
        "decoded, this mask": round(decoded, 1),
        "memorised": round(float(evaluate(ticket, samples).accuracy), 2),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="what masks know of random labels")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    optimizer = SGD(lr=options.lr, momentum=options.momentum)
    training = Training(epochs=options.epochs, batch_size=64, optimizer=optimizer)
    densities, datasets = ((0.2,), 4) if options.quick else ((0.2, 0.05), 8)
    names = pruners(training)
    rows = [row(name, density, datasets, training) for density in densities for name in names]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
