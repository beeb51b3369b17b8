"""Optimisers, schedules and early stopping as values."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import nn

from mitools import training as t
from mitools.training import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    EarlyStopping,
    Epoch,
    MultiStep,
    Training,
    Warmup,
)

VALUES = [
    SGD(),
    SGD(0.2, 0.5, 1e-4, nesterov=True),
    Adam(weight_decay=0.1),
    AdamW(betas=(0.8, 0.99)),
    Constant(),
    Cosine(0.1),
    MultiStep((80, 120)),
    Warmup(5, Cosine()),
    EarlyStopping(3, "accuracy", 0.01, restore_best=False),
    Training(),
    Training(3, 16, AdamW(), Warmup(1, MultiStep((2,))), EarlyStopping(), "mse", 7, threads=2),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_repr_rebuilds_and_values_travel(value):
    assert eval(repr(value), vars(t)) == value
    assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)
    assert hash(value) == hash(copy.deepcopy(value))


@pytest.mark.parametrize("value", VALUES[:4], ids=repr)
def test_optimisers_are_torchs(value):
    """Ten steps with and without torch's fused kernels, from the settings by name."""
    kind = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
    settings = {k: getattr(value, k) for k in value.__dataclass_fields__}
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7).double()) for _ in range(2))
    one, two = value.build([ours]), kind[type(value).__name__]([theirs], **settings, foreach=False)
    for p, optimizer in itertools.product((ours, theirs), range(10)):
        optimizer = one if p is ours else two
        p.grad = (p.detach() - 0.3) ** 3
        optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_optimisers_of_odd_layouts():
    """Torch's fused kernels walk through memory: wrong where a gradient lies in another order."""
    gradient = torch.arange(12.0).view(4, 3)
    for value in (SGD(), Adam(0.1), AdamW(0.1)):
        strided, plain = nn.Parameter(torch.ones(3, 4).T), nn.Parameter(torch.ones(4, 3))
        for p in (strided, plain):
            optimizer = value.build([p])
            for _ in range(2):
                p.grad = gradient.clone() ** 2 - 1
                optimizer.step()
        torch.testing.assert_close(strided, plain)


def test_optimisers_of_low_precision():
    for value in (SGD(), Adam(0.1), AdamW(0.1)):
        p = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        optimizer = value.build([p])
        p.grad = torch.ones_like(p)
        optimizer.step()
        assert p.dtype == torch.bfloat16 and (p < 0.95).all()


BAD = [
    (lambda: SGD(lr=-1), "lr must be a finite number >= 0; got -1"),
    (lambda: SGD(lr=math.nan), "lr must be"),
    (lambda: SGD(momentum=1.0), r"momentum must lie in \[0, 1\); got 1.0"),
    (lambda: SGD(momentum=0.0, nesterov=True), "momentum must be positive with nesterov"),
    (lambda: Adam(betas=(0.9, 1.0)), r"betas\[1\] must lie"),
    (lambda: AdamW(weight_decay=-0.1), "weight_decay must be"),
    (lambda: AdamW(eps=math.inf), "eps must be"),
    (lambda: Cosine(2), r"end must lie in \[0, 1\]"),
    (lambda: MultiStep((3, 1)), "milestones must be positive and ascending"),
    (lambda: MultiStep((0, 1)), "milestones must be positive"),
    (lambda: MultiStep((1,), gamma=-1), "gamma must lie"),
    (lambda: Warmup(0), "epochs must be positive"),
    (lambda: Warmup(1, start=2), "start must lie"),
    (lambda: EarlyStopping(0), "patience must be at least 1"),
    (lambda: EarlyStopping(metric="auc"), "metric must be 'loss' or 'accuracy'; got 'auc'"),  # pyright: ignore
    (lambda: EarlyStopping(min_delta=-1), "min_delta must be"),
    (lambda: Training(epochs=-1), "epochs must be an integer >= 0; got -1"),
    (lambda: Training(epochs=1.5), "epochs must be an integer"),  # pyright: ignore
    (lambda: Training(batch_size=0), "batch_size must be an integer >= 1"),
    (lambda: Training(seed=-1), "seed must be an integer >= 0"),
    (lambda: Training(threads=0), "threads must be an integer >= 1"),
    (lambda: Training(loss="nll"), "loss must be 'auto', 'cross_entropy' or 'mse'; got 'nll'"),  # pyright: ignore
    (lambda: Training(early_stopping=3), "early_stopping must be"),  # pyright: ignore
    (lambda: Training(optimizer="sgd"), "optimizer must be a value such as SGD"),  # pyright: ignore
    (lambda: Training(schedule=SGD()), "schedule must be a value such as Cosine"),  # pyright: ignore
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_values(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_schedules_agree_with_torchs():
    def torch_rates(make, epochs):
        p = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([p], lr=1.0)
        scheduler = make(optimizer)
        rates = []
        for _ in range(epochs):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    sched = torch.optim.lr_scheduler
    pairs = [
        (Cosine(), lambda o: sched.CosineAnnealingLR(o, 10)),
        (Cosine(0.2), lambda o: sched.CosineAnnealingLR(o, 10, eta_min=0.2)),
        (MultiStep((3, 7), 0.3), lambda o: sched.MultiStepLR(o, [3, 7], gamma=0.3)),
        (Warmup(4, start=0.1), lambda o: sched.LinearLR(o, 0.1, total_iters=4)),
        (Constant(), lambda o: sched.ConstantLR(o, 1.0)),
    ]
    for ours, theirs in pairs:
        expected = torch_rates(theirs, 10)
        assert [ours.factor(e, 10) for e in range(10)] == pytest.approx(expected, abs=1e-12)


def epochs(losses, accuracies=None):
    accuracies = accuracies or [0.0] * len(losses)
    rows = zip(losses, accuracies, strict=True)
    return [Epoch(i + 1, i + 1, 0.1, 9.0, 0.0, v, a) for i, (v, a) in enumerate(rows)]


def test_patience_counts_epochs_without_improvement():
    losses = [3.0, 2.0, 2.0, 2.5, 1.9, 2.0, 2.0]
    stopping = EarlyStopping(3)
    assert [stopping.stops(epochs(losses[:i])) for i in range(8)] == [False] * 8
    assert stopping.stops(epochs([*losses, 1.9]))  # a tie is no improvement
    assert stopping.best(epochs(losses)) == 4
    assert [EarlyStopping(2).stops(epochs(losses[:i])) for i in range(5)] == [False] * 4 + [True]


def test_improvement_by_less_than_min_delta_is_none():
    losses = [1.0, 0.95, 0.9, 0.85]
    assert EarlyStopping(2, min_delta=0.1).best(epochs(losses)) == 3  # 0.85 < 1 - 0.1
    assert EarlyStopping(2, min_delta=0.2).best(epochs(losses)) == 0
    assert EarlyStopping(2, min_delta=0.2).stops(epochs(losses))


def test_accuracy_is_better_the_larger():
    rows = epochs([1.0, 0.5, 0.4], [0.2, 0.8, 0.6])
    assert EarlyStopping(1, "accuracy").best(rows) == 1
    assert EarlyStopping(1, "accuracy").stops(rows)
    assert not EarlyStopping(1, "loss").stops(rows)


def test_without_validation_the_training_data_are_watched():
    rows = [
        Epoch(i + 1, i + 1, 0.1, loss, acc) for i, (loss, acc) in enumerate([(2, 0.9), (1, 0.5)])
    ]
    assert EarlyStopping().best(rows) == 1 and EarlyStopping(metric="accuracy").best(rows) == 0
