"""The report as one HTML page that needs nothing but itself."""

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from estimators_bench.records import ABOUT
from estimators_bench.records import write as write_whole
from estimators_bench.report import charts, summary, tables
from estimators_bench.report.markup import Child, Markup, joined, tag
from estimators_bench.report.pictures import picture
from estimators_bench.report.summary import Board, Rows
from estimators_bench.report.wording import nats, percent
from estimators_bench.tasks import Task, catalogue

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_SMALL = 1e-4  # nats; charts are logarithmic, and no estimate is better than this by merit


def write(
    found: Rows,
    path: str | Path,
    about: Mapping[str, Any] | None = None,
    tasks: Mapping[str, Task] | None = None,
    made: datetime.date | None = None,
) -> None:
    """Write the page of some records, whole or not at all.

    Parameters
    ----------
    found : DataFrame
        Records, as `estimators_bench.frame` returns them.
    path : path
        The HTML file.
    about : mapping, optional
        What ``run.json`` of their folder holds; read from the page's own folder by default.
    tasks : mapping of name to task, optional
        Those that can be drawn; the catalogue by default.
    made : date, optional
        When; today by default.

    Raises
    ------
    ValueError
        If there are no records.
    """
    path = Path(path)
    if about is None:
        beside = path.parent / ABOUT
        about = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    write_whole(path, page(found, about or {}, tasks, made))


def page(
    found: Rows,
    about: Mapping[str, Any],
    tasks: Mapping[str, Task] | None = None,
    made: datetime.date | None = None,
) -> str:
    """Return the page as text; parameters as for `write`."""
    if not len(found):
        raise ValueError("found must hold at least one record; got none. Has the run begun?")
    boards = summary.boards(found)
    sections = [
        _head(found, about, made or datetime.datetime.now(datetime.UTC).date()),
        _contents(boards),
        _glance(boards),
        *(_board(f"board-{i}", board) for i, board in enumerate(boards)),
        _sizes(found, boards),
        _coverage(found),
        _failures(found),
        _gallery(found, catalogue() if tasks is None else tasks),
        _reading(),
    ]
    title = "How well is mutual information estimated?"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("style", _part("page.css")),
    )
    body = tag("body", tag("main", sections), tag("script", _part("page.js")))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _part(name: str) -> Markup:
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def _head(found: Rows, about: Mapping[str, Any], made: datetime.date) -> Markup:
    counts = found["status"].value_counts()
    outcome = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    setting = {str(key): str(value) for key, value in about.get("setting", {}).items()}
    versions = dict(zip(found["package"], found["version"], strict=True)) | setting
    machine = [versions.pop(name, "") for name in ("processor", "cores", "system")]
    load = versions.pop("load when started", "")
    facts = {
        "made": made.isoformat(),
        "records": f"{len(found):,}: {outcome}",
        "tasks": f"{found['task'].nunique()}, of {found['family'].nunique()} families",
        "contenders": f"{found['contender'].nunique()}, of {found['package'].nunique()} packages",
        "samples": _sizes_told(found, found["kind"] != "masks"),
        "masks": _sizes_told(found, found["kind"] == "masks"),
        "seeds": str(found["seed"].nunique()),
        "machine": ", ".join([machine[0], f"{machine[1]} cores", machine[2]])
        if any(machine)
        else "",
        "load at start": load,
        "versions": ", ".join(f"{name} {v}" for name, v in versions.items() if v),
    }
    items = [(tag("dt", name), tag("dd", said)) for name, said in facts.items() if said]
    return joined(
        tag("h1", "How well is mutual information estimated?"),
        tag(
            "p",
            "Estimators, bounds on what a pruning mask knows of its data, and selectors of "
            "features, each asked where the truth is known. All figures are in nats.",
            class_="lead",
        ),
        tag("dl", items, class_="facts"),
        tag("pre", tag("code", str(about.get("command") or _command(found)))),
    )


def _sizes_told(found: Rows, which: Any) -> str:
    return ", ".join(f"{n:,}" for n in sorted(found[which]["n"].unique()))


def _command(found: Rows) -> str:
    """Return a command that makes such records, but for the choice of tasks and methods."""
    masks = found["kind"] == "masks"
    parts = ["python -m estimators_bench run"]
    for option, rows in (("-n", found[~masks]), ("--prunings", found[masks])):
        if len(rows):
            parts.append(f"{option} {' '.join(str(n) for n in sorted(rows['n'].unique()))}")
    return " ".join([*parts, f"--seeds {found['seed'].nunique()}"])


