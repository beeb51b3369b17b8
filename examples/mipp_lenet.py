"""From a trained LeNet-5 to a smaller one, without training again: what each step costs and keeps.

    python examples/mipp_lenet.py                            # 8 x 8 digits, from scikit-learn
    python examples/mipp_lenet.py --root data --density 0.3  # MNIST

The second table verifies that each layer still tells of the next what it told, by an estimator that
had no part in the selection.
"""

import argparse
import time

import pandas as pd
import torch
from torch import nn

from mitools.activations import layer_information
from mitools.data import Samples, digits, mnist
from mitools.methods import KSG
from mitools.mipp import Gaussian, mipp, moments
from mitools.models import copied, lenet5
from mitools.pruning.shrink import costs, shrink
from mitools.training import Adam, Training, evaluate, train


def main() -> None:
    """Print a row for each step, then what layers tell of each other before and after."""
    parser = argparse.ArgumentParser(description="A smaller LeNet-5 by MIPP.")
    parser.add_argument("--root", help="where MNIST is; without it the digits of scikit-learn")
    parser.add_argument("--density", type=float, default=0.3)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    learn, test = _data(options.root)
    model = lenet5(size=learn.inputs.shape[-1])
    rows: list[dict[str, object]] = []

    def step(name: str, network: nn.Module, start: float) -> None:
        seconds = time.perf_counter() - start
        cost = costs(network, test.inputs[:1])
        accuracy = evaluate(network, test).accuracy
        rows.append({"step": name, "seconds": seconds, "accuracy": accuracy,
                     "parameters": cost.parameters, "MACs": cost.macs})  # fmt: skip

    start = time.perf_counter()
    train(model, learn, Training(epochs=options.epochs, optimizer=Adam()))
    step("trained", model, start)
    start = time.perf_counter()
    known = moments(model, learn)
    found = mipp(model, known, Gaussian(), density=options.density)
    step("masked", found.mask.apply_(copied(model)), start)
    start = time.perf_counter()
    new = found.reconstructed(model)
    step("reconstructed", new, start)
    start = time.perf_counter()
    step("shrunk", shrink(new, found.mask, test.inputs[:1]), start)
    print(found, pd.DataFrame(rows).round(4).to_string(index=False), sep="\n\n")
    print("", _verified(model, new, test).round(3).to_string(index=False), sep="\n")


def _verified(before: nn.Module, after: nn.Module, data: Samples) -> pd.DataFrame:
    """Return I(T; T') of adjacent layers before and after, by nearest neighbours."""
    tables = [
        layer_information(model, data, KSG(), components=5, reduce="patches", at="output")
        for model in (before, after)
    ]
    one, two = (table[table.quantity == "I(T; T')"] for table in tables)
    columns = {"layer": one.layer, "next": one.next, "before": one.value, "after": two.value}
    return pd.DataFrame(columns)


def _data(root: str | None) -> tuple[Samples, Samples]:
    if root is not None:
        return mnist(root, train=True), mnist(root, train=False)
    learn, test = digits(train=True), digits(train=False)
    return tuple(Samples(s.inputs.reshape(-1, 1, 8, 8), s.targets) for s in (learn, test))  # type: ignore[return-value]


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
