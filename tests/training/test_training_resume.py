"""Stopped or not, resumed or not: the same weights, bit for bit."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mitools._validation import FileFormatError
from mitools.models import fingerprint, mlp, tensors_of
from mitools.training import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    EarlyStopping,
    MultiStep,
    Training,
    Warmup,
    state_of,
    train,
)

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(3, (50,), generator=torch.Generator().manual_seed(2))
HELD = (X[:20] + 1, Y[:20])

TRAININGS = {
    "sgd": Training(6, 16, SGD(0.05, weight_decay=1e-3), MultiStep((2, 4))),
    "adam": Training(6, 16, Adam(0.01), Cosine(), seed=3),
    "adamw": Training(6, 16, AdamW(0.01), Warmup(2.5, Cosine(0.1))),
    "stopping": Training(6, 16, SGD(0.3), early_stopping=EarlyStopping(2)),
}


class Keep(dict):
    def apply_(self, model):
        with torch.no_grad():
            for name, keep in self.items():
                model.get_parameter(name).masked_fill_(~keep, 0.0)


def net():
    """Batch norm and dropout: statistics and random numbers to carry over."""
    model = nn.Sequential(
        mlp((6, 12, 8), batch_norm=True, seed=1), nn.Dropout(0.3), mlp((8, 8, 3), seed=2)
    )
    keep = torch.rand(12, 6, generator=torch.Generator().manual_seed(3)) < 0.5
    return model, Keep({"0.fc1.weight": keep})


def disturb():
    torch.manual_seed(int.from_bytes(os.urandom(4), "little"))
    torch.rand(7)
    np.random.seed(1)  # noqa: NPY002 - the global generator is the point


def whole(training, data=(X, Y), **extra):
    model, mask = net()
    history = train(model, data, training, mask=mask, validation=HELD, **extra)
    return fingerprint(model), history


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_stopped_twice_equals_never_stopped(training, tmp_path):
    expected, history = whole(training)
    path = tmp_path / "run"
    for stop in (5, 11, None):  # inside the second and the third epoch of four steps
        disturb()
        model, mask = net()
        answer = train(
            model, (X, Y), training, mask=mask, validation=HELD, checkpoint=path, steps=stop
        )
    assert fingerprint(model) == expected
    assert answer == history and len(history) >= 3
    if training.early_stopping is not None:
        assert history.stopped_early and history.best == len(history) - 2


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_stopped_between_epochs_equals_never_stopped(training, tmp_path):
    expected, history = whole(training)
    for stop in (4, 8, 12, None):
        disturb()
        answer = whole(training, checkpoint=tmp_path / "run", steps=stop)
    assert answer == (expected, history)


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("stop", [0, 1, 6, 8])
def test_in_memory_states_go_on_and_are_not_used_up(training, stop):
    expected, history = whole(training)
    model, mask = net()
    state = train(model, (X, Y), training, mask=mask, validation=HELD, steps=stop).state
    for _ in range(2):
        disturb()
        assert whole(training, start=state) == (expected, history)


def test_the_file_equals_the_state(tmp_path):
    training = TRAININGS["adam"]
    expected, history = whole(training, steps=7)
    disturb()
    assert whole(training, steps=7, checkpoint=tmp_path / "run") == (expected, history)
    disturb()
    again, mask = net()
    state = train(
        again, (X, Y), training, mask=mask, validation=HELD, steps=7, checkpoint=tmp_path / "run"
    ).state
    assert state.step == 7 and state.batch == 3 and fingerprint(again) == expected


def test_a_killed_process_resumes_from_the_last_epoch(tmp_path):
    training = TRAININGS["adamw"]
    expected, history = whole(training)
    calls = 0

    class Killed(Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, i):
            nonlocal calls
            calls += 1
            if calls == 50:
                raise KeyboardInterrupt
            return HELD[0][i], HELD[1][i]

    model, mask = net()
    with pytest.raises(KeyboardInterrupt):
        train(model, (X, Y), training, mask=mask, validation=Killed(), checkpoint=tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]
    disturb()
    assert whole(training, checkpoint=tmp_path / "run") == (expected, history)


class Flipping(Dataset):
    """A foreign data set that draws from torch's global generator."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i] * (1 + 0.1 * torch.rand(())), Y[i]


