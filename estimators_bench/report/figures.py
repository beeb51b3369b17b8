"""The report's figures for a paper or a README, by matplotlib; equal records give equal files."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from estimators_bench.report import summary
from estimators_bench.report.summary import Board, Rows

_INK, _SOFT, _LINE = "#1b1f24", "#8a949e", "#d9dee4"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0568f", "#8a6d00", "#56b4e9", "#5b4fb3", "#5c6670")
_MARKS = "os^Dv<>p"


def leaderboard(board: Board, most: int = 20) -> Figure:
    """Draw the interquartile mean of |error| of each contender and its interval, best on top.

    Parameters
    ----------
    board : Board
        Of estimates, from `summary.boards`.
    most : int
        Contenders; those who did not answer every task are grey.

    Raises
    ------
    ValueError
        If the board has no errors to draw.
    """
    rows = list(board.table.dropna(subset="iqm").head(most).itertuples(index=False))
    if not rows:
        raise ValueError(f"board must hold an estimate that came back; {board.title} has none.")
    figure = Figure(figsize=(7.2, 1.1 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        colour = _SOFT if row.tasks < row.of or row.failed else _COLOURS[0]
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2.5, alpha=0.55)
        axes.plot(row.iqm, place, "o", color=colour, markersize=6)
    axes.set_yticks(range(len(rows)), [_named(row) for row in rows], color=_INK)
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.set_xlabel("interquartile mean of |error| in nats, 95% bootstrap interval", color=_INK)
    axes.set_title(_titled(board), loc="left", fontsize=10, color=_INK)
    axes.grid(axis="x", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def growth(found: Rows, board: Board, most: int = 8) -> Figure:
    """Draw the mean absolute error of a board's best against n.

    Parameters
    ----------
    found : DataFrame
        All records.
    board : Board
        From `summary.boards(found)`.
    most : int
        Lines.

    Raises
    ------
    ValueError
        If the records have only one n, or nobody ranked answered at all of them.
    """
    rows = summary.growth(found, board)
    rows = summary.leading(rows, board, most) if len(rows) else rows
    if len(rows) < 2 or not len(rows.columns):
        raise ValueError("found must hold records at two sizes at least, of one ranked contender.")
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(rows.columns):
        axes.plot(
            rows.index,
            rows[name],
            color=_COLOURS[i % 8],
            marker=_MARKS[i % 8],
            markersize=5,
            label=_escaped(name),
        )
    axes.set(xscale="log", yscale="log", xlabel="samples", ylabel="mean |error|, nats")
    axes.set_xticks(rows.index, [f"{n:,}" for n in rows.index])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    low, high = rows.min().min(), rows.max().max()
    steps = [step * 10.0**power for power in range(-5, 3) for step in (1, 2, 5)]
    axes.set_yticks([step for step in steps if low / 1.5 <= step <= high * 1.5])
    axes.set_title(_titled(board), loc="left", fontsize=10, color=_INK)
    axes.grid(color=_LINE, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure, without the date and the random names that would change the file."""
    suffix = Path(path).suffix.lower()
    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context({"svg.hashsalt": "estimators_bench"}):
        figure.savefig(path, dpi=160, facecolor="white", metadata=dated.get(suffix))


def _named(row: object) -> str:
    name, tasks, of = (getattr(row, field) for field in ("contender", "tasks", "of"))
    return _escaped(name if tasks == of else f"{name} ({tasks} of {of} tasks)")


def _titled(board: Board) -> str:
    return _escaped(f"{board.title}: {board.table['of'].iloc[0]} tasks, n = {board.n:,}")


def _escaped(text: str) -> str:
    return text.replace("$", r"\$")
