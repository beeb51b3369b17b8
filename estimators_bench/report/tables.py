"""The tables of the page: a leaderboard for each kind of answer, and errors task by task."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from estimators_bench.report import charts
from estimators_bench.report.markup import Child, Markup, joined, tag
from estimators_bench.report.summary import EXACT, Board
from estimators_bench.report.wording import brief, count, memory, nats, percent, seconds


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, what explains it, and its cells."""

    head: str
    about: str
    shown: Callable[[Any], Child]
    value: Callable[[Any], Any] | None = None
    """What rows are sorted by, where that is not what is shown."""
    text: bool = False
    long: bool = False


def sortable(
    columns: Sequence[Column],
    rows: Sequence[Any],
    caption: Child = None,
    class_: str = "",
    row_class: Callable[[Any], str | None] = lambda _: None,
) -> Markup:
    """Return a table that can be sorted by any column; the first column names the rows."""
    head = [
        tag(
            "th",
            tag("button", column.head, type="button"),
            scope="col",
            title=column.about,
            class_=_kind(column),
        )
        for column in columns
    ]
    lines = []
    for row in rows:
        line = [_cell(column, row, first=i == 0) for i, column in enumerate(columns)]
        lines.append(tag("tr", line, class_=row_class(row)))
    table = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", tag("tr", head)),
        tag("tbody", lines),
        class_=class_ or None,
    )
    return tag("div", table, class_="scroll", tabindex=0)


def _cell(column: Column, row: Any, first: bool) -> Markup:
    value = None if column.value is None else column.value(row)
    if isinstance(value, float):
        value = "" if math.isnan(value) else f"{value:.6g}"
    if first:
        return tag("th", column.shown(row), scope="row", data_v=value)
    return tag("td", column.shown(row), data_v=value, class_=_kind(column))


def _kind(column: Column) -> str | None:
    return "text long" if column.long else "text" if column.text else None


def leaderboard(board: Board) -> Markup:
    """Return the table of a board: contenders, best first."""
    rows = list(board.table.itertuples(index=False))
    columns = [_NAME, *_COLUMNS[board.group], *_COST]
    row_class = _unranked if board.group == "points" else lambda _: None
    return sortable(columns, rows, _captions(board), row_class=row_class)


def _unranked(row: Any) -> str | None:
    return "unranked" if row.tasks < row.of or row.failed else None


def _captions(board: Board) -> Child:
    tasks = board.table["of"].iloc[0]
    drawn = "masks" if board.group == "masks" else "samples"
    what = {
        "points": "Estimates. Ranked by interquartile mean of |error|; a rank is for those who "
        "answered every task with every seed, the others follow in grey.",
        "bounds": "Bounds and proxies, which promise a side and not a value: a lower bound may be "
        "far below the truth, but its limit may not be above it.",
        "masks": "Bounds on mask information, lower ones first.",
        "selection": "Choices of features: do they tell all there is to know of the target, and is "
        "no smaller choice that does?",
    }[board.group]
    return f"{what} {count(tasks, 'task')}, {board.n:,} {drawn}, in nats."


def _interval(low: float, high: float) -> Markup:
    return tag("span", f" [{nats(low)}, {nats(high)}]", class_="soft")


def _share(hits: int, of: int, low: float, high: float, bad: bool = False) -> Child:
    if not of:
        return tag("span", "–", class_="soft")
    said = f"{percent(hits, of)}"
    about = f"{hits} of {of}; 95% interval {100 * low:.0f} to {100 * high:.0f}%"
    return tag("span", said, title=about, class_="bad" if bad else None)