def _contents(boards: Sequence[Board]) -> Markup:
    links = [(f"board-{i}", board.title) for i, board in enumerate(boards)]
    links += [
        ("sizes", "Error against n"),
        ("coverage", "Coverage"),
        ("failures", "Failures"),
        ("tasks", "The tasks"),
        ("reading", "How to read this"),
    ]
    items = [tag("li", tag("a", said, href=f"#{to}")) for to, said in links]
    return tag("nav", tag("ul", items), aria_label="contents")


def _glance(boards: Sequence[Board]) -> Markup:
    """Return who comes first where estimates are ranked."""
    ranked = [b for b in boards if b.group == "points" and not math.isnan(b.table["rank"].iloc[0])]
    columns = [
        tables.Column("tasks", "family, and question", lambda row: row[0].title, text=True),
        tables.Column("first", "by interquartile mean", lambda row: row[1].contender, text=True),
        tables.Column(
            "IQM |error|", "of the first", lambda row: nats(row[1].iqm), lambda row: row[1].iqm
        ),
        tables.Column(
            "mean |error|", "of the first", lambda row: nats(row[1].mae), lambda row: row[1].mae
        ),
        tables.Column("second", "by interquartile mean", lambda row: row[2], text=True),
        tables.Column(
            "others, in hindsight",
            "mean |error| of the best of the others for each task, had one known which",
            lambda row: nats(row[3]),
            lambda row: row[3],
        ),
        tables.Column(
            "ranked",
            "contenders that answered every task",
            lambda row: f"{row[0].table['rank'].count()} of {len(row[0].table)}",
            lambda row: row[0].table["rank"].count(),
        ),
    ]
    rows = []
    for board in ranked:
        first, *others = board.table[board.table["rank"].notna()].itertuples(index=False)
        # Not the same numbers again with an interval around them.
        second = [row.contender for row in others if row.rank > first.rank]
        best = summary.in_hindsight(board)
        told = second[0] if second else "–", math.nan if best is None else best.mae
        rows.append((board, first, *told))
    if not rows:
        return Markup("")
    return tag("section", tag("h2", "Who wins where"), tables.sortable(columns, rows, None))


def _board(anchor: str, board: Board) -> Markup:
    parts: list[Child] = [tag("h2", board.title), tables.leaderboard(board)]
    heat = tables.heat(board)
    if board.group == "bounds":
        parts.append(tag("details", tag("summary", "task by task"), heat))
    else:
        parts.extend([tag("h3", "Task by task"), heat])
    rows = board.table[board.table["iqm"].notna() & (board.table["seconds"] > 0.0)]
    if board.group == "points" and len(rows) > 2:
        points = {
            row.contender: (row.seconds, max(row.iqm, _SMALL))
            for row in rows.itertuples(index=False)
        }
        about = f"Interquartile mean of |error| against seconds an answer, {board.title}"
        drawn = charts.scatter(points, "seconds an answer, median", "IQM |error|, nats", about)
        said = "Down and to the left is better. The numbers are those of the leaderboard."
        parts.append(tag("figure", drawn, tag("figcaption", said)))
    return tag("section", parts, id=anchor)


def _sizes(found: Rows, boards: Sequence[Board]) -> Markup:
    parts: list[Child] = []
    for board in boards:
        rows = summary.growth(found, board) if board.group == "points" else ()
        if len(rows) > 1 and len(rows.columns):
            parts.extend(_growth(board, rows))
    if not parts:
        parts.append(tag("p", "Nobody was asked at two sizes or more.", class_="soft"))
    return tag("section", tag("h2", "Error against n"), parts, id="sizes")


def _growth(board: Board, rows: Rows) -> list[Child]:
    """Return a chart of the best of those who answered the same tasks, and a table of all."""
    best = {
        str(name): [(float(n), max(float(error), _SMALL)) for n, error in errors.items()]
        for name, errors in summary.leading(rows, board).items()
    }
    title = board.title
    columns = [tables.Column("contender", "", lambda name: name, text=True)]
    for n in rows.index:
        columns.append(
            tables.Column(
                f"n = {n:,}",
                "mean |error| over tasks",
                lambda name, n=n: nats(rows[name][n]),
                lambda name, n=n: rows[name][n],
            )
        )
    said = f"Mean |error| over those tasks of {title} that a contender takes, at every n."
    parts: list[Child] = [tag("h3", title)]
    if len(best) > 1:
        about = f"Mean |error| against n, {title}"
        parts.append(tag("figure", charts.lines(best, "samples", "mean |error|, nats", about)))
    table = tables.sortable(columns, list(rows.columns), said)
    return [*parts, tag("details", tag("summary", "as a table, of all"), table)]


