"""What the reviewers of the MIPP paper asked for: ablations, and a transformer.

    python examples/mipp_ablations.py samples --root data      # how many samples the moments need
    python examples/mipp_ablations.py target --root data       # the output, or the next layer
    python examples/mipp_ablations.py transformer --root data  # heads and hidden units
    python examples/mipp_ablations.py kept --root data         # what layers tell, held out

MNIST, 3 seeds, one thread; without --root the 8 x 8 digits of scikit-learn. A finished
network is kept in a file, so the same command goes on where it was stopped.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mitools import mutual_information
from mitools.activations import capture, layer_information
from mitools.data import Samples, digits, mnist
from mitools.methods import KSG
from mitools.mipp import Moments, mipp, moments, reconstructed
from mitools.models import copied, lenet5, lenet_300_100, prunable, reinitialized, vit
from mitools.neural import InfoNCE, Variational
from mitools.pruning import (
    SNIP,
    ChannelGroup,
    Magnitude,
    Mask,
    Random,
    Structured,
    channel_groups,
    channel_mask,
    kept_channels,
    prune,
    shrink,
    top_channels,
)
from mitools.pruning.structured import aggregated
from mitools.training import SGD, Adam, Cosine, Training, evaluate, train

Widths = Mapping[str, int]
Row = dict[str, Any]
_REWRITTEN = ", reconstructed"


@dataclass(frozen=True)
class Setting:
    """A network, and how long it is trained, before and after pruning."""

    build: Callable[[int, int], nn.Module]  # of pixels along a side, and a seed
    optimizer: SGD | Adam
    epochs: int
    retraining: int
    widths: tuple[dict[str, int], ...] = ()

    def training(self, seed: int) -> Training:
        """Return the first training."""
        return Training(self.epochs, 128, self.optimizer, Cosine(), seed=seed)

    def again(self, seed: int) -> Training:
        """Return the training of a pruned network, in smaller steps."""
        slower = replace(self.optimizer, lr=0.4 * self.optimizer.lr)
        return Training(self.retraining, 128, slower, Cosine(), seed=seed)


def _sgd(lr: float) -> SGD:
    return SGD(lr=lr, momentum=0.9, weight_decay=5e-4)


SETTINGS = {
    "lenet-300-100": Setting(
        lambda side, seed: lenet_300_100(side**2, seed=seed),
        _sgd(0.05),
        8,
        2,
        ({"fc1": 60, "fc2": 30}, {"fc1": 15, "fc2": 12}),
    ),
    "lenet-5": Setting(
        lambda side, seed: lenet5(size=side, seed=seed),
        _sgd(0.02),
        5,
        1,
        ({"conv1": 4, "conv2": 8, "fc1": 30, "fc2": 20},),
    ),
    "transformer": Setting(
        lambda side, seed: vit(
            1, size=side, patch=side // 4, width=32, depth=2, heads=8, seed=seed
        ),
        Adam(lr=2e-3),
        10,
        2,
    ),
}


@dataclass(frozen=True)
class Bench:
    """A trained network and its data."""

    net: str
    model: nn.Module
    learn: Samples
    whole: Samples
    test: Samples
    setting: Setting
    seed: int

    @cached_property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The groups of channels."""
        return channel_groups(self.model, self.learn.inputs[:1])

    def mask(self, scores: Mapping[str, Tensor], widths: Widths) -> Mask:
        """Return the mask of the channels with the largest scores."""
        weights = prunable(self.model)
        kept = top_channels(self.groups, scores, weights, widths)
        return channel_mask(self.model, self.groups, kept, tuple(weights))

    def large(self, widths: Widths) -> Mask:
        """Return the mask of the channels with the largest sums of absolute weights."""
        weights = {name: w.detach().abs() for name, w in self.model.named_parameters()}
        return self.mask(aggregated(self.groups, weights), widths)

    def drawn(self, widths: Widths) -> Mask:
        """Return the mask of channels drawn at random."""
        chance = torch.Generator().manual_seed(self.seed)
        scores = {g.name: torch.rand(g.size, generator=chance) for g in self.groups}
        return self.mask(scores, widths)

    def widths(self, mask: Mask) -> dict[str, int]:
        """Return how many channels of each group stay."""
        return {n: int(k.sum()) for n, k in kept_channels(self.groups, mask).items()}

    def accuracy(self, model: nn.Module) -> float:
        """Return the accuracy on the test set."""
        return float(evaluate(model, self.test).accuracy or 0.0)

    def trained_again(self, mask: Mask, known: Moments | None = None) -> Row:
        """Return accuracies before and after training; with moments, of refitted weights."""
        if known is None:
            start = mask.apply_(copied(self.model))
        else:
            start = reconstructed(self.model, mask, known)
        small = shrink(start, mask, self.learn.inputs[:1])
        train(small, self.learn, self.setting.again(self.seed))
        return {
            "before": self.accuracy(start),
            "after": self.accuracy(small),
            "widths": self.widths(mask),
        }