_NAME = Column("contender", "the method's name on this page", lambda row: row.contender, text=True)
_COST = (
    Column(
        "time",
        "median processor time of an answer",
        lambda row: seconds(row.seconds),
        lambda row: row.seconds,
    ),
    Column(
        "memory",
        "largest rise of resident memory during an answer",
        lambda row: memory(row.peak_bytes),
        lambda row: row.peak_bytes,
    ),
    Column(
        "failed",
        "answers that failed, ran out of time, or killed their process",
        lambda row: _failed(row),
        lambda row: row.failed,
    ),
    Column("package", "where it comes from", lambda row: row.package, text=True),
)
_TASKS = Column(
    "tasks",
    "tasks it takes, of the tasks of this table",
    lambda row: f"{row.tasks}/{row.of}",
    lambda row: row.tasks,
)
_ERRORS = (
    Column(
        "IQM |error| [95%]",
        "interquartile mean of |error| over tasks and seeds, and its bootstrap interval over both",
        lambda row: joined(nats(row.iqm), _interval(row.low, row.high)),
        lambda row: row.iqm,
    ),
    Column(
        "mean |error|",
        "mean over tasks of the mean over seeds",
        lambda row: nats(row.mae),
        lambda row: row.mae,
    ),
    Column(
        "bias",
        "mean signed error: estimate less truth",
        lambda row: nats(row.bias, True),
        lambda row: row.bias,
    ),
    Column(
        "worst",
        "largest mean |error| of a task",
        lambda row: nats(row.worst),
        lambda row: row.worst,
    ),
)
_COVERAGE = Column(
    "coverage",
    "share of the stated 95% intervals that hold the truth",
    lambda row: _share(
        row.covered, row.stated, row.covered_low, row.covered_high, row.covered_high < 0.95
    ),
    lambda row: row.covered / row.stated if row.stated else math.nan,
)
_SENSE = Column("is a", "what the answer claims to be", lambda row: row.sense or "–", text=True)
_WRONG = Column(
    "wrong side",
    "share of bounds whose limit (or value, where none is stated) is on the wrong "
    "side of the truth; 5% are allowed for at 95% confidence",
    lambda row: _share(row.wrong, row.bounds, row.wrong_low, row.wrong_high, row.wrong_low > 0.05),
    lambda row: row.wrong / row.bounds if row.bounds else math.nan,
)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "points": (
        Column(
            "rank",
            "by interquartile mean",
            lambda row: "–" if math.isnan(row.rank) else f"{row.rank:.0f}",
            lambda row: row.rank,
        ),
        *_ERRORS,
        _COVERAGE,
        _TASKS,
    ),
    "bounds": (_SENSE, _WRONG, *_ERRORS, _TASKS),
    "masks": (
        _SENSE,
        _WRONG,
        Column(
            "value / truth",
            "median, over tasks where there is something to know",
            lambda row: "–" if math.isnan(row.ratio) else f"{row.ratio:.2f}",
            lambda row: row.ratio,
        ),
        _COVERAGE,
        _TASKS,
    ),
    "selection": (
        Column(
            "minimal",
            "chose a smallest set of features that tells everything",
            lambda row: _share(row.minimal, row.answers, row.minimal_low, row.minimal_high),
            lambda row: row.rate,
        ),
        Column(
            "tells all",
            "chose features that tell everything",
            lambda row: percent(row.told, row.answers),
            lambda row: row.told / row.answers if row.answers else math.nan,
        ),
        Column(
            "information kept",
            "mean share of what all features tell",
            lambda row: percent(row.share, 1.0),
            lambda row: row.share,
        ),
        Column(
            "spare features",
            "mean number of chosen features that could go",
            lambda row: nats(row.spare),
            lambda row: row.spare,
        ),
        _TASKS,
    ),
}


def _failed(row: Any) -> Child:
    if not row.failed:
        return "0"
    late = f", {row.timed_out} of them out of time" if row.timed_out else ""
    return tag("span", str(row.failed), class_="bad", title=f"{row.failed} failed{late}")


def heat(board: Board) -> Markup:
    """Return the errors of a board: a row a task, a column a contender."""
    names = [str(name) for name in board.table["contender"]]
    found = {(cell.task, cell.contender): cell for cell in board.cells.itertuples(index=False)}
    tasks = list(dict.fromkeys(board.cells["task"]))
    truths = board.cells.groupby("task")["truth"].first()
    columns = [
        Column("task", "", lambda task: tag("span", task), text=True),
        Column("truth", "in nats", lambda task: nats(truths[task]), lambda task: truths[task]),
    ]
    head = [
        tag(
            "th",
            tag("button", column.head, type="button"),
            scope="col",
            class_="flat text" if column.text else "flat",
        )
        for column in columns
    ]
    head += [tag("th", tag("button", name, type="button"), scope="col") for name in names]
    lines = [
        tag(
            "tr",
            [_cell(column, task, i == 0) for i, column in enumerate(columns)],
            [_heat_cell(board.group, found.get((task, name))) for name in names],
        )
        for task in tasks
    ]
    before, after = _HEAT[board.group]
    key = tag("span", class_="key", role="img", aria_label="from blue over white to orange")
    table = tag(
        "table",
        tag("thead", tag("tr", head)),
        tag("tbody", lines),
        class_="heat",
        aria_label=f"{board.title}, task by task",
    )
    told = tag("p", before, key, after, class_="soft")
    return joined(told, tag("div", table, class_="scroll", tabindex=0))


