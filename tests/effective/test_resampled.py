"""Masks pruned again: together or one by one, in pieces or at a go, here or on a cluster."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from joblib import parallel_config
from torch import nn
from torch.utils.data import DataLoader

from mitools import Mask, peff, prune
from mitools.data import FreshNoise, digits, gaussian
from mitools.effective import (
    Evidence,
    LabelNoiseDecoding,
    ResampledMasks,
    ScoreDecoding,
    TangentDecoding,
)
from mitools.effective.evidence import remembered_pruner
from mitools.effective.prequential import affordable_decoders
from mitools.effective.repruning import repruned
from mitools.mipp import MIPP
from mitools.models import mlp
from mitools.pruning import IMP, SNIP, MagnitudeAfterTraining, OneShot
from mitools.training import SGD, Training

TRAINING = Training(6, 10, SGD(0.2), seed=4)
PRUNERS = [
    MagnitudeAfterTraining(TRAINING),
    MagnitudeAfterTraining(TRAINING, scope="layer", score=SNIP()),
    IMP(TRAINING, rate=0.4),
    IMP(TRAINING, rounds=2, rewind_steps=4),
]


def model():
    return mlp([8, 12, 2], seed=0).double()


def data(n=30, seed=0):
    return gaussian(n, 8, 2, seed=seed)


def redrawn(samples, count):
    return [FreshNoise().draw(samples, index, 0) for index in range(count)]


@pytest.mark.parametrize("loader", [False, True])
@pytest.mark.parametrize("pruner", PRUNERS, ids=repr)
def test_together_as_one_by_one(pruner, loader):
    drawn = redrawn(data(), 6)
    given = [DataLoader(one, 10, shuffle=True) for one in drawn] if loader else drawn
    mask = prune(model(), drawn[0], pruner, density=0.3)
    assert pruner.together(model(), given) > 1
    found = repruned(pruner, model(), mask, given)
    assert found == [prune(model(), one, pruner, density=0.3) for one in given]
    assert len(set(found)) > 1
    assert all(m.pruner == mask.pruner and m.fingerprint == mask.fingerprint for m in found)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_extremes_together(density):
    drawn = redrawn(data(), 3)
    for pruner in PRUNERS:
        masks = pruner.masks(model(), drawn, density, ("fc1.weight", "fc2.weight"))
        assert [m.nonzeros for m in masks] == [round(density * 120)] * 3


def test_rewinding_beyond_the_end_is_refused_together_too():
    with pytest.raises(ValueError, match="rewind_steps must leave something to train"):
        IMP(TRAINING, rewind_steps=18).masks(model(), redrawn(data(), 3), 0.5, ("fc1.weight",))


# ---- taken up again ----


class Counted:
    """Says how often each pruner was run, from whatever process."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self):
        return len(list(self.folder.iterdir()))


@dataclass(frozen=True)
class Slow:
    """Keep the weights that SNIP keeps; leave a trace of each run, then wait."""

    folder: str
    seconds: float = 0.0

    def mask(self, model, loader, density, names):
        found = OneShot(SNIP()).mask(model, loader, density, names)
        descriptor = os.open(f"{self.folder}/{time.time_ns()}-{os.getpid()}", os.O_CREAT)
        os.close(descriptor)
        time.sleep(self.seconds)
        return found


