"""The truth of every mask task against its sampler, by another way of working it out."""

import itertools
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import binom, norm

from estimators_bench.tasks.dependent_laws import Branches, NoisyCopies
from estimators_bench.tasks.mask_laws import (
    Channels,
    Hash,
    Lookup,
    SharedCauses,
    Silent,
    Threshold,
    TopK,
)
from estimators_bench.tasks.masks import TASKS
from estimators_bench.tasks.tiny_net import TRUTHS, TinyNet, print_every_count, sampled
from mitools.data import Samples
from mitools.effective import enumeration
from mitools.pruning import SNIP, MagnitudeAfterTraining, OneShot
from mitools.training import SGD, Training

BY_NAME = {task.name: task for task in TASKS}
SMALL = [task for task in TASKS if task.size <= 1_000]


def h(p):
    return -sum(q * math.log(q) for q in (p, 1.0 - p) if q > 0.0)


def plug_in(rows):
    """Entropy of rows as symbols, with Miller and Madow's correction, and its standard error."""
    counts = np.unique(np.packbits(rows, axis=1), axis=0, return_counts=True)[1]
    shares = counts / counts.sum()
    entropy = -(shares @ np.log(shares))
    spread = shares @ np.log(shares) ** 2 - entropy**2
    correction = (len(counts) - 1) / (2 * counts.sum())
    return entropy + correction, math.sqrt(max(spread, 0.0) / counts.sum())


def check_entropy_is_the_truth(law, draws=100_000, bias=0.01):
    """For masks that are functions of the data and of few enough kinds to be counted."""
    masks = law(draws, np.random.default_rng(0)).masks
    found, error = plug_in(masks)
    assert found == pytest.approx(law.nats, abs=5 * error + bias)


# ---- the catalogue ----


def test_every_row_of_the_list_is_there_from_16_weights_to_a_million():
    for case in ("silent", "threshold", "threshold-noisy", "lookup-flipped", "top-k", "hash"):
        for size, words in ((16, "16"), (1_000, "1k"), (1_000_000, "1m")):
            assert BY_NAME[f"mask-{case}-{words}"].size == size
    assert BY_NAME["mask-shared-1m"].size == 1_000_000
    assert sum(name.startswith("mask-tiny-") for name in BY_NAME) == len(TRUTHS)
    assert len(BY_NAME) == len(TASKS)


@pytest.mark.parametrize("task", SMALL, ids=lambda task: task.name)
def test_draws_have_their_shapes_and_repeat(task):
    data = task.draw(5, seed=1)
    assert data.masks.shape == (5, task.size) and data.masks.dtype == np.bool_
    assert sum(data.layers) == task.size
    again, other = task.draw(5, seed=1), task.draw(5, seed=2)
    np.testing.assert_array_equal(data.masks, again.masks)
    assert task.truth.nats < 1.0 or (data.masks != other.masks).any()
    assert (task.label_law is None) == (data.labels is None) == (data.shown is None)
    if task.label_law is not None:
        assert data.labels.shape == data.shown.shape[:2]
        assert data.shown.shape[2] == len(task.label_law)
        assert 0 <= data.labels.min() <= data.labels.max() < len(task.label_law)


def test_tasks_travel_to_other_processes():
    for task in TASKS:
        assert pickle.loads(pickle.dumps(task)) == task


def test_labels_follow_the_law_that_the_task_states():
    for task in SMALL:
        if task.label_law is not None and not task.name.startswith("mask-tiny"):
            labels = task.draw(2_000, seed=0).labels
            for symbol, rate in enumerate(task.label_law):
                times = int((labels == symbol).sum())
                assert 1e-6 < binom.cdf(times, labels.size, rate) < 1.0 - 1e-6


# ---- truths ----