def bench(name: str, seed: int, options: argparse.Namespace) -> Bench:
    """Return a network trained on some images."""
    if options.root is None:
        whole, test = (
            Samples(s.inputs.reshape(-1, 1, 8, 8), s.targets, classes=10)
            for s in (digits(train=True), digits(train=False))
        )
    else:
        whole, test = mnist(options.root, train=True), mnist(options.root, train=False)
    chance = torch.Generator().manual_seed(seed)
    whole = whole.take(torch.randperm(len(whole), generator=chance))
    learn, setting = whole.take(slice(options.images)), SETTINGS[name]
    if options.epochs is not None:
        setting = replace(setting, epochs=options.epochs, retraining=options.epochs)
    model = setting.build(whole.inputs.shape[-1], seed)
    train(model, learn, setting.training(seed))
    return Bench(name, model, learn, whole, test, setting, seed)


def samples(on: Bench) -> Iterator[Row]:
    """Yield what is chosen from few samples: how much of it all samples choose, and accuracies."""
    counts = [n for n in (100, 300, 1_000, 3_000, 10_000) if n < len(on.whole)]
    found = {n: moments(on.model, on.whole.take(slice(n))) for n in (*counts, len(on.whole))}
    every = found[len(on.whole)]
    for widths in on.setting.widths:
        shown = {"net": on.net, "widths kept": ", ".join(map(str, widths.values()))}
        yield shown | {"samples": "dense", "masked": on.accuracy(on.model)}
        best = kept_channels(on.groups, mipp(on.model, every, widths=widths).mask)
        for n in (*found, 0):
            known = found.get(n, every)
            mask = mipp(on.model, known, widths=widths).mask if n else on.drawn(widths)
            kept = kept_channels(on.groups, mask)
            same = [float((kept[k] & best[k]).sum() / best[k].sum()) for k in widths]
            yield {
                **shown,
                "samples": f"{n:,}" if n else "random channels",
                "in common": float(np.mean(same)),
                "masked": on.accuracy(mask.apply_(copied(on.model))),
                "reconstructed": on.accuracy(reconstructed(on.model, mask, known)),
                "by all samples": on.accuracy(reconstructed(on.model, mask, every)),
            }


def target(on: Bench) -> Iterator[Row]:
    """Yield accuracies with the next layer and with the network's output as the target."""
    yield {"net": on.net, "density": 1.0, "method": "dense", "before": on.accuracy(on.model)}
    near = moments(on.model, on.learn)
    far = moments(on.model, on.learn, target="output")
    for density in (0.2, 0.05):
        masks = {}
        for name, known in (("next layer", near), ("output", far)):
            alike = mipp(on.model, known, density=density, scope="layer")
            free = mipp(on.model, known, density=density, scope="global")
            masks |= {f"{name}, equal shares": alike.mask, f"{name}, one noise": free.mask}
        masks["L1, equal shares"] = on.large(on.widths(masks["output, equal shares"]))
        for name, mask in masks.items():
            shown = {"net": on.net, "density": density}
            yield {**shown, "method": name, **on.trained_again(mask)}
            yield {**shown, "method": name + _REWRITTEN, **on.trained_again(mask, near)}


SCORED = {
    "random, equal shares": Structured(Random(), scope="layer"),
    "L1, equal shares": Structured(Magnitude(), scope="layer"),
    "SNIP, equal shares": Structured(SNIP(), scope="layer"),
    "L1": Structured(Magnitude()),
    "SNIP": Structured(SNIP()),
}


def transformer(on: Bench) -> Iterator[Row]:
    """Yield accuracies of a vision transformer without some heads and hidden units."""
    yield {"density": 1.0, "method": "dense", "before": on.accuracy(on.model)}
    known = moments(on.model, on.learn)
    few = on.learn.take(slice(1_000))
    for density in (0.4, 0.2):
        masks = {name: prune(on.model, few, p, density=density) for name, p in SCORED.items()}
        masks["MIPP, equal shares"] = mipp(on.model, known, density=density, scope="layer").mask
        masks["MIPP, one noise"] = mipp(on.model, known, density=density, scope="global").mask
        for name, mask in masks.items():
            yield {"density": density, "method": name, **on.trained_again(mask)}
            if "equal shares" in name or "MIPP" in name:
                row = on.trained_again(mask, known)
                yield {"density": density, "method": name + _REWRITTEN, **row}
        mask = masks["MIPP, one noise"]
        small = shrink(copied(on.model), mask, on.learn.inputs[:1])
        small = reinitialized(small, seed=on.seed + 100)
        longer = replace(on.setting, epochs=on.setting.epochs + on.setting.retraining)
        train(small, on.learn, longer.training(on.seed))
        row = {"after": on.accuracy(small), "widths": on.widths(mask)}
        yield {"density": density, "method": "small dense", **row}


