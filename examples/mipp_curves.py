"""Accuracy against density: MIPP and the other structured pruners, all trained equally.

    python examples/mipp_curves.py lenet-300-100 --root data
    python examples/mipp_curves.py lenet-5 --root data
    python examples/mipp_curves.py vgg-11 --root data --jobs 2

"trained": a dense network is trained, pruned, made physically smaller and trained on for a short
time. "untrained": it is pruned before any training and then trained. Small dense: a network of
MIPP's widths, drawn afresh and trained as long as the dense one and the retraining together.
Every cell is kept in a file, so the same command goes on where it was stopped.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import torch
from torch import nn

from mitools.data import Samples, cifar10, mnist
from mitools.mipp import Gaussian, Moments, mipp, moments
from mitools.models import copied, lenet5, lenet_300_100, reinitialized, vgg
from mitools.pruning import (
    OTO,
    SNIP,
    SOSP,
    GraSP,
    Magnitude,
    Mask,
    Random,
    Structured,
    SynFlow,
    ThiNet,
    costs,
    prune,
    shrink,
)
from mitools.training import SGD, Cosine, Training, evaluate, train


@dataclass(frozen=True)
class Setting:
    """A network, its data, and how long it is trained."""

    build: Callable[[int], nn.Module]
    data: Callable[[Path, bool], Samples]
    densities: tuple[float, ...]
    epochs: int
    retraining: int
    images: int
    lr: float = 0.05
    penalty: float = 0.02  # OTO's, scaled to these short trainings

    def training(self, epochs: int, seed: int, lr: float = 1.0) -> Training:
        """Return a training of so many epochs."""
        optimizer = SGD(lr=self.lr * lr, momentum=0.9, weight_decay=5e-4)
        return Training(epochs, batch_size=128, optimizer=optimizer, schedule=Cosine(), seed=seed)


SETTINGS = {
    "lenet-300-100": Setting(
        lambda seed: lenet_300_100(seed=seed),
        lambda root, train: mnist(root, train),
        (0.5, 0.2, 0.1, 0.05, 0.02, 0.01),
        epochs=8,
        retraining=2,
        images=10_000,
    ),
    "lenet-5": Setting(
        lambda seed: lenet5(seed=seed),
        lambda root, train: mnist(root, train),
        (0.5, 0.2, 0.1, 0.05, 0.02, 0.01),
        epochs=5,
        retraining=1,
        images=20_000,
        lr=0.02,
    ),
    "vgg-11": Setting(
        lambda seed: vgg(11, width=0.25, seed=seed),
        lambda root, train: cifar10(root, train),
        (0.5, 0.25, 0.1, 0.05, 0.02),
        epochs=8,
        retraining=2,
        images=5_000,
    ),
}
SCORED = {
    "random": Structured(Random(), scope="layer"),
    "L1": Structured(Magnitude()),
    "L1, per layer": Structured(Magnitude(), scope="layer"),
    "SNIP": Structured(SNIP()),
    "GraSP": Structured(GraSP(signed=False)),
    "SynFlow": Structured(SynFlow(), rounds=30),
    "SOSP-H": SOSP(),
    "ThiNet": ThiNet(),
}
_SCORING = 1_000  # images that gradients and contributions are computed from


@dataclass(frozen=True)
class Cell:
    """One network, pruned in one way to one density."""

    net: str
    seed: int
    stage: str
    method: str
    density: float


def cells(net: str, seeds: int, stages: list[str]) -> Iterator[Cell]:
    """Return every cell of a table; the small dense network comes with each density."""
    methods = ["dense", *SCORED, "OTO", "MIPP", "MIPP, reconstructed", "small dense"]
    for seed in range(seeds):
        for stage in stages:
            yield Cell(net, seed, stage, "dense", 1.0)
            for density in SETTINGS[net].densities:
                for method in methods[1:]:
                    trains = method in ("OTO", "MIPP, reconstructed", "small dense")
                    if stage == "trained" or not trains:
                        yield Cell(net, seed, stage, method, density)


def measured(cell: Cell, root: str) -> dict[str, Any]:
    """Return the accuracy of a cell before and after training, and what is left of the network."""
    torch.set_num_threads(1)
    setting = SETTINGS[cell.net]
    data, test = _data(cell.net, root, True, cell.seed), _data(cell.net, root, False, cell.seed)
    model = _model(cell.net, root, cell.seed, cell.stage)
    lasts = setting.retraining if cell.stage == "trained" else setting.epochs + setting.retraining
    training = setting.training(lasts, cell.seed, lr=0.4 if cell.stage == "trained" else 1.0)
    if cell.method == "dense":
        mask, pruned, seconds = Mask.ones_like(model), model, 0.0
    else:
        start = time.process_time()
        mask, pruned = _pruned(cell, root, model, data)
        seconds = time.process_time() - start
    fresh = cell.method == "small dense"
    row: dict[str, Any] = {"seconds": seconds}
    row["before"] = float("nan") if fresh else evaluate(pruned, test).accuracy
    example = data.inputs[:1]
    row["density"] = mask.density
    row["alive"] = mask.on_path(model, example).nonzeros > 0
    small = copied(pruned) if cell.method == "dense" else shrink(pruned, mask, example)
    if fresh:
        small = reinitialized(small, seed=cell.seed + 100)
        training = setting.training(setting.epochs + setting.retraining, cell.seed)
    cost = costs(small, example)
    row |= {"parameters": cost.parameters, "macs": cost.macs}
    if cell.method == "dense" and cell.stage == "trained":
        return row | {"after": row["before"]}
    train(small, data, training)
    return row | {"after": evaluate(small, test).accuracy}


def _pruned(cell: Cell, root: str, model: nn.Module, data: Samples) -> tuple[Mask, nn.Module]:
    """Return the mask, and the network as it is right after pruning."""
    few, pruned = data.take(slice(_SCORING)), copied(model)
    if cell.method == "OTO":
        setting = SETTINGS[cell.net]
        oto = OTO(setting.training(setting.epochs, cell.seed), penalty=setting.penalty)
        ticket = oto.run(_model(cell.net, root, cell.seed, "untrained"), data, cell.density)
        pruned.load_state_dict(ticket.trained)
        return ticket.levels[-1], ticket.levels[-1].apply_(pruned)
    if cell.method in SCORED:
        pruner = SCORED[cell.method]
        mask = prune(model, few, pruner, density=cell.density)
        rescaled = isinstance(pruner, ThiNet)
        return mask, pruner.rescaled(model, mask, few) if rescaled else mask.apply_(pruned)
    known = _moments(cell.net, root, cell.seed, cell.stage)
    found = mipp(model, known, Gaussian(), density=cell.density)
    rewritten = cell.method == "MIPP, reconstructed"
    return found.mask, found.reconstructed(model) if rewritten else found.mask.apply_(pruned)


@cache
def _data(net: str, root: str, train: bool, seed: int) -> Samples:
    whole = SETTINGS[net].data(Path(root), train)
    if not train:
        return whole
    chance = torch.Generator().manual_seed(seed)
    return whole.take(torch.randperm(len(whole), generator=chance)[: SETTINGS[net].images])


@cache
def _model(net: str, root: str, seed: int, stage: str) -> nn.Module:
    setting = SETTINGS[net]
    model = setting.build(seed)
    if stage == "trained":
        train(model, _data(net, root, True, seed), setting.training(setting.epochs, seed))
    return model


@cache
def _moments(net: str, root: str, seed: int, stage: str) -> Moments:
    return moments(_model(net, root, seed, stage), _data(net, root, True, seed), seed=seed)


def _of_seed(wanted: list[Cell], root: str, path: Path) -> list[dict[str, Any]]:
    """Measure what a file does not hold yet; return all it holds then."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    done = {Cell(*(row[field.name] for field in fields(Cell))) for row in rows}
    for cell in wanted:
        if cell in done:
            continue
        try:
            row = {**asdict(cell), "asked": cell.density, **measured(cell, root)}
        except ValueError as error:  # a density below what one channel a layer needs
            row = {**asdict(cell), "asked": cell.density, "error": str(error)}
        row["density"], row["reached"] = cell.density, row["density"]
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        rows.append(row)
    return rows