def shuffled(samples, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(samples, batch_size, shuffle=True, generator=generator)


def masks_of(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_finished_runs_are_not_repeated(tmp_path):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    runs.mkdir()
    count, drawn = Counted(runs), redrawn(data(), 5)
    pruner = Slow(str(runs))
    mask = prune(model(), drawn[0], pruner, density=0.3)
    before = count()
    whole = repruned(pruner, model(), mask, drawn)
    assert repruned(pruner, model(), mask, drawn[:3], checkpoint=kept) == whole[:3]
    assert repruned(pruner, model(), mask, drawn, checkpoint=kept) == whole
    assert count() == before + 5 + 3 + 2
    assert repruned(pruner, model(), mask, drawn, checkpoint=kept) == whole
    assert count() == before + 10
    assert len(masks_of(kept)) == 5


@pytest.mark.parametrize(
    "what", ["weights", "density", "pruner", "data", "batches", "order", "names"]
)
def test_runs_of_something_else_are_not_taken(tmp_path, what):
    pruner, net, drawn = PRUNERS[0], model(), redrawn(data(), 2)
    loaders = [shuffled(one, 10, seed=0) for one in drawn]
    names = ["fc2.weight"] if what == "names" else []
    repruned(pruner, net, prune(net, drawn[0], pruner, density=0.3), loaders, checkpoint=tmp_path)
    first = masks_of(tmp_path)
    if what == "weights":
        nn.init.zeros_(net.fc2.bias)
    if what == "pruner":
        pruner = PRUNERS[1]
    if what == "data":
        loaders = [shuffled(one, 10, seed=0) for one in redrawn(data(seed=1), 2)]
    if what == "batches":
        loaders = [shuffled(one, 15, seed=0) for one in drawn]
    if what == "order":
        loaders = [shuffled(one, 10, seed=1) for one in drawn]
    density = 0.4 if what == "density" else 0.3
    mask = prune(net, drawn[0], pruner, density=density, exclude=names)
    again = repruned(pruner, net, mask, loaders, checkpoint=tmp_path)
    assert again == repruned(pruner, net, mask, loaders)
    assert len(masks_of(tmp_path)) == len(first) + 2


def test_a_group_that_is_not_complete_is_run_as_a_whole(tmp_path, monkeypatch):
    pruner, drawn = PRUNERS[0], redrawn(data(), 5)
    mask = prune(model(), drawn[0], pruner, density=0.3)
    monkeypatch.setattr(MagnitudeAfterTraining, "together", lambda *_: 2)
    sizes = []
    plain = MagnitudeAfterTraining.masks

    def watched(self, model, loaders, density, names):
        sizes.append(len(loaders))
        return plain(self, model, loaders, density, names)

    monkeypatch.setattr(MagnitudeAfterTraining, "masks", watched)
    whole = repruned(pruner, model(), mask, drawn, checkpoint=tmp_path)
    assert sizes == [2, 2]  # the fifth is run by itself
    next(tmp_path.glob("*.safetensors")).unlink()
    assert repruned(pruner, model(), mask, drawn, checkpoint=tmp_path) == whole
    assert sum(sizes[2:]) in (0, 2)


KILLED = """
    import sys
    sys.path.insert(0, {tests!r})
    from test_resampled import *

    samples, net = data(), model()
    pruner = Slow({runs!r}, 0.15)
    mask = prune(net, samples, pruner, density=0.3)
    answer = peff(net, mask, samples, ResampledMasks(pruner, datasets=8), checkpoint={kept!r})
    print(answer.to_json())
"""


def test_a_killed_driver_goes_on_where_it_was(tmp_path):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    runs.mkdir()
    places = {"tests": os.path.dirname(__file__), "runs": str(runs), "kept": str(kept)}
    command = [sys.executable, "-c", textwrap.dedent(KILLED).format(**places)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE)
    while first.poll() is None and (not kept.exists() or len(masks_of(kept)) < 3):
        time.sleep(0.02)
    first.kill()
    first.communicate()
    finished, started = len(masks_of(kept)), Counted(runs)()
    assert 3 <= finished < 9  # eight data sets and the given one
    samples, net = data(), model()
    pruner = Slow(str(runs), 0.15)
    mask = prune(net, samples, pruner, density=0.3)
    method = ResampledMasks(pruner, datasets=8)
    answer = peff(net, mask, samples, method, checkpoint=kept)
    assert Counted(runs)() == started + 1 + 9 - finished  # one more for `prune` itself
    assert answer == peff(net, mask, samples, method)


# ---- decoding ----


def test_decoder_is_the_strongest_that_is_affordable():
    small, large = Mask.ones_like(mlp([8, 4, 2])), Mask.ones_like(mlp([1000, 400, 2]))
    snips = prune(mlp([8, 4, 2]), data(), OneShot(SNIP()), density=0.5)
    assert affordable_decoders(small, data()) == [TangentDecoding()]
    assert affordable_decoders(large, data(), runs=16) == [LabelNoiseDecoding()]
    assert affordable_decoders(snips, data()) == [TangentDecoding(), ScoreDecoding()]
    assert affordable_decoders(snips, data(), original=False) == [TangentDecoding()]


def test_noise_is_decoded_with_the_decoder_asked_for():
    samples, net = data(60), mlp([8, 30, 2], seed=0)
    mask = prune(net, samples, OneShot(SNIP()), density=0.3)
    lower = {}
    for decoder in (LabelNoiseDecoding(), ScoreDecoding(), None):
        answer = peff(net, mask, samples, ResampledMasks(datasets=5, decoder=decoder))
        (lower[decoder],) = [b for b in answer.bounds if b.sense == "lower"]
        drawn = redrawn(samples, 5)
        masks = repruned(OneShot(SNIP()), net, mask, drawn)
        evidence = [
            Evidence(model=net, mask=m, samples=s, original=True)
            for m, s in zip(masks, drawn, strict=True)
        ]
        chosen = decoder or ScoreDecoding()
        one_by_one = [chosen.bounds(each)[0].value for each in evidence]
        assert lower[decoder].value == pytest.approx(np.mean(one_by_one))
    assert lower[None].value == lower[ScoreDecoding()].value > lower[LabelNoiseDecoding()].value + 1
    assert lower[None].limit <= 60 * math.log(2)


# ---- on a cluster ----


@contextmanager
def cluster_of(count):
    """Worker processes on the loopback, which joblib uses inside."""
    distributed = pytest.importorskip("distributed", reason="needs mitools[cluster]")
    place = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(count, threads_per_worker=1, silence_logs=50, **place) as cluster,
        distributed.Client(cluster),
        parallel_config("dask"),
    ):
        yield cluster


def test_cluster_that_loses_a_worker_gives_the_same(tmp_path, monkeypatch):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    runs.mkdir()
    pruner, drawn = Slow(str(runs), 0.2), redrawn(data(), 10)
    mask = prune(model(), drawn[0], pruner, density=0.3)
    expected = repruned(OneShot(SNIP()), model(), mask, drawn)
    killed = []

    def kill_one(workers):
        while len(list(runs.iterdir())) < 5:  # in the midst of it
            time.sleep(0.02)
        victim = workers[0]
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    with cluster_of(2) as cluster:
        workers = [worker.pid for worker in cluster.workers.values()]
        assassin = threading.Thread(target=kill_one, args=(workers,))
        assassin.start()
        found = repruned(pruner, model(), mask, drawn, checkpoint=kept)
        assassin.join()
        monkeypatch.setattr(MagnitudeAfterTraining, "together", lambda *_: 2)
        trained = repruned(PRUNERS[0], model(), mask, drawn[:4])
    assert trained == [prune(model(), one, PRUNERS[0], density=0.3) for one in drawn[:4]]
    assert found == expected and len(killed) == 1
    where = {path.name.split("-")[1] for path in runs.iterdir()} - {str(os.getpid())}
    assert set(map(str, workers)) <= where  # both took part
    assert len(masks_of(kept)) == 10


def test_a_saved_mask_remembers_mipp(tmp_path):
    model, data = mlp((64, 12, 10)), digits(train=True).take(slice(100))
    mask = prune(model, data, MIPP(), density=0.5)
    mask.save(tmp_path / "mask.safetensors")
    again = remembered_pruner(Mask.load(tmp_path / "mask.safetensors"))
    assert again == mask.pruner and isinstance(again, MIPP)