def _coverage(found: Rows) -> Markup:
    rows = list(summary.coverage(found).itertuples(index=False))
    said = "A 95% interval should hold the truth in 95% of cases. Those of resampling know the "
    said += "spread of a method over samples, not its bias."
    body = tables.coverage(rows) if rows else tag("p", "No answer states an interval.")
    return tag("section", tag("h2", "Coverage"), tag("p", said), body, id="coverage")


def _failures(found: Rows) -> Markup:
    rows = list(summary.failures(found).itertuples(index=False))
    total = f"{sum(row.times for row in rows):,} of {len(found):,} answers "
    total += f"({percent(sum(row.times for row in rows), len(found))})."
    columns = [
        tables.Column("contender", "", lambda row: row.contender, text=True),
        tables.Column("what", "", lambda row: row.status, text=True),
        tables.Column("times", "", lambda row: row.times, lambda row: row.times),
        tables.Column(
            "message", "the first of its kind", lambda row: row.message, text=True, long=True
        ),
        tables.Column(
            "tasks",
            "",
            lambda row: _some(row.tasks),
            lambda row: len(row.tasks),
            text=True,
            long=True,
        ),
    ]
    body = tables.sortable(columns, rows, total) if rows else tag("p", "None.")
    return tag("section", tag("h2", "Failures and time-outs"), body, id="failures")


def _some(names: Sequence[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _gallery(found: Rows, tasks: Mapping[str, Task]) -> Markup:
    parts: list[Child] = [
        tag("h2", "The tasks"),
        tag(
            "p",
            "Scalars against each other; of vectors the first columns; colours are quarters of a "
            "variable that is on neither axis. Time series along time, the target below. Masks: a "
            "row for each, up to 64 weights, kept ones dark. Features: a bar for what each tells "
            "alone, the line is what all tell, and the coloured ones make up a smallest set.",
            class_="soft",
        ),
    ]
    told = found.drop_duplicates("task")
    for family, rows in told.groupby("family", sort=False):
        cards = [_card(row, tasks.get(row.task)) for row in rows.itertuples(index=False)]
        parts += [
            tag("h3", str(family)[:1].upper() + str(family)[1:]),
            tag("ul", cards, class_="gallery"),
        ]
    return tag("section", parts, id="tasks")


def _card(row: Any, task: Task | None) -> Markup:
    slack = f" ± {row.truth_error:.1g}" if row.truth_error else ""
    shape = " × ".join(f"{d:,}" for d in row.dims)
    known = f", {task.truth.source}" if task is not None else ""
    return tag(
        "li",
        tag("div", picture(task) if task is not None else None, class_="see"),
        tag("strong", row.task),
        tag("div", f"{nats(row.truth)}{slack} nats{known}; {shape}", class_="soft"),
        tag("div", task.about if task is not None else ""),
    )


def _reading() -> Markup:
    points = (
        ("Error", "is estimate less truth: negative is too low. Nothing is clipped."),
        (
            "Interquartile mean (IQM)",
            "is the mean of the middle half of |error| over tasks and seeds: one hopeless task "
            "does not decide a rank, nor one easy one. Its interval is a bootstrap that draws "
            "tasks, and seeds within tasks, anew: where two intervals overlap much, other tasks "
            "might have turned the two around.",
        ),
        (
            "Bounds",
            "are not ranked with estimates. What counts is the side: the limit of a lower bound "
            "may lie above the truth in 5% of cases.",
        ),
        (
            "Failures",
            "are counted, and take away the rank: a mean without the hard cases is no mean.",
        ),
        ("Time", "is processor time of an answer; the drawing of data is not in it."),
    )
    items = [joined(tag("dt", name), tag("dd", said)) for name, said in points]
    return tag(
        "section", tag("h2", "How to read this"), tag("dl", items, class_="facts"), id="reading"
    )
