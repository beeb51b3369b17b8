"""What a training does, says and refuses."""

import io
import math
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from mitools.data import digits, gaussian
from mitools.models import fingerprint, mlp
from mitools.training import (
    SGD,
    Adam,
    Cosine,
    EarlyStopping,
    Evaluation,
    MultiStep,
    Training,
    Warmup,
    cross_entropy,
    evaluate,
    loss_of,
    mean_squared_error,
    train,
)

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(3, (50,), generator=torch.Generator().manual_seed(2))


def test_digits_are_learned():
    history = train(
        model := mlp((64, 50, 10)), digits(train=True), Training(15), validation=digits(train=False)
    )
    assert history.epochs[-1].validation_accuracy > 0.93
    seen = evaluate(model, digits(train=False))
    last = history.epochs[-1]
    assert (last.validation_loss, last.validation_accuracy) == (seen.loss, seen.accuracy)


def test_random_labels_are_memorised():
    assert (
        train(mlp((20, 100, 2)), gaussian(200, 20, seed=0), Training(80, 32)).epochs[-1].accuracy
        > 0.99
    )


def test_an_epoch_of_full_batches_by_hand():
    model, twin = mlp((6, 8, 3)), mlp((6, 8, 3))
    history = train(model, (X, Y), Training(2, 64, SGD(0.5, momentum=0)))
    for epoch in history.epochs:
        logits = twin(X)
        loss = F.cross_entropy(logits, Y)
        assert epoch.loss == pytest.approx(loss.item(), rel=1e-5)
        assert epoch.accuracy == (logits.argmax(1) == Y).float().mean().item().__round__(2)
        grads = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, g in zip(twin.parameters(), grads, strict=True):
                p -= 0.5 * g
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


class Recorder(nn.Module):
    """Says which samples it saw, by their first input, while training."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, 2)
        self.seen = []

    def forward(self, x):
        if self.training:
            self.seen.append(x[:, 0].tolist())
        return self.fc(x)


@pytest.mark.parametrize(
    ("n", "batch", "sizes"),
    [
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),
        (8, 4, [4, 4]),
        (3, 8, [3]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_every_sample_once_an_epoch_and_no_batch_of_one(n, batch, sizes):
    model = Recorder()
    data = (torch.arange(n).float()[:, None], torch.zeros(n).long())
    history = train(model, data, Training(2, batch))
    assert [len(b) for b in model.seen] == 2 * sizes
    first, second = model.seen[: len(sizes)], model.seen[len(sizes) :]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(n))
    assert n < 8 or first != second
    assert [e.step for e in history.epochs] == [len(sizes), 2 * len(sizes)]


class Watcher(Recorder):
    """Also draws from torch's generator, as dropout does, and looks at the threads."""

    def __init__(self):
        super().__init__()
        self.draws, self.threads = [], set()

    def forward(self, x):
        if self.training:
            self.draws.append(torch.rand(()).item())
            self.threads.add(torch.get_num_threads())
        return super().forward(x)


def test_order_and_dropout_follow_seed_and_epoch():
    data = (torch.arange(12).float()[:, None], torch.zeros(12).long())
    seen, draws = [], []
    for seed in (0, 1):
        model = Watcher()
        train(model, data, Training(3, 6, seed=seed))
        seen += [tuple(chain(*model.seen[i : i + 2])) for i in (0, 2, 4)]
        draws += model.draws
    assert len(set(seen)) == 6 and len(set(draws)) == 12


def test_threads_are_those_of_the_training():
    before = torch.get_num_threads()
    for threads in (1, 2):
        model = Watcher()
        train(model, (X[:, :1], Y % 2), Training(1, threads=threads))
        assert model.threads == {threads} and torch.get_num_threads() == before


def test_steps_that_end_an_epoch_complete_it():
    for steps, done in ((0, 0), (1, 0), (2, 1), (3, 1), (4, 2)):
        history = train(mlp((6, 3)), (X, Y), Training(5, 25), steps=steps)
        assert (len(history), history.state.epoch, history.state.step) == (done, done, steps)
    assert train(mlp((6, 3)), (X, Y), Training(2, 25), steps=99).state.step == 4


