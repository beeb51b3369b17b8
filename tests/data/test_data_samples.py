import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mitools.data import AdditiveNoise, Samples, SymmetricFlips, digits, gaussian
from mitools.data.seeds import derived_seed, stream


def numbered(n: int = 10, **fields) -> Samples:
    """Sample i has input (i, -i) and, as its label, i modulo 3."""
    i = torch.arange(float(n))
    return Samples(torch.stack([i, -i], 1), torch.arange(n) % 3, **fields)


def test_a_data_set_as_torch_knows_it():
    samples = numbered()
    assert len(samples) == 10 and samples.classes == 3
    x, y = samples[4]
    assert x.tolist() == [4.0, -4.0] and y.item() == 1
    inputs, targets = next(iter(DataLoader(samples, 4)))
    assert inputs[:, 0].tolist() == [0, 1, 2, 3] and targets.tolist() == [0, 1, 2, 0]


def test_repr_is_short():
    noisy = SymmetricFlips(0.25).apply(numbered(name="ten"), 0)
    assert repr(noisy) == "<Samples 'ten': 10x2, 3 classes, SymmetricFlips(rate=0.25)>"
    assert (
        repr(Samples(torch.zeros(2, 3), torch.zeros(2))) == "<Samples 'samples': 2x3, regression>"
    )


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        numbered().name = "other"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.bool])
def test_labels_of_any_integer_type_become_int64(dtype):
    samples = Samples(torch.zeros(2, 1), torch.tensor([0, 1]).to(dtype))
    assert samples.targets.dtype == torch.int64 and samples.classes == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"targets": torch.zeros(3, dtype=torch.int64)}, r"inputs has 4, targets has 3"),
        ({"targets": torch.tensor([0, 1, -1, 0])}, r"targets must be classes 0, 1, …; got -1"),
        ({"targets": torch.eye(4, dtype=torch.int64)}, r"one-hot rows pass .argmax\(1\)"),
        ({"targets": torch.zeros(4), "classes": 2}, r"targets must be integers where classes"),
        ({"targets": torch.tensor([0, 1, 5, 0]), "classes": 3}, r"classes=3 with a label 5"),
        ({"targets": torch.tensor([0, 1, torch.nan, 0])}, r"targets must be finite; 1 of 4"),
        ({"targets": torch.zeros(4, 1, 1)}, r"shape \(n,\) or \(n, t\)"),
        ({"targets": torch.zeros(())}, r"at least one sample"),
        ({"inputs": torch.full((4, 2), torch.inf)}, r"inputs must be finite; 4 of 4 .* index 0"),
        ({"inputs": torch.empty(4, 2, device="meta")}, "dense tensor that holds values.*meta"),
        ({"inputs": torch.eye(4).to_sparse()}, "dense tensor that holds values.*sparse_coo"),
        ({"inputs": torch.tensor([[0.0], [0.0], [-torch.inf], [0.0]])}, r"the first at index 2"),
        ({"inputs": torch.tensor([[0.0], [torch.inf], [0.0], [0.0]])}, r"1 of 4 .* index 1"),
        ({"inputs": torch.zeros(0, 2)}, r"inputs must hold at least one sample"),
        ({"clean": torch.zeros(3, dtype=torch.int64)}, r"clean must have the shape and dtype"),
        ({"clean": torch.zeros(4)}, r"clean must have the shape and dtype"),
        ({"clean": torch.tensor([0, 1, 2, 7]), "classes": 3}, r"with a label 7"),
        ({"noise": SymmetricFlips(0.1)}, r"noise must come with clean"),
    ],
)
def test_refused_values(fields, words):
    legal = {"inputs": torch.zeros(4, 2), "targets": torch.tensor([0, 1, 2, 0])}
    with pytest.raises(ValueError, match=words):
        Samples(**legal | fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": np.zeros((4, 2))}, "inputs must be a torch tensor; got ndarray"),
        ({"inputs": torch.zeros(4, 2, dtype=torch.bool)}, r"got torch.bool. Convert with .float"),
        ({"targets": [0, 1, 2, 0]}, "targets must be a torch tensor; got list"),
        ({"targets": torch.zeros(4, dtype=torch.complex64)}, "integer classes or floating"),
    ],
)
def test_refused_types(fields, words):
    legal = {"inputs": torch.zeros(4, 2), "targets": torch.tensor([0, 1, 2, 0])}
    with pytest.raises(TypeError, match=words):
        Samples(**legal | fields)


