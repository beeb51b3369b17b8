"""MIPP's engines on known answers, and side by side on layers: agreement and cost.

    python examples/mipp_engines.py known              # every row of the table: 20 minutes
    python examples/mipp_engines.py known --seeds 2
    python examples/mipp_engines.py irrelevant         # how often a useless feature stays
    python examples/mipp_engines.py layers             # digits, and LeNet-300-100 on MNIST

Seconds are of CPU time on one thread. With --cache FILE every finished run is a line of that file,
and is not made again.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import nn

from mitools._typing import FloatArray
from mitools.activations import capture
from mitools.data import digits, mnist
from mitools.mipp import Elimination, Engine, Gaussian, Layer, Predictive, layer_of
from mitools.models import lenet_300_100, mlp
from mitools.training import Adam, Training, train

RETRAINED, AMORTISED = Predictive(), Predictive(training="amortised")
ENGINES = {"retrained": RETRAINED, "amortised": AMORTISED}
ROWS = 2_000

Draw = Callable[[np.random.Generator, int], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class Known:
    """A law of features and a target, and the smallest sets that tell what all features tell."""

    draw: Draw
    minimal: tuple[set[int], ...]
    classes: bool = True
    head: str = "squared"


def _three_bits(copies: tuple[int, ...]) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        bits = rng.integers(0, 2, (n, 3))
        agree = (bits == bits[:, :1]).all(1)
        return bits[:, [0, 1, 2, *copies]].astype(float), agree.astype(float)

    return draw


def _two_bits(make: Callable[[FloatArray, FloatArray], tuple[list[FloatArray], Any]]) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        a, b = rng.integers(0, 2, (2, n)).astype(float)
        columns, target = make(a, b)
        return np.column_stack(columns), np.asarray(target, float)

    return draw


def _secret_key(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    x = rng.integers(0, 11, (n, 25)).astype(float)
    return x, 3 * x[:, 0] - 3 * x[:, 1] + x[:, 2]


def _spread(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    x = np.column_stack([rng.chisquare(1, n), rng.standard_normal((n, 2))])
    return x, np.sqrt(x[:, 0]) * rng.standard_normal(n)


KNOWN = {
    "4-redundant": Known(_three_bits((0, 0, 0)), tuple({1, 2, i} for i in (0, 3, 4, 5))),
    "2-triplets": Known(
        _three_bits((0, 1, 2)), tuple({a, b, c} for a in (0, 3) for b in (1, 4) for c in (2, 5))
    ),
    "redundant pair": Known(_two_bits(lambda a, b: ([a, b, b], a + 2 * b)), ({0, 1}, {0, 2})),
    "XOR": Known(_two_bits(lambda a, b: ([a, b], a != b)), ({0, 1},)),
    "sum": Known(_two_bits(lambda a, b: ([a, b, a + b], a + b)), ({2},)),
    "joint symbol": Known(_two_bits(lambda a, b: ([a, b, 2 * a + b], 2 * a + b)), ({2},)),
    "secret key": Known(_secret_key, ({0, 1, 2},), classes=False),
    "X | Y": Known(_spread, ({0},), classes=False, head="normal"),
    "X | Y, squared error": Known(_spread, (set(),), classes=False),
}


class Cache:
    """Finished runs, a line each."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._known = path, {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self._known[json.dumps(row["run"])] = row["found"]

    def __call__(self, run: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what was found, now or before."""
        key = json.dumps(run)
        if key not in self._known:
            self._known[key] = make()
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps({"run": run, "found": self._known[key]}) + "\n")
        return self._known[key]


def timed(engine: Engine, layer: Layer, **options: Any) -> tuple[Elimination, float]:
    """Return what an engine finds, and how many seconds of CPU time it takes."""
    start = time.process_time()
    found = engine.eliminate(layer, **options)
    return found, time.process_time() - start


def chosen(found: Elimination) -> list[int]:
    """Return the channels kept."""
    return found.kept.nonzero().flatten().tolist()


def known_answer(name: str, engine: Predictive, seed: int) -> dict[str, Any]:
    """Return whether a minimal set is found, and the seconds."""
    task = KNOWN[name]
    x, target = task.draw(np.random.default_rng(seed), ROWS)
    engine = replace(engine, seed=seed, head=task.head)
    found, seconds = timed(engine, layer_of(x, target, classes=task.classes), least=0)
    kept = chosen(found)
    return {"kept": kept, "minimal": set(kept) in task.minimal, "seconds": seconds}


def known_answers(options: argparse.Namespace, cache: Cache) -> list[dict[str, Any]]:
    """Return one row a law and a training."""
    rows = []
    for name in options.only or KNOWN:
        for label, engine in ENGINES.items():
            found = [
                cache(
                    ["known", name, repr(engine), seed], partial(known_answer, name, engine, seed)
                )
                for seed in range(options.seeds)
            ]
            minimal = sum(each["minimal"] for each in found)
            seconds = np.mean([each["seconds"] for each in found])
            wrong = next((each["kept"] for each in found if not each["minimal"]), "")
            rows.append(
                {
                    "set": name,
                    "training": label,
                    "minimal set": f"{minimal} of {len(found)}",
                    "s each": round(float(seconds), 1),
                    "else, e.g.": wrong,
                }
            )
            print(rows[-1], flush=True)
    return rows


def irrelevant_kept(engine: Predictive, seed: int) -> dict[str, Any]:
    """Return how many of eight useless features stay, and whether the two useful ones do."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1_000, 10))
    target = x[:, 0] + x[:, 1] + 0.5 * rng.standard_normal(1_000)
    kept = chosen(replace(engine, seed=seed).eliminate(layer_of(x, target), least=0))
    return {"useless": sum(i > 1 for i in kept), "useful": {0, 1} <= set(kept)}


def irrelevant(options: argparse.Namespace, cache: Cache) -> list[dict[str, Any]]:
    """Return one row an engine: how often a useless feature stays, at 95% confidence."""
    rows = []
    for label, engine in ENGINES.items():
        for margin in (0.0, engine.margin):
            tried = replace(engine, margin=margin)
            found = [
                cache(["irrelevant", repr(tried), seed], partial(irrelevant_kept, tried, seed))
                for seed in range(options.seeds)
            ]
            rows.append(
                {
                    "training": label,
                    "margin": margin,
                    "useless features that stay": f"{sum(f['useless'] for f in found)} of "
                    f"{8 * len(found)}",
                    "both useful ones stay": f"{sum(f['useful'] for f in found)} of {len(found)}",
                }
            )
            print(rows[-1], flush=True)
    return rows


@dataclass(frozen=True)
class Bench:
    """A network, the layer asked about, how many units to keep, how many to retrain for."""

    model: nn.Module
    data: Any
    layer: str
    following: str
    keep: int
    tried: int


def small(trained: bool) -> Bench:
    """Return an MLP for digits."""
    model = mlp((64, 40, 10))
    if trained:
        train(model, digits(), Training(epochs=30, optimizer=Adam(lr=1e-3)))
    return Bench(model, digits(), "fc1", "fc2", 15, 40)


def lenet(root: str, tried: int) -> Bench:
    """Return LeNet-300-100 after an epoch of MNIST."""
    model, data = lenet_300_100(), mnist(root)
    train(model, data, Training(epochs=1, batch_size=128, optimizer=Adam(lr=1e-3)))
    return Bench(model, data, "fc2", "fc3", 30, tried)


def layer_at(bench: Bench, some: list[int] | None = None) -> Layer:
    """Return units and what the next layer makes of them; some of the units, or all."""
    rows = capture(bench.model, bench.data, [bench.layer], limit=RETRAINED.rows, seed=0)
    units = rows[bench.layer].astype(np.float64)
    weight = bench.model.get_parameter(f"{bench.following}.weight").detach().double().numpy()
    groups = None if some is None else [[i] for i in some]
    return layer_of(units, units @ weight.T, groups=groups, name=bench.layer)


def agreement(one: list[float], other: list[float]) -> float:
    """Return Spearman's rank correlation."""
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def one_pass(make: Callable[[], Bench], label: str) -> dict[str, Any]:
    """Return the cost of an engine and of the closed form, and how alike they rank all units."""
    bench = make()
    whole = layer_at(bench)
    size, every = whole.size, list(range(whole.size))
    some = sorted({int(i) for i in np.linspace(0, size - 1, bench.tried)})
    some = some if label == "retrained" else every
    closed, unit = timed(Gaussian(), whole, width=bench.keep)
    phi = {step.channel: step.phi for step in Gaussian().eliminate(whole, width=size).steps}
    told, seconds = timed(ENGINES[label], layer_at(bench, some), width=len(some))
    own = {some[step.channel]: step.phi for step in told.steps}
    alike = agreement([phi[i] for i in some], [own[i] for i in some])
    total = seconds * size / len(some)
    return {
        "training": label,
        "units tried": f"{len(some)} of {size}",
        "s, one pass": round(total, 1),
        "s, closed form": round(unit, 4),
        "ratio": round(total / unit),
        "rank correlation of phi": round(alike, 2),
        "I, nats": round(told.before, 2),
        "closed form": round(closed.before, 2),
    }


def overlap(make: Callable[[], Bench], label: str) -> dict[str, Any]:
    """Return what an engine keeps, beside the closed form: units in both, and what they tell."""
    bench = make()
    if label == "retrained" and bench.tried < layer_at(bench).size:
        return {}
    whole = layer_at(bench)
    ours, closed = (
        chosen(engine.eliminate(whole, width=bench.keep)) for engine in (ENGINES[label], Gaussian())
    )
    drawn = np.random.default_rng(0).permutation(whole.size)[: bench.keep].tolist()
    features, target = whole.relations[0].features, whole.relations[0].target
    assert features is not None
    told = [
        Gaussian().eliminate(layer_of(features[:, kept], target)).before
        for kept in (ours, closed, drawn)
    ]
    return {
        "units kept": bench.keep,
        "Jaccard": round(len({*ours} & {*closed}) / len({*ours, *closed}), 2),
        "they tell": round(told[0], 2),
        "closed form's": round(told[1], 2),
        "random ones": round(told[2], 2),
    }


def layers(options: argparse.Namespace, cache: Cache) -> list[dict[str, Any]]:
    """Return one row a layer and a training."""
    benches = {
        "digits MLP, 40 units, trained": partial(small, True),
        "digits MLP, 40 units, untrained": partial(small, False),
    }
    if options.mnist:
        benches["LeNet-300-100, 100 units"] = partial(lenet, options.root, options.tried)
    rows = []
    for name, make in benches.items():
        for label, engine in ENGINES.items():
            run = [name, options.tried, repr(engine)]
            cost = cache(["pass", *run], partial(one_pass, make, label))
            both = cache(["kept", *run], partial(overlap, make, label))
            rows.append({"layer": name, **cost, **both})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print the table asked for."""
    parser = argparse.ArgumentParser(description="MIPP's engines: known answers, agreement, cost")
    parser.add_argument("table", choices=["known", "irrelevant", "layers"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=list(KNOWN))
    parser.add_argument("--mnist", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--tried", type=int, default=20, help="units of LeNet to retrain for")
    parser.add_argument("--root", default=os.environ.get("MITOOLS_DATA"), help="where MNIST is")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = {"known": known_answers, "irrelevant": irrelevant, "layers": layers}
    found = pd.DataFrame(tables[options.table](options, Cache(options.cache)))
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
