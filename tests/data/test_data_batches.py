import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from mitools.data import Samples, SymmetricFlips, as_batches, samples_of

N = 50
LAW = SymmetricFlips(0.4)


def noisy() -> Samples:
    """Sample i has input i and clean label i modulo 3."""
    clean = Samples(torch.arange(float(N))[:, None], torch.arange(N) % 3, name="noisy", classes=3)
    return LAW.apply(clean, seed=0)


class Foreign(Dataset):
    """A data set that this package never saw: samples of numpy and Python numbers."""

    def __init__(self, n: int = N) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        return np.array([i, 2.0 * i], np.float32), i % 3


class Duck:
    """Batches from something that merely iterates, shuffling by torch's global generator."""

    def __iter__(self):
        for part in torch.randperm(N).split(20):
            yield part[:, None].float(), part % 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Foreign(7)[i] for i in range(7))


def collected(batches) -> tuple[list, list]:
    inputs, targets = zip(*batches, strict=True)
    return torch.cat(inputs)[:, 0].tolist(), torch.cat(targets).tolist()


def aligned(samples: Samples) -> bool:
    """Tell whether inputs, noisy targets and clean targets still belong together."""
    i = samples.inputs[:, 0].long()
    return torch.equal(samples.clean, i % 3) and torch.equal(samples.targets, noisy().targets[i])


