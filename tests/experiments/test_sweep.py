"""Sweeps: killed and gone on with, failing, side by side; and what a job answers."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import torch
from joblib import parallel_config

from mitools.data import SymmetricFlips, digits
from mitools.data.seeds import derived_seed
from mitools.effective import Counting
from mitools.experiments import ImageSet, Job, grid, jobs, run, running, summary, sweep
from mitools.experiments.sweep import attempt, seconds_left
from mitools.models import copied, mlp
from mitools.pruning import (
    IMP,
    SNIP,
    AutoSparse,
    MagnitudeAfterTraining,
    OneShot,
    Random,
    Shuffled,
    prune,
    trained,
)
from mitools.training import SGD, Training, evaluate, train

sys.path.insert(0, str(Path(__file__).parent))  # so that other processes find it by this name
from sweep_parts import NET, SHORT, SMALL, Dies, FailsBeside, slow_jobs, some_jobs

module = import_module("mitools.experiments.sweep")  # the package has a function of this name
TIMES = ["seconds", "seconds_pruning"]


@pytest.fixture(scope="module")
def fresh():
    return sweep(some_jobs())


def same(found, expected):
    pd.testing.assert_frame_equal(
        found.drop(columns=TIMES), expected.drop(columns=TIMES), check_exact=True
    )


def records(folder):
    return sorted((folder / "records").glob("*.json"))


# ---- what a job is ----


def test_job_is_rebuilt_from_its_repr():
    known = {**vars(jobs), "IMP": IMP, "SGD": SGD, "OneShot": OneShot, "SNIP": SNIP}
    known |= {"Random": Random, "Counting": Counting}
    known |= {"Constant": type(SHORT.schedule), "Magnitude": trained.Magnitude}
    asked = [*some_jobs(1), Job(NET, "digits", IMP(SHORT), 0.1, peff=(Counting(),), start="init")]
    for job in asked:
        assert eval(repr(job), known) == job


def test_key_follows_from_the_content_alone():
    job = Job(NET, SMALL, OneShot(SNIP()), 0.1, training=SHORT)
    assert replace(job, label="other name").key == job.key
    assert replace(job, density=0.1 + 1e-18).key == job.key
    changes = [
        {"model": "mlp:64-13-10"}, {"data": replace(SMALL, flips=0.2)}, {"seed": 1}, {"peff": True},
        {"pruner": OneShot(SNIP(), scope="layer")}, {"density": 0.11}, {"start": "init"},
        {"training": replace(SHORT, optimizer=SGD(lr=0.05))},
    ]  # fmt: skip
    assert len({job.key, *(replace(job, **change).key for change in changes)}) == 9
    assert len({j.key for j in some_jobs()}) == len(some_jobs())


class Unnamed:
    def mask(self, model, loader, density, names): ...


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": 3}, "model must be a name"),
        ({"data": None}, "data must be a name"),
        ({"data": "imagenet"}, "data must be one of 'digits'"),
        ({"pruner": SNIP()}, "Try OneShot"),
        ({"pruner": Unnamed()}, "repr says what they are"),
        ({"pruner": None}, "density must be 1 without a pruner"),
        ({"density": 1.5}, "density"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"training": 20}, "Training value or None"),
        ({"start": "begin"}, "'ticket', 'init'"),
        ({"peff": "yes"}, "tuple of methods"),
    ],
)
def test_values_that_are_none(change, said):
    job = Job(NET, SMALL, OneShot(SNIP()), 0.1)
    with pytest.raises((TypeError, ValueError), match=said):
        replace(job, **change)


# ---- what it answers ----


def test_numbers_are_those_of_the_pieces_put_together():
    job = Job(NET, SMALL, OneShot(Random(seed=5)), 0.2, seed=3, training=SHORT)
    row = run(job)
    fit, *_ = digits(train=True).split(300, seed=derived_seed(3, "images"))
    fit = SymmetricFlips(0.1).apply(fit, derived_seed(3, "flips"))
    model = mlp((64, 12, 10), seed=3)
    mask = prune(model, fit, OneShot(Random(seed=8)), density=0.2)
    assert (row["size"], row["kept"]) == (888, 178)
    assert row["on_path"] == mask.on_path(model, fit.inputs[:1]).nonzeros < 178
    network = mask.apply_(copied(model))
    assert row["accuracy_before"] == evaluate(network, digits(train=False)).accuracy
    train(network, fit, replace(SHORT, seed=3), mask=mask)
    after = evaluate(network, digits(train=False))
    assert (row["accuracy"], row["loss"]) == (after.accuracy, after.loss)
    assert row["train_accuracy"] == evaluate(network, fit).accuracy
    assert row["p_eff_low"] is None


def test_pruners_that_train_say_where_to_go_on():
    job = Job(NET, SMALL, MagnitudeAfterTraining(SHORT), 0.5, training=SHORT)
    ticket, init = run(job), run(replace(job, start="init"))
    assert ticket["accuracy_before"] > 0.5 > init["accuracy_before"]
    assert ticket["accuracy"] != init["accuracy"] and ticket["kept"] == init["kept"]
    model, (fit, held_out) = mlp((64, 12, 10), seed=0), SMALL.load("")
    found = job.pruner.run(model, fit, 0.5)
    network = found.apply_(copied(model))
    assert ticket["accuracy_before"] == evaluate(network, held_out).accuracy
    train(network, fit, SHORT, mask=found.mask, start=found.start)
    assert ticket["accuracy"] == evaluate(network, held_out).accuracy


def test_peff_is_asked_with_these_methods():
    row = run(Job(NET, SMALL, OneShot(SNIP()), 0.1, training=None, peff=(Counting(),)))
    assert row["accuracy"] is None and row["accuracy_before"] is not None
    assert row["p_eff_low"] == row["kept"] == 89
    assert row["p_eff_high"] == pytest.approx(89 + row["mi_upper_limit"])
    assert row["mi_upper_limit"] == pytest.approx(log_choose(888, 89))


def log_choose(n, k):
    from math import comb, log

    return log(comb(n, k))


def test_image_networks_read_digits():
    job = Job("lenet-5", replace(SMALL, images=50), OneShot(Random()), 0.1, training=None)
    assert run(job)["kept"] == round(0.1 * 61_470)


# ---- resumed ----


def test_killed_in_the_midst_it_goes_on(tmp_path):
    """The other process hashes texts differently: that its records are found tells of keys too."""
    folder, begun = tmp_path / "kept", tmp_path / "begun"
    begun.mkdir()
    parts = Path(__file__).with_name("sweep_parts.py")
    root = str(Path(running.__file__).parents[2])
    driver = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{root!r}, {str(parts.parent)!r}]; "
         f"import sweep_parts; sweep_parts.slow_sweep({str(folder)!r}, {str(begun)!r})"],
        env={**os.environ, "PYTHONHASHSEED": "17"},
    )  # fmt: skip
    while len(records(folder)) < 5 and driver.poll() is None:
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    early = {path: path.stat().st_mtime_ns for path in records(folder)}
    started = len(list(begun.iterdir()))
    asked = slow_jobs(str(begun), 0.15)
    assert {path.stem for path in early} < {job.key for job in asked}
    assert 5 <= len(early) < len(asked) == 9
    found = sweep(asked, folder)
    assert {path: path.stat().st_mtime_ns for path in early} == early
    assert len(list(begun.iterdir())) == started + 9 - len(early)
    assert not any((folder / "unfinished").glob("*"))
    same(found, sweep(asked))


def test_pruners_that_train_go_on_with_the_level_they_were_at(tmp_path, monkeypatch):
    """Also those that have no ticket to give."""
    training = Training(epochs=1, batch_size=100)
    whole, calls = trained.train, []

    def deadly(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    for pruner in (AutoSparse(training, 3, epochs=1), Shuffled(IMP(training, rounds=3))):
        job = Job(NET, SMALL, pruner, 0.3, training=None)
        expected = run(job)
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(trained, "train", deadly)
            with pytest.raises(KeyboardInterrupt):
                run(job, checkpoint=tmp_path / job.key)
            found = run(job, checkpoint=tmp_path / job.key)
        assert len(calls) == 3 + 1
        assert {n for n in found if found[n] != expected[n]} <= {"seconds", "seconds_pruning"}
    once = Job(NET, SMALL, Shuffled(OneShot(SNIP())), 0.3, training=None)
    assert run(once, checkpoint=tmp_path / "once")["kept"] == run(once)["kept"]


def test_files_that_are_not_whole_are_not_believed(tmp_path, fresh):
    sweep(some_jobs(), tmp_path)
    whole = records(tmp_path)
    assert len(whole) == len(some_jobs())
    whole[0].write_bytes(whole[0].read_bytes()[:-20])  # cut short
    whole[1].write_bytes(b"")
    whole[2].write_bytes(whole[3].read_bytes())  # of another job
    whole[4].write_bytes(b"\0" * 900)
    whole[5].write_text(json.dumps({"job": json.loads(whole[5].read_text())["job"]}))
    (tmp_path / "records" / f".{whole[6].name}.partial").write_text("{")
    untouched = {path: path.stat().st_mtime_ns for path in whole[6:]}
    same(sweep(some_jobs(), tmp_path), fresh)
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched


def test_whole_records_are_believed(tmp_path):
    """The counterpart: were jobs run again each time, the test above would pass as well."""
    asked = some_jobs(1)
    sweep(asked, tmp_path)
    path = tmp_path / "records" / f"{asked[2].key}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accuracy": 2.0}))
    assert sweep(asked[::-1], tmp_path)["accuracy"].eq(2.0).tolist().index(True) == len(asked) - 3


def test_a_training_under_way_goes_on(tmp_path, monkeypatch):
    job = Job(NET, SMALL, IMP(SHORT), 0.4, training=SHORT)  # five levels
    expected = run(job)
    calls = []

    def counted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(trained, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        run(job, checkpoint=tmp_path / "here")
    found = run(job, checkpoint=tmp_path / "here")
    assert len(calls) == 4 + 2
    assert {**found, **dict.fromkeys(TIMES)} == {**expected, **dict.fromkeys(TIMES)}


def test_one_sweep_at_a_time_in_a_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="no other run is using"):
        sweep(some_jobs(1), tmp_path)
    os.close(descriptor)
    assert len(sweep([], tmp_path)) == 0


# ---- failing ----


def test_failures_are_rows(tmp_path):
    asked = grid(NET, SMALL, [FailsBeside(str(tmp_path / "cure"))], [0.2], 3, training=SHORT)
    asked.append(Job(NET, "mnist", OneShot(SNIP()), 0.1))
    found = sweep(asked, tmp_path / "kept", root=tmp_path / "nowhere")
    assert found["status"].tolist() == ["done"] * 4 + ["failed", "done", "failed"]
    assert found["error"][4] == "RuntimeError: the cat sat on it"
    assert found["error"][6].startswith("FileNotFoundError: root must hold MNIST")
    assert found.loc[[4, 6], ["size", "accuracy", "seconds"]].isna().all(axis=None)
    (tmp_path / "cure").touch()
    same(sweep(asked, tmp_path / "kept"), found)
    again = sweep(asked, tmp_path / "kept", root=tmp_path / "nowhere", retry=True)
    assert again["status"].tolist() == ["done"] * 6 + ["failed"]
    same(again.drop(index=4), found.drop(index=4))
    means = summary(found)
    assert means["failed"].tolist() == [0, 1, 1]
    assert means["accuracy"][1] == found["accuracy"][[3, 5]].mean()


def test_the_one_that_ended_its_process_is_found(monkeypatch, fresh):
    """Here in one process: what breaks is only said to be broken."""
    asked = some_jobs()
    culprits, alone = {asked[1].key, asked[6].key}, []

    def breaking(jobs, place, root, n_jobs):
        if len(jobs) == 1:
            alone.append(jobs[0].key)
        for index, job in enumerate(jobs):
            if job.key in culprits or any(j.key in culprits for j in jobs[: index + 2]):
                raise BrokenProcessPool  # while the one before it is under way
            yield attempt(job, root, None)

    monkeypatch.setattr(module, "_parallel", breaking)
    monkeypatch.setattr(module, "effective_n_jobs", lambda _: 2)
    found = sweep(asked)
    assert [i for i, status in enumerate(found["status"]) if status == "failed"] == [1, 6]
    assert "out of memory?" in found["error"][1]
    assert alone == [asked[i].key for i in (0, 1, 5, 6)]
    rest = [i for i in range(len(asked)) if i not in (1, 6)]
    same(found.iloc[rest], fresh.iloc[rest])


@pytest.mark.slow
def test_a_process_that_ends_is_a_row(fresh):
    dying = grid(NET, SMALL, [Dies()], [0.2], 3, training=SHORT, dense=False)
    found = sweep([*some_jobs()[:4], *dying], n_jobs=2)
    assert found["status"].tolist() == ["done"] * 5 + ["failed", "done"]
    assert "out of memory?" in found["error"][5]
    same(found[:4], fresh[:4])


# ---- side by side ----


def test_processes_do_not_matter(fresh):
    same(sweep(some_jobs(), n_jobs=2), fresh)


def test_threads_of_the_machine_do_not_matter(monkeypatch):
    seen = []

    def watched(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(running, "evaluate", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run(some_jobs(1)[1])
        run(replace(some_jobs(1)[1], training=replace(SHORT, threads=2)))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1, 1, 2, 2, 2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dask_by_configuration(tmp_path, fresh):
    distributed = pytest.importorskip("distributed", reason="needs mitools[cluster]")
    place = {"dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with (
        distributed.LocalCluster(1, threads_per_worker=1, processes=False, **place) as cluster,
        distributed.Client(cluster),
        parallel_config("dask"),
    ):
        same(sweep(some_jobs(), tmp_path), fresh)
    assert len(records(tmp_path)) == len(fresh)


# ---- tables ----


def test_equal_jobs_are_done_once_and_rows_keep_their_order(tmp_path, fresh):
    asked = some_jobs()
    shuffled = [asked[7], asked[2], asked[7]]
    found = sweep(shuffled, tmp_path)
    assert len(records(tmp_path)) == 2
    same(found, fresh.iloc[[7, 2, 7]].reset_index(drop=True))
    with pytest.raises(TypeError, match="grid"):
        sweep(["snip"], tmp_path)


def test_grid_is_the_product():
    asked = grid([NET, "lenet-300-100"], "digits", [OneShot(SNIP()), IMP()], [0.2, 0.1], [4, 9])
    assert len(asked) == 2 * (1 + 2 * 2) * 2
    assert [job.label for job in asked[:5]] == ["dense", "dense", "snip", "snip", "snip"]
    assert {job.seed for job in asked} == {4, 9}
    assert {job.density for job in asked if job.pruner is None} == {1.0}


def test_means_over_seeds(fresh):
    means = summary(fresh)
    assert len(means) == 7 and (means["seeds"] == 2).all()
    one, two = fresh["accuracy"][:2]
    assert means["accuracy"][0] == (one + two) / 2
    assert means["accuracy_sd"][0] == pytest.approx(abs(one - two) / 2**0.5)
    assert summary(fresh[fresh["seed"] == 0])["accuracy_sd"].isna().all()


def test_time_left_looks_at_jobs_like_those_that_wait():
    snip, imp = (Job(NET, SMALL, p, 0.1) for p in (OneShot(SNIP()), IMP()))
    other = Job(NET, ImageSet("mnist"), IMP(), 0.1)
    denser = replace(snip, density=0.3)
    assert seconds_left([], [snip]) == 0.0
    assert seconds_left([(snip, 2.0), (denser, 4.0)], [snip, snip]) == 6.0
    assert seconds_left([(snip, 2.0), (imp, 10.0)], [imp, denser]) == 12.0
    assert seconds_left([(snip, 2.0), (other, 30.0)], [imp]) == 2.0  # of its data and model
    assert seconds_left([(snip, 2.0), (denser, 3.0)], [other]) == 2.5  # of anything


def test_training_values_are_told_apart_in_means():
    longer = Training(epochs=3, batch_size=64)
    asked = [Job(NET, SMALL, OneShot(Random()), 0.1, training=t) for t in (SHORT, longer)]
    assert len(summary(sweep(asked))) == 2