def test_large_data_are_not_shuffled_as_a_whole_and_give_the_same(monkeypatch):
    one, two = mlp((6, 8, 3)), mlp((6, 8, 3))
    train(one, (X, Y), Training(3, 16))
    monkeypatch.setattr("mitools.training.passes._GATHERED", 0)
    train(two, (X, Y), Training(3, 16))
    assert fingerprint(one) == fingerprint(two)


def test_batch_norm_with_one_sample_too_many():
    train(mlp((6, 8, 3), batch_norm=True), (X[:33], Y[:33]), Training(1, 16))


def test_learning_rates_reach_the_optimiser():
    rates = []

    class Watched(SGD):
        def build(self, parameters):
            optimizer = super().build(parameters)
            optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
            return optimizer

    schedule = Warmup(1, Cosine(), start=0.5)
    history = train(mlp((6, 3)), (X, Y), Training(3, 25, Watched(0.2), schedule))
    rise = (0.5, 0.75, 1, 1, 1, 1)
    expected = [0.2 * r * (1 + math.cos(math.pi * k / 6)) / 2 for k, r in enumerate(rise)]
    assert rates == pytest.approx(expected)
    assert [e.lr for e in history.epochs] == pytest.approx(expected[::2])
    rates.clear()
    train(mlp((6, 3)), (X, Y), Training(3, 25, Watched(0.2), MultiStep((2,))))
    assert rates == pytest.approx([0.2] * 4 + [0.02] * 2)


def test_early_stopping_gives_back_the_best_weights():
    """Validation labels are wrong: learning makes them worse, so an early epoch is the best."""
    stopping = EarlyStopping(2)
    prints = []

    class Snapshots(Dataset):
        def __len__(self):
            return 50

        def __getitem__(self, i):
            if i == 0:
                prints.append(fingerprint(model))
            return X[i], (Y[i] + 1) % 3

    model = mlp((6, 16, 3), batch_norm=True)
    training = Training(30, 16, SGD(0.1), early_stopping=stopping)
    history = train(model, (X, Y), training, validation=Snapshots())
    losses = [e.validation_loss for e in history.epochs]
    assert history.stopped_early and len(history) == history.best + 2 < 30
    assert history.best == 1 + int(np.argmin(losses))
    per_epoch = prints[-1:] + prints  # one look per epoch
    assert fingerprint(model) == prints[history.best - 1] != prints[-1], per_epoch
    assert f"weights of epoch {history.best}" in str(history)

    last = mlp((6, 16, 3), batch_norm=True)
    keep_last = Training(30, 16, SGD(0.1), early_stopping=EarlyStopping(2, restore_best=False))
    other = train(last, (X, Y), keep_last, validation=(X, (Y + 1) % 3))
    assert other.best is None and other.stopped_early
    assert fingerprint(last) == prints[-1]


def test_the_best_weights_come_back_also_without_stopping():
    model = mlp((6, 16, 3))
    training = Training(4, 16, SGD(0.5), early_stopping=EarlyStopping(10))
    history = train(model, (X, Y), training, validation=(X, (Y + 1) % 3))
    assert not history.stopped_early and len(history) == 4
    assert evaluate(model, (X, (Y + 1) % 3)).loss == min(e.validation_loss for e in history.epochs)


def test_history_as_a_frame():
    history = train(mlp((6, 3)), (X, Y), Training(2, 25))
    frame = history.to_frame()
    assert list(frame.index) == [1, 2] and frame.index.name == "epoch"
    assert frame["loss"].tolist() == [e.loss for e in history.epochs]
    assert frame["validation_loss"].isna().all() and frame["validation_loss"].dtype == float
    assert len(train(mlp((6, 3)), (X, Y), Training(0)).to_frame()) == 0
    assert str(train(mlp((6, 3)), (X, Y), Training(0))) == "no epoch finished"


def test_modes_gradients_and_threads_are_as_before():
    model = mlp((6, 8, 3), batch_norm=True)
    model.eval()
    model.fc1.train()
    train(model, (X, Y), Training(1))
    assert not model.training and model.fc1.training and not model.norm1.training
    assert model.norm1.num_batches_tracked == 1
    assert all(p.grad is None for p in model.parameters())


