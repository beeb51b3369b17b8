"""From records to the numbers of a report: errors, ranks, coverage, cost, failures.

Records come as `estimators_bench.frame` returns them: a row for every task, contender, n and seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from estimators_bench.report.intervals import bootstrap, wilson

KEYS = ["kind", "family", "question", "task", "contender", "n"]
EXACT = 1e-9
"""Nats by which a choice of features may miss all there is to know, by rounding."""

Rows: TypeAlias = Any
"""A pandas DataFrame or Series, whose stated types are too wide to be of use."""

Group: TypeAlias = Literal["points", "bounds", "masks", "selection"]


@dataclass(frozen=True, eq=False)
class Board:
    """What is compared with each other: answers to one question about the tasks of one family.

    Parameters
    ----------
    family, question : str
        As the tasks have them.
    group : {"points", "bounds", "masks", "selection"}
        Estimates, bounds and proxies, bounds on mask information, or choices of features.
    n : int
        Samples or masks: the largest number in the records.
    table : DataFrame
        A row a contender, best first.
    cells : DataFrame
        A row a task and contender; see `cells`.
    """

    family: str
    question: str
    group: Group
    n: int
    table: Rows
    cells: Rows

    @property
    def title(self) -> str:
        """Family, the question where it is not I(X; Y), and what is compared if not estimates."""
        asked = self.question.replace("_", " ")
        plain = asked in ("mutual information", "mask information", "selection")
        family = self.family[:1].upper() + self.family[1:]
        said = family if plain else f"{family}: {asked}"
        return said + {"bounds": ": bounds", "selection": ": choices"}.get(self.group, "")


def answered(frame: Rows) -> Rows:
    """Return the rows that hold a number."""
    return frame[(frame["status"] == "ok") & np.isfinite(frame["value"])]


def cells(frame: Rows) -> Rows:
    """Return a row for every task, contender and n.

    Its columns: ``truth``, ``truth_error``; ``sense``, the commonest; ``answers`` and ``failed``
    (of which ``timed_out``), how many; ``value``, ``error`` (signed) and ``absolute``, means over
    seeds; ``spread``, standard deviation of the signed error over seeds; ``stated`` and
    ``covered``, intervals given and intervals that hold the truth; ``wrong``, bounds on the wrong
    side of it; ``seconds``, median of processor time; ``peak_bytes``, largest.
    """
    columns = ["package", "truth", "truth_error"]
    whole = frame.groupby(KEYS, sort=False, observed=True)
    found = whole[columns].first()
    found["failed"] = (frame["status"] != "ok").groupby([frame[k] for k in KEYS]).sum()
    found["timed_out"] = (frame["status"] == "timed out").groupby([frame[k] for k in KEYS]).sum()
    done = answered(frame).copy()
    done["absolute"] = done["error"].abs()
    done["stated"] = done["covered"].notna()
    done["held"] = done["covered"].eq(True)
    done["wrong"] = _wrong(done)
    done["minimal"] = done["extra"].map(lambda extra: bool(extra.get("minimal")))
    groups = done.groupby(KEYS, sort=False, observed=True)
    found["answers"] = groups.size()
    found["sense"] = groups["sense"].agg(_commonest)
    for name in ("value", "error", "absolute"):
        found[name] = groups[name].mean()
    found["spread"] = groups["error"].std()
    sums = {"stated": "stated", "covered": "held", "wrong": "wrong", "minimal": "minimal"}
    for name, source in sums.items():
        found[name] = groups[source].sum()
    found["seconds"], found["peak_bytes"] = (
        groups["cpu_seconds"].median(),
        groups["peak_bytes"].max(),
    )
    counts = [*sums, "answers", "failed", "timed_out"]
    found[counts] = found[counts].fillna(0).astype(int)
    return found.reset_index()


def boards(frame: Rows, seed: int = 0) -> list[Board]:
    """Return all comparisons, families in the order of the records, bounds after estimates.

    Only the largest n of each kind of task is compared; `by_size` has the others. A contender is
    ranked where it answered every task of the board with every seed: a mean from which failures
    were dropped says nothing. Others follow, without rank.
    """
    found = []
    for group, part in _groups(frame):
        n = int(part["n"].max())
        largest = part[part["n"] == n]
        for (family, question), rows in largest.groupby(
            ["family", "question"], sort=False, observed=True
        ):
            table = _SCORES[group](rows, seed)
            found.append(Board(str(family), str(question), group, n, table, cells(rows)))
    families = list(dict.fromkeys(frame["family"]))
    questions = list(dict.fromkeys(frame["question"]))
    found.sort(key=lambda b: (families.index(b.family), questions.index(b.question)))
    return found


@dataclass(frozen=True)
class Hindsight:
    """What the best of the others would have reached, had one known which to take for each task.

    Parameters
    ----------
    first : str
        The first of the board, who is left out; so are those that gave its numbers again.
    others : int
        How many were left to choose from.
    mae : float
        Mean over tasks of the least mean |error| among them.
    """

    first: str
    others: int
    mae: float


def in_hindsight(board: Board) -> Hindsight | None:
    """Return that, for a board of estimates with a first; None for others, or with no others."""
    ranked = (
        board.table[board.table["rank"].notna()] if board.group == "points" else board.table[:0]
    )
    if not len(ranked):
        return None
    first = str(ranked["contender"].iloc[0])
    errors = board.cells.pivot(index="task", columns="contender", values="absolute")
    twins = errors.eq(errors[first], axis=0).where(errors.notna(), True).all()
    others = errors.loc[:, ~twins]
    least = others.min(axis=1)
    if least.isna().any() or not len(others.columns):
        return None
    return Hindsight(first, len(others.columns), float(least.mean()))


def by_size(frame: Rows) -> Rows:
    """Return the mean absolute error of estimates at every n, a row a family, question and n.

    Only where the contender answered every task that it takes at every n.
    """
    rows = _points(frame)
    if rows["n"].nunique() < 2:
        return pd.DataFrame()
    found = cells(rows)
    keys = ["family", "question", "contender"]
    sizes = found.groupby(["family", "question"])["n"].transform("nunique")
    complete = (found["failed"] == 0) & (
        found.groupby([*keys, "task"])["n"].transform("nunique") == sizes
    )
    broken = found[~complete].groupby(keys).size().index
    kept = found[~pd.MultiIndex.from_frame(found[keys]).isin(broken)]
    means = kept.groupby([*keys, "n"], sort=False)["absolute"].mean()
    return means.unstack("contender").reset_index()


def growth(frame: Rows, board: Board) -> Rows:
    """Return the mean absolute errors of a board's contenders at every n, a row an n.

    Columns are contenders, best first; empty where there is only one n.
    """
    table = by_size(frame)
    if not len(table):
        return table
    rows = table[(table["family"] == board.family) & (table["question"] == board.question)]
    rows = rows.set_index("n").drop(columns=["family", "question"]).dropna(axis=1, how="any")
    return rows[[name for name in board.table["contender"] if name in rows.columns]]


def leading(rows: Rows, board: Board, most: int = 8) -> Rows:
    """Return those columns of `growth` that are ranked, and so about the same tasks.

    A contender that gives the numbers of a better one again, with another interval, is left out.
    """
    ranked = board.table["contender"][board.table["rank"].notna()]
    rows = rows[[name for name in rows.columns if name in set(ranked)]]
    return rows.loc[:, ~rows.T.duplicated()].iloc[:, :most]


def failures(frame: Rows) -> Rows:
    """Return what went wrong, a row a contender and message: how often, and in which tasks.

    Messages that differ in numbers alone are one; the first is shown.
    """
    bad = frame[frame["status"] != "ok"]
    alike = bad["message"].str.replace(r"[0-9][0-9.,]*", "0", regex=True)
    found = bad.groupby([bad["contender"], bad["status"], alike], sort=False).agg(
        contender=("contender", "first"),
        status=("status", "first"),
        message=("message", "first"),
        times=("task", "size"),
        tasks=("task", lambda names: tuple(dict.fromkeys(names))),
    )
    return found.reset_index(drop=True).sort_values(["contender", "status"], kind="stable")


def _groups(frame: Rows) -> Iterator[tuple[Group, Rows]]:
    """Yield the rows to be scored in each way; a contender's sense decides, failures included."""
    samples = frame[frame["kind"] == "samples"]
    bounds = _senses(samples).isin(["lower", "upper", "proxy"])
    parts: dict[Group, Rows] = {
        "points": samples[~bounds],
        "bounds": samples[bounds],
        "masks": frame[frame["kind"] == "masks"],
        "selection": frame[frame["kind"] == "selection"],
    }
    for group, part in parts.items():
        if len(part):
            yield group, part


