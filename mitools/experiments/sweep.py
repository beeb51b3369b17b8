"""Many jobs in one table: side by side, kept as they finish, gone on with where they were stopped.

A folder holds ``records/KEY.json``, one file for each finished job, named by the hash of what the
job is; and ``unfinished/KEY``, the trainings under way.
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from mitools._files import locked, replacing
from mitools.experiments.jobs import Architecture, DataSource, Job
from mitools.experiments.running import RESULTS, run
from mitools.pruning import Pruner
from mitools.training import Training

Row = dict[str, Any]
_RECORD = ("status", "error", *RESULTS)


def grid(
    models: str | Architecture | Sequence[Any],
    data: str | DataSource | Sequence[Any],
    pruners: Mapping[str, Pruner] | Sequence[Pruner],
    densities: Sequence[float],
    seeds: int | Sequence[int] = 3,
    *,
    training: Training | None = Training(),
    dense: bool = True,
    start: Literal["ticket", "init"] = "ticket",
    peff: bool | tuple[Any, ...] = False,
) -> list[Job]:
    """Return the jobs of all combinations.

    Parameters
    ----------
    models, data
        One or a list of what `Job` takes.
    pruners : sequence of Pruner, or mapping of str to Pruner
        A mapping also says what tables call them.
    densities : sequence of float
        The shares of the weights that stay.
    seeds : int or sequence of int
        How many repetitions (0, 1, …), or their seeds.
    training, start, peff
        As for `Job`, the same for all.
    dense : bool
        Whether to train the whole network too, once for each model, data set and seed.

    Examples
    --------
    >>> from mitools.pruning import SNIP, Magnitude, OneShot
    >>> pruners = [OneShot(SNIP()), OneShot(Magnitude())]
    >>> len(grid("lenet-300-100", ["mnist", "fashion-mnist"], pruners, [0.1, 0.01], seeds=3))
    30
    """
    named = pruners.items() if isinstance(pruners, Mapping) else (("", p) for p in pruners)
    chosen: list[Any] = [
        (label, pruner, density) for label, pruner in named for density in densities
    ]
    if dense:
        chosen.insert(0, ("", None, 1.0))
    return [
        Job(model, source, pruner, density, seed, training, start, peff, label)
        for model in _listed(models)
        for source in _listed(data)
        for label, pruner, density in chosen
        for seed in (range(seeds) if isinstance(seeds, int) else seeds)
    ]


def sweep(
    jobs: Iterable[Job],
    folder: str | os.PathLike[str] | None = None,
    *,
    root: str | os.PathLike[str] = "data",
    n_jobs: int | None = None,
    retry: bool = False,
    progress: bool = False,
) -> pd.DataFrame:
    """Do jobs that are not done yet, and return a row for each.

    Kill it whenever you like: the same call goes on, computes nothing again that was finished, and
    ends with the same table, times aside. So does a longer list of jobs in the same folder.

    Parameters
    ----------
    jobs : iterable of Job
        Equal ones are done once.
    folder : path or None
        Where finished jobs are kept. It is for one sweep at a time. None: nothing is kept.
    root : path
        The folder of image sets that are files.
    n_jobs : int or None
        Processes; None leaves it to `joblib.parallel_config`, so that inside
        ``parallel_config("dask")`` they are spread over a Dask cluster.
    retry : bool
        Do those again that failed before.
    progress : bool
        Whether to show a bar on stderr, with the time left.

    Returns
    -------
    DataFrame
        In the order of jobs: what was asked for (key, model, data, pruner, density, seed, start,
        method, training, asked), status ("done" or "failed") and error, and what `run` answers.
        A job that raised an error has its text in ``error``, and no numbers.

    Raises
    ------
    ValueError
        If another sweep is using the folder, or it cannot be written.
    TypeError
        If jobs holds something else than jobs.
    """
    jobs = list(jobs)
    for job in jobs:
        if not isinstance(job, Job):
            raise TypeError(
                f"jobs must be Job values; got {job!r}. grid(...) makes a list of them."
            )
    place = None if folder is None else Path(folder)
    with _alone_in(place):
        distinct = {job.key: job for job in jobs}
        rows = {key: row for key, job in distinct.items() if (row := _kept(place, job)) is not None}
        if retry:
            rows = {key: row for key, row in rows.items() if row["status"] == "done"}
        for key in rows:
            _forget(place, distinct[key])  # killed before it could
        todo = [job for key, job in distinct.items() if key not in rows]
        for job, row in _done(todo, rows, distinct, place, Path(root), n_jobs, progress):
            _keep(place, job, row)
            rows[job.key] = row
    return _table(jobs, rows)


def attempt(job: Job, root: Path, checkpoint: Path | None) -> tuple[Job, Row]:
    """Run a job; an error becomes a row."""
    try:
        row = {"status": "done", "error": "", **run(job, root, checkpoint)}
    except Exception as error:  # whatever it is, the others go on
        row = failure(f"{type(error).__name__}: {error}")
    return job, row


def failure(error: str) -> Row:
    """Return the row of a job that failed."""
    return {"status": "failed", "error": error, **dict.fromkeys(RESULTS)}


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds, and their spread.

    Parameters
    ----------
    found : DataFrame
        From `sweep`.

    Returns
    -------
    DataFrame
        A row for each combination of what was asked for but the seed, in the order of the first.
        seeds and failed count them; kept, on_path, accuracy_before, accuracy, loss,
        train_accuracy, p_eff_low, p_eff_high and seconds are means over those that were done;
        accuracy_sd is the standard deviation of one seed's accuracy, NaN for one seed.
    """
    by = ["model", "data", "pruner", "density", "start", "method", "training", "asked"]
    averaged = ["kept", "on_path", "accuracy_before", "accuracy", "loss", "train_accuracy"]
    averaged += ["p_eff_low", "p_eff_high", "seconds"]
    rows = []
    groups: Any = found.drop_duplicates(["key", "pruner"]).groupby(by, sort=False)
    for key, group in groups:
        row = dict(zip(by, key, strict=True))
        failed = [status == "failed" for status in group["status"]]
        row |= {"seeds": len(group), "failed": sum(failed)}
        row |= {name: group[name].mean() for name in averaged}
        rows.append(row | {"accuracy_sd": group["accuracy"].std()})
    return pd.DataFrame(rows, columns=[*by, "seeds", "failed", *averaged, "accuracy_sd"])


