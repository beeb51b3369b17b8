"""What every task of samples must pass, whatever it is about."""

import pickle

import numpy as np


def check_draws(task, n=40):
    """Shapes, dtypes, kinds, and seeds are as the task says; the global generator stays."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    data = task.draw(n, 0)
    assert len(data) == len(task.dims) == len(task.kinds)
    for rows, d, kind in zip(data, task.dims, task.kinds, strict=True):
        assert rows.shape == (n, d)
        assert rows.dtype == np.float64
        assert np.isfinite(rows).all()
        if kind == "discrete":
            assert (rows == np.rint(rows)).all()
        elif kind == "continuous":
            assert len(np.unique(rows)) == rows.size
        else:  # some values come back, others do not
            assert 1 < len(np.unique(rows)) < rows.size
    for rows, again, other in zip(data, task.draw(n, 0), task.draw(n, 1), strict=True):
        np.testing.assert_array_equal(rows, again)
        assert not np.array_equal(rows, other)
    for rows, travelled in zip(data, pickle.loads(pickle.dumps(task)).draw(n, 0), strict=True):
        np.testing.assert_array_equal(rows, travelled)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def check_mean(terms, nats, widest=0.01):
    """The mean of independent terms agrees with a truth, and is known well enough to say so."""
    error = np.std(terms) / np.sqrt(len(terms))
    assert error < widest
    assert abs(np.mean(terms) - nats) < 4.5 * error + 1e-9