def test_it_trains_inside_no_grad_too():
    with torch.no_grad():
        model = mlp((6, 3))
        before = fingerprint(model)
        train(model, (X, Y), Training(1))
        assert fingerprint(model) != before and not torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = mlp((6, 16, 3), batch_norm=True).to(dtype)
    for optimizer in (SGD(0.05), Adam(0.01)):
        train(model, (X, Y), Training(20, 16, optimizer))
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert evaluate(model, (X, Y)).accuracy > 0.6  # random labels: chance is 0.33


def test_tokens_are_not_turned_into_numbers():
    tokens = torch.randint(5, (40, 3), generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2))
    data = DataLoader(TensorDataset(tokens, tokens[:, 0] % 2), 8)
    assert train(model, data, Training(20, optimizer=Adam(0.05))).epochs[-1].accuracy == 1


def test_regression():
    target = X[:, :1] * 2 - 1
    for y in (target, target[:, 0], target.double()):
        model = mlp((6, 1))
        history = train(model, (X, y), Training(40, 25, SGD(0.05)))
        assert history.epochs[-1].loss < 1e-3 and history.epochs[-1].accuracy is None
        assert evaluate(model, (X, y)) == Evaluation(evaluate(model, (X, y)).loss, None, 50)
    assert evaluate(mlp((6, 1)), (X, Y), loss="mse").accuracy is None


def test_all_kinds_of_data():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(X[i], Y[i]) for i in range(50)])

    class Duck:
        def __iter__(self):
            return iter([(X[:30], Y[:30]), (X[30:], Y[30:])])

    arrays = (X.numpy(), Y.numpy())
    lists = [(X[:30], Y[:30]), (X[30:], Y[30:])]
    loader = DataLoader(TensorDataset(X, Y), 16, shuffle=True)
    for data in (arrays, lists, Stream(), Duck(), loader, DataLoader(Stream(), 16)):
        history = train(mlp((6, 3)), data, Training(3, 16, schedule=Cosine()))
        assert history.epochs[-1].loss < history.epochs[0].loss
        assert evaluate(mlp((6, 3)), data).n == 50
    in_order, listed = mlp((6, 3)), mlp((6, 3))
    train(in_order, DataLoader(TensorDataset(X, Y), 30), Training(2))
    train(listed, lists, Training(2))
    assert fingerprint(in_order) == fingerprint(listed)


def test_progress_goes_to_stderr_and_only_on_request():
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        train(mlp((6, 3)), (X, Y), Training(2, 25))
    assert out.getvalue() == err.getvalue() == ""
    with redirect_stdout(out), redirect_stderr(err):
        train(mlp((6, 3)), (X, Y), Training(2, 25), progress=True)
    assert out.getvalue() == "" and "4/4" in err.getvalue() and "loss" in err.getvalue()


# Evaluation.


def test_evaluation_by_hand_and_without_trace():
    model = nn.Sequential(mlp((6, 8, 4), batch_norm=True), nn.Dropout(0.5), nn.Linear(4, 3))
    before, state = fingerprint(model), torch.get_rng_state()
    loader = DataLoader(TensorDataset(X, Y), 7, shuffle=True)
    seen = evaluate(model, loader)
    assert model.training and fingerprint(model) == before
    assert torch.equal(state, torch.get_rng_state())
    model.eval()
    assert seen.loss == pytest.approx(F.cross_entropy(model(X), Y).item(), rel=1e-6)
    assert seen.accuracy == ((model(X).argmax(1) == Y).sum() / 50).item().__round__(2)
    assert seen.n == 50 and str(seen).startswith("loss ") and str(seen).endswith("on 50 samples")


def test_evaluation_of_a_model_that_draws_random_numbers_is_repeatable():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x + torch.rand(()))

    model = Noisy(6, 3)
    state = torch.get_rng_state()
    first = evaluate(model, (X, Y))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert evaluate(model, (X, Y)) == first


def test_losses():
    assert loss_of("auto", Y) is loss_of("cross_entropy", Y) is cross_entropy
    assert loss_of("auto", X) is loss_of("mse", X) is loss_of("mse", Y) is mean_squared_error
    column, flat = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])
    assert mean_squared_error(column, flat).item() == 2.0  # broadcast, it would be 2 as well
    assert mean_squared_error(column, torch.tensor([1.0, 3.0])).item() == 0.0  # and this one 2
    assert cross_entropy(torch.zeros(2, 5, dtype=torch.bfloat16), Y[:2]).dtype == torch.float32