def _points(frame: Rows) -> Rows:
    return next((part for group, part in _groups(frame) if group == "points"), frame.iloc[:0])


def _senses(rows: Rows) -> Rows:
    """Return for every row what its contender's answers to this question mostly claim to be."""
    keys = ["contender", "question"]
    known = rows[rows["sense"].notna()].groupby(keys, observed=True)["sense"].agg(_commonest)
    index = pd.MultiIndex.from_frame(rows[keys])
    return pd.Series(known.reindex(index).to_numpy(), rows.index, dtype=object)


def _commonest(senses: Rows) -> str:
    return str(senses.mode().iloc[0])


def _wrong(done: Rows) -> Rows:
    """Return whether a bound is on the wrong side: its limit where it states one, else itself."""
    ends = {"lower": (0, 1.0), "upper": (1, -1.0)}
    wrong = []
    for row in done[["sense", "value", "interval", "truth", "truth_error"]].itertuples(index=False):
        which, sign = ends.get(row.sense, (0, 0.0))
        limit = row.value if row.interval is None else row.interval[which]
        wrong.append(bool(sign) and sign * (limit - row.truth) > row.truth_error + EXACT)
    return pd.Series(wrong, done.index, dtype=bool)


def _score_estimates(rows: Rows, seed: int) -> Rows:
    table = _scored(rows, lambda done: _errors(done, seed))
    # A rank is for those who answered everything, seeds included.
    table["whole"] = (table["tasks"] == table["of"]) & (table["failed"] == 0)
    order = ["whole", "tasks", "iqm"]
    table = table.sort_values(order, ascending=[False, False, True], kind="stable")
    table["rank"] = table["iqm"].where(table["whole"]).rank(method="min")
    return table.reset_index(drop=True)


