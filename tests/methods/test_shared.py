"""Answers that share work are the answers one by one, atoms included."""

import numpy as np
import pytest

from mitools.methods import KSG, Ross

N = 300


def columns():
    z = np.random.default_rng(0).standard_normal((N, 4))
    z[:, 1] = np.round(z[:, 1])  # atoms, together with y
    z[:, 2] = 0.5
    return z, np.round(z[:, [0]] + np.random.default_rng(1).standard_normal((N, 1)), 1)


@pytest.mark.parametrize("method", [KSG(), KSG(variant=2), KSG(k=5, scale="rank"), KSG(scale=None)])
def test_columns_and_shuffles_are_what_ksg_says_of_each(method):
    x, y = columns()
    found = method.mutual_information_by_column(x, y)
    np.testing.assert_array_equal(
        found, [method.mutual_information(x[:, [j]].copy(), y) for j in range(4)]
    )
    for j in (0, 1):
        orders = [np.random.default_rng(seed).permutation(N) for seed in range(3)]
        one = x[:, [j]].copy()
        found = method.mutual_information_of_shuffles(one, y, orders)
        np.testing.assert_array_equal(
            found, [method.mutual_information(one, y[order]) for order in orders]
        )


@pytest.mark.parametrize("kinds", [2, 5])
def test_columns_are_what_ross_says_of_each(kinds):
    x, _ = columns()
    y = np.random.default_rng(2).integers(0, kinds, (N, 1)).astype(float)
    y[:2] = [[7.0], [8.0]]  # labels that occur once are left out
    found = Ross().mutual_information_by_column(x, y)
    expected = [Ross().mutual_information(x[:, [j]].copy(), y) for j in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