LOADERS = {
    "loader": lambda: DataLoader(Flipping(), 16, shuffle=True),
    "own generator": lambda: DataLoader(
        Flipping(), 16, shuffle=True, generator=torch.Generator().manual_seed(4)
    ),
    "data set": Flipping,
}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_loaders_too(make, tmp_path):
    training = Training(4, 16, SGD(0.05))
    disturb()
    state = torch.get_rng_state()
    expected, history = whole(training, make())
    assert torch.equal(state, torch.get_rng_state())
    for stop in (3, 8, 10, None):
        disturb()
        answer = whole(training, make(), checkpoint=tmp_path / "run", steps=stop)
    assert answer == (expected, history)


def test_a_loader_is_shuffled_anew_each_epoch():
    seen = []

    class Recorder(Flipping):
        def __getitem__(self, i):
            seen.append(i)
            return X[i], Y[i]

    for make in (
        lambda: Recorder(),
        lambda: DataLoader(
            Recorder(), 16, shuffle=True, generator=torch.Generator().manual_seed(4)
        ),
    ):
        seen.clear()
        model, _ = net()
        train(model, make(), Training(3, 16))
        one, two, three = (seen[-50 * k :][:50] for k in (3, 2, 1))
        assert sorted(one) == sorted(two) == list(range(50))
        assert one != two and two != three


def test_tensor_data_sets_are_held_in_memory_like_pairs():
    expected, _ = whole(TRAININGS["sgd"])
    assert whole(TRAININGS["sgd"], TensorDataset(X, Y))[0] == expected


def test_seeds_and_nothing_else_decide():
    disturb()
    one, _ = whole(Training(2, 16))
    disturb()
    assert whole(Training(2, 16))[0] == one
    assert whole(Training(2, 16, seed=1))[0] != one


def test_the_number_of_threads_of_the_machine_does_not_matter():
    """Wide enough for torch to split its sums between two threads."""
    data = (
        torch.randn(512, 300, generator=torch.Generator().manual_seed(0)),
        torch.arange(512) % 5,
    )
    prints, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            model = mlp((300, 200, 5))
            train(model, data, Training(2, 256))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        prints.append(fingerprint(model))
    assert prints[0] == prints[1]


def test_global_randomness_is_untouched():
    disturb()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    whole(TRAININGS["sgd"])
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_longer_is_the_same_as_longer_from_the_start(tmp_path):
    for epochs in (2, 5):
        disturb()
        answer = whole(Training(epochs, 16), checkpoint=tmp_path / "run")
    assert answer == whole(Training(5, 16))
    assert whole(Training(5, 16), checkpoint=tmp_path / "run") == answer  # nothing left to do


# Refusals.


def begun(tmp_path, training=None):
    path = tmp_path / "run"
    whole(training or Training(2, 16), checkpoint=path)
    return path


@pytest.mark.parametrize(
    ("training", "named"),
    [
        (Training(2, 16, SGD(0.2)), r"optimizer is SGD\(lr=0\.1.*there, SGD\(lr=0\.2"),
        (Training(2, 8), "batch_size is 16 there, 8 here"),
        (Training(2, 16, seed=1), "seed is 0 there, 1 here"),
        (Training(2, 16, early_stopping=EarlyStopping()), r"early_stopping is None there"),
        (Training(1, 16), "epochs must not be less than the checkpoint has done; got 1"),
    ],
)
def test_checkpoints_of_other_trainings_are_refused(tmp_path, training, named):
    path = begun(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=named):
        whole(training, checkpoint=path)
    assert path.read_bytes() == before