COUNTABLE = [
    Silent(16),
    Threshold(8, spread=1.0),
    Threshold(8, spread=3.0, shift=-2.0, points=7),
    Lookup(16, 6),
    Lookup(16, 8, law=(0.9, 0.1)),
    Lookup(30, 3, law=(0.2, 0.3, 0.5)),
    TopK(12, 4),
    SharedCauses(4, 4),
    SharedCauses(6, 3, rate=0.1),
    Channels((2, 5, 4, 3)),
    Branches(9, 0.1),
    NoisyCopies(2, 5, 0.2),
    Hash(16, 8),
]


@pytest.mark.parametrize("law", COUNTABLE, ids=repr)
def test_truth_is_the_entropy_of_the_masks(law):
    check_entropy_is_the_truth(law)


@dataclass(frozen=True)
class Planted:
    """A sampler under another law's truth."""

    law: object
    nats: float

    def __call__(self, draws, rng):
        return self.law(draws, rng)


@pytest.mark.parametrize(
    "law",
    [
        Planted(Silent(16, seeds_move=True), 0.0),
        Planted(Threshold(8, points=100, noise=1.0), Threshold(8).nats),
        Planted(Lookup(16, 6), 7 * math.log(2)),
        Planted(Lookup(16, 8, law=(0.9, 0.1)), 8 * math.log(2)),
        Planted(TopK(12, 4), math.log(12**4)),
        Planted(SharedCauses(4, 4), 16 * math.log(2)),
        Planted(Channels((2, 5, 4, 3)), 10 * math.log(2)),
        Planted(Branches(9, 0.1), 9 * h(0.1)),
        Planted(NoisyCopies(2, 5, 0.2), 2 * (math.log(2) + 5 * h(0.2))),
        Planted(Hash(16, 8), 9 * math.log(2)),
    ],
    ids=repr,
)
def test_the_check_itself_refuses_wrong_truths(law):
    with pytest.raises(AssertionError):
        check_entropy_is_the_truth(law)


def test_threshold_weights_are_kept_as_often_as_their_means_say_and_independently():
    law = Threshold(64, spread=1.5, shift=-0.5, points=25)
    masks = law(40_000, np.random.default_rng(1)).masks
    rates = masks.mean(axis=0)
    assert sum(h(rate) for rate in rates) == pytest.approx(law.nats, rel=0.005)
    correlations = np.corrcoef(masks[:, rates * (1 - rates) > 0.05].T)
    off = correlations[~np.eye(len(correlations), dtype=bool)]
    assert np.abs(off).max() < 6 / math.sqrt(len(masks))


def test_threshold_has_the_stated_spread_of_means():
    """A million weights against the integral over a normal law of means."""
    expected = quad(lambda z: h(norm.cdf(0.5 + 2.0 * z)) * norm.pdf(z), -12, 12)[0]
    assert Threshold(1_000_000, 2.0, 0.5).nats / 1e6 == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("mean", "noise"), [(0.0, 1.0), (1.3, 1.0), (-0.7, 0.3), (2.0, 3.0)])
def test_noisy_threshold_by_adaptive_quadrature(mean, noise):
    """One weight: all levels of a law without spread are the same."""
    law = Threshold(1, spread=0.0, shift=mean, points=9, noise=noise)
    left = quad(lambda z: h(norm.cdf((mean + z) / noise)) * norm.pdf(z), -10, 10, limit=200)[0]
    kept = norm.cdf(mean / math.hypot(1.0, noise))
    assert law.nats == pytest.approx(h(kept) - left, abs=1e-7)
    masks = law(40_000, np.random.default_rng(2)).masks
    assert masks.mean() == pytest.approx(kept, abs=0.012)


def test_noisy_threshold_by_sampling_what_the_mean_leaves_open():
    """I = H(m) - H(m | mean), the second by many runs of the pruner on each of many means."""
    law = Threshold(1, spread=0.0, shift=0.4, noise=1.0)
    rng = np.random.default_rng(3)
    means = 0.4 + rng.standard_normal(4_000)
    runs = 400
    kept = (means[:, None] + rng.standard_normal((4_000, runs)) > 0).mean(axis=1)
    left = np.array([h(rate) for rate in kept]) + 1 / (2 * runs)
    truth = h(kept.mean()) - left.mean()
    assert law.nats == pytest.approx(truth, abs=5 * left.std() / math.sqrt(4_000) + 0.002)


