"""LeNet-300-100 at equal widths: MIPP, L1 and random units, before and after two epochs.

    python examples/mipp_widths.py --root data                  # 10,000 images of MNIST, 8 epochs
    python examples/mipp_widths.py --root data --images 60000

"reconstructed" needs no training: the least-squares weights of what stays. Two epochs for all.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from mitools.data import Samples, mnist
from mitools.mipp import Gaussian, mipp, moments, reconstructed
from mitools.models import copied, lenet_300_100, prunable
from mitools.pruning import (
    ChannelGroup,
    Mask,
    channel_groups,
    channel_mask,
    shrink,
    top_channels,
)
from mitools.training import SGD, Adam, Cosine, Training, evaluate, train

WIDTHS = ((60, 30), (30, 20), (15, 12))


def training(epochs: int, optimizer: str, seed: int, again: bool = False) -> Training:
    """Return a training of so many epochs; a second one takes smaller steps."""
    if optimizer == "adam":
        return Training(epochs, 128, Adam(lr=1e-3), seed=seed)
    steps = SGD(lr=0.02 if again else 0.05, momentum=0.9, weight_decay=5e-4)
    return Training(epochs, 128, steps, Cosine(), seed=seed)


def masks(
    model: nn.Module, data: Samples, widths: dict[str, int], known: object, seed: int
) -> dict[str, Mask]:
    """Return a mask of these widths from each method."""
    groups = channel_groups(model, data.inputs[:1])
    weights = prunable(model)
    chance = torch.Generator().manual_seed(seed)

    def of(scores: dict[str, torch.Tensor]) -> Mask:
        kept = top_channels(groups, scores, weights, widths)
        return channel_mask(model, groups, kept, tuple(weights))

    return {
        "MIPP": mipp(model, known, Gaussian(), widths=widths).mask,
        "L1": of({g.name: _rows(model, g).abs().sum(1) for g in groups}),
        "random": of({g.name: torch.rand(g.size, generator=chance) for g in groups}),
    }


def _rows(model: nn.Module, group: ChannelGroup) -> torch.Tensor:
    return dict(model.named_parameters())[f"{group.name}.weight"].detach()


def rows_of(
    seed: int, root: Path, images: int, epochs: int, optimizer: str
) -> list[dict[str, object]]:
    """Return accuracies at all widths for one seed."""
    whole, test = mnist(root, train=True), mnist(root, train=False)
    chosen = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:images]
    data, model = whole.take(chosen), lenet_300_100(seed=seed)
    train(model, data, training(epochs, optimizer, seed))
    dense = evaluate(model, test).accuracy
    known, found = moments(model, data), []
    for first, second in WIDTHS:
        widths = {"fc1": first, "fc2": second}
        for name, mask in masks(model, data, widths, known, seed).items():
            starts = {
                "": mask.apply_(copied(model)),
                ", reconstructed": reconstructed(model, mask, known),
            }
            for how, start in starts.items():
                before = evaluate(start, test).accuracy
                small = shrink(start, mask, data.inputs[:1])
                train(small, data, training(2, optimizer, seed, again=True))
                after = evaluate(small, test).accuracy
                row = {"seed": seed, "widths": f"{first}, {second}", "method": name + how}
                found.append({**row, "dense": dense, "no training": before, "2 epochs": after})
    return found


def main() -> None:
    """Print means and spreads over seeds, in per cent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data"), help="torchvision's folder")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(options.seeds):
        rows += rows_of(seed, options.root, options.images, options.epochs, options.optimizer)
    found = pd.DataFrame(rows)
    columns = ["no training", "2 epochs"]
    table = found.groupby(["widths", "method"], sort=False)[columns].agg(["mean", "std"]) * 100
    print(
        f"dense: {found.dense.mean():.2%} (from {found.dense.min():.2%} to {found.dense.max():.2%})"
    )
    print(table.round(1).to_string())


if __name__ == "__main__":
    main()
