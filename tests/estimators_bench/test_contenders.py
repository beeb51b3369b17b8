"""Our methods and the peers as contenders: whom they take on, and what they say."""

import math
import re
import shlex
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from estimators_bench.contenders import peers, samples
from estimators_bench.contenders.samples import CONTENDERS, Forecast, Method, Neural
from estimators_bench.tasks import SampleTask, SelectionTask, Truth
from mitools.measures import mutual_information, transfer_entropy
from mitools.methods import KSG, GaussianCopula, Grassberger, MesnerShalizi, Predictive, Ross
from mitools.uncertainty import Jackknife, with_error

ROOT = Path(__file__).resolve().parent.parent.parent


def normal(n, rng, d=1):
    x = rng.standard_normal((n, d))
    return x, 0.8 * x + 0.6 * rng.standard_normal((n, d))


def labels_first(n, rng):
    x = rng.integers(0, 3, (n, 1)).astype(float)
    return x, 2 * x + rng.standard_normal((n, 1))


def drive(n, rng):
    source = rng.standard_normal((n, 1))
    return source, np.vstack([[[0.0]], source[:-1]]) + rng.standard_normal((n, 1))


def task(sampler=normal, kinds=("continuous", "continuous"), dims=(1, 1), **options):
    return SampleTask("t", "T", Truth(0.5), sampler, dims=dims, kinds=kinds, **options)


NORMAL = task()
LABELS = task(labels_first, ("discrete", "continuous"))
SYMBOLS = task(kinds=("discrete", "discrete"))
ATOMS = task(kinds=("mixed", "continuous"))
WIDE = task(dims=(5, 5))
GIVEN = task(kinds=("continuous",) * 3, dims=(1, 1, 1), question="conditional_mutual_information")
SERIES = task(drive, question="transfer_entropy", options={"history": 2, "source_history": 1})
OURS = {each.name: each for each in CONTENDERS}
TAKEN = {
    # contender: two scalars, labels, symbols, atoms, five columns each, a condition, a series
    "KSG k=3": "1000111",
    "KSG k=3, variant 2": "1000100",
    "KSG k=3 ± jackknife": "1000111",
    "LNC": "1000000",
    "Gaussian copula": "1000111",
    "Kernel density": "1000000",
    "Bins, quantiles": "1111010",
    "Adaptive partition": "1000000",
    "Gao mixed": "1111100",
    "Mesner-Shalizi": "1111111",
    "Ross": "0100000",
    "NSB": "0010000",
    "Predictive, neighbours": "1111100",
    "Predictive, boosting": "1111000",
    "InfoNCE": "1111100",
    "Difference of entropies": "1101100",
}


@pytest.mark.parametrize("name", TAKEN)
def test_contenders_take_what_suits_them(name):
    tasks = (NORMAL, LABELS, SYMBOLS, ATOMS, WIDE, GIVEN, SERIES)
    assert "".join(str(int(OURS[name].takes(each))) for each in tasks) == TAKEN[name]


def test_names_are_unique_and_reprs_are_identities():
    everyone = [*CONTENDERS, *peers.ALL]
    assert len({each.name for each in everyone}) == len(everyone)
    assert len({repr(each) for each in everyone}) == len(everyone)
    assert not any(" at 0x" in repr(each) for each in everyone)
    assert {each.package for each in CONTENDERS} == {"mitools"}


def test_tasks_of_another_kind_are_not_taken():
    chosen = SelectionTask("s", "S", normal, 1, lambda _: 0.0, (frozenset(),))
    assert not any(each.takes(chosen) for each in (*CONTENDERS, *peers.ALL))
    with pytest.raises(TypeError, match="takes"):
        OURS["KSG k=3"].answer(chosen, normal(10, np.random.default_rng(0)), 0)


def test_the_answer_is_that_of_the_measure():
    data = NORMAL.draw(200, 0)
    answer = OURS["KSG k=10"].answer(NORMAL, data, 0)
    assert answer.nats == mutual_information(*data, KSG(k=10)).value
    assert answer.interval is None and answer.sense == "point" and answer.notes == ()
    data = SERIES.draw(300, 0)
    asked = transfer_entropy(*data, MesnerShalizi(), history=2, source_history=1)
    assert OURS["Mesner-Shalizi"].answer(SERIES, data, 0).nats == asked.value
    swapped = transfer_entropy(*data[::-1], MesnerShalizi(), history=2, source_history=1)
    assert swapped.value != asked.value


def test_labels_go_where_the_method_wants_them():
    x, y = LABELS.draw(300, 0)
    asked = Ross(labels="x").mutual_information(x, y)
    assert OURS["Ross"].answer(LABELS, (x, y), 0).nats == asked
    found = OURS["Predictive, neighbours"].answer(LABELS, (x, y), 0)
    model = OURS["Predictive, neighbours"].labels.model
    assert found.nats == Predictive(model, base_rate=0.05).mutual_information(y, x)
    assert found.sense == "lower" and found.interval[1] == math.inf


def test_intervals_are_those_of_resampling_drawn_with_the_seed_of_the_run():
    data = NORMAL.draw(200, 1)
    asked = with_error(mutual_information, *data, method=KSG(), error=Jackknife(seed=7))
    answer = OURS["KSG k=3 ± jackknife"].answer(NORMAL, data, 7)
    assert answer.interval == asked.interval and answer.extra == {"std_error": asked.std_error}
    other = OURS["KSG k=3 ± jackknife"].answer(NORMAL, data, 8)
    assert other.nats == answer.nats and other.interval != answer.interval