def test_classes_that_do_not_occur_are_kept_by_selections():
    assert numbered(classes=7).take([0, 3]).classes == 7
    assert numbered().take([0, 3]).classes == 3  # both have label 0


@pytest.mark.parametrize(
    "indices",
    [[7, 2], (7, 2), np.array([7, 2]), torch.tensor([7, 2], dtype=torch.int32), iter([-3, 2])],
)
def test_take_keeps_order_and_what_belongs_to_each_sample(indices):
    noisy = SymmetricFlips(0.5).apply(numbered(), seed=1)
    part = noisy.take(indices)
    assert part.inputs[:, 0].tolist() == [7, 2]
    assert part.targets.tolist() == noisy.targets[[7, 2]].tolist()
    assert part.clean.tolist() == [1, 2] and part.noise == SymmetricFlips(0.5)


def test_take_by_slice_and_by_booleans():
    samples = numbered()
    assert samples.take(slice(2, 8, 3)).inputs[:, 0].tolist() == [2, 5]
    assert samples.take(samples.targets == 2).inputs[:, 0].tolist() == [2, 5, 8]
    assert samples.take(slice(0, 3)).inputs.data_ptr() == samples.inputs.data_ptr()


def test_repeated_samples_share_their_noise_so_its_law_is_dropped():
    noisy = SymmetricFlips(0.5).apply(numbered(), seed=1)
    for repeated in ([3, 3], [3, -7]):
        part = noisy.take(repeated)
        assert part.noise is None and part.clean.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([0, 10], r"0 .. 9; got 0 .. 10"),
        ([-11], "got -11"),
        ([], "at least one of the 10 samples"),
        (torch.zeros(10, dtype=torch.bool), "at least one"),
        ([0.5], "must be integers in one dimension, or 10 booleans"),
        (torch.ones(9, dtype=torch.bool), "10 booleans"),
        (slice(3, 3), "at least one sample"),
    ],
)
def test_take_refuses(indices, words):
    with pytest.raises(ValueError, match=words):
        numbered().take(indices)


def test_split_is_a_partition_and_repeats():
    noisy = SymmetricFlips(0.5).apply(numbered(100), seed=1)
    parts = noisy.split(60, 25, 15, seed=3)
    again = noisy.split(0.6, 0.25, 0.15, seed=3)
    assert [len(part) for part in parts] == [60, 25, 15]
    for part, same in zip(parts, again, strict=True):
        assert torch.equal(part.inputs, same.inputs) and part.noise == noisy.noise
        assert torch.equal(part.clean, part.inputs[:, 0].long() % 3)
    assert torch.cat([p.inputs[:, 0] for p in parts]).sort().values.tolist() == list(range(100))
    assert not torch.equal(noisy.split(60, seed=4)[0].inputs, parts[0].inputs)


def test_split_may_leave_some_out():
    (part,) = numbered(100).split(7, seed=0)
    assert len(part) == 7


@pytest.mark.parametrize("sizes", [(), (11,), (6, 5), (0, 5), (0.7, 0.7), (-1, 3), (0.001,)])
def test_split_refuses(sizes):
    with pytest.raises(ValueError, match="sizes must be positive and add up to at most the 10"):
        numbered().split(*sizes, seed=0)


def test_survives_pickling_for_joblib():
    noisy = AdditiveNoise(0.1).apply(Samples(torch.randn(5, 2), torch.zeros(5)), seed=0)
    again = pickle.loads(pickle.dumps(noisy))
    assert torch.equal(again.targets, noisy.targets) and again.noise == noisy.noise