# Refusals: before anything is changed.


def refused(message, model=None, data=None, training=None, kind=ValueError, **extra):
    training = Training(1, 16) if training is None else training
    model = mlp((6, 3)) if model is None else model
    before = fingerprint(model)
    with pytest.raises(kind, match=message):
        train(model, (X, Y) if data is None else data, training, **extra)
    assert fingerprint(model) == before


def test_labels_outside_the_outputs():
    message = (
        r"targets must be classes 0 \.\. 1, the model's outputs; found labels from 0 to 2.*3 out"
    )
    refused(message, mlp((6, 2)))
    one_bad = torch.cat([torch.zeros(49), torch.full((1,), 9)]).long()
    refused("found labels from 0 to 9. Give the model 10 outputs", data=(X, one_bad))
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        evaluate(mlp((6, 2)), (X, Y))
    for late in (
        DataLoader(TensorDataset(X, one_bad), 16),
        [(X[:30], Y[:30]), (X[30:], one_bad[30:])],
    ):
        with pytest.raises(ValueError, match="labels from 0 to 9"):
            train(mlp((6, 3)), late, Training(1))
        with pytest.raises(ValueError, match="labels from 0 to 9"):
            evaluate(mlp((6, 3)), late)


def test_weights_that_are_nan():
    model = mlp((6, 3))
    with torch.no_grad():
        model.fc1.bias[1] = torch.nan
    with pytest.raises(ValueError, match=r"'fc1\.bias' holds 1 NaN or infinite values of 3"):
        train(model, (X, Y))
    with pytest.raises(ValueError, match=r"'fc1\.bias' holds 1 NaN"):
        evaluate(model, (X, Y))


def test_data_that_are_nan_or_do_not_fit():
    bad = X.clone()
    bad[3, 1] = torch.nan
    refused("data's inputs must be finite; 1 of 50", data=(bad, Y))
    refused(
        r"data must fit the model; it could not take inputs of shape \(2, 5\)", data=(X[:, :5], Y)
    )
    refused("data", data=(X[:0], Y[:0]))
    refused("data", data=(X, Y[:20]))
    refused("data must be", data="nonsense", kind=TypeError)
    refused("data must yield", data=[(X, Y, Y)])
    refused(
        "loss must be 'mse' for floating targets",
        data=(X, X),
        training=Training(loss="cross_entropy"),
    )
    refused(r"targets must have the shape .* got \(50, 6\) for outputs \(n, 3\)", data=(X, X))


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_models_that_cannot_be_trained():
    frozen = mlp((6, 3))
    frozen.requires_grad_(False)
    refused("model must have weights to train; none of the Sequential's", frozen)
    with pytest.raises(ValueError, match="is lazy"):
        train(nn.Sequential(nn.LazyLinear(3)), (X, Y))
    with pytest.raises(ValueError, match="meta device"):
        train(nn.Linear(6, 3, device="meta"), (X, Y))

    class Hard(nn.Linear):
        def forward(self, x):
            return super().forward(x).detach()

    refused("model must be differentiable in its weights", Hard(6, 3))

    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    refused(
        "model must return one tensor with a row per sample; for 2 samples it gave tuple",
        Pair(6, 3),
    )
    refused(
        r"logits of shape \(n, classes\); got \(n, 3, 2\)",
        nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (3, 2))),
    )


@pytest.mark.parametrize("last", [False, True])
def test_divergence_says_when_and_what_to_try(last):
    epochs = 1 if last else 50
    training = Training(epochs, 50, SGD(1e38 if last else 1e6, momentum=0.9))
    data = (X * 1e6, X[:, :1] * 1e6)
    with pytest.raises(
        ValueError, match=r"training diverged in epoch \d+: .*SGD\(lr=.*Warmup"
    ) as error:
        train(mlp((6, 16, 1)), data, training)
    assert ("weights became" if last else "the loss was") in str(error.value)


def test_accuracy_is_no_metric_of_a_regression():
    training = Training(2, early_stopping=EarlyStopping(metric="accuracy"))
    with pytest.raises(ValueError, match="metric must be 'loss' where targets are not classes"):
        train(mlp((6, 1)), (X, X[:, 0]), training)
