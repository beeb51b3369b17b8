"""Answers: they print what they are, convert units, and survive a file."""

import dataclasses
import json
import math

import pytest

from mitools import plotting
from mitools._validation import FileFormatError
from mitools.results import EffectiveParameters, Estimate, LayerCount

LOWER = Estimate(40.0, "D()", "lower", std_error=2.0, interval=(37.0, math.inf), notes=("a",))
UPPER = Estimate(80.0, "C()", "upper", interval=(-math.inf, 90.0))
POINT = Estimate(60.0, "C()", "point")


@pytest.fixture
def answer():
    return EffectiveParameters(
        nonzeros=100,
        size=1000,
        mean_nonzeros=100.0,
        lower=LOWER,
        upper=UPPER,
        point=POINT,
        bounds=(LOWER, UPPER, POINT),
        layers=(LayerCount("a", 600, 60, 50), LayerCount("b", 400, 40, 40)),
        excluded=("a.bias (bias)",),
    )


def test_bits_are_nats_over_log_2():
    assert Estimate(math.log(2), "m").bits == pytest.approx(1.0, rel=1e-15)


def test_limit_is_the_end_that_matters():
    assert (LOWER.limit, UPPER.limit, POINT.limit) == (37.0, 90.0, 60.0)


def test_the_sign_tells_the_sense():
    assert str(LOWER) == "I(X; Y) >= 40 ± 2 nats [D()]"
    assert "<=" in str(UPPER)
    assert " = " in str(POINT)


def test_plain_and_theorem_4_forms(answer):
    nats, bits = answer.plain(), answer.plain("bits")
    assert (nats.low, nats.high, nats.point) == (137.0, 190.0, 160.0)
    assert bits.low == pytest.approx(100 + 37 / math.log(2))
    wide = answer.theorem4(diameter=2.0, lipschitz=3.0, epsilon=0.5)
    count = 100 * math.log2(1 + 60 * 2 * 3 / 0.5)
    assert wide.high == pytest.approx(90 / math.log(2) + count)
    assert (wide.unit, wide.form) == ("bits", "theorem 4")


def test_wrong_units_and_constants_are_refused(answer):
    with pytest.raises(ValueError, match="unit must be one of 'nats', 'bits'; got 'bytes'"):
        answer.plain("bytes")
    with pytest.raises(ValueError, match="epsilon must be positive and finite; got 0"):
        answer.theorem4(diameter=1.0, lipschitz=1.0, epsilon=0)


def test_json_round_trip_is_lossless_and_standard(answer, tmp_path):
    json.loads(answer.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert EffectiveParameters.from_json(answer.to_json()) == answer
    answer.save(tmp_path / "answer.json")
    assert EffectiveParameters.load(tmp_path / "answer.json") == answer
    assert [path.name for path in tmp_path.iterdir()] == ["answer.json"]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"nonzeros": 3}', "\x00\x01"])
def test_damaged_json_is_refused_by_name(damage):
    with pytest.raises(FileFormatError, match="text must be what"):
        EffectiveParameters.from_json(damage)


def test_frames(answer):
    row = answer.to_frame().iloc[0]
    assert (row["nonzeros"], row["mi_lower_limit"], row["mi_upper_limit"]) == (100, 37.0, 90.0)
    assert [layer.density for layer in answer.layers] == [0.1, 0.1]
    assert (row["mi_proxy"], row["notes"]) == (None, "")
    proxy = Estimate(50.0, "R()", "proxy", "I(mask; resample)")
    row = dataclasses.replace(answer, bounds=(*answer.bounds, proxy)).to_frame().iloc[0]
    assert (row["mi_proxy"], row["proxy_quantity"]) == (50.0, "I(mask; resample)")
    assert answer.on_path == 90


def test_print_says_everything_that_matters(answer):
    text = str(answer)
    for part in ("137.0 .. 190.0", "100 of 1,000", "90 of them on a path", "D()", "a.bias (bias)"):
        assert part in text


def test_print_is_short(answer):
    by = "ResampledMasks(pruner=None, datasets=16, n_jobs=None)"
    upper = dataclasses.replace(UPPER, method=by)
    notes = ("word " * 60, "a second one")
    lines = str(dataclasses.replace(answer, upper=upper, notes=notes)).splitlines()
    assert any(line.endswith("by ResampledMasks(datasets=16)") for line in lines)
    assert max(map(len, lines)) <= 100
    assert [line[2:6] for line in lines[-5:]] == ["note", "    ", "    ", "    ", "note"]


def test_figure_draws_each_answer_once(answer):
    figure = plotting.bounds({"one": answer, "two": dataclasses.replace(answer, point=None)})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["one", "two"]
    with pytest.raises(ValueError, match="at least one"):
        plotting.bounds({})
