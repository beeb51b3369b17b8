"""LeNet-300-100 at equal widths: MIPP, L1 and random units, before and after two epochs.

    python examples/mipp_widths.py --root data                  # 10,000 images of MNIST, 8 epochs
    python examples/mipp_widths.py --root data --pixels 0-1 --decay 2e-3
    python examples/mipp_widths.py --root data --pixels 0-1 --optimizer adam

"reconstructed" and "refitted" need no training: least-squares weights of what stays, all at once or
layer by layer. Two epochs for all.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from mitools.data import Samples, mnist
from mitools.mipp import Gaussian, Moments, mipp, moments, reconstructed, refitted
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


@dataclass(frozen=True)
class Recipe:
    """How the dense network is trained, and how finely information is told."""

    root: Path
    images: int
    epochs: int
    pixels: str
    optimizer: str
    decay: float
    noise: float

    def training(self, epochs: int, seed: int, again: bool = False) -> Training:
        """Return a training of so many epochs; a second one takes smaller steps."""
        if self.optimizer == "adam":
            return Training(epochs, 128, Adam(lr=1e-3, weight_decay=self.decay), seed=seed)
        steps = SGD(lr=0.02 if again else 0.05, momentum=0.9, weight_decay=self.decay)
        return Training(epochs, 128, steps, Cosine(), seed=seed)

    def data(self, seed: int) -> tuple[Samples, Samples]:
        """Return images to learn from, chosen at random, and all test images."""
        whole, test = mnist(self.root, train=True), mnist(self.root, train=False)
        chosen = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
        data = whole.take(chosen[: self.images])
        if self.pixels == "standardised":
            return data, test
        low, high = whole.inputs.aminmax()  # black and white
        data, test = (replace(s, inputs=(s.inputs - low) / (high - low)) for s in (data, test))
        return data, test


def masks(
    model: nn.Module,
    data: Samples,
    widths: dict[str, int],
    known: Moments,
    noise: float,
    seed: int,
) -> dict[str, Mask]:
    """Return a mask of these widths from each method."""
    groups = channel_groups(model, data.inputs[:1])
    weights = prunable(model)
    chance = torch.Generator().manual_seed(seed)

    def of(scores: dict[str, torch.Tensor]) -> Mask:
        kept = top_channels(groups, scores, weights, widths)
        return channel_mask(model, groups, kept, tuple(weights))

    return {
        "MIPP": mipp(model, known, Gaussian(noise=noise), widths=widths).mask,
        "L1": of({g.name: _rows(model, g).abs().sum(1) for g in groups}),
        "random": of({g.name: torch.rand(g.size, generator=chance) for g in groups}),
    }


def _rows(model: nn.Module, group: ChannelGroup) -> torch.Tensor:
    return dict(model.named_parameters())[f"{group.name}.weight"].detach()


def rows_of(seed: int, recipe: Recipe) -> list[dict[str, object]]:
    """Return accuracies at all widths for one seed."""
    (data, test), model = recipe.data(seed), lenet_300_100(seed=seed)
    train(model, data, recipe.training(recipe.epochs, seed))
    dense = evaluate(model, test).accuracy
    known, found = moments(model, data), []
    for first, second in WIDTHS:
        widths = {"fc1": first, "fc2": second}
        for name, mask in masks(model, data, widths, known, recipe.noise, seed).items():
            starts = {
                "": mask.apply_(copied(model)),
                ", reconstructed": reconstructed(model, mask, known),
                ", refitted": refitted(model, mask, data),
            }
            for how, start in starts.items():
                before = evaluate(start, test).accuracy
                small = shrink(start, mask, data.inputs[:1])
                train(small, data, recipe.training(2, seed, again=True))
                after = evaluate(small, test).accuracy
                row = {"seed": seed, "widths": f"{first}, {second}", "method": name + how}
                found.append({**row, "dense": dense, "no training": before, "2 epochs": after})
    return found


def main() -> None:
    """Print means and spreads over seeds, in per cent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path("data"), help="torchvision's folder")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--pixels", choices=("standardised", "0-1"), default="standardised")
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd")
    parser.add_argument("--decay", type=float, help="of weights; SGD: 5e-4, Adam: 0")
    parser.add_argument("--noise", type=float, default=0.1, help="of MIPP's Gaussian engine")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.decay is None:
        options.decay = 5e-4 if options.optimizer == "sgd" else 0.0
    seeds = range(vars(options).pop("seeds"))
    recipe = Recipe(**vars(options))
    found = pd.DataFrame([row for seed in seeds for row in rows_of(seed, recipe)])
    found["lost"] = found["dense"] - found["no training"]
    columns = ["no training", "2 epochs", "lost"]
    table = found.groupby(["widths", "method"], sort=False)[columns].agg(["mean", "std"]) * 100
    print(
        f"dense: {found.dense.mean():.2%} (from {found.dense.min():.2%} to {found.dense.max():.2%})"
    )
    print(table.round(1).to_string())


if __name__ == "__main__":
    main()