def _done(
    todo: Sequence[Job],
    rows: Mapping[str, Row],
    known: Mapping[str, Job],
    place: Path | None,
    root: Path,
    n_jobs: int | None,
    progress: bool,
) -> Iterator[tuple[Job, Row]]:
    """Yield jobs and their rows as they come, under a bar that guesses when it is over."""
    left = {job.key: job for job in todo}
    costs = [(known[key], row["seconds"]) for key, row in rows.items() if row["seconds"]]
    workers: int = effective_n_jobs(n_jobs)  # pyright: ignore[reportArgumentType]
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
    total = len(rows) + len(todo)
    with tqdm(None, "jobs", total, initial=len(rows), disable=not progress, bar_format=form) as bar:
        for job, row in _outcomes(todo, place, root, n_jobs, workers):
            del left[job.key]
            if row["seconds"]:
                costs.append((job, row["seconds"]))
            seconds = seconds_left(costs, list(left.values())) / workers
            bar.set_postfix_str(f"about {tqdm.format_interval(seconds)} left", refresh=False)
            bar.update()
            yield job, row


def _outcomes(
    todo: Sequence[Job], place: Path | None, root: Path, n_jobs: int | None, workers: int
) -> Iterator[tuple[Job, Row]]:
    """Yield jobs and their rows as they come; one that ends its process becomes a row too."""
    left = {job.key: job for job in todo}
    while left:
        try:
            for job, row in _parallel(list(left.values()), place, root, n_jobs):
                del left[job.key]
                yield job, row
        except BrokenProcessPool:
            # It was one of those under way, and these come first. One by one, it shows.
            for job in list(left.values())[:workers]:
                del left[job.key]
                try:
                    ((_, row),) = _parallel([job], place, root, 2)
                except BrokenProcessPool as error:
                    row = failure(f"its process ended; out of memory? ({type(error).__name__})")
                yield job, row


def _parallel(jobs: Sequence[Job], place: Path | None, root: Path, n_jobs: int | None) -> Any:
    parallel: Any = Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered")  # pyright: ignore[reportArgumentType]
    return parallel(delayed(attempt)(job, root, _unfinished(place, job)) for job in jobs)


def seconds_left(done: Iterable[tuple[Job, float]], todo: Iterable[Job]) -> float:
    """Return what jobs will take, from jobs like them that are done.

    Like means the same pruner on the same model and data, or else the same model and data, or
    else any job.
    """
    costs: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for job, seconds in done:
        for kind in _kinds(job):
            costs[kind].append(seconds)
    means = {kind: fmean(seconds) for kind, seconds in costs.items()}
    return sum(next((means[k] for k in _kinds(job) if k in means), 0.0) for job in todo)


def _kinds(job: Job) -> tuple[tuple[str, ...], ...]:
    model, data = repr(job.model), repr(job.data)
    return (model, data, repr(job.pruner)), (model, data), ()


def _kept(place: Path | None, job: Job) -> Row | None:
    """Return the row of a finished job; None if there is none that is whole and its own."""
    if place is None:
        return None
    try:
        record = json.loads(_file(place, job).read_text(encoding="utf-8"))
        whole = record["job"] == repr(job) and record["status"] in ("done", "failed")
        return {name: record[name] for name in _RECORD} if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(place: Path | None, job: Job, row: Row) -> None:
    """Write the row of a finished job, whole or not at all."""
    if place is None:
        return
    text = json.dumps({"job": repr(job), **row}, indent=1, allow_nan=False)
    with replacing(_file(place, job)) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    _forget(place, job)


def _forget(place: Path | None, job: Job) -> None:
    """Delete the trainings of a finished job."""
    if place is not None:
        shutil.rmtree(place / "unfinished" / job.key, ignore_errors=True)


def _file(place: Path, job: Job) -> Path:
    return place / "records" / f"{job.key}.json"


def _unfinished(place: Path | None, job: Job) -> Path | None:
    return None if place is None else place.absolute() / "unfinished" / job.key


def _table(jobs: Sequence[Job], rows: Mapping[str, Row]) -> pd.DataFrame:
    found = pd.DataFrame([{"key": job.key, **job.columns(), **rows[job.key]} for job in jobs])
    numbers = [name for name in RESULTS if name != "mi_quantity"]
    return found.astype(dict.fromkeys(numbers, "float64")) if jobs else found


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


@contextmanager
def _alone_in(place: Path | None) -> Iterator[None]:
    """Keep other sweeps out of a folder, which is made; they are let in even if we are killed."""
    if place is None:
        yield
        return
    try:
        (place / "records").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"folder must be one that can be made and written; {str(place)!r} is not ({error}). "
            "Name another."
        ) from error
    lock = locked(place, "folder")
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
