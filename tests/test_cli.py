"""The command line: what it prints where, what it writes, and what it exits with."""

import argparse
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file

from mitools import cli
from mitools.experiments import Demo
from mitools.models import fingerprint, named
from mitools.pruning import Mask
from mitools.results import EffectiveParameters
from mitools.training import SGD, Training

SETTING = ["--data", "digits", "--flips", "0.3", "--model", "mlp:64-12-10", "--quiet"]


@pytest.fixture
def mask(tmp_path, capsys):
    path = tmp_path / "mask.safetensors"
    pruned = ["prune", *SETTING, "--pruner", "snip", "--density", "0.2", "--out", str(path)]
    assert cli.main(pruned) == 0
    out, err = capsys.readouterr()
    assert "of 888 weights kept" in out and str(path) in out
    assert err == ""
    return path


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for part in ("mitools demo", "mitools prune", "mitools peff", "exit codes", "nats"):
        assert part in out


def test_pruned_mask_is_saved_with_what_it_knows(mask):
    loaded = Mask.load(mask)
    assert loaded.nonzeros == round(0.2 * 888)
    assert "SNIP" in loaded.pruner
    assert loaded.fingerprint is not None


def test_peff_of_a_saved_mask_runs_its_pruner_again(mask, tmp_path, capsys):
    path = tmp_path / "answer.json"
    assert cli.main(["peff", *SETTING, "--mask", str(mask), "--bits", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "178 of 888 weights" in out and "in bits" in out
    answer = EffectiveParameters.load(path)
    assert "ResampledMasks" in answer.upper.method or answer.upper.method == "LabelEntropy()"
    assert any("ResampledMasks" in bound.method for bound in answer.bounds)


def test_resample_and_heldout(mask, capsys):
    given = ["peff", *SETTING, "--mask", str(mask), "--resample", "3", "--heldout"]
    assert cli.main(given) == 0
    assert "p_eff" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["lenet-5", "vgg11:0.04", "resnet8:0.2", "vit:8"])
def test_networks_for_images_read_digits_as_images(model, tmp_path, capsys):
    path = tmp_path / "mask.safetensors"
    rest = ["--pruner", "random-erk", "--density", "0.2", "--out", str(path), "--quiet"]
    assert cli.main(["prune", "--model", model, *rest]) == 0
    mask, network = Mask.load(path), named(model, (1, 8, 8))
    mask.check_fits(network)
    assert mask.fingerprint == fingerprint(network)
    assert "(20.00%)" in capsys.readouterr().out or mask.size < 5_000


def test_weights_go_through_a_file(tmp_path, capsys):
    weights, out = tmp_path / "w0.safetensors", tmp_path / "mask.safetensors"
    arguments = ["--pruner", "random", "--density", "0.5", "--out", str(out)]
    saved = ["prune", *SETTING, *arguments, "--seed", "7", "--save-weights", str(weights)]
    assert cli.main(saved) == 0
    assert all(torch.isfinite(t).all() for t in load_file(weights).values())
    assert cli.main(["peff", *SETTING, "--mask", str(out), "--weights", str(weights)]) == 0
    assert "<= 0 by" in capsys.readouterr().out


def test_demo_writes_table_and_figure(tmp_path, capsys, monkeypatch):
    def small(**options):
        training = Training(epochs=2, batch_size=50, optimizer=SGD(lr=0.1))
        return Demo(**(options | {"datasets": 3}), images=60, widths=(64, 8, 10), training=training)

    monkeypatch.setattr("mitools.experiments.Demo", small)
    threads = torch.get_num_threads()
    try:
        assert cli.main(["demo", "--out", str(tmp_path), "--quiet", "--jobs", "1"]) == 0
    finally:
        torch.set_num_threads(threads)
    out, err = capsys.readouterr()
    assert "magnitude after training" in out and "memorised" in out
    assert err == ""
    assert (tmp_path / "demo.csv").read_text().count("\n") == 6
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["peff", "--mask", "absent.safetensors"], "absent.safetensors"),
        (["peff", "--model", "mlp:x", "--mask", "m"], "model mlp must be followed by widths"),
        (["peff", "--model", "resnet", "--mask", "m"], "model must be one of"),
        (["peff", "--model", "resnet21", "--mask", "m"], "depth must be 18, 34, 50, or 6 n + 2"),
        (["peff", "--model", "vgg16:big", "--mask", "m"], "a number after the colon"),
        (["peff", "--model", "vit:6", "--mask", "m"], "heads must divide width"),
        (["peff", "--weights", "absent", "--mask", "m"], "absent"),
        (["prune", "--pruner", "snip", "--density", "1.5"], "density must be"),
        (["prune", "--pruner", "snip", "--density", ".1", "--epochs", "2"], "does not train"),
        (["prune", "--pruner", "snip", "--density", ".1", "--flips", "2"], "rate must be"),
        (["prune", "--data", "mnist", "--pruner", "snip", "--density", ".1"], "mnist"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mitools: ") and message.lower() in err.lower()
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_weights_of_another_model_are_refused(mask, tmp_path, capsys):
    weights = tmp_path / "w.safetensors"
    out = ["--pruner", "random", "--density", "0.5", "--out", str(tmp_path / "m.safetensors")]
    other = ["--model", "mlp:64-5-10", "--quiet", "--save-weights", str(weights)]
    assert cli.main(["prune", *out, *other]) == 0
    assert cli.main(["peff", *SETTING, "--mask", str(mask), "--weights", str(weights)]) == 2
    assert "--weights must" in capsys.readouterr().err


def test_interruption_has_its_own_code(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.pruning, "make", interrupted)
    assert cli.main(["prune", "--pruner", "snip", "--density", "0.1"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_request_to_end_is_an_interruption(monkeypatch, capsys):
    def asked_to_end(options):
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli.pruning, "make", asked_to_end)
    assert cli.main(["prune", "--pruner", "snip", "--density", "0.1"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_runs_in_any_thread(monkeypatch):
    monkeypatch.setattr(cli.pruning, "make", lambda options: 0)
    with ThreadPoolExecutor(1) as pool:
        assert (
            pool.submit(cli.main, ["prune", "--pruner", "snip", "--density", "0.1"]).result() == 0
        )


def test_mipp_saves_a_smaller_network(tmp_path, capsys):
    small, out = tmp_path / "small.safetensors", tmp_path / "mask.safetensors"
    given = ["prune", "--model", "mlp:64-40-20-10", "--train", "12", "--quiet", "--out", str(out)]
    given += ["--method", "mipp", "--density", "0.3", "--shrink", str(small)]
    assert cli.main(given) == 0
    told = capsys.readouterr().out
    assert cli.main([*given, "--reconstruct"]) == 0
    rewritten = capsys.readouterr().out
    raw, made_up = (float(t.split("whole, ")[1].split("%")[0]) for t in (told, rewritten))
    assert made_up > raw + 5
    weights, mask = load_file(small), Mask.load(out)
    kept = sum(t.numel() for name, t in weights.items() if name.endswith("weight"))
    assert kept == mask.nonzeros < 0.3 * mask.size + 1
    shares = {n: float(m.any(1).float().mean()) for n, m in mask.items()}
    given[given.index("mipp")] = "mipp-layerwise"
    assert cli.main(given) == 0
    even = {n: float(m.any(1).float().mean()) for n, m in Mask.load(out).items()}
    assert abs(even["fc1.weight"] - even["fc2.weight"]) < 1 / 20 and shares != even
    assert cli.main([*given[:-2], "--reconstruct"]) == 2
    assert "--shrink" in capsys.readouterr().err


def test_any_mask_of_channels_is_reconstructed(tmp_path, capsys):
    weights, out = tmp_path / "whole.safetensors", tmp_path / "mask.safetensors"
    given = ["prune", "--model", "mlp:64-40-10", "--train", "8", "--quiet", "--out", str(out)]
    given += ["--density", "0.3", "--save-weights", str(weights)]
    given += ["--shrink", str(tmp_path / "small.safetensors")]
    reached = {}
    for pruner in ("structured-magnitude", "thinet", "structured-random"):
        for rewritten in ([], ["--reconstruct"]):
            assert cli.main([*given, "--pruner", pruner, *rewritten]) == 0
            said = capsys.readouterr().out
            reached[pruner, bool(rewritten)] = float(said.split("whole, ")[1].split("%")[0])
        assert reached[pruner, True] > reached[pruner, False] + 3
    assert cli.main([*given, "--pruner", "snip", "--reconstruct"]) == 2
    assert "a pruner of whole channels; got --pruner snip" in capsys.readouterr().err


def test_seeds_reach_weights_trainings_and_random_masks(tmp_path, capsys):
    def made(pruner, seed):
        out, weights = tmp_path / "m.safetensors", tmp_path / "w.safetensors"
        given = ["--pruner", pruner, "--density", "0.2", "--out", str(out), "--train", "1"]
        given += ["--save-weights", str(weights), "--seed", seed]
        assert cli.main(["prune", *SETTING, *given]) == 0
        capsys.readouterr()
        return Mask.load(out), load_file(weights)["fc1.weight"]

    (first, one), (again, same), (other, two) = (
        made("random", "0"),
        made("random", "0"),
        made("random", "1"),
    )
    assert first == again and torch.equal(one, same)
    assert first != other and not torch.equal(one, two)
    assert "Random(seed=0)" in first.pruner and "Random(seed=1)" in other.pruner
    assert "seed=1" in cli.pruning._pruner("imp", None, 1).training.__repr__()


def test_every_option_says_what_it_is():
    (commands,) = (a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for action in command._actions:
            assert action.help, (name, action)
            if action.default not in (None, False) and action.dest != "help":
                assert "(" in action.help, (name, action)  # the default


def test_the_package_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mitools", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "mitools demo" in done.stdout


def test_networks_that_do_not_fit_their_data_are_named(tmp_path, mask, capsys):
    out = ["--out", str(tmp_path / "m.safetensors"), "--quiet"]
    for pruner in ("snip", "magnitude", "mipp"):
        given = ["prune", "--model", "mlp:32-9-10", "--pruner", pruner, "--density", "0.5", *out]
        assert cli.main(given) == 2
        assert "with the 64 numbers of an input" in capsys.readouterr().err
    assert cli.main(["peff", "--model", "mlp:64-12-5", "--mask", str(mask)]) == 2
    assert "got 'mlp:64-12-5'. Write mlp:64-12-10." in capsys.readouterr().err
    assert cli.main(["peff", "--model", "mlp:64-13-10", "--mask", str(mask)]) == 2
    assert "mask must fit the model" in capsys.readouterr().err