def main() -> None:
    """Fill the table and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=list(SETTINGS))
    parser.add_argument("--root", default="data", help="torchvision's folder of data sets")
    parser.add_argument("--out", type=Path, default=Path("mipp-curves"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--stages", nargs="+", default=["trained"], choices=("trained", "untrained")
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = list(cells(options.net, options.seeds, options.stages))
    by_seed = [[cell for cell in wanted if cell.seed == seed] for seed in range(options.seeds)]
    found = joblib.Parallel(options.jobs)(
        joblib.delayed(_of_seed)(group, options.root, options.out / f"{options.net}-{seed}.jsonl")
        for seed, group in enumerate(by_seed)
    )
    rows = pd.DataFrame([row for group in found for row in group])
    for stage in options.stages:
        for column in ("before", "after"):
            print(f"\n{options.net}, {stage}, accuracy {column} training (%), mean and spread")
            print(_table(rows[rows.stage == stage], column).to_string())
    dead = rows[rows.get("alive", True) == False]  # noqa: E712 - a column of objects
    print(f"\ncells whose signal is cut: {len(dead)} of {len(rows)}")
    print(rows.groupby("method", sort=False).seconds.mean().round(2).to_string())


def _table(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    found = rows.groupby(["method", "density"], sort=False)[column].agg(["mean", "std"]) * 100
    text = found.apply(lambda row: f"{row['mean']:.1f} ± {row['std']:.1f}", axis=1)
    text[found["mean"].isna()] = ""
    return text.unstack("density").loc[rows.method.unique()].fillna("")


if __name__ == "__main__":
    main()