def test_resampling_of_series_keeps_successive_rows_together():
    method = Method("g", GaussianCopula(), error=Jackknife(groups=5))
    data = SERIES.draw(200, 0)
    options = {"method": GaussianCopula(), **SERIES.options}
    asked = with_error(transfer_entropy, *data, error=Jackknife(5, ordered=True), **options)
    assert method.answer(SERIES, data, 0).interval == asked.interval


def test_warnings_become_notes():
    ties = (np.repeat([[0.0], [1.0]], 50, axis=0), np.arange(100.0)[:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = OURS["KSG k=3"].answer(NORMAL, ties, 0)
    assert any("repeats values" in note for note in answer.notes)
    assert len(set(answer.notes)) == len(answer.notes)


@dataclass(frozen=True)
class Seeded:
    seed: int = 0
    said: tuple = field(default=(), compare=False)

    def mutual_information(self, x, y):
        warnings.warn("of my own", stacklevel=1)
        return float(self.seed)


def test_a_method_with_a_seed_gets_that_of_the_run():
    mine = Method("mine", Seeded())
    answer = mine.answer(NORMAL, NORMAL.draw(10, 0), 5)
    assert answer.nats == 5.0 and answer.notes == ("of my own",)
    assert mine.package == __name__.partition(".")[0]
    assert not mine.takes(GIVEN) and not mine.takes(SERIES)


def test_torch_is_not_needed_until_a_network_is_asked():
    code = "import sys\nfrom estimators_bench.contenders import samples, peers\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


def test_networks_state_an_error_and_take_the_seed(monkeypatch):
    from mitools import neural

    few = neural.Fitting(steps=20)
    made = neural.Variational
    monkeypatch.setattr(neural, "Variational", lambda b, **o: made(b, fitting=few, **o))
    data = NORMAL.draw(200, 0)
    first, again, other = (Neural("N", "NWJ").answer(NORMAL, data, seed) for seed in (0, 0, 1))
    assert first == again != other
    low, high = first.interval
    assert first.sense == "lower" and low < first.nats and high == math.inf
    assert not Neural("N", "NWJ").fast


def test_fast_is_said_of_all_but_networks_boosting_and_calibration():
    slow = {each.name for each in CONTENDERS if not each.fast}
    networks = {each.name for each in CONTENDERS if isinstance(each, Neural)}
    assert slow == networks | {"Predictive, boosting", "By kind", "Calibrated KSG"}
    assert isinstance(OURS["Predictive, boosting"], Forecast)


def test_peers_that_are_not_installed_are_left_out_with_a_line(monkeypatch):
    absent = peers.Peer("no-such-package", "no_such_package", "scalars")
    monkeypatch.setattr(peers, "ALL", (*peers.CONTENDERS, absent, absent))
    assert peers.missing() == (absent.missing(),)
    assert "pip install no-such-package" in absent.missing()
    here = {each.package for each in peers.CONTENDERS}
    assert "scikit-learn" in here and all(each.missing() is None for each in peers.CONTENDERS)


def test_peers_take_what_their_documentation_says():
    tasks = (NORMAL, LABELS, SYMBOLS, ATOMS, WIDE, GIVEN, SERIES)
    taken = {
        "scalars": "1000000",
        "vectors": "1000100",
        "labels": "0100000",
        "symbols": "0010000",
        "conditional": "0000010",
    }
    for peer in peers.ALL:
        assert "".join(str(int(peer.takes(each))) for each in tasks) == taken[peer.way], peer
    assert not peers.Peer("scikit-learn", "sklearn", "scalars").takes(task(dims=(1, 2)))


def test_peers_answer_what_ours_do():
    """The same formula, apart from their noise of 1e-10 and from what they clip."""
    expected = {
        ("ours", "labels"): Ross(labels="x", scale=None).mutual_information(*LABELS.draw(300, 0)),
        ("ours", "numbers"): KSG(scale=None).mutual_information(*NORMAL.draw(300, 0)),
    }
    symbols = tuple(np.rint(rows) for rows in NORMAL.draw(300, 0))
    expected["ours", "symbols"] = float(
        Grassberger().mutual_information(*symbols)
    )  # a plug-in is within a tenth of it
    for peer in peers.CONTENDERS:
        if peer.way == "labels":
            answer = peer.answer(LABELS, LABELS.draw(300, 0), 0).nats
            assert answer == pytest.approx(expected["ours", "labels"], abs=0.02), peer
        elif peer.way in ("scalars", "vectors"):
            answer = peer.answer(NORMAL, NORMAL.draw(300, 0), 0).nats
            assert answer == pytest.approx(expected["ours", "numbers"], abs=0.03), peer
        elif peer.way == "symbols":
            answer = peer.answer(SYMBOLS, symbols, 0).nats
            assert answer == pytest.approx(expected["ours", "symbols"], abs=0.1), peer


def test_the_page_on_adding_a_method_works_as_printed(tmp_path):
    text = (ROOT / "docs/add-a-method.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(code.splitlines()) <= 20
    (tmp_path / "my_method.py").write_text(code, encoding="utf-8")
    line = re.search(r"```console\n(python -m estimators_bench .*)\n```", text)[1]
    words = shlex.split(line)[1:]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *words, "--seeds", "1", "--jobs", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    rows = [row for row in done.stdout.splitlines() if "my method" in row]
    assert len(rows) >= 3 and all("failed" not in row for row in rows)
    assert "my method" in (tmp_path / "bench-results/report.html").read_text(encoding="utf-8")


def test_ask_says_what_the_method_says():
    assert samples.ask(NORMAL, NORMAL.draw(50, 0), Seeded(3)).nats == 3.0