_SIGNED = (
    "Mean signed error in nats, estimate less truth: too low",
    "too high, full colour from 1 nat. Point at a cell for its spread over seeds. ✗ a bound on "
    "the wrong side; ! failures.",
)
_HEAT = {
    "points": _SIGNED,
    "bounds": _SIGNED,
    "masks": (
        "Mean value in nats; colour by its ratio to the truth: too low",
        "too high, full colour from a factor of 8. ✗ a bound on the wrong side; ! failures.",
    ),
    "selection": (
        "Share of the information kept, in percent; ✓ where a smallest set was chosen every time. "
        "Less",
        "(never more). ! failures.",
    ),
}


def _heat_cell(group: str, cell: Any) -> Markup:
    if cell is None:
        return tag("td", "·", class_="none", data_v="", title="not its kind of task")
    if not cell.answers:
        about = f"{cell.failed} failed, {cell.timed_out} of them out of time"
        return tag("td", "!", class_="failed", data_v="", title=about)
    if group == "selection":
        share = cell.value / cell.truth if cell.truth > 0.0 else 1.0
        said = f"{100 * share:.0f}" + ("✓" if cell.minimal == cell.answers else "")
        depth, sort = share - 1.0, share
    elif group == "masks":
        said, sort = _figures(cell.value), cell.value
        ratio = (max(cell.value, 0.0) + EXACT) / (cell.truth + EXACT)
        depth = math.log(ratio) / math.log(8.0)
    else:
        said, sort = brief(cell.error), cell.error
        depth = math.copysign(math.sqrt(abs(cell.error)), cell.error)
    depth = max(-1.0, min(1.0, depth))
    marks = ("✗" if cell.wrong else "") + ("!" if cell.failed else "")
    shade = round(100 * abs(depth))
    return tag(
        "td",
        said + marks,
        class_=("above" if depth > 0 else "below") if shade else None,
        style=f"--t:{shade}" if shade else None,
        data_v=f"{sort:.6g}",
        title=_told(cell),
    )


def _figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 0.05 else "0"


def _told(cell: Any) -> str:
    spread = "" if math.isnan(cell.spread) else f" ± {nats(cell.spread)}"
    wrong = f"; {cell.wrong} on the wrong side" if cell.wrong else ""
    failed = f"; {cell.failed} failed" if cell.failed else ""
    return (
        f"{cell.contender} on {cell.task}: {nats(cell.value)}, truth {nats(cell.truth)}; "
        f"error {nats(cell.error, True)}{spread} over {cell.answers} seeds{wrong}{failed}"
    )


def coverage(counted: Sequence[Any]) -> Markup:
    """Return how often stated intervals hold the truth, contender by contender."""

    def bar(row: Any) -> Child:
        share = row.covered / row.stated
        return joined(
            percent(row.covered, row.stated),
            charts.coverage(row.low, share, row.high, row.promised),
        )

    columns = [
        _NAME,
        Column("is a", "what the answer claims to be", lambda row: row.sense, text=True),
        Column("n", "samples or masks", lambda row: f"{row.n:,}", lambda row: row.n),
        Column("promised", "stated confidence", lambda row: percent(row.promised, 1.0)),
        Column(
            "held",
            "share of intervals that hold the truth",
            bar,
            lambda row: row.covered / row.stated,
        ),
        Column(
            "95% interval",
            "of that share (Wilson)",
            lambda row: f"{100 * row.low:.0f} to {100 * row.high:.0f}%",
            lambda row: row.low,
        ),
        Column(
            "intervals",
            "how many were stated",
            lambda row: f"{row.covered}/{row.stated}",
            lambda row: row.stated,
        ),
    ]
    caption = "Intervals over all tasks. The dashed line is what was promised."
    return sortable(columns, counted, caption)