def kept(on: Bench) -> Iterator[Row]:
    """Yield what layers tell of each other, from test images, by nearest neighbours."""
    known = moments(on.model, on.learn)
    yield {"widths kept": "", "method": "dense", **_told(on, on.model, {})}
    for widths in on.setting.widths:
        masks = {
            "MIPP": mipp(on.model, known, widths=widths).mask,
            "L1": on.large(widths),
            "random": on.drawn(widths),
        }
        shown = {"widths kept": ", ".join(map(str, widths.values()))}
        for name, mask in masks.items():
            stay = kept_channels(on.groups, mask)
            for how, model in (
                ("", mask.apply_(copied(on.model))),
                (_REWRITTEN, reconstructed(on.model, mask, known)),
            ):
                yield {**shown, "method": name + how, **_told(on, model, stay)}


def _told(on: Bench, model: nn.Module, stay: Mapping[str, Tensor]) -> Row:
    """Return what layers tell of the next, as it is now and as it was in the dense network."""
    found: Row = {"accuracy": on.accuracy(model)}
    table = layer_information(model, on.test, KSG(), at="output", reduce="patches", components=5)
    pairs = table[table.quantity == "I(T; T')"]
    units, before = capture(model, on.test), capture(on.model, on.test, at="output")
    for one, two, value in zip(pairs.layer, pairs.next, pairs.value, strict=True):
        left = units[one][:, stay[one].numpy()] if one in stay else units[one]
        found[f"{one}→{two}"] = value
        found[f"{one}→dense {two}"] = _bound(left, before[two], on.seed)
    return found


def _bound(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """Return a held-out lower bound on I(X; Y + N), noise as loud as each column of Y."""
    noise = np.random.default_rng(seed).standard_normal(y.shape) * y.std(0)
    return mutual_information(x, y + noise, Variational(InfoNCE(), seed=seed)).value


TABLES: dict[str, tuple[Callable[[Bench], Iterator[Row]], tuple[str, ...]]] = {
    "samples": (samples, ("lenet-300-100", "lenet-5")),
    "target": (target, ("lenet-300-100", "lenet-5")),
    "transformer": (transformer, ("transformer",)),
    "kept": (kept, ("lenet-300-100",)),
}
KEYS = ["net", "widths kept", "density", "samples", "method"]


def finished(table: str, net: str, seed: int, options: argparse.Namespace) -> list[Row]:
    """Return the rows of a network, from its file if it has one."""
    path = options.out / f"{table}-{net}-{seed}.json"
    if not path.exists():
        make, _ = TABLES[table]
        rows = list(make(bench(net, seed, options)))
        path.with_suffix(".part").write_text(json.dumps(rows))
        path.with_suffix(".part").replace(path)
    return json.loads(path.read_text())


def main() -> None:
    """Print means and spreads over seeds, and the mean widths."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--root", help="torchvision's folder of data sets")
    parser.add_argument("--nets", nargs="+", choices=list(SETTINGS), help="only these")
    parser.add_argument("--out", type=Path, default=Path("mipp-ablations"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000, help="to learn from (10,000)")
    parser.add_argument("--epochs", type=int, help="instead of each network's own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    nets = [net for net in TABLES[options.table][1] if net in (options.nets or SETTINGS)]
    rows = [
        row
        for net in nets
        for seed in range(options.seeds)
        for row in finished(options.table, net, seed, options)
    ]
    print(shown(pd.DataFrame(rows)).to_string())


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means and spreads over seeds: per cent, or nats where one layer tells of the next."""
    keys = [key for key in KEYS if key in rows]
    found = rows.groupby(keys, sort=False)
    columns = [name for name in rows if name not in (*keys, "widths")]
    table = pd.DataFrame({name: found[name].agg(_text(str(name))) for name in columns})
    if "widths" in rows:
        table["widths"] = found["widths"].agg(_mean_widths)
    return table


def _text(column: str) -> Callable[[pd.Series], str]:
    unit, digits = (1, 2) if "→" in column else (100, 1)

    def text(values: pd.Series) -> str:
        if values.isna().all():
            return ""
        return f"{values.mean() * unit:.{digits}f} ± {values.std() * unit:.{digits}f}"

    return text


def _mean_widths(widths: pd.Series) -> str:
    return ", ".join(f"{mean:.0f}" for mean in pd.DataFrame(list(widths.dropna())).mean())


if __name__ == "__main__":
    main()