def test_other_data_masks_and_models_are_refused(tmp_path):
    path = begun(tmp_path)
    with pytest.raises(ValueError, match=r"data is 50 samples .* there, 50 samples .* here"):
        whole(Training(2, 16), (X, 2 - Y), checkpoint=path)
    model, _ = net()
    with pytest.raises(ValueError, match=r"mask is [0-9a-f]{12} there, None here"):
        train(model, (X, Y), Training(2, 16), checkpoint=path)
    other = mlp((6, 12, 3))
    plain = tmp_path / "plain"
    train(mlp((6, 11, 3)), (X, Y), Training(2, 16), checkpoint=plain)
    before = fingerprint(other)
    with pytest.raises(
        ValueError, match=r"belong to this model; 3 tensors differ: fc1\.weight: \(11, 6\) .* there"
    ):
        train(other, (X, Y), Training(2, 16), checkpoint=plain)
    assert fingerprint(other) == before


def test_a_schedule_that_depends_on_the_length_cannot_be_lengthened(tmp_path):
    path = begun(tmp_path, Training(2, 16, schedule=Cosine()))
    with pytest.raises(ValueError, match=r"under Cosine.*got 4, and run was for 2"):
        whole(Training(4, 16, schedule=Cosine()), checkpoint=path)
    for schedule in (Constant(), MultiStep((1,)), Warmup(1)):
        (tmp_path / "other").unlink(missing_ok=True)
        whole(Training(2, 16, schedule=schedule), checkpoint=tmp_path / "other")
        whole(Training(3, 16, schedule=schedule), checkpoint=tmp_path / "other")


def test_broken_checkpoints(tmp_path):
    path = begun(tmp_path)
    content = path.read_bytes()
    broken = tmp_path / "broken"
    model, _ = net()
    before = fingerprint(model)
    torch.save(model.state_dict(), tmp_path / "pickle")
    for data in (content[:-1], content[:50], b"", (tmp_path / "pickle").read_bytes()):
        broken.write_bytes(data)
        with pytest.raises(FileFormatError, match="training checkpoint"):
            train(model, (X, Y), Training(2, 16), checkpoint=broken)
        assert broken.read_bytes() == data
    assert fingerprint(model) == before


def test_the_file_holds_no_pickle(tmp_path):
    path = begun(tmp_path)
    with safe_open(path, framework="pt") as file:
        entry = json.loads(file.metadata()["mitools"])
        assert json.loads(entry["metadata"])["place"] == [8, 2, 0]
        assert "model.0.norm1.running_mean" in file.keys()  # noqa: SIM118


def test_a_folder_that_does_not_exist_is_refused_before_training(tmp_path):
    model, _ = net()
    before = fingerprint(model)
    with pytest.raises(FileNotFoundError, match="existing folder"):
        train(model, (X, Y), checkpoint=tmp_path / "no" / "run")
    assert fingerprint(model) == before


def test_states_of_other_models_are_refused():
    with pytest.raises(ValueError, match="start must belong to this model"):
        train(mlp((6, 3)), (X, Y), start=state_of(mlp((6, 4, 3))))
    half = mlp((6, 3)).to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"fc1\.weight: \(3, 6\) torch\.bfloat16 there"):
        train(mlp((6, 3)), (X, Y), start=state_of(half))


def test_steps_count_from_the_beginning():
    model, _ = net()
    state = train(model, (X, Y), Training(2, 16), steps=5).state
    assert state.step == 5 and tensors_of(model).keys() == state.model.keys()
    with pytest.raises(ValueError, match=r"steps must not be less than .* got 4, and 5 are done"):
        train(model, (X, Y), Training(2, 16), start=state, steps=4)
    with pytest.raises(ValueError, match="steps must be >= 0"):
        train(model, (X, Y), steps=-1)
