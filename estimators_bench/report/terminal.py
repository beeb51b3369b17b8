"""The report for a terminal: at most a hundred columns, the best of each table."""

import math
from collections.abc import Callable
from typing import Any

from estimators_bench.report import summary
from estimators_bench.report.summary import Board, Rows
from estimators_bench.report.wording import count, nats, percent, seconds

WIDTH = 100
_NAME = 25
_COLUMNS: dict[str, tuple[tuple[str, int, Callable[[Any], str]], ...]] = {
    "points": (
        ("IQM", 8, lambda row: nats(row.iqm)),
        ("95% interval", 16, lambda row: f"{nats(row.low)} to {nats(row.high)}"),
        ("mean", 8, lambda row: nats(row.mae)),
        ("bias", 8, lambda row: nats(row.bias, True)),
        ("covers", 7, lambda row: percent(row.covered, row.stated)),
    ),
    "bounds": (
        ("is a", 6, lambda row: row.sense),
        ("wrong side", 11, lambda row: percent(row.wrong, row.bounds)),
        ("mean", 9, lambda row: nats(row.mae)),
        ("bias", 9, lambda row: nats(row.bias, True)),
        ("covers", 7, lambda row: percent(row.covered, row.stated)),
    ),
    "masks": (
        ("is a", 6, lambda row: row.sense),
        ("wrong side", 11, lambda row: percent(row.wrong, row.bounds)),
        ("value/truth", 12, lambda row: nats(row.ratio)),
        ("covers", 7, lambda row: percent(row.covered, row.stated)),
    ),
    "selection": (
        ("minimal", 8, lambda row: percent(row.minimal, row.answers)),
        ("tells all", 10, lambda row: percent(row.told, row.answers)),
        ("kept", 6, lambda row: "–" if math.isnan(row.share) else percent(row.share, 1.0)),
        ("spare", 7, lambda row: nats(row.spare)),
    ),
}
_EVERYWHERE: tuple[tuple[str, int, Callable[[Any], str]], ...] = (
    ("tasks", 6, lambda row: f"{row.tasks}/{row.of}"),
    ("time", 8, lambda row: seconds(row.seconds)),
    ("failed", 7, lambda row: str(row.failed) if row.failed else ""),
)
_LEGEND = """\
IQM: interquartile mean of |error| over tasks and seeds, with a bootstrap interval over both; mean:
mean |error|; bias: mean of estimate less truth; covers: intervals that hold the truth. All in nats.
Ranks are for those who answered every task with every seed."""


def table(found: Rows, most: int = 8) -> str:
    """Return the leaderboards of some records as text.

    Parameters
    ----------
    found : DataFrame
        Records, as `estimators_bench.frame` returns them.
    most : int
        Contenders of each table; the page has them all.
    """
    if not len(found):
        return "no records"
    parts = [_board(board, most) for board in summary.boards(found)]
    return "\n\n".join([*parts, _LEGEND])


def _board(board: Board, most: int) -> str:
    columns = (*_COLUMNS[board.group], *_EVERYWHERE)
    drawn = "mask" if board.group == "masks" else "sample"
    heading = f"{_plain(board.title)}, {count(board.n, drawn)}"
    lines = [
        heading[:WIDTH],
        f"{'':4}{'':{_NAME}}" + "".join(f"{head:>{width}}" for head, width, _ in columns),
    ]
    for row in board.table.head(most).itertuples(index=False):
        ranked = board.group == "points" and not math.isnan(float(row.rank))
        place = f"{row.rank:>3.0f} " if ranked else "    "
        cells = "".join(f"{shown(row):>{width}}" for _, width, shown in columns)
        lines.append(f"{place}{_short(str(row.contender)):{_NAME}}{cells}".rstrip())
    if len(board.table) > most:
        lines.append(f"    and {len(board.table) - most} more, on the page")
    best = summary.in_hindsight(board)
    if best is not None:
        said = f"mean {nats(best.mae)} by the best of the {best.others} others for each task"
        lines.append(f"    in hindsight: {said}")
    return "\n".join(lines)


def _short(name: str) -> str:
    name = _plain(name)
    return name if len(name) < _NAME else f"{name[: _NAME - 2]}…"


def _plain(text: str) -> str:
    """Return text without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