ALL = list(range(N))
LABELS = [i % 3 for i in range(N)]
SOURCES = {
    "samples": lambda: Samples(torch.arange(float(N))[:, None], torch.arange(N) % 3),
    "numpy pair": lambda: (np.arange(N)[:, None], np.arange(N, dtype=np.int32) % 3),
    "tensor pair": lambda: (torch.arange(float(N))[:, None], torch.arange(N) % 3),
    "list of two arrays": lambda: [np.arange(float(N))[:, None], np.arange(N) % 3],
    "pair of lists": lambda: ([[float(i)] for i in ALL], LABELS),
    "pandas pair": lambda: (pd.DataFrame({"x": ALL}), pd.Series(LABELS)),
    "tensor data set": lambda: TensorDataset(torch.arange(float(N))[:, None], torch.arange(N) % 3),
    "foreign data set": Foreign,
    "subset of foreign": lambda: Subset(Foreign(2 * N), ALL),
    "loader": lambda: DataLoader(Foreign(), 8),
    "loader of tensors": lambda: DataLoader(
        TensorDataset(torch.arange(float(N))[:, None], torch.arange(N) % 3), 8
    ),
    "list of batches": lambda: [(x[:, None].float(), x % 3) for x in torch.arange(N).split(20)],
    "two batches": lambda: [(x[:, None].float(), x % 3) for x in torch.arange(N).split(25)],
    "tuple of two batches": lambda: tuple(
        (x[:, None].float(), x % 3) for x in torch.arange(N).split(25)
    ),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_kind_of_source_gives_the_same_batches_and_samples(source):
    batches = as_batches(source(), batch_size=16)
    assert collected(batches) == (ALL, LABELS) == collected(batches)
    for inputs, targets in batches:
        assert inputs.dtype == torch.float32 and targets.dtype == torch.int64
    read = samples_of(source())
    assert read.inputs[:, 0].tolist() == ALL and read.targets.tolist() == LABELS
    assert read.classes == 3 and read.clean is None
    assert samples_of(source(), limit=7).inputs[:, 0].tolist() == ALL[:7]


def test_memory_is_sliced_not_copied():
    samples = noisy()
    batches = list(as_batches(samples, batch_size=16))
    assert [len(x) for x, _ in batches] == [16, 16, 16, 2]
    assert batches[1][0].data_ptr() == samples.inputs[16:].data_ptr()
    assert samples_of(samples) is samples


def test_regression_pairs_keep_floating_targets():
    samples = samples_of((np.zeros((4, 2)), np.linspace(0, 1, 8).reshape(4, 2)))
    assert samples.classes is None and samples.targets.shape == (4, 2)
    assert samples.inputs.dtype == samples.targets.dtype == torch.float32


def test_arrays_as_they_come():
    x = np.arange(12.0).reshape(4, 3)[::-1]
    x.flags.writeable = False
    big_endian = np.array([0, 1, 1, 0], ">i2")
    samples = samples_of((x, big_endian))
    assert samples.inputs[0].tolist() == [9, 10, 11] and samples.targets.tolist() == [0, 1, 1, 0]


def test_integer_tensors_stay_as_tokens_but_integer_arrays_are_measurements():
    assert samples_of((torch.ones(2, 3).long(), [0, 1])).inputs.dtype == torch.int64
    assert samples_of((np.ones((2, 3), int), [0, 1])).inputs.dtype == torch.float32


# Noise stays with its samples, whatever lies between.


class Doubling(Subset):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return 2 * x, y

    __getitems__ = None


WRAPPED = {
    "plain": lambda s: DataLoader(s, 8),
    "shuffled": lambda s: DataLoader(s, 8, shuffle=True),
    "own generator": lambda s: DataLoader(
        s, 8, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "last dropped": lambda s: DataLoader(s, 8, shuffle=True, drop_last=True),
    "batch sampler": lambda s: DataLoader(
        s, batch_sampler=BatchSampler(SequentialSampler(s), 9, False)
    ),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_loaders_are_unwrapped_in_the_order_of_their_samples(wrap):
    read = samples_of(wrap(noisy()))
    assert read.inputs[:, 0].tolist() == ALL and aligned(read)
    assert read.noise == LAW and read.name == "noisy"


def test_subsets_are_unwrapped():
    first, second = random_split(noisy(), [20, 30], torch.Generator().manual_seed(0))
    for part in (first, second, Subset(first, [3, 1, 2])):
        for data in (part, DataLoader(part, 8, shuffle=True)):
            read = samples_of(data)
            assert aligned(read) and read.noise == LAW and read.classes == 3
            assert read.inputs[:, 0].tolist() == [part[i][0].item() for i in range(len(part))]
            assert len(samples_of(data, limit=2)) == 2
        x, y = collected(as_batches(part, batch_size=4))
        assert (x, y) == (read.inputs[:, 0].tolist(), read.targets.tolist())


def test_a_sampler_that_leaves_some_out_is_obeyed():
    read = samples_of(DataLoader(noisy(), 8, sampler=SubsetRandomSampler([30, 4, 17])))
    assert read.inputs[:, 0].tolist() == [4, 17, 30] and aligned(read) and read.noise == LAW


def test_a_sampler_that_repeats_drops_the_law():
    samples = noisy()
    for heavy in (WeightedRandomSampler([1.0] * N, 200), RandomSampler(samples, replacement=True)):
        read = samples_of(DataLoader(samples, 8, sampler=heavy))
        assert len(read) == len(heavy) and aligned(read) and read.noise is None


def test_a_collate_function_that_reshapes_inputs_keeps_the_noise():
    def flat(items):
        return torch.stack([x for x, _ in items]).repeat(1, 2), torch.stack([y for _, y in items])

    def relabel(items):
        return torch.stack([x for x, _ in items]), torch.zeros(len(items), dtype=torch.int64)

    batch, _ = next(iter(as_batches(DataLoader(noisy(), 8, collate_fn=flat))))
    assert batch.shape == (8, 2)
    read = samples_of(DataLoader(noisy(), 8, shuffle=True, collate_fn=flat), limit=9)
    assert read.inputs.shape == (9, 2) and aligned(read) and read.noise == LAW
    changed = samples_of(DataLoader(noisy(), 8, collate_fn=relabel))
    assert changed.noise is None and changed.targets.unique().tolist() == [0]


def test_a_subclass_of_subset_may_change_samples_so_nothing_is_assumed():
    data = Doubling(noisy(), [1, 2, 3])
    assert samples_of(data).noise is None and samples_of(DataLoader(data)).noise is None
    assert samples_of(data).inputs[:, 0].tolist() == [2, 4, 6]
    assert collected(as_batches(DataLoader(data, 2)))[0] == [2, 4, 6]


def test_streams_and_loaders_without_automatic_batches():
    assert samples_of(Stream()).inputs[:, 1].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert samples_of(DataLoader(Stream(), 3), limit=4).targets.tolist() == [0, 1, 2, 0]
    assert collected(as_batches(Stream(), batch_size=3))[0] == list(range(7))
    ready = TensorDataset(torch.arange(6.0).view(3, 2, 1), torch.zeros(3, 2).long())
    by_batch = DataLoader(ready, batch_size=None)
    assert samples_of(by_batch).inputs[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


# Randomness.


LOADERS = {
    "of samples": lambda g: DataLoader(noisy(), 8, shuffle=True, generator=g),
    "of a subset": lambda g: DataLoader(Subset(noisy(), ALL), 8, shuffle=True, generator=g),
    "foreign": lambda g: DataLoader(Foreign(), 8, shuffle=True, generator=g),
    "duck": lambda g: Duck(),
}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_passes_are_equal_shuffled_and_move_no_generator(make, own):
    generator = torch.Generator().manual_seed(5) if own else None
    loader = make(generator)
    torch.manual_seed(1)
    batches, state = as_batches(loader), torch.get_rng_state()
    first = collected(batches)
    assert torch.equal(state, torch.get_rng_state())
    if generator is not None:
        assert generator.initial_seed() == 5
        assert torch.equal(generator.get_state(), torch.Generator().manual_seed(5).get_state())
    torch.manual_seed(2)
    assert collected(batches) == first == collected(as_batches(make(generator)))
    assert sorted(first[0]) == ALL and first[0] != ALL
    assert collected(as_batches(loader, seed=1)) != first


def test_draws_between_batches_are_the_callers_own():
    torch.manual_seed(0)
    expected = [torch.rand(()).item() for _ in range(7)]
    torch.manual_seed(0)
    assert [torch.rand(()).item() for _ in as_batches(DataLoader(Foreign(), 8, shuffle=True))] == (
        expected
    )


def test_shortcut_yields_what_the_loader_yields():
    loader = DataLoader(noisy(), 8, shuffle=True, generator=torch.Generator().manual_seed(3))
    expected = collected(DataLoader(loader.dataset, 8, sampler=loader.sampler))
    loader.generator.manual_seed(3)
    ours = collected(as_batches(loader))
    assert sorted(zip(*ours, strict=True)) == sorted(zip(*expected, strict=True))
    kept = DataLoader(noisy(), 8, shuffle=True, drop_last=True)
    assert [len(x) for x, _ in as_batches(kept)] == [8] * 6


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers():
    loader = DataLoader(Foreign(), 8, shuffle=True, num_workers=1)
    batches = as_batches(loader)
    assert collected(batches) == collected(batches)


# Bad input.


class Empty(Foreign):
    def __init__(self) -> None:
        super().__init__(0)


class Triples(Foreign):
    def __getitem__(self, i):
        return torch.zeros(2), 0, 1.0


class Pictures(Foreign):
    def __getitem__(self, i):
        return object(), 0


class Named(Foreign):
    def __getitem__(self, i):
        return {"x": torch.zeros(2), "y": 0}


class OnlyInputs(Foreign):
    def __getitem__(self, i):
        return torch.zeros(2)


class Ragged(Foreign):
    def __getitem__(self, i):
        return torch.zeros(2 + (i >= 8)), 0


X, Y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
BAD = {
    "nothing": (None, TypeError, "loader must be a DataLoader, .* got NoneType"),
    "number": (3, TypeError, "got int"),
    "lone tensor": (X, TypeError, "got Tensor. Did the targets get lost"),
    "lone array": (np.zeros((2, 2)), TypeError, "got ndarray"),
    "text": ("mnist", TypeError, "got str"),
    "mapping": ({"x": X, "y": Y}, TypeError, "got dict"),
    "iterator": (iter([(X, Y)]), TypeError, "iterable more than once; got list_iterator"),
    "lengths": ((X, Y[:3]), ValueError, "inputs has 4, loader's targets has 3"),
    "batch lengths": ([(X, Y[:3])], ValueError, "inputs has 4, loader's targets has 3"),
    "no samples": ((X[:0], Y[:0]), ValueError, "at least one sample"),
    "no batches": ([], ValueError, "at least one batch; it yielded none"),
    "empty set": (Empty(), ValueError, "its data set is empty"),
    "empty loader": (DataLoader(Empty()), ValueError, "loader must"),
    "all dropped": (DataLoader(Foreign(3), 8, drop_last=True), None, "drop_last"),
    "triples": (DataLoader(Triples()), ValueError, r"must yield \(inputs, targets\); .* of 3"),
    "tuple of three": ((X, Y, Y), ValueError, r"must yield \(inputs, targets\); got a Tensor"),
    "dictionaries": (Named(), ValueError, "got a dict of 2"),
    "only inputs": (OnlyInputs(), ValueError, "got a Tensor"),
    "pictures": (Pictures(), TypeError, "object"),
    "ragged lists": (([[1.0], [1.0, 2.0]], [0, 1]), ValueError, "rectangular array of numbers"),
    "words": ((["a", "b"], [0, 1]), TypeError, "must be numbers; got list of <U1"),
    "two lists in a list": ([[[1.0], [2.0]], [0, 1]], TypeError, "pair of lists is passed as a"),
    "NaN": ((X / 0, Y), ValueError, "inputs must be finite; 4 of 4"),
    "NaN in a batch": ([(X, Y), (X / 0, Y)], ValueError, "inputs must be finite"),
    "negative labels": ((X, Y - 1), ValueError, "got -1 among them"),
    "negative in a batch": ([(X, Y - 1)], ValueError, "got -1 among them"),
    "one-hot": ((X, torch.eye(4).long()), ValueError, "argmax"),
    "complex": ((X, np.zeros(4, complex)), TypeError, "must be numbers"),
}


@pytest.mark.parametrize("read", [lambda d: list(as_batches(d)), samples_of])
@pytest.mark.parametrize(("data", "error", "words"), BAD.values(), ids=BAD)
def test_refused(read, data, error, words):
    if error is None:  # samples_of takes what drop_last would leave out
        if read is samples_of:
            assert len(read(data)) == 3
            return
        error = ValueError
    with pytest.raises(error, match=words):
        read(data)


def test_inputs_of_unequal_shapes_cannot_be_joined():
    loader = DataLoader(Ragged(16), 8)
    assert [x.shape[1] for x, _ in as_batches(loader)] == [2, 3]
    for data in (loader, Ragged(16), list(loader)):
        with pytest.raises(ValueError, match="inputs must have one shape"):
            samples_of(data)


@pytest.mark.parametrize("argument", ["heldout", "validation"])
def test_messages_name_the_argument(argument):
    with pytest.raises(ValueError, match=f"{argument}'s inputs and {argument}'s targets"):
        samples_of((X, Y[:3]), argument=argument)
    with pytest.raises(TypeError, match=f"^{argument} must be"):
        as_batches(None, argument=argument)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        as_batches((X, Y), batch_size=0)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        samples_of((X, Y), limit=0)


def test_batches_can_be_passed_on():
    batches = as_batches(noisy(), batch_size=7)
    assert collected(as_batches(batches)) == collected(batches)
    assert samples_of(batches).noise == LAW
