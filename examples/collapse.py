"""At which densities masks cut a network in two: what each method keeps on input-output paths.

    pip install 'mitools[shrink]'                                # for the structured ones
    python examples/collapse.py                                  # everything; hours on one core
    python examples/collapse.py --nets lenet-300-100             # minutes
    python examples/collapse.py --nets resnet20 --methods snip synflow --densities 0.01 0.001
    python examples/collapse.py --table                          # what is done so far, as Markdown

Every mask is a line in collapse.jsonl, and what is there is not done again. MNIST and CIFAR-10 are
read from the folder that MITOOLS_DATA names; without it, scikit-learn's digits, enlarged, and noise
take their place, and the lines say so.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from mitools.data import Samples, cifar10, digits, mnist
from mitools.mipp import MIPP
from mitools.models import copied, named, prunable
from mitools.pruning import (
    ERK,
    FORCE,
    IMP,
    LAMP,
    OTO,
    SNIP,
    SOSP,
    AutoSparse,
    GradualMagnitude,
    GraSP,
    Iterative,
    Magnitude,
    MagnitudeAfterTraining,
    Mask,
    OneShot,
    ProsPr,
    Pruner,
    Random,
    Structured,
    SynFlow,
    ThiNet,
    channel_groups,
    channel_mask,
    prune,
    top_k,
)
from mitools.training import SGD, Training

DENSITIES = (0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)
TRAINING = Training(epochs=5, batch_size=64, optimizer=SGD(lr=0.1, momentum=0.9))


@dataclass(frozen=True)
class Setting:
    """A network, its data, and how much of them scores see."""

    data: str
    shape: tuple[int, ...]
    batch: int
    batches: int
    rounds: int
    trained: int  # images to train on
    synflow_rounds: int = 100
    imp_rounds: int | None = None  # None: 20% of the survivors in each


SETTINGS = {
    "lenet-300-100": Setting("mnist", (1, 28, 28), 64, 2, rounds=60, trained=2000),
    "resnet20": Setting("cifar10", (3, 32, 32), 32, 1, rounds=10, trained=500, imp_rounds=10),
    "vgg16": Setting(
        "cifar10", (3, 32, 32), 16, 1, rounds=5, trained=256, synflow_rounds=20, imp_rounds=5
    ),
}


def methods(setting: Setting) -> dict[str, Pruner]:
    """Return the pruners, by the names of the table."""
    rounds, brief = setting.rounds, replace(TRAINING, epochs=1)
    return {
        "Random": OneShot(Random()),
        "Random, layer-wise": OneShot(Random(), scope="layer"),
        "Random, ERK": OneShot(Random(), scope=ERK()),
        "Magnitude": OneShot(Magnitude()),
        "LAMP": OneShot(LAMP()),
        "SNIP": OneShot(SNIP()),
        "IterSNIP": Iterative(SNIP(), rounds),
        "FORCE": FORCE(rounds),
        "GraSP": OneShot(GraSP()),
        "IterGraSP": Iterative(GraSP(), rounds),
        "ProsPr": OneShot(ProsPr(precision="model")),
        "SynFlow, 1 round": OneShot(SynFlow()),
        "SynFlow": Iterative(SynFlow(), setting.synflow_rounds),
        "AutoSparse": AutoSparse(brief),
        "Magnitude after training": MagnitudeAfterTraining(TRAINING),
        "Gradual magnitude": GradualMagnitude(TRAINING),
        "IMP": IMP(brief, rounds=setting.imp_rounds),
        **STRUCTURED,
    }


STRUCTURED: dict[str, Pruner] = {
    "Structured random": Structured(Random(), scope="layer"),
    "Structured magnitude": Structured(Magnitude()),
    "Structured SNIP": Structured(SNIP()),
    "Structured GraSP": Structured(GraSP()),
    "Structured SynFlow": Structured(SynFlow(), rounds=20),
    "SOSP-H": SOSP(),
    "ThiNet": ThiNet(),
    "OTO": OTO(TRAINING),
    "MIPP": MIPP(),
}
"""Those that keep whole channels."""


@cache
def real(data: str, root: str) -> Samples:
    """Return all training images."""
    return {"mnist": mnist, "cifar10": cifar10}[data](root)


def data_of(setting: Setting) -> Samples:
    """Return the first training images, real ones where MITOOLS_DATA has them."""
    n = setting.trained
    root = os.environ.get("MITOOLS_DATA")
    if root is not None:
        return real(setting.data, root).take(range(n))
    if setting.data == "mnist":
        small = digits()
        images = F.interpolate(small.inputs.view(-1, 1, 8, 8), (28, 28), mode="bilinear")
        return Samples(images, small.targets, name="digits, enlarged").take(range(min(n, 1797)))
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, *setting.shape, generator=draw)
    targets = torch.randint(10, (n,), generator=draw)
    return Samples(inputs, targets, name="noise", classes=10)


def masks(
    model: nn.Module, samples: Samples, pruner: Pruner, densities: list[float], setting: Setting
) -> Iterator[tuple[float, Mask]]:
    """Yield the mask at each density; a pruner of one ranking scores once."""
    if not densities:
        return
    if isinstance(pruner, AutoSparse):  # learns once what ranks
        pruner = OneShot(pruner.fit(model, samples, tuple(prunable(model))))
    elif isinstance(pruner, MagnitudeAfterTraining):  # trains once
        (model := copied(model)).load_state_dict(pruner.run(model, samples, 1.0).trained)
        pruner = OneShot(pruner.score)
    elif hasattr(pruner, "training"):
        yield from ((d, prune(model, samples, pruner, density=d)) for d in densities)
        return
    few = samples.take(slice(0, setting.batch * setting.batches))
    loader = DataLoader(few, batch_size=setting.batch)
    if not isinstance(pruner, OneShot):
        yield from ((d, prune(model, loader, pruner, density=d)) for d in densities)
        return
    weights = prunable(model)
    scores = pruner.score.scores(model, loader, tuple(weights))
    kept = None
    for density in sorted(densities, reverse=True):  # nested, so the next takes part of the last
        kept = top_k(scores, round(density * weights.size), pruner.scope, among=kept)
        yield density, Mask(kept)


def least(model: nn.Module, samples: Samples) -> int:
    """Return how many weights a channel in every group takes."""
    groups = channel_groups(model, samples.inputs[:1])
    first = {group.name: torch.arange(group.size) == 0 for group in groups}
    return channel_mask(model, groups, first, tuple(prunable(model))).nonzeros


def measure(net: str, wanted: list[str], densities: list[float], kept: Path) -> None:
    """Prune by every method at every density, and add a line to the cache for each mask."""
    setting = SETTINGS[net]
    samples, model = data_of(setting), named(net, setting.shape)
    done = set(map(_key, _read(kept))) if kept.exists() else set()
    for method, pruner in methods(setting).items():
        if wanted and not any(word.lower() == method.lower() for word in wanted):
            continue
        line: dict[str, str | int] = {
            "net": net,
            "method": method,
            "pruner": repr(pruner),
            "data": samples.name,
        }
        line["images"] = setting.batch * setting.batches
        if hasattr(pruner, "training"):
            line["images"] = len(samples)
        left = [d for d in densities if _key({**line, "density": d}) not in done]
        if method in STRUCTURED and left:
            size, floor = prunable(model).size, least(model, samples)
            left = [d for d in left if round(d * size) >= floor]
        start = time.perf_counter()
        for density, mask in masks(model, samples, pruner, left, setting):
            wired = mask.on_path(model, samples.inputs[:1]).nonzeros
            empty = sum(layer.kept == 0 for layer in mask.layers())
            counts = {"size": mask.size, "kept": mask.nonzeros, "on_path": wired, "empty": empty}
            seconds = round(time.perf_counter() - start, 1)
            with kept.open("a") as file:
                row = {**line, "density": density, **counts, "seconds": seconds}
                print(json.dumps(row), file=file)
            print(
                f"{net:<15}{method:<26}{density:8.3%}{_cell(row):>18}{seconds:9.1f} s", flush=True
            )
            start = time.perf_counter()


def table(kept: Path) -> str:
    """Return Markdown: a table for each network, a row for each method."""
    lines = pd.DataFrame(_read(kept))
    parts = []
    for net, rows in lines.groupby("net", sort=False):
        told = ", ".join(rows["data"].unique())
        parts.append(f"**{net}** ({rows['size'].iloc[0]:,} weights; {told})\n")
        order = sorted(rows["density"].unique(), reverse=True)
        parts.append(f"| | {' | '.join(f'{d:.4g}' for d in 100 * pd.Series(order))} |")
        parts.append(f"| --- |{' ---: |' * len(order)}")
        floor = rows.loc[rows["method"].isin(STRUCTURED), "kept"].min()  # NaN where none is
        alike: dict[tuple[str, ...], list[str]] = {}
        for method in methods(SETTINGS[str(net)]):
            of_method = rows.loc[rows["method"] == method].to_dict("records")
            cells = {row["density"]: _cell(row) for row in of_method}
            if method in STRUCTURED:
                cells = {d: "–" for d in order if round(d * rows["size"].iloc[0]) < floor} | cells
            line = tuple(cells.get(d, "") for d in order)
            alike.setdefault(line if method in STRUCTURED else (*line, method), []).append(method)
        for line, names in alike.items():
            parts.append(f"| {', '.join(names)} | {' | '.join(line[: len(order)])} |")
        parts.append("")
    return "\n".join(parts)


def _cell(row: dict) -> str:
    if not row["on_path"]:
        return "cut"
    empty = f", {row['empty']} empty" if row["empty"] else ""
    return f"{100 * row['on_path'] / row['kept']:.3g}{empty}"


def _read(kept: Path) -> list[dict]:
    return [json.loads(line) for line in kept.read_text().splitlines()]


def _key(row: dict) -> tuple:
    return tuple(row[name] for name in ("net", "pruner", "data", "images", "density"))


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description="layer collapse, method by method")
    parser.add_argument("--nets", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--densities", nargs="+", type=float, default=list(DENSITIES))
    parser.add_argument("--methods", nargs="+", default=[], help="as in the table; all")
    parser.add_argument("--cache", type=Path, default=Path("collapse.jsonl"))
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    options = parser.parse_args()
    if not options.table:
        for net in options.nets:
            measure(net, options.methods, options.densities, options.cache)
    print(table(options.cache))


if __name__ == "__main__":
    main()
