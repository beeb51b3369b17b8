"""The TOML file of a sweep: what it means, what is wrong with it; and the command."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mitools import cli
from mitools._validation import FileFormatError
from mitools.experiments import ImageSet, Job, summary, sweep
from mitools.experiments.sweep_files import read_sweep, table_of
from mitools.mipp import MIPP, Gaussian
from mitools.pruning import IMP, SNIP, MagnitudeAfterTraining, OneShot, Random
from mitools.training import SGD, Adam, Cosine, EarlyStopping, Training

EXAMPLE = Path(__file__).parents[2] / "examples" / "sweep.toml"
SMALL = """
models = "mlp:64-12-10"
data = {name = "digits", images = 200}
pruners = ["random", "imp"]
densities = [0.3, 0.1]
seeds = 2
[training]
epochs = 1
"""


def written(folder, text):
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_example_says_what_it_shows():
    jobs = read_sweep(EXAMPLE)
    assert len(jobs) == 3 * (1 + 5 * 2)
    training = Training(10, 50, SGD(0.1, 0.9))
    assert {job.training for job in jobs} == {training}
    assert {job.data for job in jobs} == {ImageSet("digits", flips=0.2)}
    assert dict.fromkeys((job.label, job.pruner) for job in jobs) == dict.fromkeys(
        [
            ("dense", None),
            ("random", OneShot(Random())),
            ("snip", OneShot(SNIP())),
            ("OneShot(SNIP(), scope='layer')", OneShot(SNIP(), "layer")),
            ("magnitude-after-training", MagnitudeAfterTraining(training)),
            ("imp", IMP(training)),
        ]
    )


def test_all_keys_reach_the_jobs(tmp_path):
    jobs = read_sweep(
        written(
            tmp_path,
            """
            models = ["lenet-300-100", "resnet20:0.25"]
            data = ["mnist", {name = "cifar10", images = 50, flips = 0.1, seed = 3}]
            pruners = "IMP(rate=0.5)"
            densities = 0.1
            seeds = [7, 8]
            dense = false
            start = "init"
            peff = true
            [training]
            epochs = 3
            optimizer = "Adam(lr=0.002)"
            schedule = "Cosine(end=0.1)"
            early_stopping = "EarlyStopping(patience=2)"
            threads = 2
            """,
        )
    )
    assert [(j.model, j.data, j.seed) for j in jobs] == [
        (model, data, seed)
        for model in ("lenet-300-100", "resnet20:0.25")
        for data in (ImageSet("mnist"), ImageSet("cifar10", 50, 0.1, 3))
        for seed in (7, 8)
    ]
    stopping = EarlyStopping(patience=2)
    training = Training(3, 128, Adam(0.002), Cosine(0.1), stopping, threads=2)
    assert {(j.training, j.start, j.peff) for j in jobs} == {(training, "init", True)}
    assert {j.pruner for j in jobs} == {IMP(rate=0.5)}  # as it is written


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("models = 'mlp:64-x'", ["small.toml, models", "mlp:64-x", "lenet-300-100"]),
        ("models = 3", ["models", "text in quotation marks", "got 3"]),
        ("models = []", ["models", "must not be empty"]),
        ("data = 'imagenet'", ["data", "'mnist'", "'imagenet'"]),
        ("data = {images = 5}", ["data", "a table with one", "{'images': 5}"]),
        ("data = {name = 'digits', flip = 0.1}", ["data", "got flip", "Did you mean flips?"]),
        ("data = {name = 'digits', flips = 1.5}", ["data", "1.5"]),
        ("data = {name = 'digits', images = 0}", ["images must be at least 1"]),
        ("pruners = 'snap'", ["pruners", "synflow", "'snap'"]),
        ("pruners = ['OneShot(SNAP())']", ["pruners", "SNAP"]),
        ("pruners = ['SNIP()']", ["pruners", "Wrap a score in OneShot"]),
        ("pruners = ['open(\"x\")']", ["pruners", "open"]),
        ("densities = [0.1, 'few']", ["densities", "between 0 and 1", "'few'", "[0.1, 0.02]"]),
        ("densities = 1.5", ["densities", "got 1.5"]),
        ("densities = true", ["densities", "got True"]),
        ("seeds = 0", ["seeds", "got 0"]),
        ("seeds = [0.5]", ["seeds", "list of seeds", "0.5"]),
        ("seeds = [0, 1, 0]", ["seeds", "anything twice; got 0 again"]),
        ("seeds = 20261121", ["seeds", "at most 10,000 of them", "One seed is [20261121]."]),
        ("pruners = ['snip', 'snip']", ["pruners", "anything twice; got 'snip' again"]),
        ("dense = 'yes'", ["dense", "true or false", "'yes'"]),
        ("peff = 1", ["peff", "true or false"]),
        ("start = 'end'", ["start", '"ticket"', "'end'"]),
        ("density = 0.1", ["no keys but models", "got density", "Did you mean densities?"]),
        ("training = 5", ["training must be a table", "got 5"]),
        ("training = {epoch = 5}", ["got epoch", "Did you mean epochs?"]),
        ("training = {epochs = -1}", ["epochs must be an integer >= 0", "-1"]),
        ("training = {optimizer = 'SGD(rate=1)'}", ["training", "SGD(rate=1)"]),
        ("training = {optimizer = 'Training()'}", ["optimizer must be a value such as SGD"]),
        ("training = {optimizer = 0.1}", ["optimizer must be a text", "0.1"]),
    ],
)
def test_wrong_keys_and_values_are_named(tmp_path, line, said):
    key = line.partition(" =")[0]
    kept = [row for row in SMALL.partition("[training]")[0].splitlines() if key + " " not in row]
    path = written(tmp_path, "\n".join([*kept, line]))
    with pytest.raises(ValueError) as stop:
        read_sweep(path)
    for part in said:
        assert part in str(stop.value)


@pytest.mark.parametrize("key", ["models", "data", "pruners", "densities"])
def test_missing_keys_are_named(tmp_path, key):
    kept = "\n".join(row for row in SMALL.splitlines() if not row.startswith(key))
    with pytest.raises(ValueError, match=rf"there is no {key}\. For instance {key} = "):
        read_sweep(written(tmp_path, kept))


@pytest.mark.parametrize("raw", [b"models = [", b"\xff\xfe", b"densities = 0.1\ndensities = 1"])
def test_no_toml(tmp_path, raw):
    path = tmp_path / "broken.toml"
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"broken\.toml must be a TOML file"):
        read_sweep(path)


def test_command_prints_means_and_keeps_everything(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, SMALL.replace('"mlp:64-12-10"', '["mlp:64-12-10", "mlp:60-12-10"]'))
    assert cli.main(["sweep", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "± " in out and "imp" in out and "failed" in out
    assert "wrote small/sweep.csv (20 jobs, 10 failed; --retry does those again)" in out
    assert "10/20" in err or "20/20" in err
    assert (
        "mitools: dense, random, imp: ValueError: model mlp must begin with the 64" in err
    )  # why they failed
    found = pd.read_csv("small/sweep.csv")
    assert len(found) == 20 and found["status"].value_counts().to_dict() == {
        "done": 10,
        "failed": 10,
    }
    kept = sweep(read_sweep(path), "small")
    assert found["key"].tolist() == kept["key"].tolist()
    assert found["accuracy"].tolist()[:10] == kept["accuracy"].tolist()[:10]
    assert len(pd.read_csv("small/means.csv")) == 10
    records = {path: path.stat().st_mtime_ns for path in Path("small/records").iterdir()}
    assert cli.main(["sweep", str(path), "--quiet"]) == 0
    again = capsys.readouterr()
    assert again.out == out
    assert {path: path.stat().st_mtime_ns for path in records} == records


def test_mipp_goes_by_its_name_and_as_text(tmp_path):
    text = SMALL.replace('["random", "imp"]', '["mipp", "MIPP(engine=Gaussian(noise=2.0))"]')
    jobs = read_sweep(written(tmp_path, "\ufeff" + text))  # as Notepad writes it
    pruned = [job for job in jobs if job.pruner is not None]
    assert {job.pruner for job in pruned} == {MIPP(), MIPP(Gaussian(noise=2.0))}
    assert {job.label for job in pruned} == {"mipp", "MIPP(engine=Gaussian(noise=2.0))"}
    assert Job("lenet-5", "digits", MIPP(), 0.5).label == "mipp"


def test_more_images_than_there_are(tmp_path):
    with pytest.raises(ValueError, match="images must be at most 1,437, all training images of"):
        ImageSet("digits", images=9_999).load(tmp_path)


def test_folders_that_cannot_be_made_are_named(tmp_path, capsys):
    path = written(tmp_path, SMALL)
    assert cli.main(["sweep", str(path), "--out", str(path), "--quiet"]) == 2
    assert "folder must be one that can be made and written" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["sweep", str(path), "--jobs", "0"])
    assert "a number of processes, or -1" in capsys.readouterr().err


def test_equal_jobs_count_once_in_means():
    job = Job("mlp:64-12-10", ImageSet("digits", images=60), OneShot(Random()), 0.3, training=None)
    means = summary(sweep([job, job, replace(job, label="other")]))
    assert means["pruner"].tolist() == ["random", "other"] and means["seeds"].tolist() == [1, 1]


def test_command_says_what_is_wrong(tmp_path, capsys):
    assert cli.main(["sweep", str(tmp_path / "none.toml")]) == 2
    assert cli.main(["sweep", str(written(tmp_path, SMALL + "epoch = 3"))]) == 2
    err = capsys.readouterr().err
    assert "none.toml" in err and "Did you mean epochs?" in err
    assert not (tmp_path / "small").exists()


def test_table_shows_what_differs():
    means = pd.DataFrame(
        {
            "model": "m", "data": ["digits", "mnist"], "pruner": "snip", "density": 0.036,
            "start": "init", "seeds": 1, "failed": 0, "kept": 9583.0, "on_path": [None, 9000.0],
            "accuracy_before": 0.1, "accuracy": 0.98765, "accuracy_sd": None, "seconds": 1.25,
            "p_eff_low": [9583.0, None], "p_eff_high": [10_000.4, None],
        }
    )  # fmt: skip
    text = table_of(means)
    head, first, second = text.splitlines()
    assert head.split() == [
        "pruner", "data", "density", "kept", "on", "path", "before", "accuracy", "p_eff", "seeds",
        "s", "a", "job",
    ]  # fmt: skip
    assert first.split() == ["snip", "digits", "0.036", "9,583", "–", "10.0%", "98.77%", "9,583",
                             "..", "10,000", "1", "1.2"]  # fmt: skip
    assert "–" in second and "9,000" in second