@pytest.mark.parametrize(
    "law",
    [
        Lookup(200, 100, 0.1),
        Lookup(200, 100, 0.05, (0.9, 0.1)),
        Lookup(400, 40, 0.2, (0.1,) * 10),
        Lookup(400, 40, 0.2, (0.5, 0.3, 0.2)),
    ],
    ids=repr,
)
def test_lookup_tells_what_label_and_mask_have_in_common(law):
    """From the joint table of each label and what the mask shows of it."""
    data = law(3_000, np.random.default_rng(4))
    symbols = len(law.law)
    out = data.shown.argmax(axis=2)
    table = np.bincount((data.labels * symbols + out).ravel(), minlength=symbols**2)
    joint = (table / table.sum()).reshape(symbols, symbols)
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    seen = joint > 0
    information = (joint[seen] * np.log(joint[seen] / alone[seen])).sum()
    assert law.points * information == pytest.approx(law.nats, rel=0.02)


def test_lookup_writes_what_it_shows_into_weights_and_nothing_else_moves():
    for law in (Lookup(100, 30, 0.2), Lookup(100, 7, 0.2, (0.1,) * 10)):
        data = law(500, np.random.default_rng(5))
        moves = data.masks.any(axis=0) & ~data.masks.all(axis=0)
        told = law.points * (1 if len(law.law) == 2 else len(law.law))
        assert moves.sum() == told
        kinds = len(np.unique(np.hstack([data.masks, data.shown.argmax(2) > 0]), axis=0))
        assert kinds == len(np.unique(data.masks, axis=0))  # the mask decides what is shown


def test_top_k_keeps_exactly_k_and_every_weight_as_often():
    masks = TopK(50, 7)(20_000, np.random.default_rng(6)).masks
    assert (masks.sum(axis=1) == 7).all()
    rates = masks.mean(axis=0)
    assert np.abs(rates - 0.14).max() < 5 * math.sqrt(0.14 * 0.86 / 20_000)


def test_shared_causes_keep_half_of_each_block_whatever_happens():
    masks = SharedCauses(5, 8)(200, np.random.default_rng(7)).masks
    assert (masks.sum(axis=1) == 20).all()


def test_channels_take_their_rows_and_the_columns_of_the_next_layer():
    first, second, third = np.split(
        Channels((3, 4, 6, 2))(300, np.random.default_rng(7)).masks, [12, 36], axis=1
    )
    rows, columns = first.reshape(-1, 4, 3), third.reshape(-1, 2, 6)
    assert (rows == rows[:, :, :1]).all() and (columns == columns[:, :1]).all()
    middle = columns[:, 0, :, None] & rows[:, None, :, 0]
    np.testing.assert_array_equal(second.reshape(-1, 6, 4), middle)


def test_hash_is_pairwise_independent_of_itself_and_of_every_label():
    data = Hash(40, 8)(40_000, np.random.default_rng(8))
    columns = np.hstack([data.masks, data.labels]).astype(float)
    off = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    # Weights with the same subset of the hash's bits are copies of each other; no others relate.
    copies = np.abs(off) > 0.5
    assert copies[:40, 40:].sum() == 0
    assert np.abs(off[~copies]).max() < 6 / math.sqrt(40_000)
    assert len(np.unique(data.masks, axis=0)) == 2**8


def test_silent_masks_do_not_depend_on_labels():
    data = Silent(100, seeds_move=True)(4_000, np.random.default_rng(9))
    assert not np.array_equal(data.masks[0], data.masks[1])
    relation = np.corrcoef(data.shown[:, :, 1].ravel(), data.labels.ravel())[0, 1]
    assert abs(relation) < 5 / math.sqrt(data.labels.size)
    for still in (Silent(100), Silent(100, read=True)):
        data = still(3, np.random.default_rng(9))
        assert (data.masks == data.masks[0]).all()


