"""The demonstration, at a size that takes seconds."""

from mitools.experiments import Demo, demo
from mitools.training import SGD, Training

SMALL = Demo(
    density=0.3,
    images=100,
    widths=(64, 12, 10),
    datasets=3,
    training=Training(epochs=3, batch_size=50, optimizer=SGD(lr=0.1)),
)


def test_rows_tell_a_consistent_story():
    rows = {row.pruner: row for row in demo(SMALL)}
    kept = {row.answer.nonzeros for row in rows.values()}
    assert kept == {round(0.3 * (64 * 12 + 120))}
    for name, row in rows.items():
        data_free = name in ("random", "SynFlow")
        assert (row.answer.upper.value == 0.0) is data_free
        assert row.answer.lower.limit <= row.answer.upper.limit
        assert 0.0 <= row.memorised <= 1.0
        frame = row.to_frame()
        assert list(frame["pruner"]) == [name]


def test_same_seed_same_rows():
    first, again = ([row.to_frame() for row in demo(SMALL)] for _ in range(2))
    assert all(a.equals(b) for a, b in zip(first, again, strict=True))
