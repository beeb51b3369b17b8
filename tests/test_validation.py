"""What the boundary lets in, and what it says when it does not."""

import numpy as np
import pandas as pd
import pytest
import torch

from mitools._validation import (
    as_samples,
    checked_choice,
    checked_count,
    checked_neighbors,
    checked_share,
)

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        ROWS.tolist(),
        ROWS.astype(np.float16),
        ROWS.astype(np.int8),
        ROWS.astype(np.uint64),
        ROWS.astype(np.longdouble),
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=1)[:, ::2],
        np.ma.masked_array(ROWS, mask=False),
        pd.DataFrame(ROWS, columns=["a", "b"], index=[7, 8, 9]),
        pd.DataFrame(ROWS).astype("Int64"),
        torch.tensor(ROWS, requires_grad=True),
        torch.tensor(ROWS, dtype=torch.float16),
        torch.tensor(ROWS, dtype=torch.bfloat16),
        torch.tensor(ROWS.T).T,
    ],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}",
)
def test_every_kind_of_table_becomes_the_same_array(given):
    (rows,) = as_samples(x=given)
    assert rows.dtype == np.float64 and rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, ROWS)


@pytest.mark.parametrize("given", [[1, 2], pd.Series([1, 2]), np.array([False, True]) + 1, (1, 2)])
def test_one_dimension_is_one_coordinate(given):
    (rows,) = as_samples(x=given)
    np.testing.assert_array_equal(rows, [[1.0], [2.0]])


def test_input_is_not_changed():
    given = ROWS.copy()
    (rows,) = as_samples(x=given)
    assert rows is given or np.shares_memory(rows, given)
    np.testing.assert_array_equal(given, ROWS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.array(["a", "b"]), "x must hold real numbers here; got dtype"),
        (np.array([1, None], dtype=object), "dtype object"),
        (pd.Series([1, None], dtype="Int64"), "1 of 2 rows hold NaN"),
        (np.array([1j, 2j]), "dtype complex128"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "dtype datetime64"),
        ([[1, 2], [3]], "rectangular array"),
        (3.0, r"shape \(n,\) or \(n, d\)"),
        (np.zeros((2, 2, 2)), r"got shape \(2, 2, 2\). Flatten"),
        ([], "at least one sample"),
        (np.zeros((3, 0)), "at least one sample and one coordinate"),
        (np.array([[1.0, 1e-310], [2.0, 0.0]]), "none larger than 1e-310. Change its unit"),
        ([1.0, np.nan, np.inf], "2 of 3 rows hold NaN or infinity, the first at row 1"),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "1 values are"),
        (np.array([2**53 + 1, 0]), "2\\*\\*53"),
        (np.array([-(2**63)]), "2\\*\\*53"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        as_samples(x=given)


WORDS = ["b", "a", "b", "c"]


@pytest.mark.parametrize(
    "given",
    [
        WORDS,
        tuple(WORDS),
        np.array(WORDS),
        np.array(WORDS, dtype=object),
        np.array(WORDS).astype("S1"),
        np.ma.masked_array(WORDS, mask=False),
        pd.Series(WORDS, index=[9, 8, 7, 6]),
        pd.Series(WORDS, dtype="string"),
        pd.Series(WORDS, dtype="category"),
        pd.Categorical(WORDS),
        pd.DataFrame({"word": WORDS}),
        np.array([2, 1, 2, 30], dtype=object),
    ],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}",
)
def test_labels_become_codes_in_ascending_order(given):
    (rows,) = as_samples({"x"}, x=given)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, [[1.0], [0.0], [1.0], [2.0]])
    with pytest.raises(
        ValueError, match=r"y must hold real numbers here; got dtype .* takes labels"
    ):
        as_samples({"x"}, y=given)


def test_categories_keep_their_order_and_numbers_stay_numbers():
    sizes = pd.Categorical(["small", "large", "small"], categories=["small", "middle", "large"])
    table = pd.DataFrame({"size": sizes, "weight": [1.5, 20.0, 2.5], "sold": [True, False, True]})
    (rows,) = as_samples({"x"}, x=table)
    np.testing.assert_array_equal(rows, [[0, 1.5, 1], [2, 20.0, 0], [0, 2.5, 1]])
    (bits,) = as_samples({"x"}, x=np.array([True, False]))
    np.testing.assert_array_equal(bits, [[1.0], [0.0]])
    (pairs,) = as_samples({"x"}, x=[["a", "u"], ["b", "u"]])
    np.testing.assert_array_equal(pairs, [[0.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", None, "b"], "no missing labels; 1 of 3 rows lack one, the first at row 1"),
        (["a", float("nan"), "b"], "no missing labels"),
        (pd.Series(["a", pd.NA], dtype="string"), "no missing labels"),
        (pd.Categorical(["a", None]), "no missing labels"),
        (pd.DataFrame({"u": ["a", "b"], "v": [1.0, np.nan]}), "1 of 2 rows hold NaN"),
        (np.ma.masked_array(["a", "b"], mask=[0, 1]), "nothing masked"),
        (np.array(["a", 1], dtype=object), "labels that can be ordered"),
        (np.zeros((2, 2, 2)).astype(str), "real numbers"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "dtype datetime64"),
        (np.array([], dtype=str), "real numbers|at least one sample"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_samples({"x"}, x=given)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"x and y must .* x has 3, y has 2. .*transposed"):
        as_samples(x=[1, 2, 3], y=[1, 2])


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", True, None])
def test_counts_are_positive_integers(k):
    with pytest.raises(ValueError, match="k must be"):
        checked_count("k", k)


def test_good_values_pass():
    assert checked_count("k", np.int64(3)) == 3
    assert checked_neighbors(2, 3) == 2
    checked_choice("unit", "nats", ("nats", "bits"))
    checked_share("level", 0.5)


def test_bad_values_do_not():
    with pytest.raises(ValueError, match="got k=3 with n=3"):
        checked_neighbors(3, 3)
    with pytest.raises(ValueError, match="unit must be one of 'nats', 'bits'; got 'ban'"):
        checked_choice("unit", "ban", ("nats", "bits"))
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            checked_share("level", share)