def _score_bounds(rows: Rows, seed: int) -> Rows:
    table = _scored(rows, lambda done: _errors(done, seed) | _sides(done))
    return table.sort_values(["tasks", "iqm"], ascending=[False, True], ignore_index=True)


def _score_masks(rows: Rows, seed: int) -> Rows:
    def score(done: Rows) -> dict[str, Any]:
        some = done[done["truth"] > 0.0]
        ratio = float((some["value"] / some["truth"]).median()) if len(some) else np.nan
        return {**_errors(done, seed), **_sides(done), "ratio": ratio}

    table = _scored(rows, score)
    order = {"lower": 0, "point": 1, "upper": 2, "proxy": 3}
    table["order"], table["off"] = table["sense"].map(order).fillna(4), (table["ratio"] - 1).abs()
    return table.sort_values(["order", "off"], kind="stable", ignore_index=True)


def _score_selectors(rows: Rows, seed: int) -> Rows:
    def score(done: Rows) -> dict[str, Any]:
        extra = done["extra"]
        minimal = int(extra.map(lambda each: bool(each.get("minimal"))).sum())
        told = int((done["error"] > -EXACT).sum())
        share = (done["value"] / done["truth"]).where(done["truth"] > 0.0, 1.0)
        found: dict[str, Any] = {"minimal": minimal, "told": told, "share": float(share.mean())}
        found["spare"] = float(extra.map(lambda each: each.get("spare", np.nan)).mean())
        found["minimal_low"], found["minimal_high"] = wilson(minimal, len(done))
        return found

    table = _scored(rows, score)
    table["rate"] = table["minimal"] / table["answers"].clip(lower=1)
    order = ["tasks", "rate", "share"]
    return table.sort_values(order, ascending=False, kind="stable", ignore_index=True)


