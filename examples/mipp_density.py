"""One density, two allocations and two ways to write weights back: MIPP without labels.

    python examples/mipp_density.py resnet-8                 # 8 x 8 digits, half as wide
    python examples/mipp_density.py lenet-300-100 --root data
    python examples/mipp_density.py lenet-5 --root data

"global": one noise for all layers, no layer below half of an even share; "layer": even shares, as
"L1" has them too. Accuracy as pruned, with least-squares weights all at once ("reconstructed") or
layer by layer ("refitted"), and trained on from the refitted ones (L1: from its own).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from mitools.data import Samples, digits, mnist
from mitools.mipp import Moments, mipp, moments, reconstructed, refitted
from mitools.models import copied, lenet5, lenet_300_100, resnet
from mitools.pruning import Magnitude, Mask, Structured, prune, shrink
from mitools.training import SGD, Cosine, Training, evaluate, train

# Epochs, rate, size of batches.
NETS = {"resnet-8": (10, 0.05, 64), "lenet-300-100": (8, 0.05, 128), "lenet-5": (4, 0.02, 128)}
DENSITIES = (0.5, 0.3, 0.1, 0.05)


def model_of(net: str, seed: int) -> nn.Module:
    """Return a fresh network."""
    if net == "resnet-8":
        return resnet(8, 1, width=0.5, seed=seed)
    return lenet5(seed=seed) if net == "lenet-5" else lenet_300_100(seed=seed)


def data_of(net: str, root: Path, seed: int) -> tuple[Samples, Samples]:
    """Return what to learn from, and what to test on."""
    if net == "resnet-8":
        flat = digits()
        learn, test = Samples(flat.inputs.reshape(-1, 1, 8, 8), flat.targets).split(
            0.8, 0.2, seed=seed
        )
        return learn, test
    whole, test = mnist(root, train=True), mnist(root, train=False)
    chosen = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:10_000]
    return whole.take(chosen), test


def masks(
    model: nn.Module, learn: Samples, known: Moments, density: float
) -> Iterator[tuple[str, Mask]]:
    """Yield a mask of each method."""
    yield "global", mipp(model, known, density=density, scope="global").mask
    yield "layer", mipp(model, known, density=density, scope="layer").mask
    even = Structured(Magnitude(), scope="layer")
    yield "L1", prune(model, learn, even, density=density)


def rows_of(net: str, root: Path, seed: int) -> Iterator[dict[str, object]]:
    """Yield the accuracies of one seed."""
    epochs, rate, size = NETS[net]
    (learn, test), model = data_of(net, root, seed), model_of(net, seed)

    def training(epochs: int, rate: float) -> Training:
        steps = SGD(lr=rate, momentum=0.9, weight_decay=5e-4)
        return Training(epochs, size, steps, Cosine(), seed=seed)

    train(model, learn, training(epochs, rate))
    yield {"density": 1.0, "method": "dense", "as pruned": evaluate(model, test).accuracy}
    known = moments(model, learn, places=16)
    for density in DENSITIES:
        for method, mask in masks(model, learn, known, density):
            plain = mask.apply_(copied(model))
            again = refitted(model, mask, learn, places=16)
            row = {
                "as pruned": plain,
                "reconstructed": reconstructed(model, mask, known),
                "refitted": again,
            }
            found = {name: evaluate(pruned, test).accuracy for name, pruned in row.items()}
            small = shrink(plain if method == "L1" else again, mask, learn.inputs[:1])
            train(small, learn, training(2, 0.4 * rate))
            found["2 epochs"] = evaluate(small, test).accuracy
            yield {"density": density, "method": method, **found}


def main() -> None:
    """Print means and spreads over seeds, in per cent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=list(NETS))
    parser.add_argument("--root", type=Path, default=Path("data"), help="torchvision's folder")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(options.seeds):
        for row in rows_of(options.net, options.root, seed):
            rows.append(row)
            print({"seed": seed, **row}, flush=True)
    table = pd.DataFrame(rows).groupby(["density", "method"], sort=False).agg(["mean", "std"])
    print((table * 100).round(1).to_string())


if __name__ == "__main__":
    main()
