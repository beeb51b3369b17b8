"""Records: one plain row a unit, in JSON Lines, appended as they come and put in order at the end.

A folder holds ``records.jsonl``, which depends on nothing but the plan; ``costs.jsonl``, seconds
and memory of the same units; and ``run.json``, the versions and the plan of the last run.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from estimators_bench.contenders.kinds import Answer
from estimators_bench.plan import Key, Unit
from estimators_bench.tasks.kinds import MaskTask, SampleTask
from mitools._files import locked, replacing
from mitools._validation import ADDRESS, FileFormatError

if TYPE_CHECKING:
    from pandas import DataFrame

Row: TypeAlias = dict[str, Any]

RECORDS, COSTS, ABOUT = "records.jsonl", "costs.jsonl", "run.json"
_SENSES = ("point", "lower", "upper", "proxy")


def planned(unit: Unit, versions: Mapping[str, str]) -> Row:
    """Return what a record says before its unit has run: the part that must match to be kept."""
    task, contender = unit.task, unit.contender
    if isinstance(task, SampleTask):
        kind, question, dims = "samples", task.question, list(task.dims)
    elif isinstance(task, MaskTask):
        kind, question, dims = "masks", "mask_information", [task.size]
    else:
        kind, question, dims = "selection", "selection", [task.features]
    return {
        "task": task.name,
        "family": task.family,
        "kind": kind,
        "question": question,
        "dims": dims,
        "contender": contender.name,
        "method": without_addresses(repr(contender)),
        "package": contender.package,
        "version": versions.get(contender.package, ""),
        "n": unit.n,
        "seed": unit.seed,
        "truth": task.truth.nats,
        "truth_error": task.truth.error,
    }


def plain(answer: Any) -> Row:
    """Return an answer as plain JSON values; an infinite end of an interval is null.

    Raises
    ------
    TypeError
        If it is no `Answer`, or its extra is not JSON.
    ValueError
        If it is not a finite number, its interval holds NaN or is upside down, or it has no such
        sense.
    """
    if not isinstance(answer, Answer):
        raise TypeError(f"answered {type(answer).__name__}, not an Answer")
    nats, interval = float(answer.nats), None
    if not math.isfinite(nats):
        raise ValueError(f"answered {nats}")
    if answer.sense not in _SENSES:
        raise ValueError(f"answered in the sense {answer.sense!r}, which is none of {_SENSES}")
    if answer.interval is not None:
        low, high = map(float, answer.interval)
        if not low <= high:
            raise ValueError(f"answered with the interval ({low}, {high})")
        interval = [end if math.isfinite(end) else None for end in (low, high)]
    return {
        "value": nats,
        "sense": answer.sense,
        "interval": interval,
        "confidence": float(answer.confidence),
        "notes": [str(note) for note in answer.notes],
        # NaN and infinity are not JSON: they become null.
        "extra": json.loads(json.dumps(dict(answer.extra)), parse_constant=lambda _: None),
    }


def record(expected: Row, status: str, answer: Row | None, message: str) -> Row:
    """Return the full row of a unit that has run.

    ``error`` is signed: value less truth. ``covered`` says whether the interval holds the truth,
    which is given its own error; it is None where there is no interval.
    """
    given = answer or dict.fromkeys(("value", "sense", "interval", "confidence"), None)
    truth, slack, covered = expected["truth"], expected["truth_error"], None
    if given["interval"] is not None:
        low, high = _ends(given["interval"])
        covered = low - slack <= truth <= high + slack
    return {
        **expected,
        "status": status,
        "value": given["value"],
        "error": None if given["value"] is None else given["value"] - truth,
        "sense": given["sense"],
        "interval": given["interval"],
        "confidence": given["confidence"],
        "covered": covered,
        "notes": given.get("notes", []),
        "extra": given.get("extra", {}),
        "message": message,
    }


def without_addresses(text: str) -> str:
    """Return the text without the places of objects in memory, which no two runs share."""
    return ADDRESS.sub("", text)


class Journal:
    """The records in a folder: appended as they come, put in order when all have come.

    A line that a killed run left half written is cut off. Only one run may write to a folder.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    fresh : bool
        Forget what the folder holds.

    Raises
    ------
    FileFormatError
        If a file of the folder holds something else than records.
    ValueError
        If another run is writing there.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = locked(folder, "out")
        paths = [folder / RECORDS, folder / COSTS]
        try:
            for path in paths:
                if fresh:
                    path.unlink(missing_ok=True)
                _mend(path)
            self.records, self.costs = ({_key(row): row for row in _rows(path)} for path in paths)
        except BaseException:
            self._unlock()
            raise
        self._files = [path.open("a", encoding="utf-8", newline="\n") for path in paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def lacks(self, expected: Row, again: Sequence[str] = ()) -> bool:
        """Return whether a unit is still to be run.

        It is if it has no record, one that was planned otherwise, or one with a status to be tried
        `again`.
        """
        found = self.records.get(_key(expected))
        if found is None or found["status"] in again:
            return True
        return any(found.get(name) != value for name, value in expected.items())

    def append(self, row: Row, cost: Row) -> None:
        """Keep what a unit gave; it survives whatever happens next."""
        key = _key(row)
        cost = {"task": key[0], "contender": key[1], "n": key[2], "seed": key[3], **cost}
        # The record comes last: without one, the unit has not been done.
        for file, line in zip(reversed(self._files), (cost, row), strict=True):
            file.write(_line(line))
            file.flush()
        self.records[key], self.costs[key] = row, cost

    def put_in_order(self, keys: Iterable[Key]) -> None:
        """Write both files again: these keys first, then what else the folder holds, sorted.

        Nothing can be appended after it.
        """
        for file in self._files:
            file.close()
        first = dict.fromkeys(keys)
        order = [*first, *sorted(key for key in self.records if key not in first)]
        for name, rows in ((COSTS, self.costs), (RECORDS, self.records)):
            write(self.folder / name, "".join(_line(rows[key]) for key in order if key in rows))


def frame(folder: str | os.PathLike[str]) -> "DataFrame":
    """Return records and costs of a folder as one table, a row a unit.

    Its columns are the fields of the records, then ``seconds``, ``cpu_seconds``, ``peak_bytes`` and
    ``first``. ``interval`` is a pair of floats, or None; ``dims`` is a tuple.

    Raises
    ------
    FileNotFoundError
        If the folder holds no records.
    """
    folder = Path(folder)
    if not (folder / RECORDS).is_file():
        raise FileNotFoundError(
            f"a folder of records must hold {RECORDS}; there is none in {folder}. "
            "`python -m estimators_bench run` makes one."
        )
    costs = {_key(row): row for row in _rows(folder / COSTS)}
    return table(list({_key(row): row for row in _rows(folder / RECORDS)}.values()), costs)


def table(rows: Sequence[Row], costs: Mapping[Key, Row]) -> "DataFrame":
    """Return rows and their costs as one table."""
    import pandas as pd

    columns = ("seconds", "cpu_seconds", "peak_bytes", "first")
    joined = []
    for row in rows:
        interval = None if row["interval"] is None else _ends(row["interval"])
        cost = costs.get(_key(row), {})
        joined.append(
            {**row, "dims": tuple(row["dims"]), "interval": interval}
            | {name: cost.get(name) for name in columns}
        )
    found = pd.DataFrame(joined)
    numbers = ["value", "error", "confidence", "seconds", "cpu_seconds", "peak_bytes"]
    return found.astype({name: "float64" for name in numbers if name in found})


def save_parquet(found: "DataFrame", path: str | os.PathLike[str]) -> None:
    """Write a table as Parquet, ``extra`` as JSON text.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    """
    if importlib_missing("pyarrow"):
        raise ImportError("--parquet needs pyarrow, which is not installed; pip install pyarrow")
    found.assign(extra=found["extra"].map(json.dumps)).to_parquet(path, index=False)


def importlib_missing(module: str) -> bool:
    """Return whether a module is not installed."""
    from importlib.util import find_spec

    return find_spec(module) is None


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _key(row: Row) -> Key:
    return row["task"], row["contender"], row["n"], row["seed"]


def _ends(interval: Sequence[float | None]) -> tuple[float, float]:
    low, high = interval
    return -math.inf if low is None else low, math.inf if high is None else high


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _mend(path: Path) -> None:
    """Cut off what follows the last line that is whole."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)


def _rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    rows = []
    *lines, _torn = path.read_bytes().split(b"\n")
    for i, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            _key(row)
        except (ValueError, KeyError, TypeError):
            raise FileFormatError(
                f"{path.name} must hold one record a line; line {i} is none. Mend or delete that "
                "line; what it held is then computed again."
            ) from None
        rows.append(row)
    return rows