_SCORES = {
    "points": _score_estimates,
    "bounds": _score_bounds,
    "masks": _score_masks,
    "selection": _score_selectors,
}


def _scored(rows: Rows, score: Any) -> Rows:
    """Return a row a contender: what every table says, and what `score` says of its answers."""
    of = rows["task"].nunique()
    table = []
    for name, given in rows.groupby("contender", sort=False, observed=True):
        done = answered(given)
        row: dict[str, Any] = {
            "contender": name,
            "package": given["package"].iloc[0],
            "sense": _commonest(done["sense"]) if len(done) else "",
            "tasks": given["task"].nunique(),
            "of": of,
            "answers": len(done),
            "failed": int((given["status"] != "ok").sum()),
            "timed_out": int((given["status"] == "timed out").sum()),
            "seconds": float(done["cpu_seconds"].median()),
            "peak_bytes": float(done["peak_bytes"].max()),
        }
        table.append(row | (score(done) if len(done) else {}))
    return pd.DataFrame(table).reindex(columns=[*dict.fromkeys(_COLUMNS + _keys(table))])


_COLUMNS = [
    *("contender", "package", "sense", "tasks", "of", "answers", "failed", "timed_out"),
    *("seconds", "peak_bytes", "iqm", "low", "high", "mae", "bias", "worst"),
    *("stated", "covered", "covered_low", "covered_high", "wrong", "wrong_low", "wrong_high"),
    *("bounds", "ratio", "minimal", "minimal_low", "minimal_high", "told", "share", "spare"),
]


def _keys(table: list[dict[str, Any]]) -> list[str]:
    return [name for row in table for name in row]


def _errors(done: Rows, seed: int) -> dict[str, Any]:
    """Return how far the answers are from the truth, and how often their intervals hold it."""
    absolute = [group.abs().to_numpy() for _, group in done.groupby("task", sort=False)["error"]]
    signed = done.groupby("task", sort=False)["error"].mean()
    iqm, low, high = bootstrap(absolute, seed=seed)
    means = [float(errors.mean()) for errors in absolute]
    stated, covered = int(done["covered"].notna().sum()), int(done["covered"].eq(True).sum())
    ends = wilson(covered, stated)
    return {
        "iqm": iqm,
        "low": low,
        "high": high,
        "mae": float(np.mean(means)),
        "bias": float(signed.mean()),
        "worst": max(means),
        "stated": stated,
        "covered": covered,
        "covered_low": ends[0],
        "covered_high": ends[1],
    }


def _sides(done: Rows) -> dict[str, Any]:
    """Return how many bounds are on the wrong side of the truth."""
    bounds, wrong = int(done["sense"].isin(["lower", "upper"]).sum()), int(_wrong(done).sum())
    low, high = wilson(wrong, bounds)
    return {"bounds": bounds, "wrong": wrong, "wrong_low": low, "wrong_high": high}


def coverage(frame: Rows) -> Rows:
    """Return how often stated intervals hold the truth, a row a contender, sense and n."""
    done = answered(frame)
    stated = done[done["covered"].notna()].assign(held=done["covered"].eq(True))
    keys = ["kind", "contender", "sense", "n"]
    found = stated.groupby(keys, sort=False, observed=True).agg(
        stated=("held", "size"), covered=("held", "sum"), promised=("confidence", "median")
    )
    ends = [wilson(int(row.covered), int(row.stated)) for row in found.itertuples()]
    return found.assign(low=[e[0] for e in ends], high=[e[1] for e in ends]).reset_index()