def test_to_moves_every_tensor():
    noisy = SymmetricFlips(0.5).apply(numbered(), seed=1)
    if torch.cuda.is_available():
        moved = noisy.to("cuda")
        assert {t.device.type for t in (moved.inputs, moved.targets, moved.clean)} == {"cuda"}
        redrawn = noisy.noise.apply(moved, seed=1)
        assert torch.equal(redrawn.targets.cpu(), noisy.targets)
    assert torch.equal(noisy.to("cpu").targets, noisy.targets)


def test_digits():
    whole = digits()
    assert whole.inputs.shape == (1797, 64) and whole.inputs.dtype == torch.float32
    assert abs(float(whole.inputs.double().mean())) < 1e-6
    assert abs(float(whole.inputs.double().std(correction=0)) - 1) < 1e-6
    assert whole.targets[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    train, test = digits(train=True), digits(train=False)
    assert (len(train), len(test), train.classes, test.classes) == (1437, 360, 10, 10)
    rows = torch.cat([train.inputs, test.inputs])
    assert len(rows.unique(dim=0)) == len(whole.inputs.unique(dim=0))
    share = test.targets.bincount() / whole.targets.bincount()
    assert float((share - 0.2).abs().max()) < 0.006  # stratified: each count is off by < 1
    assert torch.equal(digits(train=True).inputs, train.inputs)
    assert not torch.equal(digits(train=True, seed=1).inputs, train.inputs)


def test_gaussian_inputs_and_labels_are_independent_streams():
    samples = gaussian(4_000, 5, classes=4, seed=0)
    assert samples.clean.unique().tolist() == [0] and samples.noise == SymmetricFlips(0.75)
    assert torch.equal(gaussian(4_000, 5, classes=4, seed=0).inputs, samples.inputs)
    assert torch.equal(gaussian(4_000, 5, classes=4, seed=0).targets, samples.targets)
    for other in (gaussian(4_000, 5, classes=4, seed=1), samples.noise.apply(samples, seed=0)):
        agree = float((other.targets == samples.targets).double().mean())
        assert abs(agree - 0.25) < 4 * (0.1875 / 4_000) ** 0.5
    counts = samples.targets.bincount(minlength=4).double()
    assert float(((counts - 1_000) ** 2 / 1_000).sum()) < 16.3  # chi-square, 3 d.o.f., 99.9%
    x = samples.inputs.double()
    assert float((x.mean(0).abs()).max()) < 4 / 4_000**0.5
    assert float((x.T.cov() - torch.eye(5)).abs().max()) < 0.12
    means = torch.stack([x[samples.targets == k].mean(0) for k in range(4)])
    assert float(means.abs().max()) < 4.5 / 1_000**0.5


@pytest.mark.parametrize("sizes", [(0, 5, 2), (5, 0, 2), (5, 5, 1)])
def test_gaussian_refuses(sizes):
    with pytest.raises(ValueError, match="must be at least"):
        gaussian(*sizes, seed=0)


def test_global_generators_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    SymmetricFlips(0.3).apply(gaussian(50, 3, seed=0), seed=1).split(0.5, seed=2)
    digits(train=True)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_seeds_differ_by_purpose_and_index_and_repeat():
    purposes = [("a",), ("b",), ("a", 0), ("a", 1), ("a", "b"), ("b", "a"), ("a", 0, 0)]
    seeds = {derived_seed(seed, *purpose) for seed in (0, 1, 2**40) for purpose in purposes}
    assert len(seeds) == 21 and all(0 <= s < 2**63 for s in seeds)
    assert stream(5, "a").random() == stream(5, "a").random()


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (0.5, TypeError), (True, TypeError)])
def test_seeds_are_whole_numbers(seed, error):
    with pytest.raises(error, match="seed must"):
        derived_seed(seed, "a")