# ---- the tiny network ----


@pytest.mark.parametrize("key", TRUTHS, ids=str)
def test_tiny_net_truths_recomputed(key):
    """Counted anew from the masks of the sampler's own table, by sorting rows."""
    from estimators_bench.tasks.tiny_net import _enumerated

    rows = sorted(map(bytes, _enumerated(*key)[0]))
    counts = np.array([len(list(same)) for _, same in itertools.groupby(rows)])
    shares = counts / len(rows)
    assert len(rows) == (64 if key[2] else 1_792)
    assert TRUTHS[key] == pytest.approx(-(shares @ np.log(shares)), abs=0.02)
    assert TinyNet(*key).nats <= math.log(math.comb(21, key[1]))


def test_tiny_net_masks_are_those_of_the_pruners_one_data_set_at_a_time():
    data_sets, model = enumeration.sign_data_sets(), enumeration.sign_network()
    names = tuple(name for name, _ in model.named_parameters())
    training = Training(epochs=200, batch_size=6, optimizer=SGD(lr=0.1, momentum=0.0))
    pruners = {
        "snip": (OneShot(SNIP()), enumeration.snip_scores),
        "trained": (MagnitudeAfterTraining(training), enumeration.trained_scores),
    }
    chosen = torch.tensor([0, 700, 1_791])
    few = enumeration.DataSets(data_sets.inputs[chosen], data_sets.targets[chosen])
    for pruner, scores in pruners.values():
        rows = enumeration.kept(scores(model, few), 11)
        for row, inputs, targets in zip(rows, few.inputs, few.targets, strict=True):
            mask = pruner.mask(model, Samples(inputs, targets), 11 / 21, names)
            flat = torch.cat([mask[name].reshape(-1) for name in names])
            np.testing.assert_array_equal(row, flat.numpy())


def test_every_count_is_printed_drawn_and_sampled(monkeypatch, capsys, tmp_path):
    """On a small family in the place of the 1,792, whose masks are counted here by hand."""
    whole = enumeration.sign_data_sets(points=3, dims=2)
    model = enumeration.sign_network(hidden=6, dims=2)  # 25 weights: as many as to be pruned
    monkeypatch.setattr(enumeration, "sign_data_sets", lambda: whole)
    monkeypatch.setattr(enumeration, "sign_network", lambda seed: model)
    monkeypatch.setattr(enumeration, "imp_scores", enumeration.trained_scores)  # a level is enough
    print_every_count(0, tmp_path / "tiny.png", 16)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1:27]]
    assert [row[0] for row in rows] == [str(pruned) for pruned in range(26)]
    snip = enumeration.snip_scores(model, whole)
    counts = np.unique(enumeration.kept(snip, 25 - 9), axis=0, return_counts=True)[1]
    shares = counts / 32
    assert float(rows[9][3]) == pytest.approx(-(shares @ np.log(shares)), abs=6e-4)
    assert len(lines) == 1 + 26 + 1 + 6 and lines[28].startswith("SNIP, 3 pruned, 16 draws: exact ")
    assert (tmp_path / "tiny.png").stat().st_size > 10_000


def test_corrections_of_a_sample_lie_above_the_plug_in_and_near_the_truth():
    masks = np.array(list(itertools.product([False, True], repeat=4)))
    words = sampled("all", 0, masks, math.log(16), 64).replace(",", "").split()
    means = {name: float(words[words.index(name) + 1]) for name in ("plug-in", "jackknife")}
    expected = math.log(16) - 15 / (2 * 64)  # to first order
    assert means["plug-in"] == pytest.approx(expected, abs=0.02)
    assert means["jackknife"] == pytest.approx(math.log(16), abs=0.02)
